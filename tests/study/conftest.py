"""A small cohort on disk, and studies of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counterstain.files import write_csv

TILE_PX = 127
STUDY = """\
name: small
cohort: {path: images/cohort.csv}
tiles: {tile_px: 127, fit: stretch}
training: {epochs: 2, learning_rate: 1e-3, precision: fp32, threads: 1}
arms:
  given-8: {network: given, batch: 8}
  modified-16: {network: modified, batch: 16}
seeds: [0, 1]
"""


def make_images(folder: Path, *, patients: int = 12, each: int = 4, seed: int = 0) -> Path:
    """PNG tiles of 40 px: class b is brighter; one row an image in cohort.csv, patients P00, P01, …"""
    random = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        label = "ab"[patient % 2]
        for number in range(each):
            pixels = random.integers(0, 140, (40, 40, 3)) + 60 * (label == "b")
            path = folder / label / f"P{patient:02}-{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            rows.append((f"{label}/{path.name}", label, f"P{patient:02}"))
    write_csv(folder / "cohort.csv", ("image_path", "label", "patient_id"), rows)
    return folder / "cohort.csv"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study.yaml beside its images; two arms, two seeds, two epochs."""
    make_images(tmp_path / "images")
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path
