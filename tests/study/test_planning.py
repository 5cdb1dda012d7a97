"""A study is checked whole before anything runs; --dry-run refuses what the run would, and prints a short plan."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.study.planning import plan_lines, plan_study
from counterstain.study.run import run_study


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


WRONG = {
    "training.precision": ("fp4", "precision is 'fp4'"),
    "training.device": ("nope", "device is 'nope'"),
    "training.threads": ("0", "threads is 0"),
    "arms.given-8.threads": ("-1", "threads is -1"),
    "training.epochs": ("1000000000", "epochs is 1000000000"),
    "training.patience": ("0", "patience is 0"),
    "arms.given-8.batch": ("1000000000", "batch is 1000000000"),
    "training.learning_rate": (".inf", "learning_rate"),
    "tiles.tile_px": ("64", "tile_px is 64"),
    "split.repeats": ("1000000000", "split.repeats"),
    "split.folds": ("1000000000", "split.folds"),
    "seeds": ("1000000000", "at most 1000 seeds"),
    "calibration.threshold": ("best", "threshold is 'best'"),
    "calibration.alpha": ("0.7", "calibration.alpha"),
    "comparison.pairs": ("[[given-8, given-8]]", "with itself"),
    "comparison.primary": ("aurok", "aurok"),
    "ledger": ("nowhere", "ledger is .*which does not exist"),
    "search": ("{arm: given-8, ranges: {augmentation.rotation: {low: -1, high: 1e9}}}", "search.ranges"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_setting_is_refused_before_an_image_is_read(study: Path, key: str) -> None:
    value, words = WRONG[key]
    for act in (plan_study, run_study):
        with pytest.raises(InputError, match=words):
            act(study, overrides={key: value})
    assert not (study.parent / "runs").exists()
    assert not (study.parent / "store").exists()


def test_too_many_trainings_are_refused_with_their_number(study: Path) -> None:
    overrides = {"split.method": "folds", "split.repeats": "500", "seeds": "100"}
    with pytest.raises(InputError, match=r"2 arms, 100 seeds and 2500 divisions: 500,000 trainings"):
        plan_study(study, overrides=overrides)


def test_a_pair_is_named_once(study: Path) -> None:
    pairs = "[[given-8, modified-16], [modified-16, given-8]]"
    with pytest.raises(InputError, match="names a pair twice"):
        plan_study(study, overrides={"comparison.pairs": pairs})


def test_the_plan_is_short_and_json_on_request(study: Path) -> None:
    shown = call("run", study, "--dry-run")
    assert shown.exit_code == 0, shown.output
    for word in ("plan of small: 4 trainings", "tiles      48", "train ", "images per second", "time ", "disk "):
        assert word in shown.stdout
    assert len(shown.stdout.splitlines()) <= 9
    plan = json.loads(call("run", study, "--dry-run", "--json").stdout)
    assert len(plan["trainings"]) == 4
    assert plan["estimate"]["seconds"] > 0
    assert not (study.parent / "runs").exists()


def test_the_estimate_follows_from_the_rates(study: Path) -> None:
    """Epochs times training images and a third of the validation images, over images per second, for each training."""
    plan = plan_study(study)
    counts = plan["split"]["parts"][0]["counts"]
    seen = 2 * (counts["train"]["images"] + counts["val"]["images"] / 3)
    by_hand = sum(2 * seen / rate for rate in plan["estimate"]["images_per_s"].values())
    assert plan["estimate"]["seconds"] == pytest.approx(by_hand)
    # The weights of both networks at 127 px, two seeds each, and the store's 48 tiles.
    assert plan["estimate"]["disk_bytes"] > 48 * 127 * 127 * 3


def test_a_plan_in_words() -> None:
    parts = [{"counts": {"train": {"images": 1200}, "test": {"images": 300}}}] * 5
    estimate = {"seconds": 7200.0, "disk_bytes": 3.2e9, "peak_bytes": 3.4e9, "files": 1234, "read_bytes": 96e6,
                "tile_bytes": 1.5e12, "images_per_s": {"g": 412.3}}  # fmt: skip
    plan = {"name": "s", "trainings": ["t"] * 15, "tiles": 1500, "set_aside": [["a", "b"]], "split": {"parts": parts},
            "stamp": "image-level", "estimate": estimate, "rows_are": "image"}  # fmt: skip
    assert plan_lines(plan, jobs=2) == [
        "plan of s: 15 trainings",
        "tiles      1,500, 1 unreadable and skipped",
        "images     train 1,200, test 300 (the first of 5 folds)",
        "speed      g 412 images per second, from 3 batches of each arm",
        "time       at most 60.0 minutes in 2 jobs; less with early stopping",
        "disk       about 3.2 GB in 1,234 files, including the tile store; at most 3.4 GB meanwhile",
        "reading    96.0 MB once, then at most 1.5 TB of tiles, from memory where they fit",
        "stamp      image-level",
    ]
    of_bags = plan_lines(plan | {"rows_are": "slide"})
    assert of_bags[1:4] == [
        "slides     1,500, 1 unreadable and skipped",
        "parts      train 1,200, test 300 (the first of 5 folds)",
        "speed      g 412 bags per second, from 3 batches of each arm",
    ]
    assert of_bags[5:7] == [
        "disk       about 3.2 GB in 1,234 files; at most 3.4 GB meanwhile",
        "reading    96.0 MB once",
    ]


def test_images_that_are_much_enlarged_are_said(study: Path) -> None:
    """Tiles of 512 px from images of 127 were trained on for sixteen times the pixels, without a word."""
    many = " ".join(call("run", study, "--dry-run").stderr.split())
    assert "tiles: the images have 40 px and are enlarged to 127, which adds nothing to them" in many
    for path in (study.parent / "images").rglob("*.png"):
        Image.new("RGB", (70, 64), (200, len(path.name), 180)).save(path)
    assert "are enlarged" not in call("run", study, "--dry-run").stderr  # by less than twice
