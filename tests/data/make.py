"""Tiny images and containers in the folder shapes of real data sets, made when a test needs them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

__all__ = ["make_images", "make_npz", "make_pcam"]

EDGE_PX = 16


def make_images(root: Path, names: Iterable[str], *, grey: Sequence[str] = ()) -> Path:
    """Write a 16-px image of noise under each name below root (its format by the suffix; in grey where named so)."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(number)
        shape = (EDGE_PX, EDGE_PX) if name in grey else (EDGE_PX, EDGE_PX, 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return root


def make_pcam(root: Path, split: str, labels: Sequence[int], *, wsi: Sequence[str] | None = None) -> None:
    """Write PCam's pair of HDF5 files for one split, and its meta table where slides are named."""
    root.mkdir(parents=True, exist_ok=True)
    stem = f"camelyonpatch_level_2_split_{split}"
    tiles = np.random.default_rng(0).integers(0, 256, (len(labels), EDGE_PX, EDGE_PX, 3), dtype=np.uint8)
    with h5py.File(root / f"{stem}_x.h5", "w") as file:
        file["x"] = tiles
    with h5py.File(root / f"{stem}_y.h5", "w") as file:
        file["y"] = np.array(labels, dtype=np.uint8).reshape(-1, 1, 1, 1)
    if wsi is not None:
        lines = [f"{row},{10 * row},{20 * row},{bool(label)},{bool(label)},{slide}"
                 for row, (label, slide) in enumerate(zip(labels, wsi, strict=True))]  # fmt: skip
        header = ",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi"
        (root / f"{stem}_meta.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


def make_npz(path: Path, **labels: Sequence[int]) -> None:
    """Write a MedMNIST file with images and labels for each split named."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, values in labels.items():
        arrays[f"{split}_images"] = np.zeros((len(values), EDGE_PX, EDGE_PX, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.array(values, dtype=np.uint8)[:, None]
    np.savez(path, **arrays)
