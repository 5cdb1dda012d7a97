"""The tables beside the scores, cell by cell, from records written by hand."""

import copy

import pytest

from counterstain.evaluation.evaluation_tables import TextTable, evaluation_notes, evaluation_tables
from counterstain.evaluation.format import plural


def value(value: float | None, low: float | None = None, high: float | None = None, **more: object) -> dict:
    return {"value": value, "low": low, "high": high, **more}


CALLS = {
    "recall": value(0.75, 0.6, 0.9),
    "specificity": value(0.8, 0.7, 0.9),
    "precision": value(0.5, 0.4, 0.625),
    "npv": value(0.9, 0.8, 0.95),
    "lr_positive": value(3.75, 2.0, 7.0),
    "lr_negative": value(0.3125, 0.1, 0.5),
    "accuracy": value(0.775, 0.7, 0.85),
    "balanced_accuracy": value(0.7754, 0.71, 0.86),
    "f1": value(0.6, 0.5, 0.7),
    "mcc": value(0.51, 0.41, 0.61),
    "prevalence": 0.2345,
    "at_prevalence": None,
}
EMPTY = {"confidence": 0.9, "unit": "patient", "positive": "malignant", "decision": None, "probabilities": None}


def decision(thresholds: list[float] | None = None, chosen_on: str = "", **scores: object) -> dict:
    return {
        "decision": {
            "rule": "youden" if thresholds else "the most probable class",
            "thresholds": thresholds,
            "chosen_on": chosen_on,
            "notes": ["about the rule"],
            "scores": {**CALLS, **scores},
        }
    }


def only(record: dict) -> TextTable:
    (table,) = evaluation_tables({**EMPTY, **record})
    return table


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 patients"), (1, "1 patient"), (2, "2 patients"), (1234, "1,234 patients")]
)
def test_a_count_has_its_noun(number: int, words: str) -> None:
    assert plural(number, "patient") == words


def test_nothing_known_is_no_table() -> None:
    assert evaluation_tables(EMPTY) == []
    assert evaluation_notes(EMPTY) == []


# ------------------------------------------------------------------------------------------------------------ the calls


def test_calls_of_the_most_probable_class_are_what_the_scores_lack() -> None:
    table = only(decision())
    assert (table.name, table.head) == ("calls", ("measure", "value"))
    assert table.title == "Predicted 'malignant' where it is the most probable class: value and 90 % interval"
    assert table.rows == (
        ("NPV, prevalence 23.4 % as in the table", "0.900 [0.800, 0.950]"),
        ("LR+", "3.750 [2.000, 7.000]"),
        ("LR−", "0.312 [0.100, 0.500]"),
    )
    assert table.notes == ()


def test_calls_at_a_threshold_are_all_measures_in_order() -> None:
    table = only(decision([0.25], "240 images of 40 validation patients"))
    assert table.title == (
        "Predicted 'malignant' from a probability of 0.25 on (youden, chosen on 240 images of 40 validation patients): "
        "value and 90 % interval"
    )
    assert table.rows == (
        ("sensitivity (recall)", "0.750 [0.600, 0.900]"),
        ("specificity", "0.800 [0.700, 0.900]"),
        ("PPV (precision), prevalence 23.4 % as in the table", "0.500 [0.400, 0.625]"),
        ("NPV, prevalence 23.4 % as in the table", "0.900 [0.800, 0.950]"),
        ("LR+", "3.750 [2.000, 7.000]"),
        ("LR−", "0.312 [0.100, 0.500]"),
        ("accuracy", "0.775 [0.700, 0.850]"),
        ("balanced accuracy", "0.775 [0.710, 0.860]"),
        ("F1", "0.600 [0.500, 0.700]"),
        ("MCC", "0.510 [0.410, 0.610]"),
    )


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        ([0.3, 0.3], "from a probability of 0.3 on"),
        ([0.5, 0.12345, 0.09], "from a probability of 0.09 to 0.5 on"),
        ([0.5, 0.00001], "from a probability of 1e-05 to 0.5 on"),
    ],
)
def test_a_threshold_of_several_seeds_is_a_range(thresholds: list[float], words: str) -> None:
    assert only(decision(thresholds)).title == f"Predicted 'malignant' {words}: value and 90 % interval"


def test_predictive_values_at_a_stated_prevalence_stand_below() -> None:
    at = {"prevalence": 0.025, "ppv": value(0.08, 0.05, 0.1), "npv": value(0.99, 0.98, 0.995)}
    assert only(decision(at_prevalence=at)).rows[-2:] == (
        ("PPV at a prevalence of 2.5 %", "0.080 [0.050, 0.100]"),
        ("NPV at a prevalence of 2.5 %", "0.990 [0.980, 0.995]"),
    )


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (value(None, 2.5, None, infinite=True), "infinite [2.500, ∞]"),
        (value(None, None, None, infinite=True), "infinite"),
        (value(4.0, 2.5, None), "4.000 [2.500, ∞]"),
        (value(4.0, None, None), "4.000 [no interval]"),
        (value(None, None, None), "undefined"),
    ],
)
def test_a_ratio_without_an_end_says_so(ratio: dict, words: str) -> None:
    assert only(decision(lr_positive=ratio)).rows[1] == ("LR+", words)


# ------------------------------------------------------------------------------------------------------- probabilities


def probabilities(**more: object) -> dict:
    return {"probabilities": {"reliability": {"ece": value(0.04, 0.03, 0.06, name="ece_positive_10")}, **more}}


def test_calibration_has_each_measure_beside_what_is_right() -> None:
    measures = {"oe": value(1.1, 0.9, 1.3), "in_the_large": value(0.2, 0.1, 0.3), "slope": value(0.8, 0.7, 0.95)}
    table = only(probabilities(measures=measures, smoothed={"ici": value(0.05, 0.02, 0.07)}))
    assert (table.name, table.head) == ("calibration", ("measure", "value", "right is"))
    assert table.title == "Calibration: value and 90 % interval, unit patient"
    assert table.rows == (
        ("O/E (observed to expected)", "1.100 [0.900, 1.300]", "1"),
        ("calibration in the large", "0.200 [0.100, 0.300]", "0"),
        ("calibration slope", "0.800 [0.700, 0.950]", "1"),
        ("ICI (mean distance from the diagonal)", "0.050 [0.020, 0.070]", "0"),
        ("ECE (probability of 'malignant', 10 bins)", "0.040 [0.030, 0.060]", "0"),
    )


def test_several_classes_have_the_error_of_the_most_probable_class_alone() -> None:
    ece = value(0.04, 0.03, 0.06, name="ece_confidence_15")
    table = only({"probabilities": {"reliability": {"ece": ece}}})
    assert table.rows == (("ECE (the most probable class, 15 bins)", "0.040 [0.030, 0.060]", "0"),)


def test_net_benefit_is_shown_at_five_thresholds() -> None:
    thresholds = [0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 0.6]
    model = {
        "value": [0.9 - at for at in thresholds],
        "low": [0.8 - at for at in thresholds],
        "high": [0.95 - at for at in thresholds],
    }
    curve = {"thresholds": thresholds, "model": model, "treat_all": [0.5 - at for at in thresholds]}
    _, table = evaluation_tables({**EMPTY, **probabilities(decision_curve=curve)})
    assert (table.name, table.head) == ("benefit", ("threshold", "model", "treat all", "treat nobody"))
    assert table.title == "Net benefit of acting from a threshold on: value and 95 % interval, unit patient"
    assert table.rows == (
        ("0.05", "0.850 [0.750, 0.900]", "0.450", "0.000"),
        ("0.1", "0.800 [0.700, 0.850]", "0.400", "0.000"),
        ("0.2", "0.700 [0.600, 0.750]", "0.300", "0.000"),
        ("0.3", "0.600 [0.500, 0.650]", "0.200", "0.000"),
        ("0.5", "0.400 [0.300, 0.450]", "0.000", "0.000"),
    )


def test_the_distribution_has_a_row_for_each_class_that_is_there() -> None:
    quantiles = {"p5": 0.011, "p25": 0.1, "median": 0.25, "p75": 0.5, "p95": 0.9}
    classes = {
        "benign": {"images": 1200, "quantiles": quantiles},
        "malignant": {"images": 1, "quantiles": {"median": 0.75}},
        "other": {"images": 0, "quantiles": {}},
    }
    _, table = evaluation_tables({**EMPTY, **probabilities(distribution={"classes": classes})})
    assert table.name == "distribution"
    assert table.title == "Probability of 'malignant' among the images of each class"
    assert table.head == ("true class", "images", "5 %", "25 %", "median", "75 %", "95 %")
    assert table.rows == (
        ("benign", "1,200", "0.01", "0.10", "0.25", "0.50", "0.90"),
        ("malignant", "1", "undefined", "undefined", "0.75", "undefined", "undefined"),
    )


# ------------------------------------------------------------------------------------------------- groups and promises


def group(name: str, patients: int | None, *, scored: bool) -> dict:
    names = {"accuracy": value(0.9, 0.8, 0.95), "recall": value(0.7, 0.6, 0.8), "specificity": value(0.85, 0.7, 0.9)}
    scores = {**names, "auroc": value(None, None, None)} if scored else None
    return {"group": name, "images": 1500, "patients": patients, "scores": scores}


GROUPS = {
    "groups": [group("a", 1020, scored=True), group("b", 3, scored=False), group("c", None, scored=True)],
    "suppressed": 1,
    "worst": {"metric": "accuracy", "group": "a", "note": "of two"},
}


def test_groups_have_four_measures_and_say_which_are_not_scored() -> None:
    table = only({"subgroups": {"site": {"arms": {"model": GROUPS}}}})
    assert (table.name, table.title) == ("site", "By site: value and 90 % interval, unit patient")
    assert table.head == ("site", "images", "patients", "accuracy", "sensitivity", "specificity", "AUROC")
    scored = ("0.900 [0.800, 0.950]", "0.700 [0.600, 0.800]", "0.850 [0.700, 0.900]", "undefined")
    assert table.rows == (
        ("a", "1,500", "1,020", *scored),
        ("b", "1,500", "3", "not scored", "", "", ""),
        ("c", "1,500", "unknown", *scored),
    )
    assert table.notes == ("groups of fewer than 10 patients are not scored (1 of 3)", "lowest accuracy: a; of two")


def test_groups_at_a_threshold_name_it_and_nothing_more() -> None:
    own = copy.deepcopy(GROUPS) | {"suppressed": 0, "worst": None}
    record = decision([0.3], "40 validation patients") | {"subgroups": {"site": {"arms": {"model": own}}}}
    _, table = evaluation_tables({**EMPTY, **record})
    assert table.title == "By site, called from a probability of 0.3 on: value and 90 % interval, unit patient"
    assert table.notes == ()


def test_groups_of_the_most_probable_class_name_no_threshold() -> None:
    record = decision() | {"subgroups": {"site": {"arms": {"model": GROUPS}}}}
    assert evaluation_tables({**EMPTY, **record})[1].title == "By site: value and 90 % interval, unit patient"


def test_patients_are_one_row_of_quantiles() -> None:
    quantiles = {"lowest": 0.0, "p10": 0.25, "p25": 0.5, "median": 0.75, "p75": 0.9, "highest": 1.0}
    own = {"count": 1040, "quantiles": quantiles, "below_half": 1003}
    table = only({"subgroups": {"patient": {"arms": {"model": own}}}})
    assert (table.name, table.title) == ("patient", "Share predicted correctly in each patient")
    assert table.head == ("patients", "lowest", "10 %", "25 %", "median", "75 %", "highest", "below one half")
    assert table.rows == (("1,040", "0.00", "0.25", "0.50", "0.75", "0.90", "1.00", "1,003"),)


PROMISES = [
    {"what": "coverage", "stated": 0.9, "stated_from": "the level", "word": "missed", **value(0.8, 0.75, 0.85)},
    {"what": "sensitivity", "stated": 0.95, "stated_from": "41 patients", "word": "kept", **value(0.94, 0.9, 0.97)},
    {"what": "ECE", "stated": None, "stated_from": "", "word": "", **value(0.04, 0.02, 0.06)},
]


def test_promises_stand_beside_what_was_obtained() -> None:
    table = only({"deployed": {"rows": PROMISES, "warnings": []}})
    assert (table.name, table.head) == ("promises", ("promise", "stated", "obtained", ""))
    assert table.title == ("Performance stated on 41 patients, and observed here: 90 % interval, unit patient")
    assert table.rows == (
        ("coverage", "0.900", "0.800 [0.750, 0.850]", "missed"),
        ("sensitivity", "0.950", "0.940 [0.900, 0.970]", "kept"),
        ("ECE", "not recorded", "0.040 [0.020, 0.060]", ""),
    )
    assert table.notes == ("coverage: stated 0.900, obtained 0.800 [0.750, 0.850]: missed",)


@pytest.mark.parametrize("rows", [PROMISES[::2], [PROMISES[1] | {"stated_from": ""}]])
def test_promises_of_unknown_patients_name_none(rows: list[dict]) -> None:
    title = only({"deployed": {"rows": rows, "warnings": []}}).title
    assert title == "Performance stated, and observed here: 90 % interval, unit patient"


def test_tables_come_in_the_order_of_the_page_and_notes_too() -> None:
    record = {
        **EMPTY,
        **decision(),
        **probabilities(measures_are="left out"),
        "deployed": {"rows": PROMISES, "warnings": ["about the model"]},
        "subgroups": {"site": {"arms": {"model": GROUPS}}},
    }
    assert [table.name for table in evaluation_tables(record)] == ["promises", "calls", "calibration", "site"]
    assert evaluation_notes(record) == ["about the model", "about the rule"]
    measures = {"oe": value(1.0), "in_the_large": value(0.0), "slope": value(1.0), "notes": ["about the slope"]}
    record |= probabilities(measures=measures, smoothed={"ici": value(0.0)})
    assert evaluation_notes(record) == ["about the model", "about the rule", "about the slope"]
