"""The maker of slides, make_slides.py, as a fixture, and a small model that reads them."""

from pathlib import Path
from types import ModuleType

import make_slides
import pytest
from cohort_runs import make_bundle


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """The functions of make_slides.py."""
    return make_slides


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained model of cohort_runs.TILE_PX at cohort_runs.MPP."""
    return make_bundle(tmp_path_factory.mktemp("bundle"))
