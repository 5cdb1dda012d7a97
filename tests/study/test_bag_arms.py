"""Arms over feature files: a study ends in a report, attention finds what was planted, no bag is no input."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner, Result

from counterstain.cli import app
from counterstain.cohort.layouts import read_images
from counterstain.errors import GateError, InputError
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import hash_file, read_json, write_csv
from counterstain.images.augment import image_keys
from counterstain.learning.bag_dataset import open_bags
from counterstain.learning.bag_loop import train_bags, write_attention
from counterstain.learning.bundle import read_bundle
from counterstain.learning.config import TrainingConfig
from counterstain.learning.loader import Examples
from counterstain.progress import Progress, TrainingProgress
from counterstain.study.run import plan_study, run_study

WIDTH, PLANTED = 16, 3
STUDY = """\
name: slides
cohort: {path: features/slides.csv}
training: {batch: 4, epochs: 12, learning_rate: 1e-3, device: cpu, threads: 1}
arms:
  mean: {network: mil/mean}
  abmil: {network: mil/abmil}
seeds: [0, 1]
"""


def make_bags(folder: Path, *, patients: int = 24, each: int = 1, tiles: int = 120, seed: int = 0) -> Path:
    """One .h5 a slide of noise; in slides of class pos a few tiles, at known places, are shifted in three features.

    The planted tiles have x = 1, all others x = 0.
    """
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for patient in range(patients):
        for slide in range(each):
            label = ("neg", "pos")[patient % 2]
            count = int(random.integers(tiles // 2, tiles))
            features = random.normal(size=(count, WIDTH)).astype(np.float32)
            coords = np.stack([np.zeros(count), np.arange(count)], axis=1).astype(np.int64)
            if label == "pos":
                planted = random.choice(count, PLANTED, replace=False)
                features[planted, :3] += 4
                coords[planted, 0] = 1
            name = f"P{patient:02}-{slide}.h5"
            with h5py.File(folder / name, "w") as file:
                file.create_dataset("features", data=features)
                placed = file.create_dataset("coords", data=coords)
                placed.attrs.update({"patch_size": 256, "encoder": "planted"})
            rows.append((name, label, f"P{patient:02}", f"P{patient:02}-{slide}", "AB"[patient // 2 % 2]))
    write_csv(folder / "slides.csv", ("image_path", "label", "patient_id", "slide_id", "site"), rows)
    return folder / "slides.csv"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of two arms over 24 slides of 24 patients."""
    make_bags(tmp_path / "features")
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def contents(run: Path) -> dict[str, str]:
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in ("run.log", ".lock"))
    return {path.relative_to(run).as_posix(): hash_file(path) for path in files}


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_the_same_study_makes_the_same_bytes_capped_or_not(study: Path, tmp_path: Path) -> None:
    for cap in ("null", "20"):
        changes = {"training.epochs": "3", "training.bag_tiles": cap}
        made = [contents(run_study(study, folder=tmp_path / f"{cap}-{turn}", overrides=changes)) for turn in (1, 2)]
        assert made[0] == made[1]


def test_a_study_of_feature_files_ends_in_a_report(study: Path) -> None:
    lines: list[str] = []
    run = run_study(study, overrides={"seeds": "[0]", "training.epochs": "2"}, talk=Progress(say=lines.append))
    made = contents(run)
    for name in (
        "report.html",
        "records/comparison.json",
        "records/audit.json",
        "records/splits.csv",
        "predictions/abmil/seed-0.csv",
    ):
        assert name in made
    assert "figures/augmentation.png" not in made
    assert [name for name in made if "checkpoint" in name] == []
    assert any("tiles with 16 features of planted" in line for line in lines)
    # Which patients are tested does not depend on what is learned from.
    tables = [read_predictions(run / "predictions" / arm / "seed-0.csv") for arm in ("mean", "abmil")]
    assert tables[0].image == tables[1].image
    assert set(read_json(run / "records" / "baselines.json")["arms"]) == {"majority", "tile-count"}
    bundle = read_bundle(run / "arms/abmil/seed-0/fold-0-0")
    assert (bundle.network, bundle.layout["width"], bundle.layout["encoder"]) == ("mil/abmil", WIDTH, "planted")
    audit = read_json(run / "records" / "audit.json")
    assert audit["verdict"] == "clean"
    assert any("not looked for" in one["words"] for one in audit["findings"])
    page = (run / "report.html").read_text().replace("<wbr>", "")
    assert "Each slide was a bag of tile features" in page
    assert "We classified 24 slides of 24 patients" in page
    assert "near-duplicates" not in read_paragraph(page)
    assert "257" not in read_paragraph(page)
    for never in ("augmented", "stretched", "Images were", "given network"):
        assert never not in read_paragraph(page), never
    assert "mean (mean pooling, batch 4)" in read_paragraph(page) and "for 2 epochs" in read_paragraph(page)
    assert "used as they are, without augmentation" in read_paragraph(page)
    for text in (visible(page), "\n".join(lines)):
        assert not re.search(r"\bimages?\b", text, re.IGNORECASE)
    assert "primary endpoint was AUROC at slide level" in page and "of 5 patients carry" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "unit", "classes"), [("patient", "patient", 2), ("slide", "slide", 2), ("slide", "patient", 3)]
)
def test_a_report_says_what_its_bags_are(tmp_path: Path, kind: str, unit: str, classes: int) -> None:
    """A bag per patient, slides of unknown patients, and three classes: no sentence of page or terminal says image."""
    table = make_bags(tmp_path / "features", patients=30, each=2 if unit == "patient" == kind else 1)
    rows = table.read_text().splitlines()
    cells = [row.split(",") for row in rows[1:]]
    if kind == "patient":  # the features of all slides of a patient in one file
        cells = [[*row[:3], "", row[4]] for row in cells if row[0].endswith("-0.h5")]
    if unit == "slide":
        cells = [[*row[:2], "", *row[3:]] for row in cells]
    if classes == 3:
        cells = [[row[0], f"grade {int(row[2][1:]) % 3}", *row[2:]] for row in cells]
    table.write_text("\n".join([rows[0], *(",".join(row) for row in cells)]) + "\n")
    lines: list[str] = []
    settings = {"seeds": "[0]", "training.epochs": "1", "name": kind}
    settings |= {"comparison.level": "patient"} if kind == "patient" else {}
    settings |= {"split.unit": "image"} if unit == "slide" else {}
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    run = run_study(path, overrides=settings, talk=Progress(say=lines.append))
    assert read_predictions(run / "predictions/mean/seed-0.csv").rows_are == kind
    page = visible((run / "report.html").read_text().replace("<wbr>", ""))
    for text in (page, "\n".join(lines)):
        assert not re.search(r"\bimages?\b", text, re.IGNORECASE)
    assert f"primary endpoint was AUROC at {kind} level" in page and f"We classified 30 {kind}s" in page
    assert f"with the {unit} as the unit" in page and f"divided them once by {unit}" in page
    assert f"Each {kind} was a bag of tile features" in page
    assert ("audited for shared patients" in page) == (unit == "patient")
    assert ("slide-level: patients are unknown" in page) == (unit == "slide")


def visible(page: str) -> str:
    """What a reader of a page sees, and the texts that stand for its figures."""
    bare = re.sub(r"<style.*?</style>|data:[^\"]*", "", page, flags=re.DOTALL)
    return re.sub(r"<(?!img)[^>]*>", " ", bare).replace('<img class="', "")


def read_paragraph(page: str) -> str:
    """The methods paragraph of a report."""
    start = page.index("We classified")
    return page[start : page.index("</", start)]


@pytest.mark.slow
def test_attention_beats_the_mean_where_few_tiles_tell_and_finds_them(tmp_path: Path) -> None:
    """3 of about 300 tiles tell: the mean over tiles hides what their attention shows."""
    table = make_bags(tmp_path, patients=80, tiles=400)
    cohort = read_images(table)
    store = open_bags(cohort, tmp_path / "store")
    rows, label, key = np.arange(80), cohort.label_index, image_keys(cohort.image)
    train, val, test = rows[:40], rows[40:56], rows[56:]
    found = {}
    for name in ("mil/mean", "mil/abmil"):
        settings = TrainingConfig(
            network=name, batch=4, epochs=25, patience=25, learning_rate=1e-3, device="cpu", threads=1, bag_tiles=250
        )
        trained, answers = train_bags(
            store, Examples(train, label[train], key[train]), Examples(val, label[val], key[val]), classes=2,
            settings=settings, seed=0,
        )  # fmt: skip
        found[name] = roc_auc_score(label[test], answers(test)[:, 1])
        if name == "mil/abmil":
            hits = []
            for row in test[label[test] == 1]:
                weights = trained.network.weights(torch.from_numpy(store.read(row)))
                with h5py.File(tmp_path / cohort.image[row]) as file:
                    planted = np.flatnonzero(file["coords"][:, 0])
                hits.append(set(np.argsort(-weights.numpy())[:PLANTED].tolist()) == set(planted.tolist()))
            assert np.mean(hits) > 0.8
    assert found["mil/abmil"] > 0.97
    assert found["mil/abmil"] > found["mil/mean"] + 0.05


@pytest.mark.slow
def test_a_trained_bundle_predicts_a_manifest_and_writes_its_attention(study: Path, tmp_path: Path) -> None:
    run = run_study(study, overrides={"seeds": "[0]"})
    bundle = run / "arms/abmil/seed-0/fold-0-0"
    table, out = tmp_path / "features/slides.csv", tmp_path / "new/predictions.csv"
    done = call("predict", bundle, table, "--out", out, "--attention", tmp_path / "attention")
    assert done.exit_code == 0, done.output
    # The same probabilities as in the study, of the slides that it tested.
    known, new = read_predictions(run / "predictions/abmil/seed-0.csv"), read_predictions(out)
    place = {image: row for row, image in enumerate(new.image)}
    np.testing.assert_allclose(new.prob[[place[image] for image in known.image]], known.prob, atol=1e-9)
    assert "seen before" in done.output
    held = call("evaluate", out, "--model", bundle)
    assert "validation patients" in held.output and "24 slides of 24 patients" in held.output
    assert re.search(r"\bimages?\b", done.output + held.output) is None
    lines = (tmp_path / "attention/P01-0.csv").read_text().splitlines()
    assert lines[0] == "x,y,row,weight"
    cells = np.array([line.split(",") for line in lines[1:]], dtype=float)
    assert cells[:, 3].sum() == pytest.approx(1)
    assert (np.diff(cells[:, 3]) <= 0).all()
    assert (cells[:, 1] == cells[:, 2]).all()  # y is the number of the tile in these files
    assert sorted(cells[:, 2]) == list(range(len(cells)))
    assert cells[:PLANTED, 0].sum() >= PLANTED - 1


@pytest.mark.slow
def test_bags_of_another_width_and_tiles_are_refused_by_a_bundle(study: Path, tmp_path: Path) -> None:
    run = run_study(study, overrides={"seeds": "[0]", "training.epochs": "1"})
    bundle = run / "arms/abmil/seed-0/fold-0-0"
    write_csv(tmp_path / "tiles.csv", ("image_path", "label"), [("a.png", "neg"), ("b.png", "pos")])
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    done = call("predict", bundle, tmp_path / "tiles.csv", "--out", tmp_path / "p.csv")
    assert done.exit_code == 2
    assert "a.png is no feature file" in done.output
    other = tmp_path / "wider"
    make_bags(other)
    for path in other.glob("*.h5"):
        with h5py.File(path, "r+") as file:
            wide = np.zeros((len(file["features"]), WIDTH + 1), np.float32)
            del file["features"]
            file["features"] = wide
    done = call("predict", bundle, other / "slides.csv", "--out", tmp_path / "p.csv")
    assert done.exit_code == 2
    assert "it has 17 features per tile; the model takes 16" in done.output
    with pytest.raises(InputError, match=r"takes \(tiles, 16\)"):
        write_attention(bundle, [other / "P00-0.h5"], tmp_path / "attention")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"arms.tiles": "{network: given}"}, "arms.tiles learns from images and others from feature files"),
        ({"augmentation.mode": "on_the_fly"}, "augmentation applies to images"),
        ({"tiles.tile_px": "128"}, "tiles applies to images"),
        ({"arms.mean": "{network: mil/men}"}, "did you mean 'mil/mean'"),
        ({"training.normalisation": "macenko"}, "have no stain"),
    ],
)
def test_what_means_nothing_for_bags_is_refused_at_once(study: Path, overrides: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan_study(study, overrides=overrides)


def test_feature_files_are_no_images_and_images_no_feature_files(study: Path, tmp_path: Path) -> None:
    given = {"arms": "{given: {network: given}}"}
    with pytest.raises(InputError, match=r"P00-0\.h5 is a feature file, not an image; .*mil/abmil"):
        plan_study(study, overrides=given)
    done = call(
        "train", tmp_path / "features/slides.csv", tmp_path / "s.csv", "--out", tmp_path / "m", "--network", "mil/mean"
    )
    assert done.exit_code == 2


@pytest.mark.slow
def test_a_bad_file_is_set_aside_and_listed(study: Path) -> None:
    (study.parent / "features/P00-0.h5").write_bytes(b"not one")
    plan = plan_study(study)
    assert [name for name, _ in plan["set_aside"]] == ["P00-0.h5"]
    run = run_study(study, overrides={"seeds": "[0]", "training.epochs": "1"})
    assert "P00-0.h5" in (run / "records" / "set_aside.csv").read_text()
    assert "P00-0.h5" not in (run / "records" / "cohort.csv").read_text()
    with pytest.raises(InputError, match="at most 1 % may be skipped"):
        plan_study(study, overrides={"tiles.max_bad": "0.01"})


@pytest.mark.slow
def test_the_same_file_on_two_sides_shuts_the_gate(study: Path) -> None:
    run = run_study(study, overrides={"seeds": "[0]", "training.epochs": "1"})
    split = dict(line.split(",") for line in (run / "records" / "splits.csv").read_text().splitlines()[1:])
    train, test = (next(name for name, part in split.items() if part == wanted) for wanted in ("train", "test"))
    folder = study.parent / "features"
    (folder / test).write_bytes((folder / train).read_bytes())
    with pytest.raises(GateError, match="is the same file"):
        run_study(study, overrides={"seeds": "[0]", "training.epochs": "1"})
    done = call("audit", folder / "slides.csv", run / "records" / "splits.csv", "--out", study.parent / "audit")
    assert done.exit_code == 3
    assert "is the same file" in done.output
    assert (study.parent / "audit/baselines.json").is_file()


def test_a_training_stops_when_its_patience_is_over_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    cohort = read_images(make_bags(tmp_path, patients=12, tiles=20))
    store = open_bags(cohort, tmp_path / "store")
    rows, label, key = np.arange(12), cohort.label_index, image_keys(cohort.image)
    steps: list[TrainingProgress] = []
    # The validation labels are wrong: the better the training fits, the larger their loss.
    trained, answers = train_bags(
        store, Examples(rows[:8], label[:8], key[:8]), Examples(rows[8:], 1 - label[8:], key[8:]), classes=2,
        settings=TrainingConfig(network="mil/abmil", batch=2, epochs=50, patience=3, learning_rate=5e-3, device="cpu"),
        seed=0, progress=steps.append,
    )  # fmt: skip
    loss = trained.history["val_loss"]
    assert trained.last_epoch == trained.best_epoch + 3 < 50
    assert loss[trained.best_epoch - 1] == min(loss)
    prob = answers(rows[8:])
    assert -np.log(prob[np.arange(4), 1 - label[8:]]).mean() == pytest.approx(min(loss), abs=1e-6)
    assert len([step for step in steps if step.val_loss is not None]) == trained.last_epoch
    assert len(steps) == 5 * trained.last_epoch  # four steps of two slides, and the epoch
    with pytest.raises(InputError, match="0 validation slides"):
        train_bags(
            store, Examples(rows, label, key), Examples(rows[:0], label[:0], key[:0]), classes=2,
            settings=TrainingConfig(network="mil/mean"), seed=0,
        )  # fmt: skip
