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


def test_right_ones_begin_with_the_surest_too() -> None:
    found = notable_images(table([0.9, 0.6, 0.8, 0.7, 0.95], [1] * 5, "ABCDE"), 2)
    assert found["unsure"].tolist() == [1, 3] and found["right"].tolist() == [4, 0]


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
                    "probability": pytest.approx(0.99), "file": tile_file("0.png"), "unfamiliar": None}  # fmt: skip
    assert sorted(shown_images(record)) == [f"{k}.png" for k in range(6)]
    assert tile_file("../../etc/passwd.png").replace(".png", "").isalnum()


def test_where_patients_are_unknown_none_are_named() -> None:
    own = table(POSITIVE, LABEL)
    alone = Predictions(image=own.image, patient=own.image, slide=own.slide, site=own.site, label=own.label,
                        prob=own.prob, classes=own.classes)  # fmt: skip
    record = error_record({"a": [alone]}, [])
    assert record["arms"]["a"]["patients"] == [] and record["arms"]["a"]["tiles"]["wrong"][0]["patient"] == ""


def test_the_record_is_whole_and_holds_what_it_was_given() -> None:
    own = table(POSITIVE, LABEL)
    record = error_record({"a": [own], "b": [own]}, [{"a": "x"}], stamp="LEAK")
    arms = record.pop("arms")
    assert record == {
        "schema": "counterstain.errors/1", "stamp": "LEAK", "classes": ["benign", "malignant"], "unit": "patient",
        "influence": [{"a": "x"}],
    }  # fmt: skip
    assert list(arms) == ["a", "b"] and arms["a"] == arms["b"]
    found = arms["a"]
    assert (found["images"], found["errors"]) == (6, pytest.approx(0.5))
    assert found["patients"] == [
        {"patient": "A", "images": 2, "errors": 2.0, "share": pytest.approx(2 / 3)},
        {"patient": "C", "images": 2, "errors": 1.0, "share": pytest.approx(1 / 3)},
    ]
    strips = {name: [card["image"] for card in strip] for name, strip in found["tiles"].items()}
    # Wrong are 0 and 4, then A's second; of the others B's least sure one, C's, and B's second.
    assert strips == {"wrong": ["0.png", "4.png", "1.png"], "unsure": ["3.png", "5.png", "2.png"], "right": []}


def test_strips_have_six_images_and_the_list_twenty_patients() -> None:
    count = 40
    wrong = [0.6 + k / 200 for k in range(count)]
    names = "".join(chr(200 + k) for k in range(count))
    record = error_record({"a": [table(wrong, [0] * count, names)]}, [])
    own = record["arms"]["a"]
    assert [card["image"] for card in own["tiles"]["wrong"]] == [f"{k}.png" for k in range(39, 33, -1)]
    assert [card["image"] for card in own["tiles"]["unsure"]] == [f"{k}.png" for k in range(6)]
    assert own["tiles"]["right"] == []
    assert [row["patient"] for row in own["patients"]] == list(names[:20])
    assert own["patients"][0]["share"] == pytest.approx(1 / 40)


def test_where_nothing_is_wrong_nobody_has_a_share() -> None:
    rows = patient_errors([table(POSITIVE, [1, 1, 0, 1, 0, 1])])
    assert [(row.patient, row.errors, row.share) for row in rows] == [("A", 0, 0), ("B", 0, 0), ("C", 0, 0)]


def test_tables_of_other_patients_have_no_errors_together() -> None:
    with pytest.raises(ValueError, match="not of the same patients"):
        patient_errors([table(POSITIVE, LABEL), table(POSITIVE, LABEL, "AABBCD")])


def test_a_tile_is_named_by_the_first_letters_of_a_sum() -> None:
    """printf '%s' 0.png | sha256sum | cut -c 1-16"""
    assert tile_file("0.png") == "0f25cc56a5248aca.png" and tile_file("1.png") != tile_file("0.png")


def test_unfamiliar_images_are_counted_with_their_errors() -> None:
    flags = {"0.png": 1.0, "4.png": 2 / 3, "2.png": 1 / 3}  # 0 and 4 by most trainings; both are wrong
    record = error_record({"a": [table(POSITIVE, LABEL)]}, [], unfamiliar={"a": flags})
    own = record["arms"]["a"]
    assert own["unfamiliar"] == {"images": 2, "share": 2 / 6, "errors": 1.0, "errors_of_others": 0.25}
    cards = {card["image"]: card["unfamiliar"] for strip in own["tiles"].values() for card in strip}
    assert cards == {f"{k}.png": k in (0, 4) for k in range(6)}
    none = error_record({"a": [table(POSITIVE, LABEL)]}, [], unfamiliar={"a": {}})["arms"]["a"]["unfamiliar"]
    assert none["images"] == 0 and none["errors"] is None
    assert error_record({"a": [table(POSITIVE, LABEL)]}, [])["arms"]["a"]["unfamiliar"] is None
