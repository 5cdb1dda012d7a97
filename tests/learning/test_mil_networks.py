"""Networks of bags: the formula, order and number of tiles, memory; bags: what is read, refused, drawn and measured."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.cohort.cohort import Cohort, assemble
from counterstain.errors import InputError
from counterstain.learning import mil_networks
from counterstain.learning.bag_dataset import draw_tiles, keep_bags, measure_bags, open_bags
from counterstain.learning.build import layout_of
from counterstain.learning.bundle import Bundle, load_network, write_bundle
from counterstain.learning.config import TrainingConfig
from counterstain.learning.mil_networks import BagNetwork, build_bag_network
from counterstain.learning.predictor import load_predictor

WIDTH = 6


def ready(name: str, *, classes: int = 2, width: int = WIDTH) -> BagNetwork:
    network = build_bag_network(name, width=width, classes=classes, seed=0, hidden=8, attention=5)
    with torch.no_grad():
        network.centre.copy_(torch.linspace(-1, 1, width))
        network.spread.copy_(torch.linspace(0.5, 2, width))
    return network.eval()


def some(tiles: int, *, width: int = WIDTH, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(tiles, width)).astype(np.float32))


def by_hand(network: BagNetwork, bag: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Logits and weights of equation 9 of Ilse et al. 2018, tile by tile in numpy and double precision."""
    state = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    embedded = []
    scores = []
    for tile in bag.double().numpy():
        row = (tile - state["centre"]) / state["spread"]
        row = np.maximum(state["embed.weight"] @ row + state["embed.bias"], 0)
        embedded.append(row)
        if "score.weight" in state:
            content = np.tanh(state["content.weight"] @ row + state["content.bias"])
            gate = 1 / (1 + np.exp(-(state["gate.weight"] @ row + state["gate.bias"])))
            scores.append((state["score.weight"] @ (content * gate) + state["score.bias"])[0])
        else:
            scores.append(0.0)
    weights = np.exp(scores) / np.exp(scores).sum()
    pooled = sum(weight * row for weight, row in zip(weights, embedded, strict=True))
    return state["output.weight"] @ pooled + state["output.bias"], weights


@pytest.mark.parametrize("name", ["mil/mean", "mil/abmil"])
@pytest.mark.parametrize("tiles", [1, 2, 37])
def test_the_answer_is_the_formula(name: str, tiles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, bag = ready(name, classes=3), some(tiles)
    logits, weights = by_hand(network, bag)
    for chunk in (4096, 5):  # at once, and put together from pieces
        monkeypatch.setattr(mil_networks, "CHUNK", chunk)
        with torch.inference_mode():
            np.testing.assert_allclose(network(bag), logits, atol=1e-5)
        np.testing.assert_allclose(network.weights(bag), weights, atol=1e-6)


@pytest.mark.parametrize("name", ["mil/mean", "mil/abmil"])
def test_gradients_are_the_same_in_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for chunk in (4096, 5):
        monkeypatch.setattr(mil_networks, "CHUNK", chunk)
        network = ready(name)
        torch.nn.functional.cross_entropy(network(some(23)), torch.tensor(1)).backward()
        found.append([parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None])
    assert len(found[0]) == len(list(ready(name).parameters()))
    for whole, pieces in zip(*found, strict=True):
        torch.testing.assert_close(whole, pieces, atol=1e-6, rtol=1e-4)


@given(seed=st.integers(0, 1000), tiles=st.integers(1, 60))
@settings(max_examples=40)
def test_the_order_of_tiles_does_not_matter_nor_does_a_bag_twice_over(seed: int, tiles: int) -> None:
    network, bag = ready("mil/abmil"), some(tiles, seed=seed)
    turned = torch.from_numpy(np.random.default_rng(seed).permutation(tiles))
    with torch.inference_mode():
        own = network(bag)
        torch.testing.assert_close(network(bag[turned]), own, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(network(torch.cat([bag, bag])), own, atol=1e-5, rtol=1e-5)
    weights = network.weights(bag)
    torch.testing.assert_close(network.weights(bag[turned]), weights[turned], atol=1e-7, rtol=1e-5)
    assert abs(float(weights.sum()) - 1) < 1e-9


def test_a_tile_or_a_batch_of_images_is_no_bag() -> None:
    for wrong in (torch.zeros(WIDTH), torch.zeros(0, WIDTH), torch.zeros(3, WIDTH + 1), torch.zeros(2, 3, 32, 32)):
        with pytest.raises(ValueError, match="a bag is"):
            ready("mil/mean")(wrong)


def test_the_two_networks_differ_in_nothing_but_their_weights() -> None:
    shared = set(dict(ready("mil/mean").named_parameters()))
    assert set(dict(ready("mil/abmil").named_parameters())) - shared == {
        f"{layer}.{kind}" for layer in ("content", "gate", "score") for kind in ("weight", "bias")
    }
    before = torch.random.get_rng_state()
    build_bag_network("mil/abmil", width=4, classes=2, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    with pytest.raises(InputError, match="did you mean 'mil/abmil'"):
        build_bag_network("mil/abmill", width=4, classes=2, seed=1)


MEMORY = """
import resource, torch
from counterstain.learning.mil_networks import build_bag_network
torch.set_num_threads(1)
network = build_bag_network("mil/abmil", width=1024, classes=2, seed=0).train()
network(torch.rand(10_000, 1024)).sum().backward()
bag = torch.rand(50_000, 1024)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
torch.nn.functional.cross_entropy(network(bag), torch.tensor(1)).backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux alone")
def test_a_bag_of_50000_tiles_is_learned_from_in_bounded_memory() -> None:
    """Beside the bag's own 205 MB a step takes about what one of 10,000 tiles takes, and not five times as much."""
    found = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 60 * 1024


# ------------------------------------------------------------------------------------------------------------- bags


def write_trident(path: Path, features: np.ndarray, coords: np.ndarray | None = None, encoder: str = "uni_v1") -> None:
    """As TRIDENT lays it out: attributes of both arrays, coordinates of level 0."""
    coords = np.zeros((len(features), 2), np.int64) if coords is None else coords
    with h5py.File(path, "w") as file:
        own = file.create_dataset("features", data=features.astype(np.float32), chunks=True)
        own.attrs["name"] = path.stem
        own.attrs["savetodir"] = "features_uni_v1"
        placed = file.create_dataset("coords", data=coords)
        placed.attrs.update(
            {"patch_size": 256, "patch_size_level0": 512, "level0_magnification": 40, "target_magnification": 20}
        )
        placed.attrs.update({"overlap": 0, "name": path.stem, "encoder": encoder})


def write_clam(path: Path, features: np.ndarray) -> None:
    """As CLAM lays it out: appended to, so of open length; coordinates without encoder; half precision."""
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=features.astype(np.float16), maxshape=(None, features.shape[1]))
        file.create_dataset("coords", data=np.zeros((len(features), 2), np.int32), maxshape=(None, 2))


def cohort_of(folder: Path, names: list[str]) -> Cohort:
    return assemble({"image_path": names, "label": ["ab"[place % 2] for place in range(len(names))]}, root=folder)


def test_bags_of_both_layouts_are_read_as_they_are(tmp_path: Path) -> None:
    made = np.round(np.random.default_rng(0).normal(size=(9, WIDTH)) * 8) / 8  # exact in half precision
    write_trident(tmp_path / "one.h5", made)
    write_clam(tmp_path / "two.h5", made[:4])
    store = open_bags(cohort_of(tmp_path, ["one.h5", "two.h5"]), tmp_path / "store")
    assert (store.width, store.encoder, store.count.tolist(), store.set_aside) == (WIDTH, "uni_v1", [9, 4], ())
    np.testing.assert_array_equal(store.read(0), made)
    np.testing.assert_array_equal(store.read(1), made[:4])
    assert store.rows(["two.h5", "one.h5"]).tolist() == [1, 0]


def test_what_cannot_be_used_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = [f"{place}.h5" for place in range(8)]
    for name in names:
        write_trident(tmp_path / name, random.normal(size=(5, WIDTH)))
    (tmp_path / "0.h5").write_bytes((tmp_path / "0.h5").read_bytes()[:900])
    write_trident(tmp_path / "1.h5", random.normal(size=(5, WIDTH + 1)))
    write_trident(tmp_path / "2.h5", np.empty((0, WIDTH)))
    write_trident(tmp_path / "3.h5", np.full((2, WIDTH), np.nan))
    write_trident(tmp_path / "4.h5", random.normal(size=(5, WIDTH)), encoder="virchow")
    with pytest.raises(InputError, match=r"5 of 8 feature files cannot be used \(at most 5 %"):
        open_bags(cohort_of(tmp_path, names), tmp_path / "store")
    store = open_bags(cohort_of(tmp_path, names), tmp_path / "store", max_bad=0.9)
    assert store.image == ("5.h5", "6.h5", "7.h5")
    reasons = dict(store.set_aside)
    assert list(reasons) == ["0.h5", "1.h5", "2.h5", "3.h5", "4.h5"]
    for name, words in (("0", "HDF5"), ("1", "7 features per tile; most files have 6"), ("2", "no tiles"),
                        ("3", "not finite"), ("4", "of virchow; those of most files are of uni_v1")):  # fmt: skip
        assert words in reasons[f"{name}.h5"]
    with pytest.raises(InputError, match=r"'0\.h5' cannot be used: .*HDF5"):
        store.rows(["0.h5"])
    with pytest.raises(InputError, match=r"4 of 4 .* it has 6 features per tile; the model takes 9"):
        open_bags(cohort_of(tmp_path, names[4:]), tmp_path / "store", width=9)
    with pytest.raises(InputError, match=r"x\.png is no feature file"):
        open_bags(cohort_of(tmp_path, ["5.h5", "x.png"]), tmp_path / "store")


def test_a_file_is_looked_at_again_only_where_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a.h5", "b.h5", "c.h5"]
    for place, name in enumerate(names):
        write_trident(tmp_path / name, np.full((3, WIDTH), place, float))
    first = open_bags(cohort_of(tmp_path, names), tmp_path / "store")
    looked: list[str] = []
    from counterstain.learning import bag_dataset as bags

    real = bags.read_features
    monkeypatch.setattr(bags, "read_features", lambda path: looked.append(path.name) or real(path))
    assert open_bags(cohort_of(tmp_path, names), tmp_path / "store").data_hash == first.data_hash
    assert looked == []
    write_trident(tmp_path / "b.h5", np.full((4, WIDTH), 9.0))
    second = open_bags(cohort_of(tmp_path, names), tmp_path / "store")
    assert looked == ["b.h5"]
    assert second.data_hash != first.data_hash
    assert second.count.tolist() == [3, 4, 3]
    turned = open_bags(cohort_of(tmp_path, names[::-1]), tmp_path / "store")
    assert turned.data_hash == second.data_hash
    with pytest.raises(InputError, match="changed while in use"):
        first.read(1)


@given(count=st.integers(1, 500), most=st.integers(1, 500), epoch=st.integers(1, 5), key=st.integers(0, 2**64 - 1))
@settings(max_examples=60)
def test_tiles_are_drawn_by_seed_epoch_and_slide(count: int, most: int, epoch: int, key: int) -> None:
    drawn = draw_tiles(count, most, seed=0, epoch=epoch, key=key)
    if count <= most:
        assert drawn is None
        return
    assert drawn is not None
    assert len(drawn) == most
    assert len(set(drawn.tolist())) == most
    assert (np.diff(drawn) > 0).all()
    assert drawn[0] >= 0
    assert drawn[-1] < count
    np.testing.assert_array_equal(drawn, draw_tiles(count, most, seed=0, epoch=epoch, key=key))


def test_draws_differ_between_epochs_slides_and_seeds() -> None:
    one = draw_tiles(1000, 10, seed=0, epoch=1, key=5)
    for other in ({"seed": 1}, {"epoch": 2}, {"key": 6}):
        assert not np.array_equal(one, draw_tiles(1000, 10, **({"seed": 0, "epoch": 1, "key": 5} | other)))
    seen = np.bincount(
        np.concatenate([draw_tiles(20, 5, seed=0, epoch=epoch, key=1) for epoch in range(4000)]), minlength=20
    )
    assert abs(seen / 1000 - 1).max() < 0.15  # each tile is as likely as any other


def test_bags_are_measured_each_weighing_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    bags = [random.normal(3, 2, (tiles, WIDTH)) + 1000 for tiles in (4, 900)]
    bags[0][:, 0] = bags[1][:, 0] = 7  # never changes
    for place, bag in enumerate(bags):
        write_trident(tmp_path / f"{place}.h5", bag)
    store = open_bags(cohort_of(tmp_path, ["0.h5", "1.h5"]), tmp_path / "store")
    for room in (0, 2**20):
        bag = keep_bags(store, room=room)
        assert (bag(0) is bag(0)) == (room > 0)
        centre, spread = measure_bags(bag, [0, 1])
        mean = np.mean([own.mean(0) for own in bags], axis=0)
        square = np.mean([((own - mean) ** 2).mean(0) for own in bags], axis=0)
        np.testing.assert_allclose(centre, mean, rtol=1e-6)
        np.testing.assert_allclose(spread[1:], np.sqrt(square)[1:], rtol=1e-4)
        assert spread[0] == 1


# ----------------------------------------------------------------------------------------------- settings and bundles


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"network": "given", "bag_tiles": 5}, "for networks of bags"),
        ({"network": "mil/mean", "bag_tiles": 0}, "from 1"),
        ({"network": "mil/mean", "normalisation": "macenko"}, "have no stain"),
        ({"network": "mil/mean", "stain_augmentation": "hed_light"}, "have no stain"),
        ({"network": "mil/mean", "tune": "frozen"}, "for backbones"),
    ],
)
def test_settings_that_mean_nothing_for_bags_are_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        TrainingConfig(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mil/mean", "mil/abmil"])
def test_a_bundle_brings_the_network_back_and_refuses_tiles(tmp_path: Path, name: str) -> None:
    network = ready(name)
    layout = layout_of(network, {"encoder": "uni_v1"})
    assert layout["width"] == WIDTH
    bundle = Bundle(network=name, classes=("a", "b"), tile_px=0, fit="features", scale="-1..1", layout=layout)
    write_bundle(tmp_path, bundle, network)
    known, loaded = load_network(tmp_path)
    assert known.layout["encoder"] == "uni_v1"
    with torch.inference_mode():
        assert torch.equal(loaded(some(7)), network(some(7)))
    assert "6 features of uni_v1" in (tmp_path / "README.md").read_text()
    with pytest.raises(InputError, match=r"takes bags of features, not tiles"):
        load_predictor(tmp_path)
