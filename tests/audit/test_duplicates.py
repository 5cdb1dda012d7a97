"""Planted copies of every kind are found in their tier, and tiles of their own are left alone."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from counterstain.audit.duplicates import find_duplicates
from counterstain.audit.fingerprints import _hash as perceptual_hash
from counterstain.audit.fingerprints import symmetries, turned_hash
from counterstain.audit.nearest import Nearest
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.layouts import read_images
from counterstain.images.store import Store, build_store

Plant = Callable[[dict[str, Callable[[np.ndarray], np.ndarray]]], tuple[Cohort, Store]]
DATA = Path(os.environ.get("COUNTERSTAIN_DATA", Path(__file__).parents[3] / "shared" / "data"))


def jpeg(pixels: np.ndarray, quality: int = 50) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def turned_crop(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """Turned, cut to the largest upright square within, enlarged to the old size."""
    side = len(pixels)
    turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, 1.0)
    turned = cv2.warpAffine(pixels, turn, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    kept = int(side / (np.cos(np.radians(abs(degrees))) + np.sin(np.radians(abs(degrees)))))
    start = (side - kept) // 2
    return cv2.resize(turned[start : start + kept, start : start + kept], (side, side), interpolation=cv2.INTER_CUBIC)


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda p: p,
    "flipped": lambda p: p[:, ::-1],
    "quarter": lambda p: np.rot90(p),
    "jpeg": jpeg,
    "brighter": lambda p: np.clip(p * 1.2, 0, 255).astype(np.uint8),
    "rotated25": lambda p: turned_crop(p, 25),
    "rotated15flipped": lambda p: turned_crop(p, -15)[:, ::-1],
}


@pytest.mark.slow
def test_every_planted_copy_is_found_and_nothing_else(plant: Plant) -> None:
    _, store = plant(KINDS)
    found: dict[tuple[str, str], str] = {}
    for copy in find_duplicates(store):
        a, b = (Path(store.image[row]).stem for row in (copy.a, copy.b))
        found[a, b] = copy.tier
        # Whatever is in a pair shows the same tile.
        assert a.split("-")[1] == b.split("-")[1], (a, b, copy)
    tiers = {"same": "bytes", "flipped": "turned", "quarter": "turned", "jpeg": "near", "brighter": "near"}
    for row in range(6):
        for kind in KINDS:
            pair = next(tier for (a, b), tier in found.items() if {a, b} == {f"original-{row}", f"{kind}-{row}"})
            assert pair == tiers.get(kind, "rotated") or (kind == "same" and pair == "pixels")


@pytest.mark.slow
def test_the_index_finds_the_same_pairs(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    _, store = plant(KINDS)
    whole = find_duplicates(store)
    monkeypatch.setattr(Nearest.of.__func__, "__kwdefaults__", {"most": 10})
    assert find_duplicates(store) == whole


def test_the_hash_of_a_turned_tile_follows_from_its_own() -> None:
    rng = np.random.default_rng(0)
    tiles = [cv2.resize(rng.integers(0, 256, (9, 9)).astype(np.uint8), (64, 64)) for _ in range(20)]
    own = np.array([perceptual_hash(tile) for tile in tiles], dtype=np.uint64)
    turned = turned_hash(own)
    for row, tile in enumerate(tiles):
        for index, other in enumerate(symmetries(tile)):
            direct = np.uint64(perceptual_hash(np.ascontiguousarray(other)))
            # Coefficients near 0 may round to the other sign.
            assert np.bitwise_count(direct ^ turned[index, row]) <= 2


def test_blank_tiles_are_not_copies_of_each_other(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(3):
            glass = rng.normal(240, 1.0, (64, 64, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(glass).save(tmp_path / "images" / label / f"{number}.png")
    cohort = read_images(tmp_path / "images")
    assert find_duplicates(build_store(cohort, tmp_path / "store", tile_px=64)) == ()


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.skipif(not (DATA / "breakhis_100x").is_dir(), reason="SKIPPED: no real histology data beside the project")
def test_turned_crops_of_real_tissue_are_found(tmp_path: Path) -> None:
    """40 oblong images of BreakHis, each turned by 25° and cut: all found, no other pair."""
    cohort = read_images(DATA / "breakhis_100x")
    chosen = cohort.subset(np.arange(0, len(cohort), 10)[:40])
    for label in chosen.classes:
        (tmp_path / "images" / label).mkdir(parents=True)
    for row, name in enumerate(chosen.image):
        pixels = np.asarray(Image.open(chosen.root / name).convert("RGB"))
        height, width = pixels.shape[:2]
        folder = tmp_path / "images" / str(chosen.table["label"].iloc[row])
        Image.fromarray(pixels).save(folder / f"original-{row}.png")
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 25, 1.0)
        turned = cv2.warpAffine(pixels, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        share = height / (height * np.cos(np.radians(25)) + width * np.sin(np.radians(25)))
        h, w = int(height * share), int(width * share)
        cut = turned[(height - h) // 2 :][:h, (width - w) // 2 :][:, :w]
        Image.fromarray(cv2.resize(cut, (width, height))).save(folder / f"copy-{row}.png")
    store = build_store(read_images(tmp_path / "images"), tmp_path / "store", tile_px=128)
    pairs = [{Path(store.image[row]).stem for row in (copy.a, copy.b)} for copy in find_duplicates(store)]
    assert sum({f"original-{row}", f"copy-{row}"} in pairs for row in range(40)) >= 36
    assert all(len({name.split("-")[1] for name in pair}) == 1 for pair in pairs)
