"""Which images and patients the errors are of: by hand on six rows."""

import numpy as np
import pytest

from counterstain.evaluation.error_record import (
    error_record,
    mean_table,
    notable_images,
    patient_errors,
    shown_images,
    tile_file,
)
from counterstain.evaluation.predictions import Predictions


def table(positive: list[float], label: list[int], patient: str = "AABBCC") -> Predictions:
    prob = np.array([[1 - p, p] for p in positive])
    names = tuple(f"{k}.png" for k in range(len(label)))
    return Predictions(
        image=names, patient=tuple(patient), slide=("",) * len(label), site=("",) * len(label),
        label=np.array(label), prob=prob, classes=("benign", "malignant"),
    )  # fmt: skip


# Calls:       mal   mal   ben   mal   ben   mal
POSITIVE = [0.99, 0.95, 0.20, 0.55, 0.45, 0.90]
LABEL = [0, 0, 0, 1, 1, 1]  # wrong: 0 and 1 of A, 4 of C


def test_strips_begin_with_the_surest_and_take_a_patient_once_before_twice() -> None:
    found = notable_images(table(POSITIVE, LABEL), 2)
    assert found["wrong"].tolist() == [0, 4]  # 1 is surer than 4, but A was shown
    assert found["unsure"].tolist() == [3, 5]  # of B the first; 2 is less sure than 5 but B's second; 4 was shown
    assert found["right"].tolist() == [2]  # 3 and 5 are shown already


def test_a_strip_may_be_empty() -> None:
    found = notable_images(table([0.9, 0.8], [1, 1], "AB"), 3)
    assert found["wrong"].tolist() == [] and found["unsure"].tolist() == [1, 0] and found["right"].tolist() == []


def test_errors_by_patient_are_means_over_seeds_and_shares_of_all() -> None:
    other = [0.99, 0.05, 0.20, 0.55, 0.45, 0.10]  # wrong: 0 of A; 4 and 5 of C
    rows = patient_errors([table(POSITIVE, LABEL), table(other, LABEL)])
    assert [(row.patient, row.images, row.errors) for row in rows] == [("A", 2, 1.5), ("C", 2, 1.5), ("B", 2, 0.0)]
    assert [row.share for row in rows] == pytest.approx([0.5, 0.5, 0.0])
    # 3 of 6 are wrong with each seed
    record = error_record({"a": [table(POSITIVE, LABEL), table(other, LABEL)]}, [])
    assert record["arms"]["a"]["errors"] == pytest.approx(0.5)
    assert [row["patient"] for row in record["arms"]["a"]["patients"]] == ["A", "C"]  # B has none


def test_the_mean_over_seeds_is_taken_row_by_row_whatever_their_order() -> None:
    first, turned = table(POSITIVE, LABEL), table(POSITIVE[::-1], LABEL[::-1], "CCBBAA")
    names = tuple(f"{k}.png" for k in reversed(range(6)))
    turned = Predictions(
        image=names, patient=turned.patient, slide=turned.slide, site=turned.site, label=turned.label,
        prob=turned.prob, classes=turned.classes,
    )  # fmt: skip
    assert mean_table([first, turned]).prob == pytest.approx(first.prob)


def test_a_record_names_each_image_with_its_call_and_a_file_that_tells_nothing() -> None:
    record = error_record({"a": [table(POSITIVE, LABEL)]}, [])
    card = record["arms"]["a"]["tiles"]["wrong"][0]
    assert card == {"image": "0.png", "patient": "A", "site": "", "label": "benign", "predicted": "malignant",
                    "probability": pytest.approx(0.99), "file": tile_file("0.png")}  # fmt: skip
    assert sorted(shown_images(record)) == [f"{k}.png" for k in range(6)]
    assert tile_file("../../etc/passwd.png").replace(".png", "").isalnum()


def test_where_patients_are_unknown_none_are_named() -> None:
    own = table(POSITIVE, LABEL)
    alone = Predictions(image=own.image, patient=own.image, slide=own.slide, site=own.site, label=own.label,
                        prob=own.prob, classes=own.classes)  # fmt: skip
    record = error_record({"a": [alone]}, [])
    assert record["arms"]["a"]["patients"] == [] and record["arms"]["a"]["tiles"]["wrong"][0]["patient"] == ""
