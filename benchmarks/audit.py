"""How many planted copies does the audit find, how many tiles does it flag that are none, how long does it take?

    python benchmarks/audit.py FOLDER --images 2000 --plant 200
    python benchmarks/audit.py FOLDER --time 5000 10000 20000

Of some images of the folder copies are made, one of each kind, written as files, and audited among all the others. An
image is flagged falsely when it is in a pair with an image other than its own source. Pairs that were in the folder
before are found by an audit of it alone and counted apart, for they may be true.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from counterstain.audit.duplicates import Duplicate, find_duplicates
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.layouts import read_images
from counterstain.images.decode import decode
from counterstain.images.store import Store, build_store

TILE_PX = 128


def turned_crop(pixels: np.ndarray, degrees: float, *, resize: bool = True) -> np.ndarray:
    """The largest upright picture within the turned one, of the same shape; enlarged again where `resize`."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    turned = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    a = np.radians(abs(degrees))
    share = min(width, height) / (min(width, height) * np.cos(a) + max(width, height) * np.sin(a))
    h, w = int(height * share), int(width * share)
    top, left = (height - h) // 2, (width - w) // 2
    cut = turned[top : top + h, left : left + w]
    return cv2.resize(cut, (width, height), interpolation=cv2.INTER_CUBIC) if resize else cut


def in_place(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """Turned within its frame, the corners white."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC, borderValue=(255, 255, 255))


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """After a JPEG of this quality."""
    coded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)[:, :, ::-1]


KINDS = {
    "exact": lambda p: p,
    "flipped": lambda p: p[:, ::-1],
    "turned 90": lambda p: np.rot90(p),
    "flipped and turned 90": lambda p: np.rot90(p[:, ::-1]),
    "jpeg 50": lambda p: jpeg(p, 50),
    "jpeg 30, flipped": lambda p: jpeg(p[::-1], 30),
    "brighter 20 %": lambda p: np.clip(p * 1.2, 0, 255).astype(np.uint8),
    "darker 20 %": lambda p: (p * 0.8).astype(np.uint8),
    "turned 5, cropped": lambda p: turned_crop(p, 5),
    "turned 15, cropped": lambda p: turned_crop(p, -15),
    "turned 25, cropped": lambda p: turned_crop(p, 25),
    "turned 25, cropped, not enlarged": lambda p: turned_crop(p, -25, resize=False),
    "turned 25, cropped, flipped, jpeg 75": lambda p: jpeg(turned_crop(p, 25)[:, ::-1], 75),
    "turned 25 in place": lambda p: in_place(p, 25),
}


def plant(cohort: Cohort, folder: Path, names: list[str], sources: list[str]) -> dict[str, tuple[str, str]]:
    """Write the images `names` and the copies of `sources`; returns copy -> (source, kind)."""
    for name in names:
        target = folder / "images" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(cohort.root / name, target)
    made = {}
    labels = dict(zip(cohort.image, cohort.table["label"], strict=True))
    for number, source in enumerate(sources):
        pixels = decode(source, root=cohort.root).pixels
        for kind, change in KINDS.items():
            name = f"{labels[source]}/copy-{number}-{kind.replace(' ', '_').replace(',', '')}.png"
            target = folder / "images" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), np.ascontiguousarray(change(pixels)[:, :, ::-1]))
            made[name] = (source, kind)
    return made


def audit(folder: Path, store: Path) -> tuple[Store, tuple[Duplicate, ...]]:
    """Every copy among the images of a folder."""
    cohort = read_images(folder, layout="folder")
    built = build_store(cohort, store, tile_px=TILE_PX)
    return built, find_duplicates(built)


def linked(copies: tuple[Duplicate, ...], store: Store) -> dict[str, set[str]]:
    """Image -> the images that it is in one cluster with."""
    parent = list(range(len(store.image)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for copy in copies:
        parent[root(copy.a)] = root(copy.b)
    groups: dict[int, set[str]] = {}
    for row, name in enumerate(store.image):
        groups.setdefault(root(row), set()).add(name)
    return {name: group for group in groups.values() for name in group}


def recall(source: Path, images: int, planted: int, seed: int) -> dict[str, object]:
    """Recall of each kind, and the share of images flagged without cause."""
    cohort = read_images(source)
    rng = np.random.default_rng(seed)
    names = sorted(rng.choice(np.array(cohort.image), min(images, len(cohort)), replace=False).tolist())
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        plant(cohort, folder, names, [])
        alone, before = audit(folder / "images", folder / "store")
        in_folder = {name for copy in before for name in (alone.image[copy.a], alone.image[copy.b])}
        clean = [name for name in names if name not in in_folder]
        sources = sorted(rng.choice(np.array(clean), min(planted, len(clean)), replace=False).tolist())
        made = plant(cohort, folder, [], sources)
        store, copies = audit(folder / "images", folder / "store")
    own = {name: name for name in names} | {copy: made[copy][0] for copy in made}
    direct: dict[str, set[str]] = {}
    false: set[str] = set()
    for copy in copies:
        a, b = store.image[copy.a], store.image[copy.b]
        direct.setdefault(a, set()).add(b)
        direct.setdefault(b, set()).add(a)
        if own[a] != own[b] and not {own[a], own[b]} <= in_folder:
            false |= {a, b}
    groups = linked(copies, store)
    found = {
        kind: float(np.mean([source in groups[copy] for copy, (source, k) in made.items() if k == kind]))
        for kind in KINDS
    }
    return {
        "folder": source.name,
        "images": len(names),
        "planted": len(sources),
        "recall": {kind: round(value, 4) for kind, value in found.items()},
        "in pairs before planting": len(in_folder),
        "flagged falsely": round(len(false) / len(store.image), 4),
        "tiers": {
            tier: sum(copy.tier == tier for copy in copies) for tier in ("bytes", "pixels", "turned", "near", "rotated")
        },
    }


def timed(source: Path, count: int) -> dict[str, object]:
    """Seconds from files to copies, and the peak of memory so far."""
    cohort = read_images(source)
    cohort = cohort.subset(np.sort(np.random.default_rng(0).permutation(len(cohort))[:count]))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as text:
        store = build_store(cohort, Path(text), tile_px=TILE_PX)
        decoded = time.perf_counter() - start
        copies = find_duplicates(store)
    return {
        "images": len(cohort),
        "decoding_s": round(decoded, 1),
        "in_all_s": round(time.perf_counter() - start, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "pairs": len(copies),
    }


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--plant", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time", type=int, nargs="*")
    given = parser.parse_args()
    if given.time:
        print(json.dumps({"timed": [timed(given.folder, count) for count in given.time]}))
    else:
        print(json.dumps(recall(given.folder, given.images, given.plant, given.seed), indent=1))


if __name__ == "__main__":
    main()
