"""Anyone's table as a record and as rows: what goes into each part, and which settings don't fit a table."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.evaluation.calibration import Calibration
from counterstain.evaluation.deployed import Deployed
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_columns
from counterstain.evaluation.table_evaluation import ARM, columns_wanted, evaluate_tables, evaluation_rows

Make = Callable[..., Predictions]
FITTED = Calibration(
    method="none", parameters={}, threshold=0.25, threshold_rule="youden", alpha=0.1, qhat=0.9,
    classes=("benign", "malignant"), patients=1200, images=4800, unit="patient",
)  # fmt: skip


@pytest.fixture
def table(random_table: Make) -> Predictions:
    """200 images of 20 patients, two sites."""
    drawn = random_table(3)
    return replace(drawn, site=tuple("ab"[int(name.rpartition("-")[2]) % 4 // 2] for name in drawn.patient))


def called_shares(table: Predictions, at: float) -> tuple[float, float]:
    """Sensitivity and specificity, counted."""
    positive = table.prob[:, 1] >= at
    return float(positive[table.label == 1].mean()), float((~positive)[table.label == 0].mean())


def test_without_a_threshold_the_most_probable_class_is_called(table: Predictions) -> None:
    record = evaluate_tables([table])
    own = record["decision"]
    assert {name: own[name] for name in ("rule", "thresholds", "chosen_on", "notes")} == {
        "rule": "the most probable class", "thresholds": None, "chosen_on": "", "notes": [],
    }  # fmt: skip
    scores = own["scores"]
    assert (scores["recall"]["value"], scores["specificity"]["value"]) == pytest.approx(called_shares(table, 0.5))
    assert "accuracy" not in scores
    assert record["subgroups"] == {}
    assert record["deployed"] is None
    assert list(record["arms"]) == [ARM]
    assert set(record["probabilities"]) == {"reliability", "measures", "smoothed", "distribution", "decision_curve"}


def test_the_choice_of_the_positive_class_and_of_seeds_is_said(table: Predictions, random_table: Make) -> None:
    found = evaluate_tables([table])["arms"][ARM]["warnings"]
    last = "'malignant' is the positive class only because its column is the last; say which one is meant with"
    assert [note for note in found if "positive class" in note] == [f"{last} --positive"]
    assert not any("seeds of one model" in note for note in found)
    two = [replace(random_table(seed), positive_from="given") for seed in (3, 3)]
    found = evaluate_tables(two)["arms"][ARM]["warnings"]
    assert not any("positive class" in note for note in found)
    assert (
        "2 tables are taken as seeds of one model, and the scores are their mean; different models are compared with "
        "counterstain compare a=a.csv b=b.csv"
    ) in found
    three = evaluate_tables([random_table(3, n_classes=3)])["arms"][ARM]["warnings"]
    assert not any("positive class" in note for note in three)


def test_at_a_threshold_every_call_is_scored_there(table: Predictions) -> None:
    scores = evaluate_tables([table], threshold="0.3", confidence=0.8)["decision"]["scores"]
    sensitivity, specificity = called_shares(table, 0.3)
    called = table.prob[:, 1] >= 0.3
    assert scores["accuracy"]["value"] == pytest.approx(np.mean(called == (table.label == 1)))
    assert scores["balanced_accuracy"]["value"] == pytest.approx((sensitivity + specificity) / 2)
    precision = float((table.label == 1)[called].mean())
    assert scores["f1"]["value"] == pytest.approx(2 * precision * sensitivity / (precision + sensitivity))
    assert scores["mcc"]["low"] < scores["mcc"]["value"] < scores["mcc"]["high"]
    wide = evaluate_tables([table], threshold="0.3")["decision"]["scores"]
    for name in ("accuracy", "recall", "specificity"):
        assert wide[name]["low"] < scores[name]["low"] < scores[name]["high"] < wide[name]["high"]


def test_each_tables_own_threshold_calls_its_images(table: Predictions, random_table: Make) -> None:
    validation = [replace(random_table(seed), patient=tuple(f"v{k % 20}" for k in range(200)),
                          image=tuple(f"v{k}" for k in range(200))) for seed in (11, 12)]  # fmt: skip
    second = replace(table, prob=table.prob**2 / (table.prob**2).sum(axis=1, keepdims=True))
    own = evaluate_tables([table, second], threshold="youden", validation=validation)["decision"]
    one, two = own["thresholds"]
    assert one != two
    shares = np.mean([called_shares(table, one), called_shares(second, two)], axis=0)
    assert (own["scores"]["recall"]["value"], own["scores"]["specificity"]["value"]) == pytest.approx(shares)
    assert (own["rule"], own["chosen_on"]) == ("youden", "200 images of 20 validation patients")


def test_one_class_has_no_balanced_accuracy_at_a_threshold(table: Predictions) -> None:
    scores = evaluate_tables([replace(table, label=np.ones(200, dtype=np.int64))], threshold="0.3")["decision"][
        "scores"
    ]
    assert "accuracy" in scores
    assert "balanced_accuracy" not in scores


def test_a_models_threshold_is_used_where_none_is_given(table: Predictions) -> None:
    model = Deployed(FITTED, "", FITTED.classes)
    own = evaluate_tables([table], deployed=model)["decision"]
    assert (own["thresholds"], own["rule"]) == ([0.25], "youden")
    assert own["chosen_on"] == "1,200 validation patients, frozen in the model"
    one = replace(model, calibration=replace(FITTED, patients=1))
    assert evaluate_tables([table], deployed=one)["decision"]["chosen_on"] == (
        "1 validation patient, frozen in the model"
    )
    assert evaluate_tables([table], deployed=model, threshold="0.4")["decision"]["thresholds"] == [0.4]
    none = replace(model, calibration=replace(FITTED, threshold=None))
    assert evaluate_tables([table], deployed=none)["decision"]["thresholds"] is None


def test_predicted_classes_alone_have_calls_and_no_probabilities(table: Predictions) -> None:
    hard = replace(table, prob=np.eye(2)[(table.prob[:, 1] >= 0.5).astype(int)], hard=True)
    record = evaluate_tables([hard])
    assert record["probabilities"] is None
    assert record["decision"]["scores"]["recall"]["value"] == pytest.approx(called_shares(table, 0.5)[0])
    validation = replace(
        table, patient=tuple(f"v{k % 20}" for k in range(200)), image=tuple(f"v{k}" for k in range(200))
    )
    refused: list[dict] = [
        {"threshold": "0.3"}, {"validation": [validation]}, {"deployed": Deployed(FITTED, "", FITTED.classes)},
    ]  # fmt: skip
    for more in refused:
        with pytest.raises(InputError, match=r"^these are predicted classes without probabilities"):
            evaluate_tables([hard], **more)


def test_what_does_not_go_together_is_refused(table: Predictions, random_table: Make) -> None:
    with pytest.raises(InputError, match=r"^--model is held against one table; 2 were given"):
        evaluate_tables([table, table], deployed=Deployed(FITTED, "", FITTED.classes))
    with pytest.raises(InputError, match=r"^--threshold-from was given without --threshold"):
        evaluate_tables([table], validation=[table])
    with pytest.raises(InputError, match=r"^there are 3 classes; --prevalence is for two"):
        evaluate_tables([random_table(1, n_classes=3)], prevalence=0.1)


def test_several_classes_have_reliability_alone(random_table: Make) -> None:
    record = evaluate_tables([random_table(1, n_classes=3)])
    assert record["decision"] is None
    assert list(record["probabilities"]) == ["reliability"]


# ------------------------------------------------------------------------------------------------------------- groups


def test_groups_are_columns_or_what_the_table_knows(table: Predictions) -> None:
    scanner = tuple("xyz"[k % 3] for k in range(200))
    found = evaluate_tables([table], by={"site": None, "scanner": scanner, "patient": None})["subgroups"]
    sites = {row["group"]: row["images"] for row in found["site"]["arms"][ARM]["groups"]}
    assert sites == {name: table.site.count(name) for name in "ab"}
    assert [row["images"] for row in found["scanner"]["arms"][ARM]["groups"]] == [67, 67, 66]
    assert found["patient"]["arms"][ARM]["count"] == 20


@pytest.mark.parametrize(
    ("by", "groups", "message"),
    [
        ("slide", None, "^--by slide: the table names no slide; name a column that it has"),
        ("age", None, "^--by age: the table names no age"),
        ("age", ("",) * 200, "^--by age: the table names no age"),
        ("scanner", ("x",) * 199 + ("",), "^--by scanner: all images are of one scanner; there is nothing to compare"),
    ],
)
def test_groups_that_are_not_there_are_refused(
    table: Predictions, by: str, groups: tuple[str, ...] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_tables([table], by={by: groups})


def test_unknown_patients_are_no_groups(random_table: Make) -> None:
    drawn = random_table(3)
    with pytest.raises(InputError, match=r"^--by patient: the table names no patient"):
        evaluate_tables([replace(drawn, patient=drawn.image)], by={"patient": None})


def test_the_columns_read_as_text_are_those_the_tables_lack() -> None:
    assert columns_wanted(["site", "scanner", "slide", "patient", "age"]) == (
        "scanner", "age", "decision", "prediction_set",
    )  # fmt: skip


def test_columns_are_read_however_they_are_spelled(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Image Path,Scanner_ID,scanner-id\na,x,1\nb,y,2\n")
    assert read_columns(path, ["scanner id", "age"]) == {"scanner id": ("x", "y")}
    with pytest.raises(InputError, match="does not exist; name an existing prediction table"):
        read_columns(tmp_path / "none.csv", ["age"])


# --------------------------------------------------------------------------------------------------------------- rows


def further(record: dict) -> dict[str, tuple]:
    """The rows that `evaluation_rows` adds, by measure; each has its arm, level, class, counts and unit."""
    _, rows = evaluation_rows(record)
    own = rows[len(record["arms"][ARM]["scores"]) :]
    for row in own:
        assert row[:2] + row[3:4] == (ARM, "image", None)
        assert row[7:] == (0.95, 200, 20, len(record["arms"][ARM]["seeds"]), "patient")
    return {row[2]: row[4:7] for row in own}


def test_every_further_measure_is_a_row(table: Predictions) -> None:
    record = evaluate_tables([table], prevalence=0.05)
    rows = further(record)
    assert list(rows) == [
        "lr_positive", "lr_negative", "ppv_at_prevalence", "npv_at_prevalence", "ece_positive_10",
        "observed_to_expected", "calibration_in_the_large", "calibration_slope", "ici",
    ]  # fmt: skip
    scores, probabilities = record["decision"]["scores"], record["probabilities"]
    sources = {
        "ppv_at_prevalence": scores["at_prevalence"]["ppv"],
        "npv_at_prevalence": scores["at_prevalence"]["npv"], "ece_positive_10": probabilities["reliability"]["ece"],
        "observed_to_expected": probabilities["measures"]["oe"],
        "calibration_in_the_large": probabilities["measures"]["in_the_large"],
        "calibration_slope": probabilities["measures"]["slope"], "ici": probabilities["smoothed"]["ici"],
    }  # fmt: skip
    for name, found in sources.items():
        assert rows[name] == (found["value"], found["low"], found["high"]), name


def test_at_a_threshold_the_rows_say_so(table: Predictions) -> None:
    names = list(further(evaluate_tables([table], threshold="0.3")))
    calls = ("recall", "specificity", "precision", "npv", "lr_positive", "lr_negative",
             "accuracy", "balanced_accuracy", "f1", "mcc")  # fmt: skip
    assert names[:10] == [f"{name}_at_threshold" for name in calls]


def test_rows_of_several_classes_and_of_classes_alone(random_table: Make, table: Predictions) -> None:
    assert list(further(evaluate_tables([random_table(1, n_classes=3)]))) == ["ece_confidence_10"]
    hard = replace(table, prob=np.eye(2)[(table.prob[:, 1] >= 0.5).astype(int)], hard=True)
    assert list(further(evaluate_tables([hard]))) == ["lr_positive", "lr_negative"]


@pytest.mark.parametrize("blank", [None, float("nan"), float("inf")])
def test_what_is_no_number_is_an_empty_cell(table: Predictions, blank: float | None) -> None:
    record = evaluate_tables([table])
    record["decision"]["scores"]["lr_positive"] = {"value": blank, "low": 0.5, "high": blank}
    assert further(record)["lr_positive"] == (None, 0.5, None)


def test_what_is_infinite_is_an_empty_cell(table: Predictions) -> None:
    """No false alarm: the positive likelihood ratio has no upper end."""
    perfect = replace(table, prob=np.eye(2)[table.label] * 0.8 + 0.1)
    value, low, high = further(evaluate_tables([perfect]))["lr_positive"]
    assert value is None
    assert high is None
    assert low is None or math.isfinite(low)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, float("nan")])
def test_a_confidence_is_a_share(confidence: float, table: Predictions) -> None:
    with pytest.raises(InputError, match=r"between 0 and 1 was needed, such as 0\.95"):
        evaluate_tables([table], confidence=confidence)
