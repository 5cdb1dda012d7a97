"""Intervals: against DeLong and Wilson where those hold, by property, and by simulation where nothing else holds."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.evaluation.degrees_of_freedom import combined_df, effective_units
from counterstain.evaluation.intervals import estimate, estimates, limits, sample, units_of, variance_parts
from counterstain.evaluation.metric_names import RANGES
from counterstain.evaluation.paired_tests import clustered_auroc_difference, delong
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.proportions import clopper_pearson, wilson

Make = Callable[..., Predictions]


def own_estimates(*tables: Predictions, level: str = "image"):  # type: ignore[no-untyped-def]
    return estimates(sample(tables, units_of(tables[:1]), level=level))


def test_one_image_a_patient_gives_wilson_and_delong(random_table: Make) -> None:
    table = random_table(5, images=80, patients=80)
    found = own_estimates(table)
    right = int((table.prob.argmax(axis=1) == table.label).sum())
    assert (found["accuracy", None].low, found["accuracy", None].high) == pytest.approx(wilson(right, 80))
    own = table.label == 1
    hits = int((table.prob[own, 1] > 0.5).sum())
    assert (found["recall", None].low, found["recall", None].high) == pytest.approx(wilson(hits, int(own.sum())))
    area = delong(own, table.prob[:, 1], table.prob[:, 1])
    assert found["auroc", None].se_patient == pytest.approx(np.sqrt(area.var_a), rel=0.02)


def test_clustered_auroc_has_obuchowskis_error(random_table: Make) -> None:
    table = random_table(6, images=400, patients=60)
    names = units_of([table])
    code = np.array([names.index(name) for name in table.patient])
    score = table.prob[:, 1]
    published = clustered_auroc_difference(table.label == 1, score, score, code)
    assert own_estimates(table)["auroc", None].se_patient == pytest.approx(np.sqrt(published.var_a), rel=0.05)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), n_classes=st.integers(2, 3))
def test_every_interval_holds_its_value_and_stays_in_range(seed: int, n_classes: int, random_table: Make) -> None:
    tables = [random_table(seed + 100 * k, images=60, patients=12, n_classes=n_classes) for k in range(2)]
    second = Predictions(
        image=tables[0].image, patient=tables[0].patient, slide=tables[0].slide, site=tables[0].site,
        label=tables[0].label, prob=tables[1].prob, classes=tables[0].classes,
    )  # fmt: skip
    for level in ("image", "patient"):
        for (metric, _), own in own_estimates(tables[0], second, level=level).items():
            if np.isnan(own.low):
                continue
            assert own.low <= own.value <= own.high
            assert own.value == pytest.approx(np.mean(own.per_seed))
            low, high = RANGES.get(metric, (0.0, 1.0))
            assert own.low >= low
            assert own.high <= (1.0 if metric == "brier" and n_classes == 2 else high)


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), copies=st.integers(2, 4))
def test_copies_of_a_patients_images_do_not_shrink_the_interval(seed: int, copies: int, random_table: Make) -> None:
    table = random_table(seed, images=60, patients=12)
    rows = np.tile(np.arange(60), copies)
    more = Predictions(
        image=tuple(f"{table.image[k]}-{n // 60}" for n, k in enumerate(rows)),
        patient=tuple(table.patient[k] for k in rows), slide=("",) * len(rows), site=("",) * len(rows),
        label=table.label[rows], prob=table.prob[rows], classes=table.classes,
    )  # fmt: skip
    one, two = own_estimates(table), own_estimates(more)
    for key, own in one.items():
        if np.isfinite(own.low):
            assert (two[key].low, two[key].high) == pytest.approx((own.low, own.high), abs=1e-6), key


def test_the_order_of_rows_does_not_matter(random_table: Make) -> None:
    table = random_table(1, images=60, patients=12)
    order = np.random.default_rng(0).permutation(60)
    turned = Predictions(
        image=tuple(table.image[k] for k in order), patient=tuple(table.patient[k] for k in order),
        slide=("",) * 60, site=("",) * 60, label=table.label[order], prob=table.prob[order], classes=table.classes,
    )  # fmt: skip
    one, two = own_estimates(table), own_estimates(turned)
    for key, own in one.items():
        assert (two[key].low, two[key].high) == pytest.approx((own.low, own.high), nan_ok=True)


def test_the_spread_over_seeds_widens_the_interval() -> None:
    left_out = np.array([[0.70, 0.72, 0.74]] * 3)
    calm = estimate(np.array([0.72, 0.72, 0.72]), left_out, 2.0, metric="auroc")
    lively = estimate(np.array([0.62, 0.72, 0.82]), left_out, 2.0, metric="auroc")
    assert calm.value == pytest.approx(lively.value)
    assert calm.se_seed == pytest.approx(0)
    assert lively.se_seed == pytest.approx(0.1 / np.sqrt(3))
    assert lively.high - lively.low > calm.high - calm.low


def test_jackknife_of_a_mean_is_its_textbook_error() -> None:
    x = np.array([1.0, 4.0, 2.0, 7.0])
    left_out = (x.sum() - x)[None, :] / 3
    patient, seed = variance_parts(np.array([x.mean()]), left_out)
    assert patient == pytest.approx(x.var(ddof=1) / 4)
    assert seed == 0


def test_all_right_is_not_certain(make_table: Make) -> None:
    table = make_table([0, 1] * 10, [0.1, 0.9] * 10, [f"p{k}" for k in range(20)])
    found = own_estimates(table)
    assert (found["accuracy", None].low, found["accuracy", None].high) == pytest.approx(wilson(20, 20))
    clustered = own_estimates(make_table([0, 1] * 10, [0.1, 0.9] * 10, [f"p{k // 2}" for k in range(20)]))
    own = clustered["accuracy", None]
    assert (own.low, own.high) == pytest.approx(clopper_pearson(10, 10))
    assert 0.5 < clustered["auroc", None].low < 1


def test_a_score_that_hangs_on_one_patient_has_no_interval(make_table: Make) -> None:
    table = make_table([1, 1, 0, 0, 0], [0.9, 0.4, 0.2, 0.1, 0.7], ["a", "a", "b", "c", "d"])
    found = own_estimates(table)
    assert found["recall", None].value == 0.5
    assert np.isnan(found["recall", None].low)
    assert np.isfinite(found["accuracy", None].low)


def test_effective_units_and_freedom_by_hand() -> None:
    assert effective_units(np.array([5.0, 5, 5, 5])) == 4
    assert effective_units(np.array([8.0, 1, 1])) == pytest.approx(100 / 66)
    assert effective_units(np.zeros(3)) == 0
    assert combined_df(1.0, 1.0, 4.0, 4.0) == 8
    assert combined_df(1.0, 0.0, 4.0, 2.0) == 4
    assert combined_df(0.0, 1.0, 4.0, 2.0) == 2


def test_patient_recognition_is_the_mean_of_the_patients_shares(make_table: Make) -> None:
    table = make_table([1, 1, 1, 0, 0], [0.9, 0.8, 0.1, 0.2, 0.6], ["a", "a", "a", "b", "b"])
    found = own_estimates(table, level="patient")["patient_recognition", None]
    assert found.value == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_unit_that_a_table_lacks_is_no_patient_of_it(make_table: Make) -> None:
    """Units are those of all arms; one that stands in another arm's table alone changes no score of this one."""
    table = make_table([1, 1, 1, 0, 0], [0.9, 0.8, 0.1, 0.2, 0.6], ["b", "b", "b", "c", "c"])
    more = sample([table], ("a", "b", "c", "d"), level="patient")
    key = ("patient_recognition", None)
    assert more.values[key] == pytest.approx([(2 / 3 + 1 / 2) / 2])
    assert more.left_out[key] == pytest.approx(np.array([[(2 / 3 + 1 / 2) / 2, 1 / 2, 2 / 3, (2 / 3 + 1 / 2) / 2]]))
    assert more.df[key] == 1 and (more.units, more.rows) == (4, 2)
    alone = sample([make_table([1, 1], [0.9, 0.2], ["b", "b"])], ("b",), level="patient")
    assert alone.values[key] == pytest.approx([0.5]) and np.isnan(alone.left_out[key]).all() and alone.df[key] == 1


def all_right(positive: int, negative: int) -> Predictions:
    """Patients of one class and two images each, all predicted right."""
    label = np.repeat([1] * positive + [0] * negative, 2)
    code = np.repeat(np.arange(positive + negative), 2)
    score = np.where(label == 1, 0.9, 0.1)
    blank = ("",) * len(label)
    return Predictions(
        image=tuple(map(str, range(len(label)))), patient=tuple(f"p{k:02}" for k in code), slide=blank, site=blank,
        label=label, prob=np.column_stack([1 - score, score]), classes=("benign", "malignant"),
    )  # fmt: skip


def test_an_mcc_of_1_has_the_limit_of_as_many_whole_patients() -> None:
    """40 patients who are all right: a share of up to 1 - 0.025^(1/40) fails, and the MCC is 1 less twice that."""
    found = own_estimates(all_right(20, 20))["mcc", None]
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(2 * 0.025 ** (1 / 40) - 1)
    wrong = all_right(20, 20)
    wrong = replace(wrong, prob=wrong.prob[:, ::-1])
    turned = own_estimates(wrong)["mcc", None]
    assert (turned.value, turned.low, turned.high) == pytest.approx((-1, -1, 1 - 2 * 0.025 ** (1 / 40)))


@pytest.mark.parametrize(("metric", "patients"), [("auroc", 4), ("balanced_accuracy", 8)])
def test_a_perfect_score_of_two_classes_is_as_sure_as_its_rarer_class(metric: str, patients: float) -> None:
    """Of 4 patients of one class none failed; that 36 of the other were right doesn't say more of those."""
    rare, common = (own_estimates(all_right(*counts))[metric, None] for counts in ((4, 36), (36, 4)))
    assert rare.low == common.low == pytest.approx(0.025 ** (1 / patients))
    assert own_estimates(all_right(4, 36))["recall", None].low == pytest.approx(0.025 ** (1 / 4))


def logistic(x: float) -> float:
    return 1 / (1 + float(np.exp(-x)))


@pytest.mark.parametrize(
    ("metric", "value", "half", "ends"),
    [
        # Logit: half / (0.8 x 0.2) = 0.625 on either side of ln 4.
        ("auroc", 0.8, 0.1, (logistic(np.log(4) - 0.625), logistic(np.log(4) + 0.625))),
        ("brier", 0.8, 0.1, (logistic(np.log(4) - 0.625), logistic(np.log(4) + 0.625))),
        # Logarithm: half / value.
        ("loss", 0.5, 0.1, (0.5 * np.exp(-0.2), 0.5 * np.exp(0.2))),
        ("loss", 1.5, 0.3, (1.5 * np.exp(-0.2), 1.5 * np.exp(0.2))),
        ("brier", 1.5, 0.3, (1.5 * np.exp(-0.2), 1.5 * np.exp(0.2))),
        ("brier", 1.0, 0.2, (np.exp(-0.2), np.exp(0.2))),
        # Fisher's z: half / (1 - 0.6^2) = 0.25 on either side of artanh 0.6 = ln 2.
        ("mcc", 0.6, 0.16, (np.tanh(np.log(2) - 0.25), np.tanh(np.log(2) + 0.25))),
        ("mcc", -0.6, 0.16, (np.tanh(-np.log(2) - 0.25), np.tanh(-np.log(2) + 0.25))),
        # At its wall a scale has no width.
        ("loss", 0.0, 0.1, (0.0, 0.0)),
        ("mcc", 1.0, 0.1, (1.0, 1.0)),
        ("mcc", -1.0, 0.1, (-1.0, -1.0)),
        ("accuracy", 1.0, 0.1, (1.0, 1.0)),
        ("accuracy", 0.0, 0.1, (0.0, 0.0)),
    ],
)
def test_limits_on_the_scale_of_each_measure(metric: str, value: float, half: float, ends: tuple[float, float]) -> None:
    assert limits(value, half, metric) == pytest.approx(ends, abs=1e-12)


@pytest.mark.parametrize("metric", ["loss", "brier"])
def test_a_loss_of_nothing_has_no_exact_limit(metric: str) -> None:
    """No count of patients says how large the loss of the next one is."""
    found = estimate(np.zeros(1), np.zeros((1, 9)), 8.0, metric=metric)
    assert found.value == 0 and np.isnan(found.low) and np.isnan(found.high)


@pytest.mark.parametrize(("metric", "value"), [("accuracy", 0.5), ("mcc", 0.0), ("auroc", 0.9)])
def test_a_score_that_no_patient_moves_off_its_walls_is_unknown(metric: str, value: float) -> None:
    found = estimate(np.full(1, value), np.full((1, 9), value), 8.0, metric=metric)
    assert found.value == value and np.isnan(found.low) and np.isnan(found.high)


def test_an_undefined_score_has_no_interval() -> None:
    left_out = np.array([[0.5, np.nan, 0.5]])
    found = estimate(np.array([0.5]), left_out, 2.0, metric="accuracy")
    assert found.value == 0.5 and found.per_seed == (0.5,)
    assert np.isnan([found.low, found.high, found.se_patient, found.se_seed, found.df]).all()


def test_the_loss_of_two_patients_has_an_upper_end() -> None:
    """Probabilities are clipped at 1e-7, so that no loss is above 16.12."""
    table = Predictions(
        image=("a", "b", "c"), patient=("p", "p", "q"), slide=("",) * 3, site=("",) * 3,
        label=np.array([0, 0, 1]), prob=np.array([[0.99, 0.01], [0.98, 0.02], [0.2, 0.8]]), classes=("x", "y"),
    )  # fmt: skip
    found = own_estimates(table)["loss", None]
    assert found.value < 0.1 and found.high == pytest.approx(np.log(1e7))


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_a_measure_down_to_minus_one_is_at_its_wall_what_the_mcc_is(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: of 10 patients who are all right, a share of 0.025^(1/10) = 0.6915 at least is right: 2 × 0.6915 − 1."""
    monkeypatch.setitem(RANGES, "youden", (-1.0, 1.0))
    for metric in ("youden", "mcc"):
        found = estimate(np.full(1, value), np.full((1, 10), value), 9.0, metric=metric, whole=10.0)
        assert (found.low, found.high) == pytest.approx((0.3830, 1) if value > 0 else (-1, -0.3830), abs=1e-4)
