"""Small cohorts of drawn tissue on disk, and copies planted among them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counterstain.cohort.cohort import Cohort
from counterstain.cohort.manifest import read_manifest
from counterstain.files import write_csv
from counterstain.images.decode import decode
from counterstain.images.store import Store, build_store
from counterstain.phantom.tiles import Phantom, write_phantom

Plant = Callable[[dict[str, Callable[[np.ndarray], np.ndarray]]], tuple[Cohort, Store]]


@pytest.fixture(scope="session")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """60 phantom tiles of 96 px, of 12 patients."""
    folder = tmp_path_factory.mktemp("phantom")
    return write_phantom(Phantom(patients=12, tiles_per_patient=5, tile_px=96, seed=3), folder)


@pytest.fixture
def plant(tissue: Cohort, tmp_path: Path) -> Plant:
    """The tissue with one copy of each kind of each of its first six tiles, named `<kind>-<row>.png`."""

    def planted(kinds: dict[str, Callable[[np.ndarray], np.ndarray]]) -> tuple[Cohort, Store]:
        rows = []
        for row, name in enumerate(tissue.image):
            pixels = decode(name, root=tissue.root).pixels
            label, patient = tissue.table["label"].iloc[row], tissue.table["patient_id"].iloc[row]
            versions = {f"original-{row}": pixels}
            if row < 6:
                versions |= {f"{kind}-{row}": change(pixels) for kind, change in kinds.items()}
            for new, made in versions.items():
                Image.fromarray(np.ascontiguousarray(made)).save(tmp_path / f"{new}.png")
                rows.append((f"{new}.png", label, patient))
        write_csv(tmp_path / "cohort.csv", ("image_path", "label", "patient_id"), rows)
        cohort = read_manifest(tmp_path / "cohort.csv")
        return cohort, build_store(cohort, tmp_path / "store", tile_px=96)

    return planted
