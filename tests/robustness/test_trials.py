"""The table of trials: five strengths each, what a cohort allows, and µm/px of the tiles after the fit."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from counterstain.cohort.cohort import Cohort, assemble
from counterstain.errors import InputError
from counterstain.robustness.trials import TRIALS, Setting, choose_trials, steps_of, tile_mpp


def test_every_trial_has_five_strengths_that_grow() -> None:
    for trial in TRIALS.values():
        assert len(trial.strengths) == 5
        away = [abs(strength - trial.clean) for strength in trial.strengths]
        assert away == sorted(away)
        assert len(trial.values) == (10 if trial.signed else 5)
        assert trial.clean not in trial.values


def test_the_unchanged_strength_changes_nothing() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    moments = np.ones((2, 2, 3))
    setting = Setting(np.full((2, 2), 0.5), moments, moments + 1)
    for trial in TRIALS.values():
        np.testing.assert_array_equal(trial.apply(tiles, trial.clean, setting), tiles)
        for at in trial.values:
            assert not np.array_equal(trial.apply(tiles, at, setting), tiles), (trial.name, at)


def test_what_is_not_known_is_left_out_and_said() -> None:
    everything, notes = choose_trials(mpp_known=True, sites=3)
    assert [*everything] == [name for name in TRIALS if name != "blur_px"]
    assert notes == []
    fewer, notes = choose_trials(mpp_known=False, sites=1)
    assert "blur_px" in fewer
    assert not {"blur", "scanner"} & set(fewer)
    assert ["px of the tile" in notes[0], "one site only" in notes[1]] == [True, True]
    steps = steps_of(list(everything.values()), rotation=True)
    assert len(steps) == 4 * 10 + 3 * 5 + 7
    assert [step.at for step in steps if step.trial is None] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (["blurr"], "no trial is called 'blurr'; did you mean 'blur'?"),
        (["blur"], "blur cannot be tried on this cohort; ask for blur_px, or give mpp"),
        (["scanner"], "scanner cannot be tried on this cohort; give two sites or more"),
    ],
)
def test_asking_for_what_cannot_be_tried_is_refused(only: list[str], message: str) -> None:
    with pytest.raises(InputError) as refused:
        choose_trials(mpp_known=False, sites=0, only=only)
    assert message in str(refused.value)


def test_one_trial_can_be_asked_for() -> None:
    chosen, _ = choose_trials(mpp_known=True, sites=0, only=["jpeg", "rotation"])
    assert [*chosen] == ["jpeg"]


@pytest.mark.parametrize(
    ("trial", "at", "shown"),
    [
        ("stain_shift", -0.2, "−20\u00a0%"),
        ("mpp_error", 0.05, "+5\u00a0%"),
        ("scanner", 0.4, "40\u00a0%"),
        ("blur", 0.25, "0.25 µm"),
        ("blur_px", 4.0, "4 px"),
        ("jpeg", 90.0, "quality 90"),
    ],
)
def test_strengths_are_shown_with_their_unit(trial: str, at: float, shown: str) -> None:
    assert TRIALS[trial].shown(at) == shown


def two(mpp: list[float]) -> Cohort:
    return assemble({"image_path": ["x", "y"], "label": ["a", "b"], "mpp": np.array(mpp)}, root=Path())


def stored(mpp: list[float]) -> Any:
    """What tile_mpp reads of a store: images of 200 × 400 and 100 × 100 px (height × width) made tiles of 100 px."""
    return SimpleNamespace(
        mpp=np.array(mpp), size_px=np.array([[200, 400], [100, 100]]), tiles=np.empty((2, 100, 100, 3), np.uint8)
    )


def test_mpp_of_the_tiles_follows_the_fit() -> None:
    rows = np.arange(2)
    known, silent = two([0.5, 0.25]), two([np.nan, 0.25])
    np.testing.assert_allclose(tile_mpp(known, stored([np.nan] * 2), rows, fit="stretch"), [[1, 2], [0.25, 0.25]])
    np.testing.assert_allclose(tile_mpp(known, stored([9.0, 9.0]), rows, fit="crop"), [[1, 1], [0.25, 0.25]])
    np.testing.assert_allclose(tile_mpp(silent, stored([0.3, 9.0]), rows, fit="crop"), [[0.6, 0.6], [0.25, 0.25]])
    assert tile_mpp(silent, stored([np.nan, 9.0]), rows, fit="crop") is None


def test_a_setting_can_be_cut() -> None:
    setting = Setting(np.arange(8.0).reshape(4, 2), None, None)
    np.testing.assert_array_equal(setting.rows(slice(1, 3)).mpp, [[2, 3], [4, 5]])
    assert replace(setting, mpp=None).rows(slice(0, 1)).mpp is None
