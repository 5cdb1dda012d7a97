"""Differences where models are good: nothing is shown by a variance of zero, and little by a handful of patients."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.intervals import sample, units_of
from counterstain.evaluation.paired_difference import Difference, difference
from counterstain.evaluation.predictions import Predictions


def table(right: list[list[int]], *, sure: float = 0.9, label: list[int] | None = None) -> Predictions:
    """Patients in order, each a list of images that are right (1) or wrong (0); labels alternate by default."""
    hit = np.array([value for patient in right for value in patient])
    code = [f"p{k}" for k, patient in enumerate(right) for _ in patient]
    true = np.array(label if label is not None else [k % 2 for k in range(len(hit))])
    score = np.where((hit == 1) == (true == 1), sure, 1 - sure)
    names = tuple(f"i{k}" for k in range(len(hit)))
    blank = ("",) * len(hit)
    return Predictions(
        image=names, patient=tuple(code), slide=blank, site=blank, label=true,
        prob=np.column_stack([1 - score, score]), classes=("benign", "malignant"),
    )  # fmt: skip


def compared(a: Predictions, b: Predictions, metric: str = "accuracy", **more: float) -> Difference:
    names = units_of([a])
    return difference(sample([a], names, level="image"), sample([b], names, level="image"), (metric, None), **more)


def test_three_patients_all_right_in_both_show_nothing() -> None:
    """0 discordant of 3 patients leaves 1 - 0.05^(1/3) = 0.63."""
    perfect = table([[1] * 4] * 3)
    found = compared(perfect, table([[1] * 4] * 3, sure=0.8), margin=0.02)
    assert found.difference == 0 and found.p == 1
    assert found.high_margin >= 1 - 0.05 ** (1 / 3) and found.low_margin <= -(1 - 0.05 ** (1 / 3))
    assert found.p_equivalence > 0.5 and found.p_noninferior > 0.5
    record = compare_arms(
        {"A": [perfect], "B": [table([[1] * 4] * 3, sure=0.8)]}, primary="accuracy", margin=0.02,
        hypothesis="equivalence", claim="models",
    )  # fmt: skip
    assert record["pairs"][0]["verdict"] == "equivalence_not_shown"


@pytest.mark.parametrize(("patients", "shown"), [(58, False), (59, True)])
def test_no_discordant_patient_shows_equivalence_where_the_exact_limit_does(patients: int, shown: bool) -> None:
    """The rule of three by patients: 0.95^59 is the first power below 0.05."""
    a, b = table([[1, 1]] * patients), table([[1, 1]] * patients, sure=0.8)
    found = compared(a, b, margin=0.05)
    assert (1 - 0.05 ** (1 / patients) < 0.05) == shown
    exact = 0.95**patients
    assert found.p_equivalence >= exact * (1 - 1e-9)
    assert (found.p_equivalence < 0.05) == (max(abs(found.low_margin), found.high_margin) < 0.05)


def test_one_image_more_of_each_patient_is_no_further_patient() -> None:
    few, many = (compared(table([[1] * n] * 30), table([[1] * n] * 30, sure=0.8), margin=0.1) for n in (1, 40))
    assert many.high_margin == pytest.approx(few.high_margin)
    assert many.p_equivalence == pytest.approx(few.p_equivalence)


def test_a_perfect_model_is_better_than_a_constant_one() -> None:
    """All 20 patients have half of their images wrong under the constant one: sign-flip p = 2 / 2^20."""
    constant = table([[0, 1] * 3] * 20, label=[1, 0] * 60)
    found = compared(table([[1] * 6] * 20, label=[1, 0] * 60), constant)
    assert found.difference == pytest.approx(0.5)
    assert found.p == pytest.approx(2.0**-19, rel=1e-6)
    assert 0 < found.low < 0.5 < found.high < 1


def test_five_of_five_against_four_of_five_is_decided_by_patients_not_by_rounding() -> None:
    better, worse = [[1] * 5] * 20, [[1, 1, 0, 1, 1]] * 20
    found = compared(table(better), table(worse))
    assert found.se_patient == 0
    assert found.p == pytest.approx(2.0**-19, rel=1e-6)
    assert found.low < 0.18
    few = compared(table(better[:4]), table(worse[:4]))
    assert few.p == pytest.approx(2.0**-3) and few.low < 0  # four patients settle nothing


def test_an_interval_stays_in_the_range_of_its_measure() -> None:
    found = compared(table([[1] * 5, [1], [1]]), table([[0] * 5, [1], [0]]), margin=0.05)
    for low, high in ((found.low, found.high), (found.low_margin, found.high_margin)):
        assert -1 <= low <= found.difference <= high <= 1


Tables = tuple[list[list[int]], list[list[int]]]


@st.composite
def two_models(draw: Callable[..., list[int]]) -> Tables:
    sizes = draw(st.lists(st.integers(1, 6), min_size=3, max_size=15))
    bits = st.integers(0, 1)
    make = [[draw(st.lists(bits, min_size=n, max_size=n)) for n in sizes] for _ in range(2)]
    return make[0], make[1]


@settings(max_examples=60)
@given(tables=two_models(), margin=st.floats(0.01, 0.5), metric=st.sampled_from(["accuracy", "auroc", "mcc"]))
def test_limits_and_tests_agree(tables: Tables, margin: float, metric: str) -> None:
    a, b = (table(right) for right in tables)
    found, turned = compared(a, b, metric, margin=margin), compared(b, a, metric, margin=margin)
    if not np.isfinite(found.p):
        return
    assert found.low_margin <= found.difference + 1e-9 and found.difference - 1e-9 <= found.high_margin
    assert turned.low_margin == pytest.approx(-found.high_margin, abs=1e-9)
    assert turned.p == pytest.approx(found.p, abs=1e-9)
    widest = 2 if metric == "mcc" else 1
    assert -widest <= found.low <= found.high <= widest
    inside = -margin < found.low_margin and found.high_margin < margin
    at_the_edge = min(abs(found.low_margin + margin), abs(found.high_margin - margin)) < 1e-6
    assert at_the_edge or inside == (found.p_equivalence < 0.05)
    beyond = found.low_one_sided > -margin
    assert abs(found.low_one_sided + margin) < 1e-6 or beyond == (found.p_noninferior < 0.025)
    lost = found.high_one_sided < -margin
    assert abs(found.high_one_sided + margin) < 1e-6 or lost == (found.p_inferior < 0.025)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0) or abs(min(found.low, -found.high, key=abs)) < 1e-6
    wider = compared(a, b, metric, margin=margin * 1.5)
    assert wider.p_equivalence <= found.p_equivalence + 1e-9


@settings(max_examples=80)
@given(tables=two_models(), margin=st.floats(0.01, 0.5), metric=st.sampled_from(["accuracy", "auroc", "mcc", "loss"]))
def test_an_arm_that_is_better_is_not_inferior_and_one_that_is_worse_is_not_equivalent_by_less(
    tables: Tables, margin: float, metric: str
) -> None:
    """Above 0 implies above -margin, whatever the patients that are added near the ceiling say."""
    found = compared(table(tables[0]), table(tables[1]), metric, margin=margin)
    sign = -1 if metric in ("loss", "brier") else 1
    if not found.p < 0.05:
        return
    worst = found.low_one_sided if sign > 0 else -found.high_one_sided
    if sign * found.difference > 0:
        assert found.p_noninferior <= found.p / 2 + 1e-12 and worst >= 0 and found.p_inferior > 0.5
    else:  # worse, though perhaps by less than the margin
        assert worst < 0 and (found.p_noninferior > 0.5 or abs(found.difference) < margin)
    assert found.low_margin * found.high_margin >= 0


def test_patients_that_all_show_one_gain_are_counted_exactly() -> None:
    """20 patients lose 0.2 each: if the true loss were 0.5, others lose 1 and a share of 0.5 / 0.8 looks like these."""
    better, worse = [[1] * 5] * 20, [[1, 1, 0, 1, 1]] * 20
    found = compared(table(worse), table(better), margin=0.5)
    assert found.p_noninferior == pytest.approx((0.5 / 0.8) ** 20)
    small = compared(table(worse), table(better), margin=0.1)
    assert small.p_noninferior == 1
    assert small.p_inferior == pytest.approx((1.1 / 1.2) ** 20)  # others gain 1: all alike by 1.1 / 1.2 each
    unseen = 1 - 0.05 ** (1 / 20)
    assert found.high_margin == pytest.approx(min(-0.2 * (1 - unseen) + unseen, 0))
    assert found.low_margin == pytest.approx(-0.2 * (1 - unseen) - unseen)


def test_the_variance_of_a_score_of_two_classes_is_that_of_each_class_by_itself() -> None:
    """Balanced accuracy of patients of one class and one image: a quarter of both recalls' unbiased variances.

    Differences per patient: of four benign ones 1, 0, 0, 0 (s² = 1/4), of five malignant ones 1, 1, 0, 0, -1
    (s² = 7/10): (1/4 / 4 + 7/10 / 5) / 4. The plain jackknife has 1/4 / 3 + 7/10 / 4 in the brackets.
    """
    label = [0] * 4 + [1] * 5
    a = table([[1], [1], [1], [0], [1], [1], [1], [0], [0]], label=label)
    b = table([[0], [1], [1], [0], [0], [0], [1], [0], [1]], label=label)
    found = compared(a, b, "balanced_accuracy")
    assert found.difference == pytest.approx((1 / 4 + 1 / 5) / 2)
    assert found.se_patient**2 == pytest.approx((1 / 4 / 4 + 7 / 10 / 5) / 4)


def test_uneven_patients_are_weighed_by_what_they_carry_of_their_class() -> None:
    """Recalls of patients with 1, 2 and 3 images, deviations e from the mean: each is left out with e / (1 - h), so
    that its square counts e² / (1 - h)."""
    label = [0] * 6 + [1] * 6
    a = table([[1], [1, 0], [1, 1, 0], [1], [1, 1], [0, 1, 1]], label=label)
    b = table([[0], [1, 0], [1, 0, 0], [1], [0, 1], [1, 1, 1]], label=label)
    found = compared(a, b, "balanced_accuracy")
    expected = 0.0
    for moved in ([1, 0, 1], [0, 1, -1]):
        mean = sum(moved) / 6
        for own, images in zip(moved, (1, 2, 3), strict=True):
            expected += ((own - mean * images) / 6) ** 2 / (1 - images / 6)
    assert found.se_patient**2 == pytest.approx(expected / 4)


def test_copies_of_every_image_change_no_difference_of_areas() -> None:
    rng = np.random.default_rng(4)
    right = [rng.integers(0, 2, 3).tolist() for _ in range(12)], [rng.integers(0, 2, 3).tolist() for _ in range(12)]
    label = [k % 2 for k in range(12) for _ in range(3)]
    once = compared(*(table(own, label=label) for own in right), "auroc")
    twice = compared(
        *(table([patient * 2 for patient in own], label=[k % 2 for k in range(12) for _ in range(6)]) for own in right),
        "auroc",
    )
    assert twice.se_patient == pytest.approx(once.se_patient) and twice.p == pytest.approx(once.p)


@pytest.mark.slow
def test_the_variance_of_few_patients_is_what_differences_vary_by() -> None:
    """12 patients: mean squared error of the difference over its variance in 800 studies; the plain jackknife has 1.4.

    A study's squared error has a coefficient of variation of 1 to 1.9, so that the ratio is good to some 0.07.
    """
    path = Path(__file__).parents[2] / "benchmarks" / "near_ceiling.py"
    spec = importlib.util.spec_from_file_location("near_ceiling", path)
    assert spec is not None and spec.loader is not None
    simulated = importlib.util.module_from_spec(spec)
    sys.modules["near_ceiling"] = simulated
    spec.loader.exec_module(simulated)
    rng = np.random.default_rng(2)
    for name in ("equal: AUROC 0.90, margin 0.1", "equal: balanced accuracy 0.99, images, 0.1"):
        scene = next(one for one in simulated.SCENES if one.name == name)
        key, seen, error, plain = (scene.metric, None), [], [], []
        for _ in range(800):
            study = simulated.simulate(rng, scene, 12)
            a, b = (simulated.counted(study, scores, scene.metric) for scores in (study.a, study.b))
            found = difference(a, b, key)
            if np.isfinite(found.p):
                seen.append(found.difference)
                error.append(found.se_patient**2)
                plain.append(difference(replace(a, carried={}), b, key).se_patient ** 2)
        assert 0.8 < np.mean(error) / np.var(seen) < 1.2, name
        assert np.mean(plain) > 1.25 * np.mean(error), name


def surely_right(patients: int, prob: float) -> Predictions:
    """Every image has this probability of its own class: its loss is -log of it, and no patient varies it."""
    return table([[1] * 4] * patients, sure=prob)


def test_a_log_loss_that_no_patient_varies_has_an_interval_and_no_equivalence() -> None:
    """20 patients leave a share of 1 - 0.025^(1/20) = 0.168 unseen, whose loss may be 16.1 lower."""
    found = compared(surely_right(20, 0.9), surely_right(20, 0.8), "loss", margin=0.2)
    seen, unseen = np.log(0.8 / 0.9), 1 - 0.025 ** (1 / 20)
    assert found.difference == pytest.approx(seen)
    assert found.p == pytest.approx(2.0**-19)
    assert (found.low, found.high) == pytest.approx(
        (seen * (1 - unseen) + unseen * np.log(1e-7), seen * (1 - unseen)), rel=1e-6
    )
    assert found.high_margin - found.low_margin > 1
    # 20 patients show -0.118; one in six of others may lose 16.1, so that no margin of 0.2 holds on the far side.
    assert found.p_equivalence == pytest.approx(((np.log(1e7) - 0.2) / (np.log(1e7) + seen)) ** 20)
    assert found.p_noninferior == pytest.approx(2.0**-20)  # it is better by its sign, so not worse


@pytest.mark.parametrize(("metric", "better"), [("loss", 0), ("brier", 0), ("auroc", 1), ("accuracy", 1)])
def test_without_variance_the_better_arm_is_more_surely_not_inferior(metric: str, better: int) -> None:
    """60 patients who all show one difference, and of a loss it is the arm with less of it that is better."""
    if metric in ("loss", "brier"):
        pair = surely_right(60, 0.9), surely_right(60, 0.6)
    else:
        pair = table([[1] * 4] * 60), table([[0, 1, 1, 1]] * 60)
    good, bad = compared(*pair, metric, margin=0.02), compared(*pair[::-1], metric, margin=0.02)
    assert good.se_patient == bad.se_patient == 0 and (good.difference > 0) == bool(better)
    assert good.p_noninferior < bad.p_noninferior and bad.p_inferior < good.p_inferior
    if better:  # of a loss, patients not seen yet may cost so much that nothing is shown
        assert good.p_noninferior < 0.05 and bad.p_inferior < 0.05
    assert bad.p_noninferior > 0.5 and good.p_inferior > 0.5


@pytest.mark.parametrize("metric", ["loss", "brier", "accuracy", "mcc", "auroc"])
def test_no_difference_without_variance_has_an_interval_of_no_width(metric: str) -> None:
    found = compared(surely_right(20, 0.9), surely_right(20, 0.8), metric, margin=0.05)
    assert found.low < found.high and found.low_margin < found.high_margin
    assert found.low <= found.difference <= found.high
    assert found.p_equivalence > 0.05


def test_a_loss_that_patients_vary_has_the_t_interval() -> None:
    rng = np.random.default_rng(0)
    a, b = (table(rng.integers(0, 2, (20, 4)).tolist()) for _ in range(2))
    found = compared(a, b, "loss", margin=0.1)
    assert found.low_one_sided == pytest.approx(found.low) and found.high_one_sided == pytest.approx(found.high)
