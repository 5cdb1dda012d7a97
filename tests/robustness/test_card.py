"""The whole card: a planted model whose weakness is known, its files and their schema, the verb and its exit codes."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.errors import GateError, InputError
from counterstain.evaluation.calibration import Calibration
from counterstain.files import write_csv, write_json
from counterstain.learning.bundle import Bundle, seal, write_bundle
from counterstain.learning.networks import build_network
from counterstain.learning.predictor import Predictor, load_predictor
from counterstain.progress import Progress
from counterstain.reports.robustness_figures import curves_figure
from counterstain.reports.robustness_report import headline
from counterstain.robustness import card, measurement
from counterstain.robustness.card import robustness_card

SHARE: dict[str, Any] = {
    "type": "object",
    "required": ["value", "low", "high"],
    "additionalProperties": False,
    "properties": {end: {"type": ["number", "null"]} for end in ("value", "low", "high")},
}
LOSS: dict[str, Any] = {
    "type": "object",
    "required": ["value", "difference", "low", "high"],
    "additionalProperties": False,
    "properties": {end: {"type": ["number", "null"]} for end in ("value", "difference", "low", "high")},
}
STEP: dict[str, Any] = {
    "type": "object",
    "required": ["at", "shown", "scores", "flipped", "moved"],
    "properties": {
        "at": {"type": "number"},
        "shown": {"type": "string"},
        "scores": {"type": "object", "additionalProperties": LOSS, "minProperties": 3},
        "flipped": SHARE,
        "moved": SHARE,
    },
}
RECORD: dict[str, Any] = {
    "type": "object",
    "required": [
        "schema", "counterstain", "bundle", "cohort", "unit", "threshold", "clean", "curves", "rotation", "sites",
        "site_probe", "budget", "notes", "example",
    ],
    "properties": {
        "schema": {"const": "counterstain.robustness/1"},
        "unit": {"enum": ["patient", "image"]},
        "clean": {"type": "object", "additionalProperties": SHARE},
        "curves": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["trial", "title", "axis", "percent", "signed", "clean_at", "steps"],
                "properties": {"steps": {"type": "array", "items": STEP, "minItems": 5}},
            },
        },
        "notes": {"type": "array", "items": {"type": "string"}},
    },
}  # fmt: skip


def reads_brightness(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits of a model that calls a tile b where its mean is above 130, between the two classes."""
    mean = tiles.reshape(len(tiles), -1).mean(axis=1)
    return np.column_stack([np.zeros(len(tiles)), (mean - 135) / 12]).astype(np.float32)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever bundle is loaded, it is the model that reads the brightness."""

    def load(folder: Path, **_: Any) -> Predictor:
        return replace(load_predictor(folder), logits=reads_brightness)

    monkeypatch.setattr(card, "load_predictor", load)


def worst(record: dict[str, Any], trial: str, measure: str) -> float:
    curve = next(curve for curve in record["curves"] if curve["trial"] == trial)
    return min(step["scores"][measure]["difference"] for step in curve["steps"])


@pytest.mark.slow
@pytest.mark.usefixtures("planted")
def test_a_model_that_reads_brightness_fails_where_brightness_changes_and_nowhere_else(
    small: Any, tmp_path: Path
) -> None:
    budget = tmp_path / "budget.yaml"
    budget.write_text("brightness: {balanced_accuracy_drop: 0.2, at: 0.5}\nrotation: {flipped: 0.02, moved: 0.01}\n")
    seen: list[tuple[int, int]] = []
    with pytest.raises(GateError) as shut:
        robustness_card(
            small.bundle,
            small.cohort,
            tmp_path / "card",
            budget=budget,
            sample=24,  # one of each patient
            talk=Progress(step=lambda _, done, total: seen.append((done, total))),
        )
    lines = str(shut.value).splitlines()
    assert lines[0] == "2 of 4 limits of budget.yaml are not met"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "brightness at −50\u00a0%",
        "brightness at +50\u00a0%",
    ]
    record = json.loads((tmp_path / "card" / "robustness.json").read_text())
    jsonschema.validate(record, RECORD)
    assert record["clean"]["balanced_accuracy"]["value"] == 1
    assert worst(record, "brightness", "balanced_accuracy") == -0.5
    for spared in ("blur", "jpeg"):
        assert worst(record, spared, "balanced_accuracy") == 0
        assert worst(record, spared, "auroc") == 0
    assert record["rotation"]["flipped"] == {"value": 0, "low": 0, "high": 0}
    assert record["rotation"]["largest_moved"]["value"] < 1e-6
    assert [row["met"] for row in record["budget"]["limits"]] == [False, False, True, True]
    assert seen[-1] == (24 * 63, 24 * 63)
    assert record["site_probe"]["sites"] == ["site-0", "site-1"]
    assert [site["patients"] for site in record["sites"]["sites"]] == [12, 12]
    with pytest.raises(InputError, match="holds a robustness card of other images or other settings"):
        robustness_card(small.bundle, small.cohort, tmp_path / "card")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_card_that_is_stopped_anywhere_goes_on(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped at every stage, as a kill would: the same bytes as in one go, and no answer asked for twice."""
    asked: list[int] = []
    stop_at = [0]
    written: list[str] = []

    def counted(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(len(tiles))
        if stop_at[0] and sum(asked) > stop_at[0]:
            raise SystemExit(137)
        return reads_brightness(tiles)

    def stopping(name: str, whole: Any) -> Any:
        def write(*args: Any, **more: Any) -> Any:
            if name not in written:
                written.append(name)
                raise SystemExit(137)
            return whole(*args, **more)

        return write

    monkeypatch.setattr(card, "load_predictor", lambda folder, **_: replace(load_predictor(folder), logits=counted))
    monkeypatch.setattr(measurement, "BATCH", 12)
    monkeypatch.setattr(measurement, "BLOCK", 24)
    options: dict[str, Any] = {"only": ["brightness", "rotation"]}
    robustness_card(small.bundle, small.cohort, tmp_path / "whole", **options)
    in_all, out = sum(asked), tmp_path / "pieces"
    assert in_all == 72 * (1 + 10 + 7)
    asked.clear()
    for name in ("write_examples", "write_csv", "write_json", "write_card"):
        monkeypatch.setattr(card, name, stopping(name, getattr(card, name)))
    for stop in (150, 500, 500, 0, 0, 0, 0):  # in the middle of each block, then before each of the four writers
        stop_at[0] = stop
        asked.clear()
        with pytest.raises(SystemExit):
            robustness_card(small.bundle, small.cohort, out, **options)
    assert written == ["write_examples", "write_csv", "write_json", "write_card"]
    assert (out / "robustness.json").is_file() and not (out / "robustness.html").exists()
    asked.clear()
    lines: list[str] = []
    again = robustness_card(small.bundle, small.cohort, out, **options, talk=Progress(say=lines.append))
    assert asked == [] and "already exists for the same model" in lines[-1]
    assert contents(out) == contents(tmp_path / "whole")
    assert again == json.loads((out / "robustness.json").read_text())
    with pytest.raises(InputError, match="other images or other settings"):
        robustness_card(small.bundle, small.cohort, out, only=["brightness"])
    other = tmp_path / "other"
    shutil.copytree(small.bundle, other)
    (other / "README.md").write_text("another")
    seal(other)
    with pytest.raises(InputError, match="card of another model"):
        robustness_card(other, small.cohort, out, **options)


@pytest.mark.usefixtures("planted")
def test_the_table_holds_every_number_and_the_page_nothing_from_outside(
    small: Any, tmp_path: Path, unlevelled: Callable[[str], list[str]]
) -> None:
    out = tmp_path / "card"
    record = robustness_card(small.bundle, small.cohort, out, only=["brightness", "jpeg", "rotation"])
    with (out / "robustness.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    steps = [(curve["trial"], step) for curve in record["curves"] for step in curve["steps"]]
    assert len(rows) == 4 + len(steps) * 6 + 4 + 2 * 4
    assert {row["confidence"] for row in rows} == {"0.95"}
    for trial, step in steps:
        own = [row for row in rows if row["trial"] == trial and float(row["at"]) == step["at"]]
        for row in own:
            if row["interval_of"] == "difference":
                kept = step["scores"][row["measure"]]
                assert float(row["difference"]) == kept["difference"]
                assert float(row["low"]) == kept["low"]
    page = (out / "robustness.html").read_text(encoding="utf-8")
    assert "Content-Security-Policy" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "<script" not in page
    assert unlevelled(page) == []
    before = page
    card.write_card(out)  # drawn from the record alone, to the same bytes
    assert (out / "robustness.html").read_text(encoding="utf-8") == before


@pytest.mark.usefixtures("planted")
def test_names_from_outside_are_text_on_the_page(small: Any, tmp_path: Path) -> None:
    evil = '"><img src=x onerror=alert(1)>'
    table = small.cohort.table.assign(site=np.where(small.cohort.table["site"] == "site-0", evil, "plain"))
    out = tmp_path / "card"
    robustness_card(small.bundle, replace(small.cohort, table=table), out, only=["rotation"])
    page = (out / "robustness.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


@pytest.mark.usefixtures("planted")
def test_a_part_of_a_split_a_sample_and_the_bundle_s_threshold(small: Any, tmp_path: Path) -> None:
    patients = sorted(set(small.cohort.patient))
    word = {patient: ("train", "val", "test", "test")[number // 2 % 4] for number, patient in enumerate(patients)}
    splits = tmp_path / "splits.csv"
    rows = [(image, word[p]) for image, p in zip(small.cohort.image, small.cohort.patient, strict=True)]
    write_csv(splits, ("image_path", "split"), rows)
    bundle = tmp_path / "bundle"
    shutil.copytree(small.bundle, bundle)
    fitted = Calibration(
        method="none", parameters={}, threshold=0.999, threshold_rule="specificity>=0.95", alpha=0.1, qhat=0.5,
        classes=("a", "b"), patients=4, images=12, unit="patient",
    )  # fmt: skip
    write_json(bundle / "calibration.json", fitted.to_record())
    seal(bundle)
    record = robustness_card(
        bundle, small.cohort, tmp_path / "card", splits=splits, part="test", sample=20, only=["jpeg"],
        seen=lambda cohort: [f"seen {len(cohort)}"],
    )  # fmt: skip
    assert record["cohort"] | {"images": 20, "of": 36, "part": "test", "patients": 12} == record["cohort"]
    assert record["clean"]["sensitivity"]["value"] < 1
    assert record["threshold"]["value"] == 0.999
    assert "validation patients by 'specificity>=0.95'" in record["threshold"]["words"]
    assert record["notes"][:2] == ["seen 20", "a sample of 20 of 36 images, balanced over patients"]
    assert record["rotation"] is None
    assert record["site_probe"] is None
    with pytest.raises(InputError, match="no image in part 'tset'"):
        robustness_card(bundle, small.cohort, tmp_path / "other", splits=splits, part="tset")


@pytest.mark.usefixtures("planted")
def test_without_patients_sites_or_scale_it_says_so(small: Any, tmp_path: Path) -> None:
    table = small.cohort.table.assign(site="", patient_id="", mpp=np.nan)
    record = robustness_card(
        small.bundle, replace(small.cohort, table=table), tmp_path / "card", only=["blur_px", "rotation"]
    )
    assert record["unit"] == "image"
    assert [curve["trial"] for curve in record["curves"]] == ["blur_px"]
    words = " ".join(record["notes"])
    for needed in ("images are treated as independent", "blur is in px of the tile", "no site is known"):
        assert needed in words
    assert record["sites"] is None


def test_another_task_another_scale_and_a_sample_of_none(small: Any, tmp_path: Path) -> None:
    table = small.cohort.table.assign(label=small.cohort.table["label"].replace("a", "c"))
    other = replace(small.cohort, table=table, classes=("c", "b"))
    with pytest.raises(InputError, match="the cohort has classes c, b"):
        robustness_card(small.bundle, other, tmp_path / "card")
    with pytest.raises(InputError, match="--sample is 0"):
        robustness_card(small.bundle, small.cohort, tmp_path / "card", sample=0)
    coarse = replace(small.cohort, table=small.cohort.table.assign(mpp=1.0))
    record = robustness_card(small.bundle, coarse, tmp_path / "card", only=["rotation"], sample=24, runtime="torch")
    assert any("trained at 0.5 µm/px, these tiles have 1" in note for note in record["notes"])


def test_one_patient_is_refused(small: Any, tmp_path: Path) -> None:
    one = replace(small.cohort, table=small.cohort.table.assign(patient_id="P"))
    with pytest.raises(InputError, match="72 images are of patient 'P'"):
        robustness_card(small.bundle, one, tmp_path / "card")


@pytest.mark.usefixtures("planted")
def test_the_verb_and_its_exit_codes(small: Any, tmp_path: Path) -> None:
    budget = tmp_path / "budget.yaml"
    budget.write_text("rotation: {flipped: 0.02}\n")
    run = CliRunner()
    asked = ["robustness", str(small.bundle), str(small.path), "--only", "rotation", "--budget", str(budget)]
    kept = run.invoke(app, [*asked, "--out", str(tmp_path / "kept"), "--json"])
    assert kept.exit_code == 0, kept.stderr
    assert json.loads(kept.stdout)["budget"]["met"] is True
    budget.write_text("clean: {auroc: 1.0}\njpeg: {auroc_drop: 0.0, at: 10}\nrotation: {flipped: 0.02}\n")
    broken = run.invoke(app, [*asked, "--only", "jpeg", "--out", str(tmp_path / "broken")])
    assert broken.exit_code == 3
    assert "limits of budget.yaml are not met" in broken.stderr
    assert "clean: AUROC is 1.000" in broken.stderr
    assert "Change of AUROC" in broken.stdout
    assert (tmp_path / "broken" / "robustness.html").is_file()
    budget.write_text("rotaton: {flipped: 0.02}\n")
    wrong = run.invoke(app, [*asked, "--out", str(tmp_path / "wrong")])
    assert wrong.exit_code == 2
    assert "did you mean 'rotation'?" in wrong.stderr
    assert not (tmp_path / "wrong").exists()


def test_three_classes_have_no_threshold_and_no_sensitivity(small: Any, tmp_path: Path) -> None:
    classes = ("a", "b", "c")
    bundle = Bundle(network="given", classes=classes, tile_px=127, fit="exact", scale="0..1")
    write_bundle(tmp_path / "bundle", bundle, build_network("given", classes=3, tile_px=127, seed=0))
    label = [classes[int(name[1:]) % 3] for name in small.cohort.patient]
    cohort = replace(small.cohort, table=small.cohort.table.assign(label=label), classes=classes, positive=None)
    out = tmp_path / "card"
    record = robustness_card(tmp_path / "bundle", cohort, out, only=["jpeg"], sample=24, runtime="torch")
    assert list(record["clean"]) == ["auroc", "balanced_accuracy", "accuracy"]
    assert record["threshold"] == {"value": None, "words": "the most probable class is called"}
    jsonschema.validate(json.loads((out / "robustness.json").read_text()), RECORD)
    assert "balanced accuracy and accuracy" in (out / "robustness.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("planted")
def test_a_card_without_intervals_is_drawn_and_meets_no_limit(small: Any, tmp_path: Path) -> None:
    label = np.where(np.array(small.cohort.patient) == "P01", "b", "a")
    cohort = replace(small.cohort, table=small.cohort.table.assign(label=label))
    budget = tmp_path / "budget.yaml"
    budget.write_text("jpeg: {auroc_drop: 1.0, at: 90}\n")
    with pytest.raises(GateError, match="no interval"):
        robustness_card(small.bundle, cohort, tmp_path / "card", only=["jpeg"], budget=budget)
    record = json.loads((tmp_path / "card" / "robustness.json").read_text())
    assert record["curves"][0]["steps"][0]["scores"]["auroc"]["low"] is None
    assert "class 'b' has one patient only" in " ".join(record["notes"])
    assert "no interval" in (tmp_path / "card" / "robustness.html").read_text(encoding="utf-8")


def test_the_headline_names_flipped_decisions_beside_an_untouched_ranking() -> None:
    score = {"difference": 0.0, "low": 0.0, "high": 0.0}
    steps = [{"scores": {"auroc": score}, "flipped": {"value": flipped}, "shown": at} for flipped, at in
             ((0.1, "+20 %"), (0.379, "−30 %"), (0.0, "0"))]  # fmt: skip
    record = {
        "clean": {"auroc": {"value": 1.0, "low": 0.6, "high": 1.0}},
        "curves": [{"title": "Brightness", "steps": steps}],
        "budget": None,
    }
    words = headline(record)
    assert "no trial lowers it" in words
    assert "Most decisions flip under brightness at −30 %: 37.9" in words
    for step in steps:
        step["flipped"] = {"value": 0.0}
    assert "flip" not in headline(record)


def test_a_curve_is_drawn_from_left_to_right_whichever_end_is_worst() -> None:
    score = {"auroc": {"difference": -0.1, "low": -0.2, "high": 0.0}}
    curve = {
        "steps": [{"at": at, "scores": score} for at in (10.0, 30.0, 50.0, 70.0, 90.0)],
        "signed": False, "percent": False, "clean_at": 100.0, "title": "JPEG compression", "axis": "quality",
    }  # fmt: skip
    axis = curves_figure([curve], ["auroc"], title="Change").axes[0]
    line = next(line for line in axis.lines if len(line.get_xdata()) == 6)
    assert list(line.get_xdata()) == [0, 1, 2, 3, 4, 5]
    assert list(line.get_ydata()) == [0, *[-0.1] * 5]
