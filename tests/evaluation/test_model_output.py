"""A model's answers as an object: calls, sets and distances; with the truth, as a table, as JSON, in a sentence."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.evaluation.model_output import ModelOutput

NAMES = ("a.png", "b.png", "c.png")
CLASSES = ("benign", "malignant")
PROB = np.array([[0.75, 0.25], [0.375, 0.625], [0.5, 0.5]])
FULL: Mapping[str, object] = {
    "called": np.array([1, 1, 0]),
    "in_set": np.array([[True, False], [True, True], [False, False]]),
    "distance": np.array([2.0, 3.0, 3.5]),
    "distance_limit": 3.0,
    "threshold": 0.25,
    "skipped": (("d.png", "cut off"), ("e.png", "empty")),
    "notes": ("1 < 2",),
}


def plain() -> ModelOutput:
    return ModelOutput(image=NAMES, classes=CLASSES, prob=PROB)


def full() -> ModelOutput:
    return ModelOutput(image=NAMES, classes=CLASSES, prob=PROB, **FULL)  # type: ignore[arg-type]


def test_without_a_threshold_the_most_probable_class_is_called() -> None:
    found = plain()
    assert len(found) == 3
    assert found.calls == found.predicted == ("benign", "malignant", "benign")
    assert found.decision is None and found.prediction_sets is None and found.unfamiliar is None


def test_with_one_the_decision_is() -> None:
    found = full()
    assert found.calls == found.decision == ("malignant", "malignant", "benign")
    assert found.predicted == ("benign", "malignant", "benign")
    assert found.prediction_sets == (("benign",), ("benign", "malignant"), ())


def test_a_row_has_one_call_and_its_rule() -> None:
    """Where the most probable class differs from the call at the threshold, no table shows both."""
    for found, rule in ((plain(), "most probable class"), (full(), f"prob_malignant >= {full().threshold:.6g}")):
        frame = found.to_frame()
        assert frame["decision"].tolist() == list(found.calls) and set(frame["decision_rule"]) == {rule}
        assert "predicted" not in frame and found.record["decision_rule"] == rule
        assert [row["decision"] for row in found.record["images"]] == list(found.calls)


def test_the_limit_itself_is_familiar() -> None:
    unfamiliar = full().unfamiliar
    assert unfamiliar is not None and unfamiliar.tolist() == [False, False, True]
    no_limit = ModelOutput(image=NAMES, classes=CLASSES, prob=PROB, distance=np.ones(3))
    assert no_limit.unfamiliar is None
    assert list(no_limit.to_frame().columns) == [
        "image_path", "prob_benign", "prob_malignant", "decision", "decision_rule",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "array", "needed"),
    [
        ("prob", PROB[:2], "(3, 2)"),
        ("called", np.array([0, 1]), "(3,)"),
        ("in_set", np.ones((3, 3), dtype=bool), "(3, 2)"),
        ("in_set", np.ones((2, 2), dtype=bool), "(3, 2)"),
        ("distance", np.ones((3, 1)), "(3,)"),
    ],
)
def test_a_size_that_differs_is_refused(name: str, array: np.ndarray, needed: str) -> None:
    arguments = {"image": NAMES, "classes": CLASSES, "prob": PROB} | {name: array}
    with pytest.raises(InputError) as raised:
        ModelOutput(**arguments)
    assert f"{name} has shape {array.shape}; {needed} was needed" in str(raised.value)


def test_what_is_no_probability_is_refused_by_the_images_name() -> None:
    with pytest.raises(InputError, match=r"image 'b\.png'"):
        ModelOutput(image=NAMES, classes=CLASSES, prob=np.array([[0.5, 0.5], [0.5, 0.75], [1, 0]]))


def test_truth_is_joined_row_by_row() -> None:
    table = full().with_truth(
        ["malignant", "benign", "malignant"], patient=["P1", "P1", "P2"], slide=["S1", "S2", "S3"], site=["x", "", "y"]
    )
    assert table.image == NAMES and table.classes == CLASSES and table.label.tolist() == [1, 0, 1]
    assert table.patient == ("P1", "P1", "P2") and table.slide == ("S1", "S2", "S3") and table.site == ("x", "", "y")
    assert np.array_equal(table.prob, PROB) and table.unit == "patient"


def test_without_patients_the_image_is_the_unit() -> None:
    table = plain().with_truth(np.array(["benign", "benign", "malignant"]))
    assert table.unit == "image" and table.patient == NAMES
    assert table.slide == table.site == ("", "", "")


def test_a_label_that_is_no_class_is_refused() -> None:
    with pytest.raises(InputError, match="a label is 'cyst'; the model's classes are benign, malignant"):
        plain().with_truth(["benign", "cyst", "polyp"])


def test_as_a_table() -> None:
    frame = full().to_frame()
    assert frame.to_dict(orient="list") == {
        "image_path": list(NAMES),
        "prob_benign": [0.75, 0.375, 0.5],
        "prob_malignant": [0.25, 0.625, 0.5],
        "decision": ["malignant", "malignant", "benign"],
        "decision_rule": ["prob_malignant >= 0.25"] * 3,
        "prediction_set": ["benign", "benign|malignant", ""],
        "distance": [2.0, 3.0, 3.5],
        "unfamiliar": [False, False, True],
    }


def test_as_json(tmp_path: Path) -> None:
    path = tmp_path / "output.json"
    text = full().to_json(path)
    assert path.read_text() == text + "\n"
    found = json.loads(text)
    images = found.pop("images")
    assert found == {
        "schema": "counterstain.model_output/1",
        "decision_rule": "prob_malignant >= 0.25",
        "classes": ["benign", "malignant"],
        "threshold": 0.25,
        "distance_limit": 3.0,
        "skipped": [["d.png", "cut off"], ["e.png", "empty"]],
        "notes": ["1 < 2"],
    }
    assert [row["image"] for row in images] == list(NAMES)
    assert images[1] == {
        "image": "b.png", "prob": [0.375, 0.625], "decision": "malignant",
        "prediction_set": ["benign", "malignant"], "distance": 3.0,
    }  # fmt: skip
    bare = json.loads(plain().to_json())["images"][0]
    assert bare["prediction_set"] is bare["distance"] is None and bare["decision"] == "benign"


def test_the_sentence_counts_what_is_there() -> None:
    assert plain().summary() == "3 images: 2 benign, 1 malignant"
    one = ModelOutput(image=("a",), classes=CLASSES, prob=np.array([[0.25, 0.75]]))
    assert one.summary() == "1 image: 1 malignant"
    assert full().summary() == (
        "3 images: 1 benign, 2 malignant; 2 with more than one class, or none, in the prediction set; "
        "1 unlike the training tiles; 2 could not be read"
    )


def test_in_a_console_and_a_notebook() -> None:
    assert repr(plain()) == "ModelOutput(3 images: 2 benign, 1 malignant)"
    long = ModelOutput(image=NAMES, classes=("b" * 200, "m"), prob=PROB)
    assert repr(long) == f"ModelOutput({long.summary()[:150]})"
    assert full()._repr_html_() == f"<p>{full().summary()}</p><ul><li>1 &lt; 2</li></ul>"
