"""The command line: bad input ends in one line that names the thing and the way out, with exit code 2."""

import csv
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

import counterstain
from counterstain.cli import app
from counterstain.cli.options import verb as as_verb

RUNNER = CliRunner()


def call(*arguments: str | Path) -> Result:
    return RUNNER.invoke(app, [str(argument) for argument in arguments])


def image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes, six patients each, two images per patient, whose ids stand in the names."""
    folder = tmp_path / "images"
    for label in ("benign", "malignant"):
        for patient in range(6):
            for number in range(2):
                name = f"{label[0]}{patient}_{number}.png"
                image(folder / label / name, seed=1000 * len(label) + 10 * patient + number)
    return folder


def study(folder: Path, extra: str = "", **changes: str) -> Path:
    settings = {
        "name": "s",
        "cohort": "{path: images, pattern: '(?P<patient_id>[bm]\\d)_'}",
        "tiles": "{tile_px: 127}",
        "training": "{epochs: 1, threads: 1}",
        "arms": "{given: {batch: 8}}",
        "seeds": "[0]",
        **changes,
    }
    path = folder / "study.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()) + extra)
    return path


def refusal(result: Result) -> str:
    """The one line that a refused call ends in, for its reader to check."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("counterstain: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    return lines[0]


def test_help_shows_an_example_for_every_verb() -> None:
    commands = app.registered_commands
    verbs = [command.name or getattr(command.callback, "__name__", "") for command in commands]
    assert {"demo", "init", "run", "cohort", "split", "augment", "train", "predict", "evaluate", "compare"} <= set(
        verbs
    )
    for verb in verbs:
        result = call(verb, "--help")
        assert result.exit_code == 0
        assert "Example: counterstain" in result.output


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    line = refusal(call("cohort", tmp_path / "images"))
    assert "0 usable images" in line and str(tmp_path / "images") in line
    assert "0 usable images" in refusal(call("run", study(tmp_path)))


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    assert "nowhere does not exist" in refusal(call("cohort", tmp_path / "nowhere"))
    line = refusal(call("run", tmp_path / "study.yaml"))
    assert "study.yaml does not exist" in line and "counterstain init" in line


def test_one_class_is_refused(tmp_path: Path) -> None:
    image(tmp_path / "images" / "benign" / "b1_0.png")
    line = refusal(call("cohort", tmp_path / "images"))
    assert "one class" in line and "benign" in line


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path, images: Path) -> None:
    assert "unknown key 'epochs'" in refusal(call("run", study(tmp_path, extra="epochs: 3\n")))
    assert "did you mean 'epochs'" in refusal(call("run", study(tmp_path), "--set", "training.epoch=3"))
    assert "key=value" in refusal(call("run", study(tmp_path), "--set", "training.epochs"))


def test_a_class_with_one_patient_is_refused_by_name(tmp_path: Path, images: Path) -> None:
    for path in (images / "benign").glob("*.png"):
        if not path.name.startswith("b0"):
            path.unlink()
    line = refusal(call("run", study(tmp_path)))
    assert "class 'benign' has 1 patient" in line and "b0" in line


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"<html>", None])
def test_too_many_unreadable_images_are_refused_by_name(tmp_path: Path, images: Path, content: bytes | None) -> None:
    """Two of 24 are more than the 5 % that may be skipped; None stands for a picture cut in half."""
    for name in ("b0_0.png", "b1_0.png"):
        path = images / "benign" / name
        path.write_bytes(path.read_bytes()[:900] if content is None else content)
    line = refusal(call("run", study(tmp_path)))
    assert "2 of 24 images" in line and "benign/b0_0.png" in line


def test_a_missing_file_of_a_manifest_is_refused_by_name(tmp_path: Path, images: Path) -> None:
    assert call("cohort", images, "--out", tmp_path / "images" / "cohort.csv").exit_code == 0
    (images / "benign" / "b3_1.png").unlink()
    assert "benign/b3_1.png" in refusal(call("cohort", images / "cohort.csv"))


@pytest.mark.parametrize(("label", "word"), [("nan", "label"), ("", "label")])
def test_a_missing_label_is_refused(tmp_path: Path, images: Path, label: str, word: str) -> None:
    table = images / "cohort.csv"
    table.write_text(f"image_path,label\nbenign/b0_0.png,benign\nmalignant/m0_0.png,{label}\n")
    assert word in refusal(call("cohort", table))


def test_duplicate_rows_are_refused(images: Path) -> None:
    table = images / "cohort.csv"
    row = "benign/b0_0.png,benign\n"
    table.write_text("image_path,label\n" + row + row + "malignant/m0_0.png,malignant\n")
    assert "benign/b0_0.png" in refusal(call("cohort", table))


def test_init_writes_a_study_that_plans(tmp_path: Path, images: Path) -> None:
    path = tmp_path / "study.yaml"
    pattern = r"(?P<patient_id>[bm]\d)_"
    result = call("init", images, "--out", path, "--positive", "malignant", "--pattern", pattern)
    assert result.exit_code == 0, result.output
    assert "study.yaml exists" in refusal(call("init", images, "--out", path))
    result = call("run", path, "--dry-run", "--set", "tiles.tile_px=127", "--json")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["trainings"]) == 4 * 3


def test_init_without_patients_asks_for_the_unit(tmp_path: Path, images: Path) -> None:
    path = tmp_path / "study.yaml"
    assert call("init", images, "--out", path).exit_code == 0
    assert "no patient ids were found" in path.read_text()
    assert "unit: image" in refusal(call("run", path, "--dry-run"))
    assert call("run", path, "--dry-run", "--set", "split.unit=image").exit_code == 0


def same_columns(more: Path, fewer: Path) -> bool:
    """Whether one table has every column of another, with the same text in every cell."""
    with more.open(newline="") as one, fewer.open(newline="") as two:
        rows, wanted = list(csv.DictReader(one)), list(csv.DictReader(two))
    return len(rows) == len(wanted) and all(row.items() >= need.items() for row, need in zip(rows, wanted, strict=True))


def test_the_verbs_do_a_study_one_by_one(tmp_path: Path, images: Path) -> None:
    """cohort, split, train, predict, evaluate, compare over the files between them."""
    cohort, splits = images / "cohort.csv", tmp_path / "splits.csv"
    pattern = r"(?P<patient_id>[bm]\d)_"
    assert call("cohort", images, "--pattern", pattern, "--out", cohort).exit_code == 0
    assert call("split", cohort, "--out", splits).exit_code == 0
    for seed in ("0", "1"):
        out = tmp_path / f"model-{seed}"
        result = call("train", cohort, splits, "--out", out, "--tile-px", "127", "--epochs", "1", "--seed", seed)
        assert result.exit_code == 0, result.output
        assert (out / "model.safetensors").is_file()
    assert "holds a finished model" in refusal(call("train", cohort, splits, "--out", tmp_path / "model-0"))
    again = tmp_path / "again.csv"
    result = call("predict", tmp_path / "model-0", cohort, "--splits", splits, "--out", again)
    assert result.exit_code == 0, result.output
    assert same_columns(again, tmp_path / "model-0" / "predictions.csv")
    result = call("evaluate", again, "--json", "--out", tmp_path / "scores")
    assert json.loads(result.stdout)["unit"] == "patient"
    assert (tmp_path / "scores" / "scores.csv").is_file()
    one, two = (tmp_path / f"model-{seed}" / "predictions.csv" for seed in (0, 1))
    result = call("compare", f"a={one}", f"b={two}")
    assert result.exit_code == 0, result.output
    assert "Verdict: Not enough runs to claim" in result.output
    weights = tmp_path / "model-0" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    assert "SHA-256 differs" in refusal(call("predict", tmp_path / "model-0", cohort))


def test_the_contact_sheet_is_drawn(tmp_path: Path, images: Path) -> None:
    assert call("augment", images, "--out", tmp_path / "sheet.png", "--tile-px", "127").exit_code == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 500


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BrokenProcessPool("a child process terminated abruptly"), "a worker process was killed"),
        (MemoryError(), "there is not enough memory"),
        (OSError(28, "No space left on device", "x.csv"), "x.csv: no space is left on the disk"),
    ],
)
def test_what_the_machine_refuses_is_one_line(error: Exception, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    @as_verb
    def work() -> None:
        raise error

    with pytest.raises(typer.Exit) as ended:
        work()
    assert ended.value.exit_code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("counterstain: ") and words in line


def test_a_bug_of_ours_shows_its_traceback() -> None:
    @as_verb
    def work() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        work()


def test_names_cannot_do_anything_to_the_terminal(tmp_path: Path) -> None:
    """A class that clears the screen, and one that turns the direction of what follows."""
    for name in ("be\x1b[2Jnign", "mali\u202egnant"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), "pink").save(tmp_path / "images" / name / f"{len(name)}.png")
    for arguments in (["cohort", "images"], ["cohort", "images", "--json"], ["cohort", "no\x1b]0;x\x07thing"]):
        arguments[1] = str(tmp_path / arguments[1])
        shown = RUNNER.invoke(app, arguments).output
        assert not any(letter in shown for letter in "\x1b\x07\u202e"), arguments
    assert "be\\u001b[2Jnign" in RUNNER.invoke(app, ["cohort", str(tmp_path / "images")]).output


@pytest.mark.parametrize("arguments", [["cohort", ""], ["cohort", "images", "--out", ""], ["slides", "run", "", "x"]])
def test_an_empty_argument_is_refused(arguments: list[str]) -> None:
    """ "$DATA" of a variable that is not set would be the folder one is in."""
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 2 and "is empty" in result.output


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_stream_that_is_not_utf8_gets_all_there_is(encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "counterstain", "data", "list", "breakhis", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    utf8 = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "utf-8"}, capture_output=True, check=True)
    assert json.loads(done.stdout.decode(encoding)) == json.loads(utf8.stdout)
    assert utf8.stdout.decode().isascii() is False


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX closes the stream")
def test_a_closed_stream_is_no_fault() -> None:
    command = f"{shlex.quote(sys.executable)} -m counterstain data list breakhis >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["cohort", "split", "audit"])
def test_a_table_is_not_written_over_by_what_is_made_from_it(tmp_path: Path, images: Path, verb: str) -> None:
    table = tmp_path / "table.csv"
    assert call("cohort", images, "--out", table).exit_code == 0
    before = table.read_bytes()
    link = tmp_path / "link.csv"
    link.symlink_to(table)
    for out in (table, link):
        result = call(verb, table, "--out", out)
        assert result.exit_code == 2 and "which is read here" in result.output
        with pytest.raises(counterstain.InputError, match=r"`out` is .*, which is read here"):
            getattr(counterstain, verb)(table, out=out)
    assert table.read_bytes() == before
