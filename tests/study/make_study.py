"""A small cohort on disk, for the tests of studies."""

from pathlib import Path

import numpy as np
from PIL import Image

from counterstain.files import write_csv


def make_images(folder: Path, *, patients: int = 12, each: int = 4, seed: int = 0) -> Path:
    """PNG tiles of 40 px: class b is brighter; one row per image in cohort.csv, patients P00, P01, …"""
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
