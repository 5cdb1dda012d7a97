"""Predictions of every step in one pass; a sample that is even over patients; what goes into the last layer."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from counterstain.cohort.cohort import Cohort, assemble
from counterstain.images.store import read_batch
from counterstain.learning.predictor import load_predictor
from counterstain.robustness import measurement
from counterstain.robustness.degrade import lab_sums, mean_and_spread, turn
from counterstain.robustness.measurement import choose_images, measure, penultimate, site_setting
from counterstain.robustness.trials import TRIALS, Setting, Step


def brightness(tiles: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A model that reads the mean brightness."""
    positive = tiles.mean(axis=(1, 2, 3)) / 255
    return np.column_stack([1 - positive, positive])


def test_every_step_is_predicted_on_every_image_in_order(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "BATCH", 7)  # 72 images: ten batches and a rest
    rows = small.store.rows(small.cohort.image)
    steps = [Step(TRIALS["blur"], 1.0), Step(None, 3.0), Step(TRIALS["scanner"], 0.4)]
    setting = site_setting(small.store, rows, list(small.cohort.table["site"]), np.full((72, 2), 0.5))
    seen = []
    found = measure(brightness, small.store, rows, steps, setting, progress=lambda *at: seen.append(at))
    tiles = read_batch(small.store, rows)
    expected = [brightness(tiles), *(brightness(step.apply(tiles, setting)) for step in steps)]
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-12)
    assert seen[-1] == (4 * 72, 4 * 72)
    assert seen == sorted(seen)


def test_a_fault_in_the_other_thread_is_not_lost(small: Any) -> None:
    rows = small.store.rows(small.cohort.image)[:3]
    with pytest.raises(ValueError, match="between known sites"):
        measure(brightness, small.store, rows, [Step(TRIALS["scanner"], 0.4)], Setting())


def test_colours_of_a_site_are_its_own_and_the_target_is_another_s(small: Any) -> None:
    rows = small.store.rows(small.cohort.image)
    site = list(small.cohort.table["site"])
    setting = site_setting(small.store, rows, site, None)
    assert setting.source is not None
    assert setting.target is not None
    of_first = np.array(site) == "site-0"
    own = mean_and_spread(lab_sums(read_batch(small.store, rows[of_first])).sum(axis=0))
    np.testing.assert_allclose(setting.source[of_first][0], own)
    np.testing.assert_allclose(setting.target[~of_first][0], own)
    assert (np.abs(setting.source - setting.target).max(axis=(1, 2)) > 1).all()
    three = ["x", "y", "z"] * 24
    targets = site_setting(small.store, rows, three, None).target
    assert targets is not None
    assert len({tuple(one.ravel()) for one in targets[::3]}) == 2  # of three sites, the other two take turns
    for unknown in ([""] * 72, ["one"] * 72, ["one", ""] * 36):
        assert site_setting(small.store, rows, unknown, None).source is None


def test_the_features_are_what_the_last_layer_gets(small: Any) -> None:
    predictor = load_predictor(small.bundle)
    rows = small.store.rows(small.cohort.image)[:5]
    features = penultimate(predictor, small.store, rows)
    assert features is not None
    network: Any = predictor.network
    with torch.inference_mode():
        logits = network.output(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(logits, predictor.logits(read_batch(small.store, rows)), atol=1e-5)
    assert not network.output._forward_pre_hooks
    headless = type(predictor)(predictor.bundle, torch.nn.Conv2d(3, 2, 1), predictor.logits, "cpu")
    assert penultimate(headless, small.store, rows) is None


def uneven(counts: list[int]) -> Cohort:
    rows = [(patient, image) for patient, count in enumerate(counts) for image in range(count)]
    return assemble(
        {
            "image_path": [f"{patient}-{image}.png" for patient, image in rows],
            "label": ["ab"[patient % 2] for patient, _ in rows],
            "patient_id": [f"P{patient}" for patient, _ in rows],
        },
        root=Path(),
    )


@settings(max_examples=40)
@given(counts=st.lists(st.integers(1, 9), min_size=2, max_size=8), images=st.integers(1, 40), data=st.data())
def test_a_sample_is_even_over_patients_whatever_the_order(counts: list[int], images: int, data: Any) -> None:
    cohort = uneven(counts)
    chosen = choose_images(cohort, images)
    assert len(chosen) == min(images, len(cohort))
    taken = Counter(cohort.patient[row] for row in chosen)
    for patient, count in enumerate(counts):  # a patient has fewer than another only where it has no more
        own = taken[f"P{patient}"]
        assert own == count or own >= max(taken.values()) - 1
    order = np.array(data.draw(st.permutations(range(len(cohort)))))
    again = cohort.subset(order)
    assert {again.image[row] for row in choose_images(again, images)} == {cohort.image[row] for row in chosen}
    assert len(choose_images(cohort, None)) == len(cohort)


def test_symmetries_are_tried_as_steps(small: Any) -> None:
    tiles = read_batch(small.store, np.arange(2))
    for symmetry in range(8):
        np.testing.assert_array_equal(Step(None, float(symmetry)).apply(tiles, Setting()), turn(tiles, symmetry))
