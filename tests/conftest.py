"""What every test may use."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real histology images; the test is skipped, and says so, where it is missing."""
    folder = Path(os.environ.get("COUNTERSTAIN_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "breakhis_100x" / "manifest.csv").is_file():
        pytest.skip(f"no real histology data at {folder}; set COUNTERSTAIN_DATA to its folder")
    return folder
