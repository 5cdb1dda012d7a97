"""A small cohort of two sites on disk with its store, and a bundle of the given network with random weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counterstain.cohort.cohort import Cohort
from counterstain.cohort.manifest import read_manifest
from counterstain.files import write_csv
from counterstain.images.store import Store, build_store
from counterstain.learning.bundle import Bundle, write_bundle
from counterstain.learning.networks import build_network

TILE_PX = 127


def write_images(folder: Path, *, patients: int = 24, each: int = 3, mpp: float | None = 0.5, sites: int = 2) -> Path:
    """PNG tiles of 127 px, class b brighter; sites take turns in pairs of patients; the second one is a bit redder."""
    random = np.random.default_rng(5)
    columns = ["image_path", "label", "patient_id", *(["site"] if sites else []), *(["mpp"] if mpp else [])]
    rows = []
    for patient in range(patients):
        label, site = "ab"[patient % 2], (patient // 2) % max(sites, 1)
        for number in range(each):
            coarse = random.integers(0, 60, (16, 16, 3))
            pixels = coarse.repeat(8, axis=0).repeat(8, axis=1)[:TILE_PX, :TILE_PX] + 70 + 60 * (label == "b")
            pixels[..., 0] += 20 * site
            path = folder / label / f"P{patient:02}-{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            row = [f"{label}/{path.name}", label, f"P{patient:02}"]
            rows.append([*row, *([f"site-{site}"] if sites else []), *([mpp] if mpp else [])])
    write_csv(folder / "cohort.csv", columns, rows)
    return folder / "cohort.csv"


@dataclass(frozen=True)
class Small:
    """The cohort's file, the cohort, its store, and a bundle's folder."""

    path: Path
    cohort: Cohort
    store: Store
    bundle: Path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """72 images of 24 patients at two sites; no test may write into its folders."""
    folder = tmp_path_factory.mktemp("small")
    path = write_images(folder / "images")
    cohort = read_manifest(path, positive="b")
    store = build_store(cohort, folder / "store", tile_px=TILE_PX, fit="exact")
    bundle = Bundle(network="given", classes=("a", "b"), tile_px=TILE_PX, fit="exact", scale="0..1", mpp=0.5)
    write_bundle(folder / "bundle", bundle, build_network("given", classes=2, tile_px=TILE_PX, seed=0))
    return Small(path, cohort, store, folder / "bundle")
