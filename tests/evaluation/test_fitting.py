"""Calibration's parts one by one: what each method fits, what is noted, and what comes back from a record."""

import json
from pathlib import Path

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.evaluation.calibration import (
    CALIBRATION,
    Calibration,
    apply_calibration,
    calibrate,
    fit_calibration,
    read_calibration,
)
from counterstain.evaluation.predictions import Predictions


def made(p: np.ndarray, label: np.ndarray, patients: int | None = None) -> Predictions:
    n = len(p)
    owner = [f"p{k if patients is None else k % patients}" for k in range(n)]
    prob = np.column_stack([1 - p, p]) if p.ndim == 1 else p
    return Predictions(
        image=tuple(f"i{k}" for k in range(n)), patient=tuple(owner), slide=("",) * n, site=("",) * n,
        label=label.astype(np.int64), prob=prob, classes=tuple("abcd"[: prob.shape[1]]),
    )  # fmt: skip


def drawn(n: int = 400, patients: int = 40, seed: int = 0) -> Predictions:
    """Probabilities twice too sure and shifted by a half on the log odds."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 1.5, n)
    label = rng.random(n) < 1 / (1 + np.exp(-odds))
    return made(1 / (1 + np.exp(-(2 * odds + 0.5))), label, patients)


def loss(table: Predictions) -> float:
    return float(-np.log(table.prob[np.arange(len(table)), table.label]).mean())


def test_no_temperature_does_better() -> None:
    table = drawn()
    found = fit_calibration(table)
    best, t = loss(apply_calibration(found, table)), found.parameters["temperature"]
    odds = np.log(table.prob[:, 1] / table.prob[:, 0])
    p = 1 / (1 + np.exp(-odds / t))
    np.testing.assert_allclose(apply_calibration(found, table).prob, np.column_stack([1 - p, p]), atol=1e-9)
    for other in (0.9 * t, 0.99 * t, 1.01 * t, 1.1 * t):
        moved = Calibration.from_record(found.to_record() | {"parameters": {"temperature": other}})
        assert loss(apply_calibration(moved, table)) > best


def test_few_patients_draw_the_temperature_towards_one_by_one_more() -> None:
    """The minimum of loss + (log T)² / (2 · patients), found on a grid; ten patients or more speak for themselves."""
    rng = np.random.default_rng(1)
    for patients, pull in ((4, 1 / 8), (9, 1 / 18), (10, 0.0)):
        table = made(1 / (1 + np.exp(-rng.normal(0, 4, 60))), rng.random(60) < 0.5, patients)
        odds = np.log(table.prob[:, 1] / table.prob[:, 0]) * np.where(table.label == 1, 1, -1)
        grid = np.linspace(-4.6, 4.6, 9201)
        values = [np.logaddexp(0, -odds / np.exp(g)).mean() + pull * g * g for g in grid]
        expected = np.exp(grid[int(np.argmin(values))])
        assert fit_calibration(table).parameters["temperature"] == pytest.approx(expected, rel=2e-3), patients


def test_platt_is_a_logistic_regression_with_its_own_targets() -> None:
    """n positives count as (n + 1)/(n + 2), m negatives as 1/(m + 2); the gradient there is 0."""
    table = drawn()
    found = fit_calibration(table, method="platt").parameters
    odds = np.log(table.prob[:, 1] / table.prob[:, 0])
    n, m = int(table.label.sum()), int((table.label == 0).sum())
    target = np.where(table.label == 1, (n + 1) / (n + 2), 1 / (m + 2))
    p = 1 / (1 + np.exp(-(found["slope"] * odds + found["intercept"])))
    assert (p - target).mean() == pytest.approx(0, abs=1e-5)
    assert ((p - target) * odds).mean() == pytest.approx(0, abs=1e-5)
    assert found["slope"] == pytest.approx(0.5, abs=0.12)
    np.testing.assert_allclose(
        apply_calibration(fit_calibration(table, method="platt"), table).prob, np.column_stack([1 - p, p]), rtol=1e-9
    )


def test_isotonic_pools_neighbours_that_fall_by_hand() -> None:
    """0.1: 0; 0.2: 1, 0.3: 0 pooled to 1/2; 0.4 twice: 1. Of five images half of one is kept off the ends: 0.1, 0.9."""
    table = made(np.array([0.1, 0.2, 0.3, 0.4, 0.4]), np.array([0, 1, 0, 1, 1]))
    found = fit_calibration(table, method="isotonic")
    assert found.parameters["x"] == [0.1, 0.2, 0.3, 0.4]
    assert found.parameters["y"] == pytest.approx([0.1, 0.5, 0.5, 0.9])
    after = calibrate(found, np.array([[0.95, 0.05], [0.85, 0.15], [0.75, 0.25], [0.65, 0.35], [0.1, 0.9]]), ("a", "b"))
    assert after[:, 1] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert after.sum(axis=1) == pytest.approx(1)


def test_none_changes_nothing_and_still_chooses_a_threshold() -> None:
    table = drawn()
    found = fit_calibration(table, method="none", threshold="0.3")
    assert found.parameters == {} and found.threshold == 0.3 and found.method == "none"
    assert (apply_calibration(found, table).prob == table.prob).all()


def test_the_threshold_and_the_sets_are_of_calibrated_probabilities() -> None:
    table = drawn()
    found = fit_calibration(table, method="platt", threshold="sensitivity>=0.9", alpha=0.2)
    after = apply_calibration(found, table)
    again = fit_calibration(after, method="none", threshold="sensitivity>=0.9", alpha=0.2)
    assert (found.threshold, found.qhat) == (again.threshold, again.qhat)
    assert (found.threshold_rule, found.alpha) == ("sensitivity>=0.9", 0.2)
    assert (found.patients, found.images, found.unit, found.classes) == (40, 400, "patient", ("a", "b"))
    assert found.threshold != fit_calibration(table, method="none", threshold="sensitivity>=0.9").threshold
    default = fit_calibration(table)
    assert (default.method, default.threshold_rule, default.alpha, default.notes) == ("temperature", "youden", 0.1, ())


def test_more_than_two_classes_have_no_threshold() -> None:
    rng = np.random.default_rng(0)
    prob = rng.dirichlet(np.ones(3), 60)
    found = fit_calibration(made(prob, rng.integers(0, 3, 60), 12))
    assert found.threshold is None and np.isfinite(found.qhat)


def test_what_a_reader_should_be_told() -> None:
    rng = np.random.default_rng(2)
    good = made(rng.random(36), rng.integers(0, 2, 36), 12)
    few = made(good.prob[:, 1], good.label, 9)
    note = "fitted on 9 validation patients only; the result depends on them"
    assert note in fit_calibration(few).notes
    assert not any("only;" in line for line in fit_calibration(made(good.prob[:, 1], good.label, 10)).notes)
    both = note.replace("9", "5") + ", and prediction sets that may miss 10% need more: no class is ruled out"
    told = fit_calibration(made(good.prob[:, 1], good.label, 5)).notes
    assert [line for line in told if "validation patients" in line] == [both]
    sets = "12 validation patients are too few for prediction sets that may miss 5%; no class is ruled out"
    assert sets in fit_calibration(good, alpha=0.05).notes
    one = made(np.array([0.6, 0.8]), np.array([1, 1]))
    same = "the validation part has one class only; probabilities are not calibrated"
    for method, parameters in (
        ("temperature", {"temperature": 1.0}), ("platt", {"slope": 1.0, "intercept": 0.0}),
        ("isotonic", {"x": [0.0, 1.0], "y": [0.0, 1.0]}),
    ):  # fmt: skip
        found = fit_calibration(one, method=method)
        assert same in found.notes and found.parameters == parameters
        assert apply_calibration(found, one).prob == pytest.approx(one.prob)


def test_a_fit_that_raises_the_loss_is_not_taken() -> None:
    """Four images that a sure model has right: Platt's targets of 3/4 and 1/4 would cost more than its own 0.02."""
    table = made(np.array([0.98, 0.98, 0.02, 0.02]), np.array([1, 1, 0, 0]))
    found = fit_calibration(table, method="platt")
    assert found.parameters == {"slope": 1.0, "intercept": 0.0}
    note = "the fit did not lower the validation loss; probabilities are not calibrated"
    assert note in found.notes


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_methods_of_two_classes(method: str) -> None:
    three = made(np.full((3, 3), 1 / 3), np.array([0, 1, 2]))
    with pytest.raises(InputError, match=f"^{method} is for two classes; 3 are present: use temperature$"):
        fit_calibration(three, method=method)


def test_what_is_not_a_calibration_is_refused(tmp_path: Path) -> None:
    found = fit_calibration(drawn())
    with pytest.raises(InputError, match=r"^calibration method is 'temperatur'; did you mean 'temperature'"):
        fit_calibration(drawn(), method="temperatur")
    with pytest.raises(InputError, match=r"^the calibration is of the classes a, b, the table's are b, a; use the"):
        calibrate(found, drawn().prob, ("b", "a"))
    record = found.to_record()
    assert record["schema"] == "counterstain.calibration/1"
    with pytest.raises(InputError, match=r"^the calibration is of schema x; this version reads counterstain"):
        Calibration.from_record(record | {"schema": "x"})
    del record["qhat"]
    with pytest.raises(InputError, match=r"^the calibration lacks 'qhat'; it was changed after it was written$"):
        Calibration.from_record(record)
    assert read_calibration(tmp_path) is None
    (tmp_path / CALIBRATION).write_text(json.dumps(found.to_record()))
    assert read_calibration(tmp_path) == found and CALIBRATION == "calibration.json"


def test_certain_probabilities_stay_finite() -> None:
    table = made(np.array([0.0, 1.0, 0.5, 1.0]), np.array([0, 1, 1, 0]))
    for method in ("temperature", "platt"):
        after = apply_calibration(fit_calibration(table, method=method), table)
        assert np.isfinite(after.prob).all() and after.prob.sum(axis=1) == pytest.approx(1)
    sharp = Calibration.from_record(
        fit_calibration(table).to_record() | {"method": "temperature", "parameters": {"temperature": 0.5}}
    )
    # 1e-7 is where Keras clips: its odds are squared by half the temperature.
    assert calibrate(sharp, table.prob, ("a", "b"))[1, 0] == pytest.approx(1e-14, rel=1e-6)


def test_isotonic_steps_weigh_images_not_distinct_probabilities() -> None:
    """At 0.2 two of three images are positive, at 0.6 none of one: pooled, two of four, and not (2/3 + 0) / 2."""
    found = fit_calibration(made(np.array([0.2, 0.2, 0.2, 0.6]), np.array([1, 1, 0, 0])), method="isotonic")
    assert found.parameters == {"x": [0.2, 0.6], "y": pytest.approx([0.5, 0.5])}


# ------------------------------------------------------------------------------------------------- records that changed


def written(method: str = "platt") -> dict:
    return json.loads(json.dumps(fit_calibration(drawn(), method=method, conformal="class").to_record()))


@pytest.mark.parametrize(
    ("method", "changed"),
    [
        ("platt", {"method": "probit"}),
        ("platt", {"method": ["platt"]}),
        ("platt", {"parameters": {"slope": 1.0}}),
        ("platt", {"parameters": {"slope": 1.0, "intercept": "0"}}),
        ("platt", {"parameters": {"slope": 1.0, "intercept": True}}),
        ("platt", {"parameters": {"slope": 1.0, "intercept": 2e9}}),
        ("platt", {"parameters": [1.0, 0.0]}),
        ("temperature", {"parameters": {}}),
        ("temperature", {"parameters": {"temperature": None}}),
        ("temperature", {"parameters": {"temperature": -2e9}}),
        ("isotonic", {"parameters": {"x": [0.0, 1.0]}}),
        ("isotonic", {"parameters": {"x": [0.0, 1.0], "y": [0.0, 3.0]}}),
        ("isotonic", {"parameters": {"x": [0.0, 1.0], "y": 0.5}}),
        ("isotonic", {"parameters": {"x": [-1.5], "y": [0.0]}}),
        ("platt", {"threshold": 1.5}),
        ("platt", {"threshold": -0.5}),
        ("platt", {"threshold": "0.5"}),
        ("platt", {"alpha": 1.5}),
        ("platt", {"alpha": -0.5}),
        ("platt", {"alpha": None}),
        ("platt", {"qhat": 1.5}),
        ("platt", {"qhat": -0.5}),
        ("platt", {"classes": ["a"]}),
        ("platt", {"classes": ["a", "a"]}),
        ("platt", {"classes": ["a", 1]}),
        ("platt", {"classes": "ab"}),
        ("platt", {"notes": "few"}),
        ("platt", {"notes": [1]}),
        ("platt", {"unit": "slide"}),
        ("platt", {"images": -1}),
        ("platt", {"images": 1e13}),
        ("platt", {"images": None}),
        ("platt", {"patients": -1}),
        ("platt", {"patients": 1e13}),
        ("platt", {"patients": "4"}),
        ("platt", {"conformal": "both"}),
        ("platt", {"qhat_by_class": [0.5]}),
        ("platt", {"qhat_by_class": [0.5, 1.5]}),
        ("platt", {"qhat_by_class": [0.5, -0.5]}),
        ("platt", {"qhat_by_class": {"a": 0.5, "b": 0.5}}),
        ("platt", {"stated": [1]}),
    ],
)
def test_a_record_that_was_changed_is_refused_by_the_name_of_what_is_wrong(method: str, changed: dict) -> None:
    ((name, value),) = changed.items()
    with pytest.raises(InputError) as raised:
        Calibration.from_record(written(method) | changed)
    assert f"the calibration's {name} is {str(value)!r}; it was changed" in str(raised.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"threshold": None},
        {"threshold": 0},
        {"threshold": 1},
        {"alpha": 0},
        {"alpha": 1},
        {"qhat": None},
        {"qhat": 0},
        {"qhat": 1},
        {"qhat_by_class": []},
        {"qhat_by_class": [None, 0]},
        {"qhat_by_class": [1, 0.5]},
        {"parameters": {"slope": -1e9, "intercept": 1e9}},
        {"images": 0, "patients": 0},
        {"images": 1e12, "patients": 1e12},
        {"unit": "image"},
        {"method": "none", "parameters": {}},
        {"method": "temperature", "parameters": {"temperature": 2}},
        {"method": "isotonic", "parameters": {"x": [-1, 0.5, 2], "y": [-1, 0.5, 2]}},
        {"stated": {}},
        {"notes": []},
    ],
)
def test_what_a_record_may_hold_at_its_edges(changed: dict) -> None:
    found = Calibration.from_record(written() | changed).to_record()
    assert {name: found[name] for name in changed} == changed


def test_a_record_of_an_earlier_version_has_marginal_sets_and_states_nothing() -> None:
    record = {name: value for name, value in written().items() if name not in ("conformal", "qhat_by_class", "stated")}
    found = Calibration.from_record(record)
    assert (found.conformal, found.qhat_by_class, found.stated) == ("marginal", (), {})
    assert found.quantiles == (found.qhat, found.qhat)
    with pytest.raises(InputError, match="the calibration lacks 'threshold'"):
        Calibration.from_record({name: value for name, value in record.items() if name != "threshold"})


def test_quantiles_are_those_of_each_class_where_sets_are_by_class() -> None:
    by_class = Calibration.from_record(written() | {"qhat_by_class": [0.25, None]})
    assert by_class.quantiles == (0.25, float("inf"))


def test_several_classes_have_a_record_without_a_threshold() -> None:
    rng = np.random.default_rng(5)
    label = rng.integers(3, size=90)
    prob = 0.4 * np.eye(3)[label] + 0.6 * rng.dirichlet(np.ones(3), size=90)
    found = fit_calibration(made(prob, label, 30))
    assert (found.threshold, found.stated) == (None, {})
    assert Calibration.from_record(json.loads(json.dumps(found.to_record()))) == found
