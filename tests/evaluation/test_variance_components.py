"""The variance of a score by its sources, by hand."""

import numpy as np
import pytest

from counterstain.evaluation.variance_components import two_way_components, variance_record


def test_components_by_hand() -> None:
    """Rows 1 3 | 5 11: means 2, 8 and 3, 7, of all 5. Interaction ±1: 4 / 1 = 4.

    Rows: variance 18, times 2 is 36, less 4, halved: 16. Columns: 8 · 2 - 4 = 12, halved: 6.
    """
    assert two_way_components(np.array([[1.0, 3], [5, 11]])) == pytest.approx((16, 6, 4))
    assert two_way_components(np.array([[1.0, 5], [3, 11]])) == pytest.approx((6, 16, 4))
    # Three rows, two columns: interaction -1/2, 1/2 | 1/2, -1/2 | 0, 0: 1 / 2; rows' variance 3, columns' 8.
    found = two_way_components(np.array([[0.5, 5.5], [3.5, 6.5], [5, 9]]) + 0.0)
    values = np.array([[0.5, 5.5], [3.5, 6.5], [5, 9]])
    rows, columns = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    rest = ((values - rows - columns + values.mean()) ** 2).sum() / 2
    assert found == pytest.approx((rows.var(ddof=1) - rest / 2, columns.var(ddof=1) - rest / 3, rest))


def test_no_component_is_below_nothing() -> None:
    """Only the interaction varies."""
    assert two_way_components(np.array([[1.0, -1], [-1, 1]])) == pytest.approx((0, 0, 4))


def test_one_row_or_column_shows_one_source() -> None:
    for values, known in ((np.array([[1.0], [3.0]]), 0), (np.array([[1.0, 3.0]]), 1)):
        found = two_way_components(values)
        assert found[known] == pytest.approx(2)
        assert np.isnan(np.delete(found, known)).all()
    assert np.isnan(two_way_components(np.array([[1.0]]))).all()


def test_the_record_by_hand(random_table) -> None:  # type: ignore[no-untyped-def]
    """Accuracy of two seeds in two repeats: components of their four values, and the jackknife of their mean."""
    base = random_table(0, images=60, patients=12)
    tables = {(seed, repeat): random_table(0, images=60, patients=12, strength=0.5 + seed + 0.7 * repeat)
              for seed in (0, 2) for repeat in (0, 1)}  # fmt: skip
    record = variance_record(tables, metric="accuracy")
    right = {key: table.prob.argmax(1) == table.label for key, table in tables.items()}
    grid = np.array([[right[seed, repeat].mean() for repeat in (0, 1)] for seed in (0, 2)])
    parts = two_way_components(grid)
    assert record["metric"] == "accuracy" and record["value"] == pytest.approx(grid.mean())
    for name, part in zip(("seed", "split", "rest"), parts, strict=True):
        assert record["sd"][name] == pytest.approx(np.sqrt(part)), name
    mean = np.mean(list(right.values()), axis=0)
    patient = np.array(base.patient)
    out = np.array([mean[patient != name].mean() for name in sorted(set(base.patient))])
    assert record["sd"]["patient"] == pytest.approx(np.sqrt(11 / 12 * ((out - out.mean()) ** 2).sum()))
    largest = max(record["sd"], key=lambda name: record["sd"][name])
    assert record["largest"] == largest
    sd = record["sd"]
    named = {"patient": "other patients", "seed": "another seed", "split": "another split",
             "rest": "seed and split at once"}  # fmt: skip
    assert record["words"] == (
        f"one standard deviation: {', '.join(f'{named[key]} ±{sd[key]:.3f}' for key in named)}; "
        f"most comes from {named[largest]}"
    )


def test_what_one_training_cannot_show_is_named(random_table) -> None:  # type: ignore[no-untyped-def]
    record = variance_record({(0, 0): random_table(0)}, metric="accuracy", level="patient")
    assert record["largest"] == "patient"
    assert record["words"].endswith("; another seed and another split: not shown by this study")
    assert record["sd"]["seed"] is record["sd"]["split"] is record["sd"]["rest"] is None
    seeds = variance_record({(k, 0): random_table(k) for k in range(2)}, metric="auroc")
    assert seeds["words"].endswith("; another split: not shown by this study")


def test_a_score_that_no_patient_may_be_left_out_of_has_no_source(make_table) -> None:  # type: ignore[no-untyped-def]
    table = make_table([1, 0, 0], [0.9, 0.2, 0.3], ["a", "b", "c"])
    record = variance_record({(0, 0): table}, metric="recall")
    assert record["largest"] is None
    assert record["words"] == "too few patients to say where the uncertainty comes from"
