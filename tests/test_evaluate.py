"""`counterstain evaluate` on anyone's table: threshold, groups, prevalence, promises, page; what it says."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from counterstain.cli import app
from counterstain.evaluation.calibration import fit_calibration
from counterstain.evaluation.metric_names import RANGES
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import hash_file, write_json
from counterstain.study.calibrate import write_calibrated

RUNNER = CliRunner()
STAMP = "image-level: patients are unknown or ignored, so every figure here is optimistic"


def call(*arguments: str | Path) -> Result:
    return RUNNER.invoke(app, [str(argument) for argument in arguments])


def refusal(result: Result) -> str:
    """The one line that a refused call ends in."""
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("counterstain: ")]
    return line


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def write(
    path: Path, seed: int, *, patients: int = 40, prefix: str = "t", shift: float = 0.0, one: bool = False
) -> Path:
    """Six images per patient, three sites and two scanners; `one`: every patient is benign."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_path", "patient_id", "site", "Scanner", "label", "prob_benign", "prob_malignant"])
        for patient in range(patients):
            positive = patient % 2 == 1 and not one
            for image in range(6):
                z = (1.3 if positive else -1.3) + rng.normal() + shift
                p = float(1 / (1 + np.exp(-z)))
                row = [
                    f"{prefix}{patient}-{image}.png",
                    f"{prefix}{patient}",
                    "abc"[patient % 3],
                    "xy"[patient // 2 % 2],
                ]
                writer.writerow([*row, "malignant" if positive else "benign", 1 - p, p])
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "test.csv", 1)


def record(*arguments: str | Path) -> dict:
    result = call("evaluate", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict = json.loads(result.stdout)
    return found


# ------------------------------------------------------------------------------------------------------- thresholds


def test_a_number_is_the_threshold(table: Path) -> None:
    """Sensitivity and specificity at 0.3, counted from the file."""
    rows = rows_of(table)
    positive = [float(row["prob_malignant"]) >= 0.3 for row in rows if row["label"] == "malignant"]
    negative = [float(row["prob_malignant"]) < 0.3 for row in rows if row["label"] == "benign"]
    scores = record(table, "--threshold", "0.3")["decision"]["scores"]
    assert scores["recall"]["value"] == pytest.approx(np.mean(positive))
    assert scores["specificity"]["value"] == pytest.approx(np.mean(negative))
    assert scores["recall"]["low"] < scores["recall"]["value"] < scores["recall"]["high"]


@pytest.mark.parametrize("rule", ["youden", "sensitivity>=0.95", "specificity>=0.9", "cost 5:1"])
def test_a_rule_is_refused_without_validation_patients(table: Path, rule: str) -> None:
    line = refusal(call("evaluate", table, "--threshold", rule))
    assert "--threshold-from val.csv" in line
    assert "looks better than it is" in line


def test_a_rule_is_applied_to_the_validation_table_alone(table: Path, tmp_path: Path) -> None:
    """The threshold doesn't change when the labels that are judged do."""
    validation = write(tmp_path / "val.csv", 2, prefix="v")
    found = record(table, "--threshold", "sensitivity>=0.95", "--threshold-from", validation)["decision"]
    (at,) = found["thresholds"]
    rows = rows_of(validation)
    reached = np.mean([float(row["prob_malignant"]) >= at for row in rows if row["label"] == "malignant"])
    assert reached >= 0.95
    assert found["chosen_on"] == "240 images of 40 validation patients"
    turned = tmp_path / "turned.csv"
    other = {"malignant": "benign", "benign": "malignant"}
    with table.open() as stream, turned.open("w", newline="") as out:
        reader = csv.DictReader(stream)
        writer = csv.DictWriter(out, reader.fieldnames or [])
        writer.writeheader()
        writer.writerows(row | {"label": other[row["label"]]} for row in reader)
    again = record(turned, "--threshold", "sensitivity>=0.95", "--threshold-from", validation)["decision"]
    assert again["thresholds"] == [at]


def test_validation_patients_who_are_judged_too_are_refused(table: Path, tmp_path: Path) -> None:
    line = refusal(call("evaluate", table, "--threshold", "youden", "--threshold-from", table))
    assert "40 patients ('t0' among them) are in the validation table and in the table to be judged" in line
    line = refusal(call("evaluate", table, "--threshold-from", write(tmp_path / "v.csv", 3, prefix="v")))
    assert "without --threshold" in line
    line = refusal(call("evaluate", table, "--threshold", "0.3", "--threshold-from", tmp_path / "v.csv"))
    assert "nothing is chosen" in line


@pytest.mark.parametrize(("given", "message"), [("1.5", "from 0 to 1"), ("-0.1", "from 0 to 1"), ("yuden", "youden")])
def test_a_threshold_that_is_none_is_refused(table: Path, tmp_path: Path, given: str, message: str) -> None:
    validation = () if given != "yuden" else ("--threshold-from", write(tmp_path / "v.csv", 3, prefix="v"))
    assert message in refusal(call("evaluate", table, f"--threshold={given}", *validation))


def test_each_seed_has_its_own_threshold(table: Path, tmp_path: Path) -> None:
    second = write(tmp_path / "second.csv", 4)
    validation = [write(tmp_path / f"v{k}.csv", 5 + k, prefix="v", shift=k) for k in range(3)]
    pair = ("--threshold-from", validation[0], "--threshold-from", validation[1])
    found = record(table, second, "--threshold", "youden", *pair)
    assert len(set(found["decision"]["thresholds"])) == 2
    three = (*pair, "--threshold-from", validation[2])
    assert "3 validation tables for 2 tables" in refusal(
        call("evaluate", table, second, "--threshold", "youden", *three)
    )


# ----------------------------------------------------------------------------------------------- groups, prevalence


def test_groups_by_any_column(table: Path) -> None:
    found = record(table, "--by", "site", "--by", "scanner", "--by", "patient")["subgroups"]
    assert [row["group"] for row in found["site"]["arms"]["model"]["groups"]] == ["a", "b", "c"]
    scanner = {row["group"]: row for row in found["scanner"]["arms"]["model"]["groups"]}
    assert {name: (row["images"], row["patients"]) for name, row in scanner.items()} == {"x": (120, 20), "y": (120, 20)}
    assert found["patient"]["arms"]["model"]["count"] == 40
    # Accuracy of one scanner, counted from the file.
    rows = [row for row in rows_of(table) if row["Scanner"] == "x"]
    right = [(float(row["prob_malignant"]) > 0.5) == (row["label"] == "malignant") for row in rows]
    assert scanner["x"]["scores"]["accuracy"]["value"] == pytest.approx(np.mean(right))


def test_groups_are_scored_at_the_threshold(table: Path) -> None:
    rows = [row for row in rows_of(table) if row["site"] == "a" and row["label"] == "malignant"]
    found = record(table, "--by", "site", "--threshold", "0.2")["subgroups"]["site"]["arms"]["model"]["groups"][0]
    called = [float(row["prob_malignant"]) >= 0.2 for row in rows]
    assert found["scores"]["recall"]["value"] == pytest.approx(np.mean(called))


@pytest.mark.parametrize(("by", "message"), [("age", "has no column 'age'"), ("slide", "names no slide")])
def test_a_group_that_is_not_there_is_refused(table: Path, by: str, message: str) -> None:
    assert message in refusal(call("evaluate", table, "--by", by))


def test_prevalence_adds_predictive_values_there(table: Path) -> None:
    found = record(table, "--prevalence", "0.05")["decision"]["scores"]
    sens, spec = found["recall"]["value"], found["specificity"]["value"]
    ppv = sens * 0.05 / (sens * 0.05 + (1 - spec) * 0.95)
    npv = spec * 0.95 / (spec * 0.95 + (1 - sens) * 0.05)
    assert found["at_prevalence"]["ppv"]["value"] == pytest.approx(ppv)
    assert found["at_prevalence"]["npv"]["value"] == pytest.approx(npv)
    assert "such as 0.05 for 5 %" in refusal(call("evaluate", table, "--prevalence", "5"))


def test_the_csv_has_every_further_measure(table: Path, tmp_path: Path) -> None:
    call("evaluate", table, "--prevalence", "0.05", "--threshold", "0.4", "--out", tmp_path / "scores")
    rows = rows_of(tmp_path / "scores" / "scores.csv")
    names = {row["metric"] for row in rows}
    assert {
        "npv_at_threshold", "lr_positive_at_threshold", "ppv_at_prevalence", "ici", "calibration_slope",
        "observed_to_expected", "calibration_in_the_large", "ece_positive_10", "auroc",
    } <= names  # fmt: skip
    assert json.loads((tmp_path / "scores" / "scores.json").read_text())["probabilities"]["decision_curve"]


# -------------------------------------------------------------------------------------------------- one class, words


def test_one_class_at_patient_level_has_no_balanced_score(tmp_path: Path) -> None:
    """26 patients of one class, the rest mixed: there is one class at patient level, and it is said."""
    path = tmp_path / "mixed.csv"
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_path", "patient_id", "label", "prob_benign", "prob_malignant"])
        for patient in range(40):
            for image in range(4):
                positive = patient >= 26 and image % 2 == 1
                p = float(np.clip(rng.normal(0.8 if positive else 0.2, 0.1), 0.01, 0.99))
                writer.writerow([f"{patient}-{image}", patient, "malignant" if positive else "benign", 1 - p, p])
    found = record(path)["arms"]["model"]
    by_level = {level: [s for s in found["scores"] if s["level"] == level] for level in ("image", "patient")}
    assert "balanced_accuracy" in {score["metric"] for score in by_level["image"]}
    assert "balanced_accuracy" not in {score["metric"] for score in by_level["patient"]}
    assert next(s["value"] for s in by_level["patient"] if s["metric"] == "auroc") is None
    assert found["warnings"][0] == (
        "patient level: every patient with images of one class only is 'benign'; AUROC, MCC and balanced accuracy are "
        "undefined, and accuracy says nothing about the other class"
    )


def test_one_class_in_the_whole_table_is_said(tmp_path: Path) -> None:
    result = call("evaluate", write(tmp_path / "one.csv", 1, one=True), "--out", tmp_path / "one.html")
    assert result.exit_code == 0, result.output
    assert "image level: all images are 'benign'" in result.stdout.replace("\n", " ")
    assert "balanced accuracy  " not in result.stdout
    page = (tmp_path / "one.html").read_text()
    assert "AUROC is undefined, because only one class is present" in page


@pytest.mark.parametrize(("patients", "one"), [(1, True), (2, False), (3, False), (12, False), (12, True)])
@pytest.mark.filterwarnings("error")
def test_nothing_odd_is_printed(tmp_path: Path, patients: int, one: bool) -> None:
    """No "1 patients", no NaN, no NumPy warning, whatever the table lacks."""
    path = write(tmp_path / "few.csv", 7, patients=patients, one=one)
    result = call("evaluate", path, "--threshold", "0.99", "--prevalence", "0.05", "--out", tmp_path / "few.html")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "few.html").read_text()
    for text in (result.output, page):
        for word in (" 1 patients", " 1 seeds", "(1 seeds", " 1 images", "nan]", "+nan", " nan", "Warning", "None"):
            assert word not in text, word
    record(path)  # is JSON: no NaN in it


def test_more_than_two_classes_have_what_they_can(tmp_path: Path) -> None:
    path = tmp_path / "three.csv"
    rng = np.random.default_rng(1)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_path", "patient_id", "label", "prob_a", "prob_b", "prob_c"])
        for image in range(120):
            label = image // 3 % 3
            p = rng.dirichlet([4.0 if k == label else 1.0 for k in range(3)])
            writer.writerow([f"i{image}", image // 3, "abc"[label], *map(float, p / p.sum())])
    found = record(path)
    assert found["decision"] is None
    assert found["probabilities"]["reliability"]["kind"] == "confidence"
    assert call("evaluate", path, "--out", tmp_path / "three.html").exit_code == 0
    assert "there are 3 classes; --prevalence is for two" in refusal(call("evaluate", path, "--prevalence", "0.1"))
    assert "a threshold needs two" in refusal(call("evaluate", path, "--threshold", "0.3"))


# -------------------------------------------------------------------------------------------------- a deployed model


def bundle(folder: Path, validation: Path, stamp: str = "") -> Path:
    """What evaluate reads of a bundle: its record, its calibration and their sums."""
    fitted = fit_calibration(read_predictions(validation))
    write_json(folder / "calibration.json", fitted.to_record())
    write_json(folder / "bundle.json", {"classes": list(fitted.classes), "stamp": stamp})
    names = ("bundle.json", "calibration.json")
    (folder / "SHA256SUMS").write_text("".join(f"{hash_file(folder / name)}  {name}\n" for name in names))
    write_calibrated(read_predictions(folder.parent / "new.csv"), fitted, folder.parent / "predicted.csv")
    return folder


def test_a_deployed_model_is_held_to_what_it_stated(tmp_path: Path) -> None:
    write(tmp_path / "new.csv", 9, patients=100, prefix="n", shift=-1.5)
    model = bundle(tmp_path / "model", write(tmp_path / "val.csv", 8, patients=60, prefix="v"), STAMP)
    found = record(tmp_path / "predicted.csv", "--model", model)["deployed"]
    word = {row["what"]: row["word"] for row in found["rows"]}
    assert word == {"coverage": "missed", "sensitivity": "missed", "specificity": "kept", "ECE": "missed"}
    result = call("evaluate", tmp_path / "predicted.csv", "--model", model, "--out", tmp_path / "page.html")
    text = " ".join(result.stdout.split())
    assert "coverage: stated 0.900, obtained 0." in text
    assert "image-level study" in text
    page = (tmp_path / "page.html").read_text()
    assert "Missed what the model stated: coverage, sensitivity and ECE." in page
    assert "image-level study" in page
    (model / "calibration.json").unlink()
    (model / "SHA256SUMS").write_text(f"{hash_file(model / 'bundle.json')}  bundle.json\n")
    bare = call("evaluate", tmp_path / "predicted.csv", "--model", model)
    assert "states nothing that it could be held to: it was never calibrated" in " ".join(bare.stdout.split())


def test_two_tables_are_not_one_deployed_model(tmp_path: Path, table: Path) -> None:
    write(tmp_path / "new.csv", 9, prefix="n")
    model = bundle(tmp_path / "model", write(tmp_path / "val.csv", 8, prefix="v"))
    second = write(tmp_path / "second.csv", 4)
    assert "held against one table" in refusal(call("evaluate", table, second, "--model", model))
    assert "nor a bundle" in refusal(call("evaluate", table, "--model", tmp_path))


def test_the_page_stands_alone(table: Path, tmp_path: Path) -> None:
    """One file, no script, no network, and the same bytes for the same table."""
    for name in ("one.html", "two.html"):
        result = call("evaluate", table, "--by", "site", "--prevalence", "0.05", "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
    page = (tmp_path / "one.html").read_text()
    assert page == (tmp_path / "two.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.html", "test.csv", "two.html"]
    assert "<script" not in page
    assert "http" not in page.split("</style>")[1].replace("http-equiv", "")
    for section in ("At a glance", "Decisions and predictive values", "Probabilities", "Subgroups", "All measures"):
        assert f"<h2>{section}</h2>" in page
    assert page.count("<img") == 7  # four of the core set, the groups, the confusion matrix, precision and recall
    assert "Counterstain evaluation" in page


# --------------------------------------------------------------------------------------------- a stranger's tables


def plain(path: Path, probs: dict[str, tuple[str, list[float]]]) -> Path:
    """A table of {patient: (label, a probability per image)}."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_path", "patient_id", "label", "prob_benign", "prob_malignant"])
        for patient, (label, own) in probs.items():
            writer.writerows([f"{patient}-{k}", patient, label, 1 - p, p] for k, p in enumerate(own))
    return path


def alike(path: Path, wrong: float = 0.1) -> Path:
    """20 patients whose images all have the same two probabilities."""
    labels = ["benign", "malignant"]
    return plain(path, {f"p{k}": (labels[k % 2], [[wrong, 1 - wrong][k % 2]] * 5) for k in range(20)})


def test_no_interval_has_no_width(tmp_path: Path) -> None:
    """Where no patient changes a measure nothing is known of further patients, and rounding is no variance."""
    found = record(alike(tmp_path / "alike.csv"))
    scores = found["arms"]["model"]["scores"]
    assert scores
    probabilities = found["probabilities"]
    curve = probabilities["decision_curve"]["model"]
    every = [*scores, probabilities["smoothed"]["ici"], probabilities["reliability"]["ece"]]
    every += [dict(zip(("low", "high"), pair, strict=True)) for pair in zip(curve["low"], curve["high"], strict=True)]
    for score in every:
        assert score["low"] is None or score["low"] < score["high"], score


@pytest.mark.parametrize("patients", [2, 3, 5, 40])
def test_no_interval_leaves_its_measure(tmp_path: Path, patients: int) -> None:
    found = record(write(tmp_path / "few.csv", 3, patients=patients))
    curve = found["probabilities"]["decision_curve"]
    price = [t / (1 - t) for t in curve["thresholds"]]
    for low, high, cost in zip(curve["model"]["low"], curve["model"]["high"], price, strict=True):
        assert low is None or (low >= -cost and high <= 1)
    for score in found["arms"]["model"]["scores"]:
        if score["metric"] != "loss" and score["low"] is not None:
            assert score["low"] >= RANGES.get(score["metric"], (0.0, 1.0))[0]
            assert score["high"] <= 1


def test_copies_are_not_seeds_here_either(table: Path) -> None:
    line = refusal(call("evaluate", table, table))
    assert "copies are not seeds" in line
    assert "--fixed-models" not in line


def test_a_lone_patient_of_a_class_is_named(tmp_path: Path) -> None:
    few = plain(
        tmp_path / "few.csv", {"a": ("benign", [0.2, 0.6]), "b": ("malignant", [0.9]), "c": ("malignant", [0.7])}
    )
    assert "only one patient has 'benign'" in call("evaluate", few).output
    assert "only one" not in call("evaluate", write(tmp_path / "t.csv", 1)).output


@pytest.mark.parametrize("rule", ["foo", "sensitivity>=2", "sensitivity=0.9", "cost 5", "youdens"])
def test_a_word_that_is_no_rule_isn_t_called_one(table: Path, rule: str) -> None:
    assert f"threshold is '{rule}'; needed: youden" in refusal(call("evaluate", table, "--threshold", rule))


@pytest.mark.parametrize("name", ["scores.csv", "r.json", "page.PDF"])
def test_a_place_that_looks_like_another_file_is_refused(table: Path, tmp_path: Path, name: str) -> None:
    assert "name a page that ends in .html, or a folder" in refusal(call("evaluate", table, "--out", tmp_path / name))
    assert not (tmp_path / name).exists()


def test_hard_calls_are_called_by_the_table(table: Path, tmp_path: Path) -> None:
    hard = tmp_path / "hard.csv"
    with hard.open("w") as stream:
        stream.write("image_path,label,predicted\n")
        stream.writelines(f"i{k},{'ab'[k % 2]},{'ab'[k % 3 % 2]}\n" for k in range(60))
    said = call("evaluate", hard).output
    assert "Predicted 'b' by the table itself: value and 95 % interval" in said
    assert "most probable" not in said
    assert said.count("independent") == 1
    assert "where it is the most probable class" in call("evaluate", table).output


def test_groups_too_small_to_be_scored_do_not_bury_the_others(table: Path) -> None:
    said = call("evaluate", table, "--by", "prob_benign").output
    assert "groups of fewer than 10 patients are not scored, and not shown (240 of 240)" in said
    assert said.count("not scored") == 1


def test_what_is_undefined_has_no_interval(tmp_path: Path) -> None:
    """A constant model calls nobody negative: LR- is 0 / 0."""
    constant = plain(tmp_path / "c.csv", {f"p{k}": (["benign", "malignant"][k % 2], [0.7] * 3) for k in range(20)})
    assert "undefined [" not in call("evaluate", constant).output


def test_a_table_of_anyone_is_no_test_part_and_no_seed(table: Path) -> None:
    said = call("evaluate", table).output
    assert "Image level: value and 95 % interval, unit patient, 240 images of 40 patients" in said
    assert "model (1 table)" in said


def test_the_page_gives_levels_and_draws_nothing_empty(
    table: Path, tmp_path: Path, unlevelled: Callable[[str], list[str]]
) -> None:
    assert call("evaluate", table, "--by", "site", "--out", tmp_path / "page.html").exit_code == 0
    page = (tmp_path / "page.html").read_text()
    assert "95\u00a0% interval [" in page.split('class="verdict">')[1].split("</p>")[0]
    assert "<dt>Tables</dt><dd>1</dd>" in page
    assert "95 % interval" not in page  # the number and its % are never on two lines
    assert 'alt="ROC' in page
    assert unlevelled(page) == []
    one = write(tmp_path / "one.csv", 1, one=True)
    assert call("evaluate", one, "--out", tmp_path / "one.html").exit_code == 0
    page = (tmp_path / "one.html").read_text()
    assert "AUROC is undefined, because only one class is present" in page
    assert 'alt="ROC' not in page
    assert 'alt="Precision' not in page
