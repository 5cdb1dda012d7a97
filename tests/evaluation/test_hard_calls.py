"""Predicted classes alone, without probabilities: what can be computed from them, and what can't."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from written_table import HARD, read

from counterstain.errors import InputError
from counterstain.evaluation.arm_scores import score_arms
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.predictions import PROBABILITY_MEASURES, Predictions
from counterstain.evaluation.table_evaluation import evaluate_tables, evaluation_rows

Make = Callable[..., Predictions]


def test_predicted_classes_alone_have_no_auroc(tmp_path: Path) -> None:
    table = read(tmp_path, HARD)
    assert table.hard
    assert table.notes[0] == (
        "t.csv has predicted classes ('y_pred') and no probabilities: AUROC, AUPRC, log loss, Brier score and "
        "sensitivity at 95 % specificity can't be computed"
    )
    assert table.classes == ("0", "1")
    assert set(table.prob.ravel().tolist()) == {0.0, 1.0}
    record = score_arms({"model": [table]})
    own = record["arms"]["model"]
    found = {score["metric"] for score in own["scores"]}
    assert not found & set(PROBABILITY_MEASURES)
    assert {"accuracy", "recall", "specificity", "mcc"} <= found
    right = np.mean([k % 2 == int(k % 3 > 0) for k in range(60)])  # by hand: 30 of 60
    accuracy = next(s for s in own["scores"] if s["metric"] == "accuracy" and s["level"] == "image")
    assert accuracy["value"] == right == 0.5
    assert any("AUROC" in note and "can't be computed" in note for note in own["warnings"])
    full = evaluate_tables([table])
    assert full["probabilities"] is None
    assert "npv" in {row[2] for row in evaluation_rows(full)[1]}
    with pytest.raises(InputError, match=r"threshold .* can't be held"):
        evaluate_tables([table], threshold="0.5")


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("1.0", "0.0"), ("0", "1")),  # a column of numbers with an empty cell somewhere, as pandas writes it
        (("10", "9"), ("9", "10")),
        (("(low)", "1.5"), ("1.5", "(low)")),  # numbers come first
        (("b", "A"), ("A", "b")),
    ],
)
def test_predicted_classes_are_in_the_order_of_their_names(
    tmp_path: Path, names: tuple[str, str], classes: tuple[str, str]
) -> None:
    rows = "".join(f"i{k},p{k},{names[k % 2]},{names[k % 3 % 2]}\n" for k in range(12))
    table = read(tmp_path, "image,patient,y_true,y_pred\n" + rows)
    assert table.classes == classes
    first = classes.index(names[0].removesuffix(".0"))
    assert table.label.tolist() == [first if k % 2 == 0 else 1 - first for k in range(12)]
    assert table.prob.argmax(axis=1).tolist() == [first if k % 3 % 2 == 0 else 1 - first for k in range(12)]


def test_hard_calls_are_compared_by_what_they_can_show(tmp_path: Path, make_table: Make) -> None:
    calls = read(tmp_path, HARD)
    other = read(tmp_path, HARD.replace(",1\n", ",0\n"))
    with pytest.raises(InputError, match="'auroc', which these tables don't give"):
        compare_arms({"a": [calls], "b": [other]}, claim="models")
    record = compare_arms({"a": [calls], "b": [other]}, primary="accuracy", claim="models")
    assert record["primary"] == "accuracy"
    assert not any("AUROC" in test["about"] for row in record["pairs"] for test in row["tests"])


def test_y_pred_may_hold_probabilities(tmp_path: Path) -> None:
    table = read(tmp_path, "y_true,y_pred\n0,0.25\n1,0.5\n1,1\n", positive="1")
    assert not table.hard
    assert table.prob[:, 1].tolist() == [0.25, 0.5, 1.0]


def test_calls_may_be_chosen_beside_probabilities(tmp_path: Path) -> None:
    text = "image,label,prob_a,prob_b,decision\nx,a,0.9,0.1,a\ny,b,0.7,0.3,b\n"
    assert read(tmp_path, text).prob[1].tolist() == [0.7, 0.3]
    assert read(tmp_path, text, columns={"predicted": "decision"}).prob[1].tolist() == [0.0, 1.0]
