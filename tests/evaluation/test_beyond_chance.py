"""What an arm is worth: above chance, and above the strongest baseline, as its intervals say."""

from dataclasses import replace

import numpy as np
import pytest

from counterstain.evaluation.beyond_chance import _side, beyond_chance, chance_of
from counterstain.evaluation.intervals import estimate_of, sample, units_of
from counterstain.evaluation.paired_difference import difference
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
    blank = {name: None for name, value in found["arms"]["a"].items() if value is None}
    assert list(blank) == ["above_chance", "difference", "difference_low", "difference_high", "against_baseline"]


def test_with_one_patient_a_class_nothing_is_claimed() -> None:
    found = beyond_chance({"a": [table(3.0, patients=2)]}, {"file": table(0.0, seed=5, patients=2)},
                          metric="auroc", level="image")  # fmt: skip
    own = found["arms"]["a"]
    assert own["above_chance"] is None and own["against_baseline"] is None


@pytest.mark.parametrize(("low", "high", "side"), [
    (0.1, 0.2, "above"), (-0.2, -0.1, "below"), (-0.1, 0.1, "not told"), (0.0, 0.1, "not told"),
    (-0.1, 0.0, "not told"), (np.nan, 0.1, None), (0.1, np.nan, None), (0.1, np.inf, None),
])  # fmt: skip
def test_on_which_side_of_nothing_an_interval_lies(low: float, high: float, side: str | None) -> None:
    assert _side(low, high) == side


@pytest.mark.parametrize("level", ["image", "patient"])
def test_every_number_is_that_of_the_score_or_the_paired_difference(level: str) -> None:
    own, base = [table(0.8, seed=k) for k in range(2)], table(0.5, seed=9)
    found = beyond_chance({"a": own}, {"file": base}, metric="mcc", level=level, alpha=0.2)
    names = units_of(own[:1])
    one, other = sample(own, names, level=level), sample([base], names, level=level)
    key = ("mcc", None)
    score, baseline = estimate_of(one, key, confidence=0.8), estimate_of(other, key, confidence=0.8)
    apart = difference(one, other, key, alpha=0.2)
    assert found == {
        "schema": "counterstain.beyond_chance/1", "metric": "mcc", "level": level, "confidence": 0.8, "chance": 0.0,
        "baseline": {"name": "file", "value": baseline.value, "low": baseline.low, "high": baseline.high},
        "arms": {
            "a": {
                "value": score.value, "low": score.low, "high": score.high, "seeds": 2,
                "above_chance": bool(score.low > 0), "difference": apart.difference, "difference_low": apart.low,
                "difference_high": apart.high, "against_baseline": _side(apart.low, apart.high),
            }
        },
    }  # fmt: skip


def test_a_baseline_that_has_no_score_is_not_the_strongest() -> None:
    constant = table(0.0)
    constant = replace(constant, prob=np.tile([0.9, 0.1], (len(constant), 1)))
    found = beyond_chance({"a": [table(1.0)]}, {"size": constant, "file": table(0.1, seed=3)}, metric="mcc",
                          level="image")  # fmt: skip
    assert found["baseline"]["name"] == "file"
    alone = beyond_chance({"a": [table(1.0)]}, {"size": constant, "majority": table(2.0)}, metric="mcc", level="image")
    assert alone["baseline"] is None and alone["arms"]["a"]["against_baseline"] is None
