"""The maker of slides, make_slides.py, as a fixture, and a small model that reads them."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import make_slides
import pytest
from cohort_runs import make_bundle
from orthanc_server import Orthanc, started


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """The functions of make_slides.py."""
    return make_slides


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained model of cohort_runs.TILE_PX at cohort_runs.MPP."""
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A running DICOM server, empty at first; the test is skipped where Orthanc or the extra `dicom` is missing."""
    pytest.importorskip("dicomweb_client", reason="the extra dicom is not installed")
    pytest.importorskip("highdicom", reason="the extra dicom is not installed")
    with started(tmp_path_factory.mktemp("orthanc")) as server:
        yield server
