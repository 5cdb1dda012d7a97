"""The checks tell a map that follows what was learnt from one that would be there anyway."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr, t
from torch import nn

from counterstain.explanation.saliency import make_explainer, sensitivity
from counterstain.explanation.sanity_checks import (
    Trial,
    check_curves,
    check_random_weights,
    check_reach,
    check_turns,
    clustered_mean,
    correlation,
    draw_weights,
)
from counterstain.learning.networks import build_network

TILES = 16


def trial_of(planted: SimpleNamespace, where: str = "top left") -> Trial:
    patient = tuple(f"P{row % 8}" for row in range(TILES))
    tiles = planted.tiles(TILES, malignant=True, seed=4, where=where)
    return Trial(tiles, np.ones(TILES, dtype=np.int64), patient)


# ------------------------------------------------------------------------------------------------------ random weights


def test_maps_of_random_weights_differ_where_maps_follow_the_weights(planted: SimpleNamespace) -> None:
    explainer, trial = make_explainer(planted.predictor("flatten"), "hirescam"), trial_of(planted)
    maps = sensitivity(explainer, trial.tiles, trial.target)
    record = check_random_weights(explainer, trial, maps, seed=0)
    stages = {stage["layers"]: stage for stage in record["stages"]}
    assert record["passed"] and stages["all layers"]["passed"]
    assert stages["all layers"]["similarity"]["value"] < 0.3
    assert stages["all layers"]["similarity"]["units"] == 8


def test_a_map_made_by_the_input_alone_is_caught(planted: SimpleNamespace) -> None:
    """Only one quarter is let in, whatever the weights: the map lies there before and after, and says nothing."""
    explainer, trial = make_explainer(planted.predictor("masked"), "gradcam"), trial_of(planted)
    with torch.no_grad():  # a network of positive evidence alone, as drawn weights may not make one
        maps = sensitivity(explainer, trial.tiles, trial.target)
    network = explainer.predictor.network
    network.checks.reset_parameters = lambda: None  # type: ignore[union-attr]
    network.output.reset_parameters = lambda: None  # type: ignore[union-attr]
    record = check_random_weights(explainer, trial, maps, seed=0)
    assert not record["passed"]
    assert record["stages"][-1]["similarity"]["value"] == pytest.approx(1)


def test_drawn_weights_are_new_in_the_named_layers_alone() -> None:
    network = build_network("given", classes=2, tile_px=127, seed=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    drawn = draw_weights(network, ["output"], seed=0).state_dict()
    changed = {name for name, tensor in drawn.items() if not torch.equal(tensor, before[name])}
    assert changed == {"output.weight", "output.bias"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    again, other = (draw_weights(network, ["output"], seed=seed).state_dict()["output.weight"] for seed in (0, 1))
    assert torch.equal(again, drawn["output.weight"]) and not torch.equal(other, drawn["output.weight"])


def test_loose_parameters_are_shuffled() -> None:
    class Loose(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.arange(64.0))

    drawn = draw_weights(Loose(), [""], seed=0).token
    assert isinstance(drawn, nn.Parameter)
    assert not torch.equal(drawn, torch.arange(64.0)) and torch.equal(drawn.sort().values, torch.arange(64.0))


# --------------------------------------------------------------------------------------------- insertion and deletion


@pytest.mark.parametrize("method", ["hirescam", "integrated-gradients"])
def test_the_right_map_beats_random_order(planted: SimpleNamespace, method: str) -> None:
    explainer, trial = make_explainer(planted.predictor("flatten"), method), trial_of(planted)
    maps = sensitivity(explainer, trial.tiles, trial.target)
    record = check_curves(explainer, trial, maps, seed=0)
    assert record["passed"]
    for own in record["kinds"]:
        assert own["gain"]["random"]["low"] > 0.1
        assert set(own["curves"]) == {"map", "random", "another patient's map"}
    insertion, deletion = (own["curves"]["map"] for own in record["kinds"])
    # Both curves end where the other begins: at the blurred tile and at the whole one.
    assert insertion[0] == pytest.approx(deletion[-1]) and insertion[-1] == pytest.approx(deletion[0])
    assert insertion[0] < 0.05 < 0.95 < insertion[-1]
    # All of the evidence lies in a quarter of the cells, and the map puts it first: a quarter is step 4 of 16.
    assert insertion[4] == pytest.approx(insertion[-1], abs=0.01)


def test_a_map_of_the_wrong_place_does_not(planted: SimpleNamespace) -> None:
    explainer, trial = make_explainer(planted.predictor("flatten"), "hirescam"), trial_of(planted)
    wrong = np.zeros((TILES, planted.SIDE, planted.SIDE))
    wrong[:, -2:, -2:] = 1
    record = check_curves(explainer, trial, wrong, seed=0)
    assert not record["passed"]
    turned = sensitivity(explainer, trial.tiles, trial.target)[:, ::-1, ::-1]
    record = check_curves(explainer, trial, turned, seed=0)
    assert all(own["gain"]["random"]["high"] < 0 for own in record["kinds"])


# ------------------------------------------------------------------------------------------------ quarter turns, reach


def test_a_network_that_sees_all_sides_alike_has_turning_maps(planted: SimpleNamespace) -> None:
    explainer, trial = make_explainer(planted.predictor("whole"), "hirescam"), trial_of(planted, "everywhere")
    maps = sensitivity(explainer, trial.tiles, trial.target)
    record = check_turns(explainer, trial, maps)
    # The noise differs a little in a turned cell; the checkering is its own quarter turn but for the sign.
    assert record["correlation"]["value"] > 0.98
    assert record["probability_moved"] < 0.02


def test_a_network_that_looks_at_one_corner_has_not(planted: SimpleNamespace) -> None:
    explainer, trial = make_explainer(planted.predictor("masked"), "hirescam"), trial_of(planted)
    maps = sensitivity(explainer, trial.tiles, trial.target)
    record = check_turns(explainer, trial, maps)
    assert record["correlation"]["high"] < 0
    assert len(record["by_turn"]) == 3


def test_what_the_network_sees_of_its_tile(planted: SimpleNamespace) -> None:
    trial = trial_of(planted)
    half = planted.PX // 2
    found = check_reach(make_explainer(planted.predictor("masked"), "hirescam"), trial)
    assert found == {"box_px": [0, 0, half, half], "share": 0.25}
    assert check_reach(make_explainer(planted.predictor("whole"), "hirescam"), trial)["share"] == 1


def test_the_given_network_does_not_see_its_whole_tile_at_257_px(planted: SimpleNamespace) -> None:
    """Of 8 × 8 cells the last convolution and pooling use 6 × 6: the rest of the tile changes nothing."""
    network = build_network("given", classes=2, tile_px=257, seed=0)
    predictor = planted.predictor_of(network, 257)
    tiles = np.random.default_rng(0).integers(0, 256, (4, 257, 257, 3), dtype=np.uint8)
    trial = Trial(tiles, np.array([0, 1, 0, 1]), ("a", "b", "c", "d"))
    found = check_reach(make_explainer(predictor, "hirescam"), trial)
    left, top, right, bottom = found["box_px"]
    assert (left, top) == (0, 0) and right == bottom < 257
    other = tiles.copy()
    other[:, bottom:] = 0
    other[:, :, right:] = 255
    np.testing.assert_array_equal(predictor.logits(tiles), predictor.logits(other))
    other[:, bottom - 1] = 0
    assert not np.array_equal(predictor.logits(tiles), predictor.logits(other))


# -------------------------------------------------------------------------------------------------------------- numbers


def test_correlations_are_scipys_and_0_for_a_map_that_says_nothing() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((5, 4, 4)), rng.random((5, 4, 4)).round(1)
    b[4] = 0.5
    found, ranks = correlation(a, b), correlation(a, b, ranks=True)
    for row in range(4):
        assert found[row] == pytest.approx(pearsonr(a[row].ravel(), b[row].ravel()).statistic)
        assert ranks[row] == pytest.approx(spearmanr(a[row].ravel(), b[row].ravel()).statistic)
    assert found[4] == ranks[4] == 0


def test_with_one_tile_a_patient_the_interval_is_the_t_interval() -> None:
    values = np.array([0.3, 0.5, 0.1, 0.9, 0.4])
    found = clustered_mean(values, list("abcde"))
    low, high = t.interval(0.95, 4, loc=values.mean(), scale=values.std(ddof=1) / 5**0.5)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@given(st.lists(st.floats(0, 1), min_size=4, max_size=12), st.integers(2, 4))
def test_copies_of_a_patients_tiles_do_not_narrow_the_interval(values: list[float], copies: int) -> None:
    one = np.array(values)
    patient = [f"P{row}" for row in range(len(values))]
    single, many = clustered_mean(one, patient), clustered_mean(np.tile(one, copies), patient * copies)
    assert many.value == pytest.approx(single.value)
    assert many.high - many.low == pytest.approx(single.high - single.low, abs=1e-9)


@given(st.lists(st.booleans(), min_size=3, max_size=20))
def test_shares_stay_between_0_and_1(hits: list[bool]) -> None:
    found = clustered_mean(np.array(hits, dtype=np.float64), [str(row) for row in range(len(hits))], share=True)
    assert 0 <= found.low <= found.value <= found.high <= 1
    if all(hits):  # exact: all of n hits leave (alpha / 2)^(1 / n)
        assert found.low == pytest.approx(0.025 ** (1 / len(hits)))


def test_of_one_patient_there_is_no_interval() -> None:
    found = clustered_mean(np.array([0.2, 0.4]), ["a", "a"])
    assert found.value == pytest.approx(0.3) and np.isnan(found.low) and np.isnan(found.high)
