"""Tables as they come, on the command line: other names, --columns, and what is no table."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from counterstain.cli import app

RUNNER = CliRunner()
LABELS = ("benign", "malignant")


def call(*arguments: str | Path) -> Result:
    return RUNNER.invoke(app, [str(argument) for argument in arguments])


def predictions(path: Path, header: str, *, shift: float = 0.0, separator: str = ",") -> Path:
    """80 images of 20 patients, with a probability of the second class."""
    rng = np.random.default_rng(7)
    rows = []
    for k in range(80):
        positive = k // 4 % 2
        p = float(np.clip(0.5 + (positive - 0.5) * 0.4 + rng.normal(0, 0.25) + shift * rng.normal(), 0, 1))
        rows.append((f"i{k}", f"P{k // 4}", LABELS[positive], f"{p:.6f}"))
    path.write_text("\n".join([header, *map(separator.join, rows)]) + "\n", encoding="utf-8")
    return path


def scores(*arguments: str | Path) -> dict[str, object]:
    done = call("evaluate", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["arms"]["model"]


def test_patients_by_another_name_give_the_same_intervals(tmp_path: Path) -> None:
    """`PatientID` was passed over in silence, and the interval over images is too narrow."""
    ours = scores(predictions(tmp_path / "a.csv", "image_path,patient_id,label,prob_malignant"))
    theirs = scores(predictions(tmp_path / "b.csv", "Image;PatientID;GT;Malignant_Prob", separator=";"))
    assert ours["patients"] == theirs["patients"] == 20
    assert ours["scores"] == theirs["scores"]


def test_evaluate_and_compare_take_columns(tmp_path: Path) -> None:
    ours = scores(predictions(tmp_path / "a.csv", "image_path,patient_id,label,prob_malignant"))
    path = predictions(tmp_path / "b.csv", "Bild,Wer,Was,Wert")
    assert call("evaluate", path).exit_code == 2
    named = "image_path=Bild,patient_id=Wer,label=Was,prob_malignant=Wert"
    assert scores(path, "--columns", named)["scores"] == ours["scores"]
    assert scores(path, *(part for one in named.split(",") for part in ("--columns", one)))["scores"] == ours["scores"]
    other = predictions(tmp_path / "c.csv", "Bild,Wer,Was,Wert", shift=0.2)
    done = call("compare", f"a={path}", f"b={other}", "--columns", named, "--fixed-models", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["unit"] == "patient"


@pytest.mark.parametrize(
    ("option", "words"),
    [("label", "write our name="), ("lable=Was", "did you mean 'label'"), ("label=Was ist", "no such column")],
)
def test_a_wrong_mapping_is_one_line(tmp_path: Path, option: str, words: str) -> None:
    done = call("evaluate", predictions(tmp_path / "b.csv", "Bild,Wer,Was,Wert"), "--columns", option)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_hard_calls_are_scored_without_auroc(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_text(
        "image,patient,y_true,y_pred\n" + "".join(f"i{k},p{k // 2},{k % 2},{k % 3 % 2}\n" for k in range(60))
    )
    done = call("evaluate", path)
    assert done.exit_code == 0, done.output
    assert "accuracy" in done.stdout
    assert "AUROC" not in done.stdout.split("Note", 1)[0].replace("AUROC, AUPRC", "")
    assert call("evaluate", path, "--out", tmp_path / "s").exit_code == 0
    assert "predicted classes alone" in call("evaluate", path, "--out", tmp_path / "report.html").stderr
    assert "--primary" in call("compare", path, path).stderr or call("compare", path, path).exit_code == 2


# ------------------------------------------------------------------------------------------------------------ cohorts


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for label in LABELS:
        for number in range(8):
            path = tmp_path / "images" / label / f"{label[0]}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    return tmp_path / "images"


def rows(images: Path) -> list[str]:
    return [f"{p.relative_to(images).as_posix()};{p.parent.name};{p.stem}" for p in sorted(images.rglob("*.png"))]


@pytest.mark.parametrize("name", ["m.csv", "m.txt", "m.tsv", "m.dat"])
def test_a_table_is_a_table_whatever_it_is_called(images: Path, name: str) -> None:
    (images / name).write_text("\n".join(["Bild;Was;PatientID", *rows(images)]) + "\n", encoding="utf-8")
    done = call("cohort", images / name, "--columns", "image_path=Bild,label=Was", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["patients"]["count"] == 16
    out = images / "splits.csv"
    done = call("split", images / name, "--columns", "image_path=Bild,label=Was", "--out", out)
    assert done.exit_code == 0, done.output
    done = call("audit", images / name, out, "--columns", "image_path=Bild,label=Was", "--out", images.parent / "audit")
    assert done.exit_code in (0, 3), done.output


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.xlsx", b"PK\3\4" + b"\0" * 60, "save the sheet as 'CSV UTF-8'"),
        ("x.h5.gz", gzip.compress(b"\x89HDF", mtime=0), "gunzip x.h5.gz"),
        ("m.zip", b"PK\3\4" + b"\0" * 60, "unpack the archive"),
    ],
    ids=["xlsx", "gz", "zip"],
)
def test_what_is_no_table_is_said_with_the_way_out(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    done = call("cohort", tmp_path / name)
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_folder_of_packed_files_says_how_to_unpack(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for key in "xy":
            (tmp_path / f"camelyonpatch_level_2_split_{split}_{key}.h5.gz").write_bytes(gzip.compress(b"\x89HDF"))
    done = call("cohort", tmp_path)
    assert done.exit_code == 2
    assert "unpack them first, such as gunzip camelyonpatch_level_2_split_test_x.h5.gz" in done.stderr
