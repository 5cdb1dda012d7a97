"""What an arm is worth: above chance, and above the strongest baseline, as its intervals say."""

from dataclasses import replace

import numpy as np
import pytest

from counterstain.evaluation.beyond_chance import beyond_chance, chance_of
from counterstain.evaluation.intervals import estimate_of, sample, units_of
from counterstain.evaluation.predictions import Predictions


def table(strength: float, *, seed: int = 0, patients: int = 30, each: int = 6, classes: int = 2) -> Predictions:
    """Images of patients of one class each; strength is the shift of the true class's logit."""
    draw = np.random.default_rng(seed)
    label = np.repeat(np.arange(patients) % classes, each)
    logits = draw.normal(0, 1, (len(label), classes))
    logits[np.arange(len(label)), label] += strength
    prob = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(
        image=tuple(f"i{k}" for k in range(len(label))), patient=tuple(f"p{k // each}" for k in range(len(label))),
        slide=("",) * len(label), site=("",) * len(label), label=label, prob=prob,
        classes=tuple("abcdefgh"[:classes]),
    )  # fmt: skip


def test_guessing_by_measure() -> None:
    assert (chance_of("auroc", 9), chance_of("balanced_accuracy", 4), chance_of("mcc", 2)) == (0.5, 0.25, 0.0)
    assert chance_of("accuracy", 2) is None and chance_of("precision", 2) is None


def test_arms_are_held_against_chance_and_the_strongest_baseline() -> None:
    arms = {"strong": [table(3.0, seed=k) for k in range(3)], "blind": [table(0.0, seed=k) for k in (3, 4, 5)]}
    weak, better = table(0.2, seed=8), table(0.9, seed=9)
    found = beyond_chance(
        arms, {"majority": table(5.0), "mean-rgb": weak, "colour-histogram": better}, metric="auroc", level="image"
    )
    assert found["baseline"]["name"] == "colour-histogram"  # the majority is chance, however it scores
    own = estimate_of(sample([better], units_of([better]), level="image"), ("auroc", None))
    assert found["baseline"]["value"] == pytest.approx(own.value)
    strong, blind = found["arms"]["strong"], found["arms"]["blind"]
    assert strong["above_chance"] and strong["against_baseline"] == "above"
    assert strong["difference"] == pytest.approx(strong["value"] - own.value)
    assert not blind["above_chance"] and blind["low"] < 0.5 < blind["high"]
    assert blind["against_baseline"] == "below" and blind["difference_high"] < 0


def test_rows_in_another_order_change_nothing() -> None:
    arms, baseline = {"a": [table(1.0), table(1.0, seed=1)]}, table(0.5, seed=9)
    turned = np.arange(len(baseline))[::-1]
    other = replace(
        baseline, label=baseline.label[turned], prob=baseline.prob[turned],
        **{name: tuple(getattr(baseline, name)[k] for k in turned) for name in ("image", "patient", "slide", "site")},
    )  # fmt: skip
    one, two = (beyond_chance(arms, {"file": own}, metric="auroc", level="patient") for own in (baseline, other))
    assert one["arms"]["a"]["difference_low"] == pytest.approx(two["arms"]["a"]["difference_low"])


def test_without_baselines_or_a_chance_level_nothing_is_said_of_them() -> None:
    found = beyond_chance({"a": [table(1.0)]}, {}, metric="accuracy", level="image")
    assert found["baseline"] is None and found["chance"] is None
    assert found["arms"]["a"]["above_chance"] is None and found["arms"]["a"]["against_baseline"] is None
    assert found["arms"]["a"]["seeds"] == 1


def test_with_one_patient_a_class_nothing_is_claimed() -> None:
    found = beyond_chance({"a": [table(3.0, patients=2)]}, {"file": table(0.0, seed=5, patients=2)},
                          metric="auroc", level="image")  # fmt: skip
    own = found["arms"]["a"]
    assert own["above_chance"] is None and own["against_baseline"] is None
