"""What rows are called: every sentence names slides, patients or bags as what they are, and images alone as images."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from counterstain.errors import InputError
from counterstain.evaluation.arm_scores import score_arms
from counterstain.evaluation.calibration import fit_calibration, training_seen_words, use_warnings
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.evaluation_tables import evaluation_tables
from counterstain.evaluation.pooled_predictions import pool_patients
from counterstain.evaluation.predictions import Predictions, align
from counterstain.evaluation.predictions_csv import read_predictions, write_predictions
from counterstain.evaluation.rows import RowName, rows_named
from counterstain.evaluation.scores_result import Scores
from counterstain.evaluation.table_evaluation import evaluate_tables
from counterstain.reports.table_report import write_table_report
from counterstain.terminal import print_comparison, print_scores

Make = Callable[..., Predictions]
KINDS: tuple[RowName, ...] = ("image", "slide", "patient", "bag")
IMAGE = re.compile(r"\bimages?\b", re.IGNORECASE)


def of_kind(table: Predictions, kind: RowName, *, patients: bool = True) -> Predictions:
    """The table with the names that a study of this kind gives its rows."""
    count = range(len(table))
    image = tuple(f"{k}.{'png' if kind == 'image' else 'h5'}" for k in count)
    slide = {"image": ("",) * len(table), "slide": image, "patient": ("",) * len(table)}.get(
        kind, tuple(f"S{k // 2}" for k in count)
    )
    patient = tuple(f"P{k}" for k in count) if kind == "patient" else table.patient if patients else image
    return replace(table, image=image, slide=slide, patient=patient, rows_are=rows_named(image, slide, patient))


def texts(record: object, key: str = "") -> list[str]:
    """Every value of a record that is a sentence; keys, and the records' own names for levels and units, are none."""
    if isinstance(record, dict):
        return [text for name, value in record.items() for text in texts(value, name)]
    if isinstance(record, list | tuple):
        return [text for value in record for text in texts(value, key)]
    return [record] if isinstance(record, str) and key not in ("level", "unit", "rows_are") else []


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_rows_is_read_back_from_a_file(kind: RowName, random_table: Make, tmp_path: Path) -> None:
    table = of_kind(random_table(1), kind)
    assert table.rows_are == kind
    write_predictions(table, tmp_path / "t.csv")
    again = read_predictions(tmp_path / "t.csv", classes=table.classes)
    assert (again.rows_are, again.image, again.patient) == (kind, table.image, table.patient)
    assert again.notes == ()


def test_slides_and_features_are_told_from_images_by_their_files() -> None:
    names, none = ["a", "b"], ["", ""]
    for suffix in (".h5", ".HDF5", ".svs", ".ndpi", ".mrxs"):
        assert rows_named([name + suffix for name in names], ["s", "t"], ["p", "p"]) == "slide"
    for suffix in (".png", ".tif", ".h5.png", ""):
        assert rows_named([name + suffix for name in names], ["s", "t"], ["p", "p"]) == "image"
    assert rows_named(["a.h5", "b.png"], ["s", "t"], ["p", "p"]) == "image"
    assert rows_named(["a.h5", "b.h5"], none, ["p", "p"]) == "slide"  # a patient with two files
    assert rows_named(["a.h5", "b.h5"], none, ["a.h5", "b.h5"]) == "slide"  # patients unknown
    assert rows_named(["a.h5", "b.h5"], ["s", ""], ["p", "q"]) == "slide"
    assert rows_named(names, names, ["p", "p"]) == "slide"


@pytest.mark.parametrize("patients", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_no_sentence_calls_rows_what_they_are_not(
    kind: RowName, n_classes: int, patients: bool, random_table: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    table = of_kind(random_table(1, n_classes=n_classes), kind, patients=patients)
    first, second = (
        [replace(table, prob=random_table(seed, n_classes=n_classes).prob) for seed in seeds]
        for seeds in ((1, 2, 3), (4, 5, 6))
    )
    arms = {"a": first, "b": second}
    scores, compared = score_arms(arms), compare_arms(arms, detect=0.02)
    alone, lone = evaluate_tables([first[0]]), score_arms({"a": [replace(first[0], label=first[0].label * 0)]})
    said = texts([scores, compared, compare_arms(arms, hypothesis="noninferiority", margin=0.1), alone, lone])
    print_scores(scores)
    print_comparison(compared)
    print_scores(lone)
    said += [capsys.readouterr().out, Scores(scores, "a").summary(), repr(Scores(scores, "a")), first[0].summary()]
    for table in evaluation_tables(alone):
        said += [table.title, *table.head]
    known = patients or kind == "patient"
    assert any(f"{kind} level" in text for text in said)
    assert any(f"{kind if not known else 'patient'} as the unit" in text for text in said)
    wrong = [text for text in said if IMAGE.search(text) and kind != "image"]
    assert wrong == []
    if known and kind != "patient":
        assert any("20 patients (200 " + kind in text for text in said)
    other = {"slide", "bag"} - {kind}
    assert not [text for text in said if any(re.search(rf"\b\d+ {name}s\b", text) for name in other)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_of_a_table_calls_its_rows_what_they_are(kind: RowName, random_table: Make, tmp_path: Path) -> None:
    table = of_kind(random_table(1), kind)
    page = write_table_report(evaluate_tables([table]), [table], tmp_path / "page.html").read_text(encoding="utf-8")
    page = re.sub(r"<style.*?</style>|data:[^\"]*", "", page, flags=re.DOTALL)
    visible = re.sub(r"<[^>]+>", " ", page)
    explained = visible.split("Glossary")[0] if kind == "patient" else visible  # what a unit is, is said of images
    assert bool(IMAGE.search(explained)) == (kind == "image")
    assert f"of the {kind}s)" in visible and f"{kind.capitalize()} level, of the class" in visible
    assert visible.count("Patient level") == 1


def test_a_level_may_be_named_by_what_the_rows_are(random_table: Make) -> None:
    arms = {name: [of_kind(random_table(seed), "slide")] for name, seed in (("a", 1), ("b", 1))}
    arms["b"] = [replace(arms["a"][0], prob=random_table(2).prob)]
    named, plain = (compare_arms(arms, claim="models", level=level) for level in ("slide", "image"))
    assert json.dumps(named, default=float) == json.dumps(plain, default=float)
    scores = Scores(score_arms({"a": arms["a"]}), "a")
    assert scores.at("auroc", level="slide") == scores["auroc"]
    tiles = {name: [of_kind(random_table(seed), "image")] for name, seed in (("a", 1), ("b", 1))}
    with pytest.raises(InputError, match="at image level or patient level"):
        compare_arms(tiles, claim="models", level="slide")


def test_rows_of_patients_are_written_and_joined_as_patients(random_table: Make, tmp_path: Path) -> None:
    pooled = pool_patients(random_table(1))
    write_predictions(pooled, tmp_path / "p.csv")
    again = read_predictions(tmp_path / "p.csv", classes=pooled.classes)
    assert (again.rows_are, again.unit, again.patient) == ("patient", "patient", pooled.patient)
    turned = again.image[::-1]
    place = [again.image.index(name) for name in turned]
    assert align(again, replace(again, image=turned, patient=turned, label=again.label[place]))[1].image == again.image


def test_what_saw_the_training_slides_says_which_rows_did(random_table: Make) -> None:
    fitted = fit_calibration(of_kind(random_table(1, images=8, patients=8), "slide", patients=False))
    assert any("fitted on 8 validation slides only" in note for note in fitted.notes)
    said = use_warnings(fitted, "slide-level: patients are unknown or ignored")
    assert "in a slide-level study: their validation slides are of patients that were trained on" in said[-1]
    images = "validation images are of patients and slides that were trained on, too, so what they state is too good"
    assert images in training_seen_words("image-level: patients") and training_seen_words("") == ""
    assert said[-1].startswith("calibration, threshold and prediction sets were fitted")
    bare = fit_calibration(random_table(1, n_classes=3), method="none")
    assert use_warnings(bare, "image-level")[-1].startswith("prediction sets were fitted in an image-level study")
    stated = fit_calibration(random_table(1), threshold="0.4")
    assert use_warnings(stated, "image-level")[-1].startswith("calibration and prediction sets were fitted")


def test_equal_groups_have_no_worst(random_table: Make) -> None:
    table = random_table(1)
    perfect: dict[str, Any] = {"prob": 1.0 * (table.label[:, None] == [0, 1])}
    sites = tuple("AB"[int(name.split("-")[1]) // 10] for name in table.patient)
    record = evaluate_tables([replace(table, site=sites, **perfect)], by={"site": None})
    assert record["subgroups"]["site"]["arms"]["model"]["worst"] is None
