"""Scores as an object show the numbers of their record: as text, in a console, in a notebook, as a table."""

import math
from typing import Any

import pytest

from counterstain.errors import InputError
from counterstain.evaluation.scores_result import Score, Scores


def row(metric: str, value: float | None, *, level: str = "image", of: str | None = None) -> dict[str, Any]:
    ends = {"low": None, "high": None} if value is None else {"low": value - 0.125, "high": value + 0.125}
    return {"metric": metric, "level": level, "class": of, "value": value, "per_seed": [value], **ends}


def record(**changed: Any) -> dict[str, Any]:
    own = {
        "scores": [
            row("accuracy", 0.5),
            row("recall", 0.625),
            row("mcc", None),
            row("accuracy", 0.25, level="patient"),
            row("recall", 0.75, of="benign"),
        ],
        "images": 12,
        "patients": 3,
        "seeds": [0],
        "warnings": ["few"],
    }
    other = own | {"scores": [row("accuracy", 0.875)], "patients": None}
    return {
        "arms": {"ours": own, "theirs": other},
        "classes": ["benign", "malignant"],
        "positive": "malignant",
        "unit": "patient",
        "confidence": 0.9,
        "stamp": "",
    } | changed


def test_a_score_is_a_number_and_a_text() -> None:
    score = Score("auroc", "image", None, 0.75, 0.5, 0.875, 0.9)
    assert float(score) == 0.75 and str(score) == "0.750 (90 % interval [0.500, 0.875])"
    assert str(Score("auroc", "image", None, 0.75, None, None)) == "0.750 (no interval)"
    none = Score("auroc", "image", None, None, None, None)
    assert math.isnan(float(none)) and str(none) == "undefined"


def test_a_score_is_found_by_measure_level_and_class() -> None:
    scores = Scores(record(), "ours")
    assert scores["accuracy"].value == 0.5
    assert scores.at("accuracy", level="patient").value == 0.25
    assert scores.at("sensitivity", of="benign").value == 0.75
    assert scores["sensitivity"].value == 0.625
    assert Scores(record(), "theirs")["accuracy"].value == 0.875
    assert scores.metrics == ("accuracy", "recall", "mcc") and scores.levels == ("image", "patient")
    with pytest.raises(InputError, match="level is 'slide'"):
        scores.at("accuracy", level="slide")
    with pytest.raises(InputError, match="of is 'cyst'"):
        scores.at("accuracy", of="cyst")
    with pytest.raises(InputError, match="only the positive one is scored; evaluate again with positive='malignant'"):
        scores.at("recall", of="malignant")


def test_the_summary_is_the_counts_and_one_line_for_each_measure_at_image_level() -> None:
    assert Scores(record(), "ours").summary().splitlines() == [
        "12 images of 3 patients; value and 90 % interval, unit patient",
        "  accuracy                             0.500 [0.375, 0.625]",
        "  sensitivity (recall) for 'malignant' 0.625 [0.500, 0.750]",
        "  MCC                                  undefined",
    ]
    head, only = Scores(record(unit="image", confidence=0.95), "theirs").summary().splitlines()
    assert head == "12 images; value and 95 % interval, unit image"
    assert only == "  accuracy 0.875 [0.750, 1.000]"


def test_one_of_a_kind_is_counted_in_the_singular() -> None:
    found = record()
    found["arms"]["ours"] |= {"images": 1, "patients": 1}
    assert Scores(found, "ours").summary().startswith("1 image of 1 patient; ")
    found["arms"]["ours"]["scores"] = []
    assert Scores(found, "ours").summary() == "1 image of 1 patient; value and 90 % interval, unit patient"


def test_in_a_console_the_auroc_stands_for_all() -> None:
    assert repr(Scores(record(), "ours")) == (
        "Scores(accuracy 0.500 (90 % interval [0.375, 0.625]), 12 images of 3 patients, unit patient)"
    )
    found = record()
    found["arms"]["ours"]["scores"].append(row("auroc", 0.25))
    assert repr(Scores(found, "ours")) == (
        "Scores(auroc 0.250 (90 % interval [0.125, 0.375]), 12 images of 3 patients, unit patient)"
    )


def test_in_a_notebook_it_is_the_same_as_a_table() -> None:
    page = Scores(record(), "ours")._repr_html_()
    assert page.startswith("<p>12 images of 3 patients; value and 90 % interval, unit patient</p><table>")
    assert "<th>measure</th><th>value and interval</th>" in page
    assert "<tr><td>accuracy</td><td>0.500 [0.375, 0.625]</td></tr>" in page
    assert page.count("<tr>") == 4 and page.endswith("<ul><li>few</li></ul>")


def test_notes_are_each_said_once_the_stamp_first() -> None:
    found = record(
        stamp="LEAK: 3 images", looks=["few", "look 2"], seen={"words": ["by run 1"]}, decision={"notes": ["at 0.5"]}
    )
    assert Scores(found, "ours").notes == ("LEAK: 3 images", "few", "at 0.5", "seen before: by run 1", "look 2")
    assert Scores(record(), "ours").notes == ("few",)


def test_properties_are_those_of_the_arm() -> None:
    scores = Scores(record(), "theirs")
    assert (scores.images, scores.patients, scores.unit, scores.confidence) == (12, None, "patient", 0.9)
    assert scores.positive == "malignant" and scores.classes == ("benign", "malignant")
    assert Scores(record(positive=None), "ours").positive is None
    assert Scores(record(), "ours").patients == 3


@pytest.mark.parametrize(
    ("decision", "threshold"),
    [
        (None, None),
        ({"thresholds": None}, None),
        ({"thresholds": [0.25, 0.25]}, 0.25),
        ({"thresholds": [0.25, 0.5]}, None),
    ],
)
def test_the_threshold_is_one_or_none(decision: dict[str, Any] | None, threshold: float | None) -> None:
    assert Scores(record(decision=decision), "ours").threshold == threshold
    assert Scores(record(), "ours").threshold is None


def test_as_a_table_it_has_the_rows_of_its_own_arm() -> None:
    frame = Scores(record(), "theirs").to_frame()
    assert frame.index.tolist() == [0] and frame.loc[0, "arm"] == "theirs" and frame.loc[0, "value"] == 0.875
    whole = Scores(record(), "ours").to_frame()
    assert whole["metric"].tolist() == ["accuracy", "recall", "mcc", "accuracy", "recall"]
    assert whole["level"].tolist() == ["image", "image", "image", "patient", "image"]
