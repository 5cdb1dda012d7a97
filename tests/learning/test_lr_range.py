"""The range test: its rates, its smoothing and suggestion by hand, and that a network's loss falls and then rises."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.files import read_json, write_csv
from counterstain.learning.lr_range import HIGHEST, LOWEST, smooth, suggest_rate
from counterstain.study.lr_find import find_rate

NETS = """\
from torch import nn


def tiny(classes):
    return nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))
"""
STUDY = """\
name: small
cohort: {path: images/cohort.csv}
tiles: {tile_px: 32}
training: {precision: fp32, threads: 1, batch: 16, learning_rate: 1e-3}
arms:
  tiny: {network: "my_nets.py:tiny"}
  probe: {network: timm/resnet18, tune: frozen, weights: random}
seeds: [0]
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two classes of tiles of which one is brighter: learnt within some dozen steps."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(48):
        label = "ab"[number // 4 % 2]
        pixels = random.integers(0, 100, (32, 32, 3)) + 120 * (label == "b")
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / f"{number}.png")
        rows.append((f"{number}.png", label, f"P{number // 4}"))
    write_csv(tmp_path / "images" / "cohort.csv", ("image_path", "label", "patient_id"), rows)
    (tmp_path / "my_nets.py").write_text(NETS)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


def test_the_running_mean_by_hand() -> None:
    # Weights 0.1·0.9^k: (0.1·3 + 0.09·2 + 0.081·1) / (0.1 + 0.09 + 0.081) = 0.561 / 0.271
    assert smooth(np.array([1.0, 2.0, 3.0]))[-1] == pytest.approx(0.561 / 0.271)
    assert smooth(np.full(50, 0.7)).tolist() == pytest.approx([0.7] * 50)


def test_no_rate_is_suggested_where_the_loss_never_fell() -> None:
    rate = np.geomspace(1e-6, 1, 5)
    assert suggest_rate(rate, np.array([0.7, 0.69, 0.69, 0.7, 2.0])) is None
    assert suggest_rate(rate, np.array([0.7, 0.9, 1.0, 1.5, 2.0])) is None
    assert suggest_rate(np.array([]), np.array([])) is None
    assert suggest_rate(rate, np.array([0.7, 0.7, 0.5, 0.6, 9.0])) == pytest.approx(rate[2] / 10)


def test_the_loss_falls_and_the_rate_is_taken_before_it_rises(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "rates"
    found = find_rate(study, out, arm="tiny", steps=60)
    assert found.rate[0] == LOWEST and found.rate[-1] <= HIGHEST and len(found.rate) <= 60
    ratios = np.array(found.rate[1:]) / np.array(found.rate[:-1])
    assert np.allclose(ratios, ratios[0])
    smoothed = smooth(np.array(found.loss))
    assert smoothed.min() < 0.6 * smoothed[0], "tiles that differ in brightness are learnt"
    assert found.suggested == pytest.approx(found.rate[int(smoothed.argmin())] / 10)
    assert {path.name for path in out.iterdir()} == {"lr_find.csv", "lr_find.json", "lr_find.png", "lr_find.svg"}
    assert read_json(out / "lr_find.json")["suggested"] == found.suggested
    again = find_rate(study, out, arm="tiny", steps=60)
    assert again == found, "the same seed measures the same curve"


def test_what_has_no_learning_rate_is_refused(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "rates"
    with pytest.raises(InputError, match="name one with --arm"):
        find_rate(study, out)
    with pytest.raises(InputError, match="did you mean 'tiny'"):
        find_rate(study, out, arm="tinny")
    with pytest.raises(InputError, match="a probe on frozen features; lr-find is for networks"):
        find_rate(study, out, arm="probe")
    with pytest.raises(InputError, match="steps is 5; a curve needs 20 or more"):
        find_rate(study, out, arm="tiny", steps=5)
    assert not out.exists()


def test_the_verb_prints_the_rate_and_the_figure(study: Path, tmp_path: Path) -> None:
    words = ["lr-find", str(study), "--arm", "tiny", "--steps", "20", "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "arm tiny: " in done.stdout and str(tmp_path / "o" / "lr_find.png") in done.stdout
