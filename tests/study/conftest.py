"""A small cohort on disk, and studies of it."""

from pathlib import Path

import pytest
from make_study import make_images

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


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study.yaml beside its images; two arms, two seeds, two epochs."""
    make_images(tmp_path / "images")
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path
