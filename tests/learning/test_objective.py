"""Losses for classes of uneven size, by hand and against torch's and torchvision's own; and the priors put right."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from counterstain.errors import InputError
from counterstain.images.augmentation import Augmentation
from counterstain.learning.config import TrainingConfig
from counterstain.learning.distributed import World
from counterstain.learning.loader import Examples, TileLoader, _copies, draw_order
from counterstain.learning.mixing import Plan, mix, plan_mixing
from counterstain.learning.networks import build_network
from counterstain.learning.objective import PLAIN, Mixed, Objective, objective_of, remove_shift
from counterstain.learning.stain_pipeline import UNSTAINED

CLASSES = ("benign", "malignant")


def batch(classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(7, classes, generator=random) * 3, torch.randint(0, classes, (7,), generator=random)


def test_plain_is_cross_entropy_bit_for_bit() -> None:
    logits, target = batch()
    assert torch.equal(PLAIN.loss(logits, target), functional.cross_entropy(logits, target, reduction="sum"))


@pytest.mark.parametrize("weights", [(), (0.5, 2.0, 1.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weights_and_smoothing_are_those_of_torch(weights: tuple[float, ...], smoothing: float) -> None:
    logits, target = batch()
    expected = functional.cross_entropy(
        logits, target, weight=torch.tensor(weights) if weights else None, label_smoothing=smoothing, reduction="sum"
    )
    assert torch.allclose(Objective(weights, smoothing=smoothing).loss(logits, target), expected)


def test_focal_of_two_classes_is_that_of_torchvision() -> None:
    from torchvision.ops import sigmoid_focal_loss

    logits, target = batch(classes=2)
    expected = sigmoid_focal_loss(logits[:, 1] - logits[:, 0], target.float(), alpha=-1, gamma=2, reduction="sum")
    assert torch.allclose(Objective(focal=2.0).loss(logits, target), expected)


def test_mixed_targets_by_hand() -> None:
    # p = (1/2, 1/2): any mixture costs ln 2. p = (3/4, 1/4), 0.9 of class 0: 0.9 ln(4/3) + 0.1 ln 4.
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    mixed = Mixed(np.array([1, 1]), np.array([0.3, 0.9], np.float32))
    found = PLAIN.loss(logits, torch.tensor([0, 0]), mixed)
    assert found.item() == pytest.approx(math.log(2) + 0.9 * math.log(4 / 3) + 0.1 * math.log(4))


def test_the_ranked_probability_score_by_hand() -> None:
    # Probabilities (0.5, 0.3, 0.2), cumulative 0.5, 0.8, 1. True grade 0: (0.5 - 1)² + (0.8 - 1)² = 0.29;
    # grade 1: 0.5² + 0.2² = 0.29; grade 2: 0.5² + 0.8² = 0.89.
    logits = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    for grade, score in enumerate((0.29, 0.29, 0.89)):
        target = torch.tensor([grade])
        plain, graded = PLAIN.loss(logits, target), Objective(ordinal=2.0).loss(logits, target)
        assert float(graded - plain) == pytest.approx(2 * score)


def test_grades_keep_their_true_probabilities_at_the_minimum() -> None:
    """Of 10 images 5, 3 and 2 are of the three grades: the best constant answer says 0.5, 0.3, 0.2, at any weight."""
    target = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200)

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        loss = Objective(ordinal=5.0).loss(logits.expand(10, 3), target)
        loss.backward()
        return loss

    optimiser.step(step)
    assert logits.softmax(0).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=1e-4)


def test_weights_of_an_arm() -> None:
    label = np.repeat([0, 1], [95, 5])
    assert objective_of(TrainingConfig(), CLASSES, label) == PLAIN
    even = objective_of(TrainingConfig(class_weights="balanced"), CLASSES, label).weights
    assert even == pytest.approx((100 / (2 * 95), 100 / (2 * 5)))
    assert np.mean(np.array(even)[label]) == pytest.approx(1)
    own = objective_of(TrainingConfig(class_weights={"malignant": 3, "benign": 1}), CLASSES, label).weights
    assert own[1] / own[0] == pytest.approx(3) and np.mean(np.array(own)[label]) == pytest.approx(1)
    drawn = objective_of(TrainingConfig(sampler="balanced"), CLASSES, label)
    assert (drawn.weights, drawn.drawn) == ((), pytest.approx(even))
    for weights, words in (
        ({"malignant": 3}, "no weight for class 'benign'"),
        ({"malignat": 1}, "did you mean 'malig"),
    ):
        with pytest.raises(InputError, match=words):
            objective_of(TrainingConfig(class_weights=weights), CLASSES, label)
    with pytest.raises(InputError, match="class 'malignant' has no training image"):
        objective_of(TrainingConfig(class_weights="balanced"), CLASSES, np.zeros(3, np.int64))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"class_weights": "balancd"}, "did you mean 'balanced'"),
        ({"class_weights": {"a": 0}}, "every weight must be above 0"),
        ({"sampler": "even"}, "sampler is 'even'"),
        ({"label_smoothing": 1.0}, "from 0 to below 1"),
        ({"focal": -1}, "focal is -1"),
        ({"cutmix": float("inf")}, "cutmix is inf"),
        ({"class_weights": "balanced", "sampler": "balanced"}, "do the same; use one"),
        ({"network": "timm/resnet18", "tune": "frozen", "focal": 2}, "probe on frozen features has no such setting"),
        ({"network": "mil/abmil", "mixup": 0.2}, "mil/abmil has no such setting"),
    ],
)
def test_settings_that_are_refused(wanted: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        TrainingConfig(**wanted)


def test_the_minimum_of_a_weighted_loss_gives_true_frequencies_once_the_shift_is_gone() -> None:
    """Two kinds of image, positive in 1 of 20 and in 1 of 2: a table of logits is fitted, 1:20 weights and all."""
    kind, label = np.repeat([0, 0, 1, 1], [190, 10, 10, 10]), np.repeat([0, 1, 0, 1], [190, 10, 10, 10])
    objective = objective_of(TrainingConfig(class_weights="balanced"), CLASSES, label)
    table = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([table], max_iter=200, tolerance_grad=1e-12)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = objective.loss(table[torch.from_numpy(kind)], torch.from_numpy(label))
        torch.autograd.backward(loss)
        return loss

    optimiser.step(closure)
    raw = torch.softmax(table.detach(), 1)[:, 1].tolist()
    right = torch.softmax(table.detach() - torch.tensor(objective.shift, dtype=torch.float64), 1)[:, 1].tolist()
    assert right == pytest.approx([10 / 200, 1 / 2], abs=1e-6)
    assert raw[0] > 0.3  # what the probabilities would be without it


def test_the_shift_is_taken_from_the_network_itself() -> None:
    network = build_network("given", classes=2, tile_px=127, seed=0).eval()
    tiles = torch.rand(2, 3, 127, 127)
    with torch.no_grad():
        before = network(tiles)
        remove_shift(network, (-0.5, 2.0))
        after = network(tiles)
    assert torch.allclose(after, before - torch.tensor([-0.5, 2.0]), atol=1e-6)


class Fed:
    """A feed without tiles: which images are drawn needs none."""

    @staticmethod
    def of(label: list[int], sampler: str, seed: int = 0) -> TileLoader:
        count = len(label)
        examples = Examples(np.arange(count), np.array(label), np.arange(count, dtype=np.uint64))
        settings = TrainingConfig(sampler=sampler)
        plain, cpu = Augmentation(mode="none"), torch.device("cpu")
        return TileLoader(None, examples, settings, plain, UNSTAINED, World(), cpu, None, seed, 1)  # type: ignore[arg-type]


def test_a_balanced_epoch_has_as_many_of_every_class() -> None:
    label = [0] * 40 + [1] * 2 + [2] * 3
    source = Fed.of(label, "balanced")
    order = draw_order(source, 1)
    assert np.bincount(np.array(label)[order]).tolist() == [15, 15, 15]
    count = np.bincount(order, minlength=45)
    assert count[:40].max() == 1 and set(count[40:42]) <= {7, 8} and set(count[42:]) == {5}
    np.testing.assert_array_equal(order, draw_order(source, 1))
    assert not np.array_equal(order, draw_order(source, 2))
    assert sorted(draw_order(Fed.of(label, "shuffled"), 1)) == list(range(45))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
@limits(max_examples=50)
def test_copies_are_counted_from_0_in_the_order_in_which_they_come(order: list[int]) -> None:
    expected = [order[:place].count(value) for place, value in enumerate(order)]
    assert _copies(np.array(order)).tolist() == expected


def test_mixing_is_off_unless_asked_for_and_a_function_of_its_seed() -> None:
    assert plan_mixing(TrainingConfig(), (0, 1, 2), 8) is None
    one, two = (plan_mixing(TrainingConfig(mixup=0.2), (0, 1, 2), 8) for _ in range(2))
    assert one is not None and two is not None and one.centre is None
    np.testing.assert_array_equal(one.share, two.share)
    other = plan_mixing(TrainingConfig(mixup=0.2), (0, 1, 3), 8)
    assert other is not None and not np.array_equal(one.share, other.share)
    kinds = {plan_mixing(TrainingConfig(mixup=1, cutmix=1), (0, 1, at), 2).centre is None for at in range(20)}  # type: ignore[union-attr]
    assert kinds == {True, False}


@pytest.mark.parametrize("tensor", [False, True])
def test_what_is_cut_out_is_the_share_that_is_told(tensor: bool) -> None:
    """Tiles of 0 with parts of 200: the mean of the seen square is 200 times the share of the second tile."""
    plan = Plan(np.array([1, 0, 2]), np.array([0.2, 0.5, 1.0]), np.array([[0.5, 0.5], [0.0, 0.9], [0.3, 0.3]]))
    first, second = np.zeros((3, 20, 20, 3), np.uint8), np.full((3, 20, 20, 3), 200, np.uint8)
    if tensor:
        made, share = mix(torch.zeros(3, 3, 20, 20), torch.full((3, 3, 20, 20), 200.0), plan, side=16)
        seen = made[:, :, :16, :16].mean((1, 2, 3)).numpy()  # type: ignore[union-attr]
    else:
        made, share = mix(first, second, plan, side=16)
        seen = made[:, :16, :16].mean((1, 2, 3))  # type: ignore[call-overload]
    np.testing.assert_allclose(seen, 200 * (1 - share), atol=1e-4)
    assert share[2] == 1 and abs(share[0] - 0.2) < 0.1


def test_mixup_blends_alike_on_both_ways() -> None:
    random = np.random.default_rng(0)
    tiles, others = (random.integers(0, 256, (4, 5, 5, 3), dtype=np.uint8) for _ in range(2))
    plan = Plan(np.arange(4), np.array([0.0, 0.25, 0.5, 1.0]), None)
    made, _ = mix(tiles, others, plan)
    as_tensor, _ = mix(torch.from_numpy(tiles).float(), torch.from_numpy(others).float(), plan)
    np.testing.assert_allclose(made, as_tensor.numpy(), atol=0.5001)  # type: ignore[union-attr]
    np.testing.assert_array_equal(made[0], others[0])
    np.testing.assert_array_equal(made[3], tiles[3])


def test_a_layer_without_a_bias_is_refused() -> None:
    network = nn.Module()
    network.output = nn.Linear(2, 2, bias=False)
    with pytest.raises(InputError, match="a last layer with a bias"):
        remove_shift(network, (0.1, 0.2))
