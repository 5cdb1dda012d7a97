"""Which tiles are shown, by patient; and that no map is shown of a model that guesses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterstain.evaluation.predictions import Predictions
from counterstain.explanation.selection import SECTIONS, judge_ability, pick_gallery, spread


def table_of(label: list[int], positive: list[float], patient: list[str] | None = None) -> Predictions:
    prob = np.array(positive)
    names = tuple(f"{row}.png" for row in range(len(label)))
    return Predictions(
        image=names, patient=tuple(patient) if patient else names, slide=("",) * len(label), site=("",) * len(label),
        label=np.array(label), prob=np.column_stack([1 - prob, prob]), classes=("benign", "malignant"),
    )  # fmt: skip


def test_one_tile_a_patient_until_the_patients_run_out() -> None:
    patient = ["a", "a", "a", "b", "b", "c"]
    assert spread([0, 1, 2, 3, 4, 5], patient, 3) == [0, 3, 5]
    assert spread([2, 1, 0, 5, 4, 3], patient, 5) == [2, 5, 4, 1, 3]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 30))
def test_spreading_takes_as_many_as_it_can_and_no_patient_twice_before_all_once(code: list[int], count: int) -> None:
    patient = [f"P{number}" for number in code]
    taken = spread(range(len(code)), patient, count)
    assert len(taken) == len(set(taken)) == min(count, len(code))
    counts = [sum(patient[row] == name for row in taken) for name in set(patient)]
    have = [patient.count(name) for name in set(patient)]
    fewest = min((own for own, total in zip(counts, have, strict=True) if own < total), default=max(counts))
    assert max(counts) <= fewest + 1


def test_the_gallery_has_right_wrong_and_unsure_tiles() -> None:
    #          0     1     2     3     4     5     6     7
    label = [0, 0, 0, 1, 1, 1, 1, 0]
    positive = [0.01, 0.20, 0.95, 0.99, 0.90, 0.30, 0.52, 0.47]
    picked = pick_gallery(table_of(label, positive, list("abcdefgh")), each=3)
    right, wrong, unsure = (picked[section] for section in SECTIONS)
    assert right == [0, 3, 1]  # benign and malignant in turn, each from the surest: 0.99, 0.99, 0.80
    assert wrong == [2, 5]  # there are no more
    assert unsure == [6, 7, 5]  # leads of 0.04, 0.06 and 0.40


def test_the_gallery_takes_one_tile_a_patient() -> None:
    label, positive = [1] * 6, [0.99, 0.98, 0.97, 0.80, 0.70, 0.60]
    picked = pick_gallery(table_of(label, positive, list("aaabbc")), each=3)
    assert picked[SECTIONS[0]] == [0, 3, 5]


def test_a_model_that_guesses_is_found_out_by_patient() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1] * 10, 10)
    patient = [f"P{row // 10}" for row in range(200)]
    guess = rng.random(200)
    found = judge_ability(table_of(label.tolist(), guess.tolist(), patient))
    assert "guesses" in found.reason and found.low <= 0.5
    able = judge_ability(table_of(label.tolist(), (0.3 * guess + 0.7 * label).tolist(), patient))
    assert able.reason == "" and able.low > 0.5 and able.units == 20


def test_few_patients_do_not_become_able_by_having_many_tiles() -> None:
    """One lucky level a patient: by tile the AUROC is far from 0.5, by patient nothing is known."""
    rng = np.random.default_rng(1)
    label = np.repeat([0, 1] * 4, 100)
    patient = [f"P{row // 100}" for row in range(800)]
    level = np.repeat(np.array([0.3, 0.6, 0.5, 0.45, 0.35, 0.4, 0.55, 0.7]), 100)
    prob = (level + 0.01 * rng.random(800)).tolist()
    by_patient = judge_ability(table_of(label.tolist(), prob, patient))
    by_tile = judge_ability(table_of(label.tolist(), prob))
    assert by_tile.reason == "" and by_patient.reason != ""
    assert by_tile.auroc == pytest.approx(by_patient.auroc)


def test_without_an_interval_there_is_no_map() -> None:
    found = judge_ability(table_of([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], list("aabb")))
    assert found.auroc == 1 and "too few" in found.reason
