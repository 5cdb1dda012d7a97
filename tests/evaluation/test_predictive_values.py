"""NPV, likelihood ratios and predictive values at a prevalence, against published examples and hand sums."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.errors import InputError
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictive_values import predictive_values, value_at_prevalence
from counterstain.evaluation.proportions import wilson

# Liver scans, Altman & Bland 1994, BMJ 308:1552, 309:102: 231 of 258 abnormal ones found, 54 of 86 normal ones right.
LIVER = {"tp": 231, "fn": 27, "fp": 32, "tn": 54}


def from_counts(make_table: Callable[..., Predictions], *, tp: int, fn: int, fp: int, tn: int) -> Predictions:
    """A table of one image per patient with these counts at 0.5."""
    label = [1] * (tp + fn) + [0] * (fp + tn)
    prob = [0.9] * tp + [0.1] * fn + [0.9] * fp + [0.1] * tn
    return make_table(label, prob)


def called(table: Predictions) -> list[np.ndarray]:
    return [table.prob[:, 1] >= 0.5]


def test_published_example(make_table: Callable[..., Predictions]) -> None:
    """Altman & Bland give sensitivity 0.90, specificity 0.63, PPV 0.88, NPV 0.67, and 0.45 and 0.95 at 0.25."""
    table = from_counts(make_table, **LIVER)
    found = predictive_values([table], called(table), prevalence=0.25)
    rounded = {name: round(found[name]["value"], 2) for name in ("recall", "specificity", "precision", "npv")}
    assert rounded == {"recall": 0.90, "specificity": 0.63, "precision": 0.88, "npv": 0.67}
    assert found["at_prevalence"]["ppv"]["value"] == pytest.approx(0.445, abs=5e-4)
    assert found["at_prevalence"]["npv"]["value"] == pytest.approx(0.947, abs=5e-4)
    assert found["counts"] == [[54, 32], [27, 231]]


def test_ratios_by_hand_with_the_textbook_interval(make_table: Callable[..., Predictions]) -> None:
    """LR+ = (231/258) / (32/86) = 2.406, LR- = (27/258) / (54/86) = 0.1667; Simel's interval on the log scale.

    SE of ln LR+ is sqrt(1/231 - 1/258 + 1/32 - 1/86); the jackknife and a t-quantile come within 3 % of it.
    """
    table = from_counts(make_table, **LIVER)
    found = predictive_values([table], called(table))
    assert found["lr_positive"]["value"] == pytest.approx(231 / 258 * 86 / 32)
    assert found["lr_negative"]["value"] == pytest.approx(27 / 258 * 86 / 54)
    for name, cells in (("lr_positive", (231, 32)), ("lr_negative", (27, 54))):
        se = math.sqrt(1 / cells[0] - 1 / 258 + 1 / cells[1] - 1 / 86)
        own = found[name]
        assert math.log(own["high"] / own["value"]) == pytest.approx(1.96 * se, rel=0.03)
        assert math.log(own["value"] / own["low"]) == pytest.approx(1.96 * se, rel=0.03)


def test_predictive_values_are_the_ratios_at_the_tables_own_prevalence(
    random_table: Callable[..., Predictions],
) -> None:
    """At the prevalence of the table the two ways to PPV and NPV meet."""
    table = random_table(5, images=300, patients=30)
    share = float((table.label == 1).mean())
    found = predictive_values([table], called(table), prevalence=share)
    assert found["at_prevalence"]["ppv"]["value"] == pytest.approx(found["precision"]["value"])
    assert found["at_prevalence"]["npv"]["value"] == pytest.approx(found["npv"]["value"])
    assert found["prevalence"] == share


def test_npv_is_the_precision_of_the_other_class(random_table: Callable[..., Predictions]) -> None:
    table = random_table(6)
    turned = Predictions(
        image=table.image, patient=table.patient, slide=table.slide, site=table.site, label=1 - table.label,
        prob=table.prob[:, ::-1], classes=table.classes[::-1],
    )  # fmt: skip
    one, other = predictive_values([table], called(table)), predictive_values([turned], called(turned))
    for a, b in (("npv", "precision"), ("recall", "specificity"), ("precision", "npv")):
        assert one[a] == pytest.approx(other[b])


def test_at_the_wall_the_limits_are_finite_where_they_can_be(make_table: Callable[..., Predictions]) -> None:
    """No false alarm: LR+ is infinite with a finite lower limit, and PPV is 1 with a limit below it."""
    table = from_counts(make_table, tp=18, fn=2, fp=0, tn=20)
    found = predictive_values([table], called(table), prevalence=0.05)
    assert found["lr_positive"] == {"value": None, "low": pytest.approx(2.5, rel=0.6), "high": None, "infinite": True}
    assert found["at_prevalence"]["ppv"]["value"] == 1.0
    assert 0.05 < found["at_prevalence"]["ppv"]["low"] < 1
    assert found["lr_negative"]["low"] < 0.1 < found["lr_negative"]["high"]


def test_at_the_wall_a_ratio_has_the_limits_of_its_parts_at_half_the_error(
    make_table: Callable[..., Predictions],
) -> None:
    """Wilson's limits of sensitivity and specificity, each at 97.5 %, in the place that makes the ratio extreme."""
    table = from_counts(make_table, tp=18, fn=2, fp=0, tn=20)
    (sens_low, _), (spec_low, _) = wilson(18, 20, confidence=0.975), wilson(20, 20, confidence=0.975)
    found = predictive_values([table], called(table), prevalence=0.2)
    assert found["lr_positive"]["low"] == pytest.approx(sens_low / (1 - spec_low))
    odds = sens_low / (1 - spec_low) * 0.2 / 0.8
    assert found["at_prevalence"]["ppv"]["low"] == pytest.approx(odds / (1 + odds))
    nothing_missed = from_counts(make_table, tp=20, fn=0, fp=2, tn=18)
    (sens_low, _), (spec_low, spec_high) = wilson(20, 20, confidence=0.95), wilson(18, 20, confidence=0.95)
    own = predictive_values([nothing_missed], called(nothing_missed), prevalence=0.2, confidence=0.9)
    assert own["lr_negative"] == pytest.approx({"value": 0.0, "low": 0.0, "high": (1 - sens_low) / spec_low})
    odds = (1 - sens_low) / spec_low * 0.2 / 0.8
    assert own["at_prevalence"]["npv"] == pytest.approx({"value": 1.0, "low": 1 - odds / (1 + odds), "high": 1.0})
    assert own["at_prevalence"]["prevalence"] == 0.2 and 0 < spec_high < 1
    all_called = from_counts(make_table, tp=18, fn=2, fp=20, tn=0)
    (_, sens_high), (_, spec_high) = wilson(18, 20, confidence=0.975), wilson(0, 20, confidence=0.975)
    endless = predictive_values([all_called], called(all_called))["lr_negative"]
    assert endless == pytest.approx({"value": None, "low": (1 - sens_high) / spec_high, "high": None, "infinite": True})
    useless = from_counts(make_table, tp=0, fn=20, fp=2, tn=18)
    none = predictive_values([useless], called(useless))["lr_positive"]
    (_, sens_high), (_, spec_high) = wilson(0, 20, confidence=0.975), wilson(18, 20, confidence=0.975)
    assert none == pytest.approx({"value": 0.0, "low": 0.0, "high": sens_high / (1 - spec_high)})


def test_several_seeds_are_averaged_and_counted_together(make_table: Callable[..., Predictions]) -> None:
    one = from_counts(make_table, tp=8, fn=2, fp=1, tn=9)
    calls = [one.prob[:, 1] >= 0.5, one.label == 1]
    found = predictive_values([one, one], calls)
    assert found["counts"] == [[19, 1], [2, 18]]
    assert found["recall"]["value"] == pytest.approx((0.8 + 1) / 2)
    assert found["npv"]["value"] == pytest.approx((9 / 11 + 1) / 2)
    assert found["at_prevalence"] is None and found["prevalence"] == 0.5


def test_more_than_two_classes_have_none(make_table: Callable[..., Predictions]) -> None:
    table = make_table([0, 1, 2], np.eye(3), classes=("a", "b", "c"))
    with pytest.raises(InputError, match="for two classes; there are 3"):
        predictive_values([table], [table.label == 1])


def test_copies_of_a_patients_images_do_not_narrow_the_intervals(random_table: Callable[..., Predictions]) -> None:
    table = random_table(7, images=120, patients=30)
    twice = Predictions(
        image=(*table.image, *(f"{name}-copy" for name in table.image)), patient=table.patient * 2,
        slide=table.slide * 2, site=table.site * 2, label=np.tile(table.label, 2), prob=np.tile(table.prob, (2, 1)),
        classes=table.classes,
    )  # fmt: skip
    one = predictive_values([table], called(table), prevalence=0.1)
    other = predictive_values([twice], called(twice), prevalence=0.1)
    for name in ("npv", "lr_positive", "lr_negative"):
        assert other[name] == pytest.approx(one[name])
    assert other["at_prevalence"]["ppv"] == pytest.approx(one["at_prevalence"]["ppv"])


def test_one_class_leaves_what_it_can(make_table: Callable[..., Predictions]) -> None:
    table = make_table([1, 1, 1, 1], [0.9, 0.8, 0.2, 0.7])
    found = predictive_values([table], called(table), prevalence=0.2)
    assert found["specificity"] == {"value": None, "low": None, "high": None}
    assert found["lr_positive"]["value"] is None
    assert found["at_prevalence"]["ppv"]["value"] is None


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 30), st.floats(0.001, 0.999))
def test_values_lie_within_their_intervals(
    random_table: Callable[..., Predictions], seed: int, patients: int, prevalence: float
) -> None:
    table = random_table(seed, images=patients * 3, patients=patients)
    found = predictive_values([table], called(table), prevalence=prevalence)
    shown = [found[name] for name in ("recall", "specificity", "precision", "npv", "lr_positive", "lr_negative")]
    for one in [*shown, found["at_prevalence"]["ppv"], found["at_prevalence"]["npv"]]:
        known = [value for value in (one["low"], one["value"], one["high"]) if value is not None]
        assert all(a <= b + 1e-9 for a, b in pairwise(known))


def test_a_rarer_class_makes_a_positive_call_worth_less() -> None:
    values = [value_at_prevalence(9.0, share) for share in (0.01, 0.05, 0.5)]
    assert values == pytest.approx([0.0833, 0.3214, 0.9], abs=1e-4)  # 9/108, 9/28, 9/10


@pytest.mark.parametrize("share", [0.0, 1.0, 5.0, -0.1])
def test_a_prevalence_that_is_no_share_is_refused(random_table: Callable[..., Predictions], share: float) -> None:
    table = random_table(1)
    with pytest.raises(InputError, match=r"prevalence is .* a share between 0 and 1"):
        predictive_values([table], called(table), prevalence=share)
