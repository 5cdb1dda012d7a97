"""Rows of two tables are joined by what they name, never by their place; pooled, put together, and shown."""

import json
from pathlib import Path

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.pooled_predictions import pool_patients, pool_slides
from counterstain.evaluation.predictions import Predictions, align, concatenate
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import write_csv

COUNT = 60


def write_table(path: Path, ids: dict[str, list[str]], *, order: list[int] | None = None, seed: int = 0) -> Path:
    """A table of 60 rows with these id columns, a label and two probabilities, its rows in `order`."""
    label = [k % 2 for k in range(COUNT)]
    noise = np.random.default_rng(seed).normal(size=COUNT)
    prob = [1 / (1 + np.exp(-(1.2 * (2 * y - 1) + e))) for y, e in zip(label, noise, strict=True)]
    rows = [[*(names[k] for names in ids.values()), label[k], 1 - prob[k], prob[k]] for k in order or range(COUNT)]
    write_csv(path, [*ids, "label", "prob_0", "prob_1"], rows)
    return path


def shuffled() -> list[int]:
    """Another order in which each place keeps its label, so that pairing by place goes unseen."""
    rng = np.random.default_rng(1)
    even, odd = rng.permutation(np.arange(0, COUNT, 2)), rng.permutation(np.arange(1, COUNT, 2))
    return [int(k) for pair in zip(even, odd, strict=True) for k in pair]


SLIDES = {"slide_id": [f"slide_{k:03d}" for k in range(COUNT)]}
PATIENTS = {"patient_id": [f"P{k:03d}" for k in range(COUNT)]}


@pytest.mark.parametrize("ids", [SLIDES, PATIENTS, {**SLIDES, **PATIENTS}], ids=["slides", "patients", "both"])
def test_the_order_of_the_rows_changes_nothing(tmp_path: Path, ids: dict[str, list[str]]) -> None:
    a = read_predictions(write_table(tmp_path / "a.csv", ids, seed=1))
    b = read_predictions(write_table(tmp_path / "b.csv", ids, seed=2))
    turned = read_predictions(write_table(tmp_path / "c.csv", ids, seed=2, order=shuffled()))
    straight, joined = (compare_arms({"a": [a], "b": [other]}, claim="models") for other in (b, turned))
    assert joined["pairs"][0]["p"] == pytest.approx(straight["pairs"][0]["p"], abs=1e-12)
    assert joined["pairs"][0]["difference"] == pytest.approx(straight["pairs"][0]["difference"], abs=1e-12)


def test_one_row_for_each_patient_is_a_known_patient(tmp_path: Path) -> None:
    table = read_predictions(write_table(tmp_path / "a.csv", PATIENTS))
    assert (table.unit, table.rows_are) == ("patient", "patient")
    assert pool_patients(table).unit == "patient"


def test_a_table_of_images_and_one_of_slides_meet_by_slide(tmp_path: Path) -> None:
    images = {"image_path": [f"{k}.png" for k in range(COUNT)], **SLIDES}
    a = read_predictions(write_table(tmp_path / "a.csv", images, seed=1))
    b = read_predictions(write_table(tmp_path / "b.csv", SLIDES, seed=2, order=shuffled()))
    first, second = align(a, b)
    assert second.image == first.image
    assert second.slide == first.slide
    assert second.label.tolist() == first.label.tolist()


def test_rows_that_nothing_names_are_not_paired(tmp_path: Path) -> None:
    a, b = (read_predictions(write_table(tmp_path / f"{seed}.csv", {}, seed=seed)) for seed in (1, 2))
    assert a.rows_are == "row"
    with pytest.raises(InputError, match=r"can't be paired: they name no images.*give both tables a column image_path"):
        align(a, b)
    doubled = {"slide_id": [f"s{k // 2}" for k in range(COUNT)]}
    c = read_predictions(write_table(tmp_path / "c.csv", doubled))
    with pytest.raises(InputError, match="compare different images"):
        align(a, c)
    assert align(a, a) == (a, a)


def test_what_made_a_class_positive_is_known(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.csv", SLIDES)
    assert read_predictions(path).positive_from == "column order"
    assert read_predictions(path, positive="0").positive_from == "given"
    write_csv(tmp_path / "lone.csv", ["image_path", "label", "prob_1"], [["a", 0, 0.2], ["b", 1, 0.8]])
    assert read_predictions(tmp_path / "lone.csv").positive_from == "only probability column"


# --------------------------------------------------------------------------------------------- tables written by hand


def small(**changed: object) -> Predictions:
    """Four images of two patients, each on a slide of its own."""
    settings: dict[str, object] = {
        "image": ("a", "b", "c", "d"), "patient": ("P", "P", "Q", "Q"), "slide": ("s", "t", "u", "v"),
        "site": ("",) * 4, "label": np.array([0, 0, 1, 1]),
        "prob": np.array([[0.875, 0.125], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75]]), "classes": ("x", "y"),
    }  # fmt: skip
    return Predictions(**settings | changed)  # type: ignore[arg-type]


def rows(table: Predictions, keep: list[int], **changed: object) -> Predictions:
    """Some of its rows, in that order."""
    columns = {name: tuple(getattr(table, name)[k] for k in keep) for name in ("image", "patient", "slide", "site")}
    return small(**columns | {"label": table.label[keep], "prob": table.prob[keep]} | changed)


@pytest.mark.parametrize("first", [True, False])
def test_patients_that_one_table_knows_hold_for_both(first: bool) -> None:
    known, unknown = small(), rows(small(), [2, 0, 3, 1], patient=("c", "a", "d", "b"))
    pair = align(known, unknown) if first else align(unknown, known)
    order = ("a", "b", "c", "d") if first else ("c", "a", "d", "b")
    for table in pair:
        assert table.image == order and table.unit == "patient"
        assert table.patient == tuple({"a": "P", "b": "P", "c": "Q", "d": "Q"}[name] for name in order)


def test_a_table_of_slides_keeps_its_patients_and_takes_the_images_names() -> None:
    slides = rows(small(), [3, 1, 0, 2], image=("v", "t", "s", "u"), rows_are="slide")
    images, joined = align(small(), slides)
    assert joined.image == images.image == ("a", "b", "c", "d") and joined.rows_are == "image"
    assert joined.patient == ("P", "P", "Q", "Q") and joined.slide == ("s", "t", "u", "v")
    assert np.array_equal(joined.prob, small().prob)
    unknown = rows(small(), [3, 1, 0, 2], image=("v", "t", "s", "u"), patient=("v", "t", "s", "u"), rows_are="slide")
    images, joined = align(small(), unknown)
    assert joined.patient == images.patient == ("P", "P", "Q", "Q") and joined.unit == "patient"
    for table in align(small(patient=("a", "b", "c", "d")), slides):  # the images' table knows no patients
        assert table.unit == "patient" and table.patient == ("P", "P", "Q", "Q") and table.image == images.image
    both = align(small(patient=("a", "b", "c", "d")), unknown)
    assert [table.unit for table in both] == ["image", "image"]


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([0, 1, 2], [0, 1, 2, 3], "share 3 images, but 0 are in the first only and 1 in the second only ('d' is in the "
                                  "second only); compare models on the same test images"),
        ([0, 1, 2, 3], [0, 2], "share 2 images, but 2 are in the first only and 0 in the second only ('b' is in the "
                               "first only)"),
        ([0, 1], [1, 3, 2], "share 1 images, but 1 are in the first only and 2 in the second only ('a' is in the first "
                            "only)"),
    ],
)  # fmt: skip
def test_rows_that_one_table_lacks_are_counted_and_one_is_named(a: list[int], b: list[int], words: str) -> None:
    with pytest.raises(InputError) as raised:
        align(rows(small(), a), rows(small(), b))
    assert words in str(raised.value)


def test_what_two_tables_disagree_on_is_named() -> None:
    with pytest.raises(InputError, match="true label of 2 of 4 images: 'b' is x in the first, y in the second"):
        align(small(), small(label=np.array([0, 1, 1, 0])))
    with pytest.raises(InputError, match="patient of 'c': 'Q' and 'P'; mend the patient ids first"):
        align(small(), small(patient=("P", "P", "P", "Q")))
    with pytest.raises(InputError, match="one table has the classes x, y, the other x, z; only models of the same"):
        align(small(), small(classes=("x", "z")))


def test_columns_follow_their_classes() -> None:
    turned = small(classes=("y", "x"), prob=small().prob[:, ::-1], label=1 - small().label)
    _, joined = align(small(), turned)
    assert joined.classes == ("x", "y") and np.array_equal(joined.prob, small().prob)
    assert joined.label.tolist() == [0, 0, 1, 1]


def test_a_patient_has_the_mean_of_its_images() -> None:
    pooled = pool_patients(small(site=("n", "m", "", "o"), notes=("one",), positive_from="given", hard=True))
    assert pooled.image == pooled.patient == ("P", "Q") and pooled.rows_are == "patient" and pooled.slide == ("", "")
    assert pooled.prob.tolist() == [[0.8125, 0.1875], [0.375, 0.625]] and pooled.label.tolist() == [0, 1]
    assert pooled.site == ("n", "") and pooled.notes == ("one",)
    assert pooled.positive_from == "given" and pooled.hard
    turned = pool_patients(rows(small(), [3, 2, 0, 1]))
    assert turned.image == ("Q", "P") and turned.label.tolist() == [1, 0]
    mixed = pool_patients(small(label=np.array([0, 0, 0, 1]), notes=("one",)))
    assert mixed.image == ("P",)
    assert mixed.notes == ("one", "1 of 2 patients have images of more than one class and no patient-level score")
    with pytest.raises(InputError, match="every patient has images of more than one class; there is no patient level"):
        pool_patients(small(label=np.array([0, 1, 0, 1])))


def test_a_slide_of_two_patients_is_two() -> None:
    pooled = pool_slides(small(slide=("s", "s", "s", "t"), label=np.array([0, 0, 1, 1])))
    assert pooled.image == ("s of P", "s of Q", "t of Q") and pooled.slide == ("s", "s", "t")
    assert pooled.patient == ("P", "Q", "Q") and pooled.rows_are == "slide" and pooled.label.tolist() == [0, 1, 1]
    assert pooled.prob[:, 1].tolist() == [0.1875, 0.5, 0.75]
    with pytest.raises(InputError, match="image 'c' has no slide; there is no slide level to score"):
        pool_slides(small(slide=("s", "t", "", "")))


def test_folds_stand_one_after_the_other() -> None:
    parts = [rows(small(), [2, 3], notes=("one", "two")), rows(small(), [1, 0], notes=("two", "three"))]
    whole = concatenate(parts)
    assert whole.image == ("c", "d", "b", "a") and whole.patient == ("Q", "Q", "P", "P")
    assert whole.slide == ("u", "v", "t", "s") and whole.label.tolist() == [1, 1, 0, 0]
    assert np.array_equal(whole.prob, small().prob[[2, 3, 1, 0]]) and whole.notes == ("one", "two", "three")
    with pytest.raises(InputError, match="some folds name patients and others do not"):
        concatenate([parts[0], rows(small(), [1, 0], patient=("b", "a"))])
    with pytest.raises(InputError, match="the same ones are needed"):
        concatenate([parts[0], rows(small(), [1, 0], classes=("y", "x"))])


def test_a_missing_id_is_refused_where_it_stands() -> None:
    with pytest.raises(InputError, match="slide of row 3 is missing"):
        small(slide=("s", "t", None, "v"))
    with pytest.raises(InputError, match=r"patient of row 2 is missing \(nan\); write a name for every image"):
        small(patient=("P", float("nan"), "Q", "Q"))
    with pytest.raises(InputError, match="image 'b' has no patient"):
        small(patient=("P", "", "Q", "Q"))
    with pytest.raises(InputError, match="site has 3 entries; 4 were needed"):
        small(site=("",) * 3)
    with pytest.raises(InputError, match="label of image 'd' is -1; an index into the 2 classes"):
        small(label=np.array([0, 1, 1, -1]))
    with pytest.raises(InputError, match=r"label 0\.5 is no whole number"):
        small(label=[0, 1, 1, 0.5])
    with pytest.raises(InputError, match="label 'x' is no whole number"):
        small(label=["x", "y", "x", "y"])
    assert small(label=[0.0, 1.0, 1, 0]).label.tolist() == [0, 1, 1, 0]


def test_a_table_in_a_line_and_as_json() -> None:
    table = small(notes=("one",))
    assert table.summary() == "4 images of 2 patients: 2 x, 2 y"
    assert small(patient=("a", "b", "c", "d")).summary() == "4 images: 2 x, 2 y"
    assert small(rows_are="slide", label=[0, 0, 0, 0]).summary() == "4 slides of 2 patients: 4 x, 0 y"
    assert table._repr_html_() == "<p>4 images of 2 patients: 2 x, 2 y</p><ul><li>one</li></ul>"
    found = json.loads(table.to_json())
    assert found["classes"] == ["x", "y"] and found["notes"] == ["one"] and len(found["rows"]) == 4
    assert found["rows"][2] == {
        "image_path": "c", "patient_id": "Q", "slide_id": "u", "site": "", "label": "y", "prob_x": 0.5, "prob_y": 0.5,
    }  # fmt: skip
    unknown = small(patient=("a", "b", "c", "d")).to_frame()
    assert unknown["patient_id"].tolist() == [""] * 4 and unknown["label"].tolist() == ["x", "x", "y", "y"]
