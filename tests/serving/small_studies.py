"""Small studies and slides on disk that several tests of the server look at."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from counterstain.audit.decisions import PAIRS, write_pairs
from counterstain.audit.duplicates import Duplicate
from counterstain.cohort.image_paths import write_location
from counterstain.study.audit_stage import audit_images

WIDTH, HEIGHT = 1500, 1100


def texture(seed: int, side: int = 128) -> np.ndarray:
    """A picture with structure of its own: blobs of several sizes."""
    import cv2

    random = np.random.default_rng(seed)
    noise = random.normal(0, 1, (side, side, 3)).astype(np.float32)
    mixed = sum(cv2.GaussianBlur(noise, (0, 0), s) * s for s in (2, 4, 8))
    return np.clip(128 + 50 * mixed / mixed.std(), 0, 255).astype(np.uint8)


def audited_home(home: Path) -> Path:
    """A cohort of 24 images of 12 patients; three pairs of copies, two of them across the split; its audit as run r."""
    rows = []
    for number in range(24):
        patient, label = number // 2, "ab"[(number // 2) % 2]
        name = f"{label}/P{patient:02}-{number}.png"
        (home / "images" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(texture(number)).save(home / "images" / name)
        part = ("train", "train", "train", "val", "test", "train")[patient // 2]
        rows.append([name, label, f"P{patient:02}", part])
    first = np.asarray(Image.open(home / "images" / rows[0][0]))
    for row, copy in ((17, np.rot90(first)), (16, np.rot90(first[:, ::-1], 3)), (4, first)):
        Image.fromarray(np.ascontiguousarray(copy)).save(home / "images" / rows[row][0])
    with (home / "images" / "cohort.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image_path", "label", "patient_id", "split"], *rows])
    audit_images(home / "images" / "cohort.csv", None, home / "audit")
    run = home / "runs" / "r"
    (run / "records" / "audit").mkdir(parents=True)
    for name in ("audit.json",):
        shutil.copy(home / "audit" / name, run / "records" / name)
    shutil.copy(home / "audit" / "pairs.csv", run / "records" / "audit" / "pairs.csv")
    shutil.copy(home / "images" / "cohort.csv", run / "records" / "cohort.csv")
    (run / "run.log").write_text("")
    (run / "records" / "location.json").write_text('{"schema": "counterstain.location/1", "root": "../../../images"}')
    return home


def hundred_pairs(audited: Path, run: Path) -> Path:
    """A run as the audited one, but with a hundred pairs of its images to decide on."""
    shutil.copytree(audited, run)
    with (run / "records" / "cohort.csv").open(encoding="utf-8", newline="") as stream:
        names = sorted(row["image_path"] for row in csv.DictReader(stream))
    found = [Duplicate(a, b, "high", 0.95, "as it is") for a in range(24) for b in range(a + 1, 24)]
    write_pairs(run / "records" / PAIRS, names, found[:100])
    return run


def slide_home(home: Path) -> Path:
    """A pyramidal slide whose pixels say where they are, its annotation, and a map of two tiles."""
    import tifffile

    (home / "slides").mkdir(parents=True)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, np.full_like(x, 90)], axis=-1).astype(np.uint8)
    with tifffile.TiffWriter(home / "slides" / "s.tif") as writer:
        common = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib", "resolutionunit": "CENTIMETER"}
        writer.write(pixels, subifds=0, resolution=(20000, 20000), **common)
        writer.write(pixels[::2, ::2], subfiletype=1, resolution=(10000, 10000), **common)
        writer.write(pixels[::4, ::4], subfiletype=1, resolution=(5000, 5000), **common)
    ring = [[100, 200], [700, 200], [700, 900], [100, 200]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
               "properties": {"classification": {"name": "tumour"}}}  # fmt: skip
    (home / "slides" / "s.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    maps = home / "maps"
    (maps / "slide-records").mkdir(parents=True)
    (maps / "model-outputs-csv").mkdir()
    record = {"schema": "counterstain.slide/1", "extent": [0, 0, WIDTH, HEIGHT], "mpp": [0.5, 0.5]}
    (maps / "slide-records" / "s.json").write_text(json.dumps(record))
    rows = ["minx,miny,width,height,prob_benign,prob_malignant", "256,512,256,256,0.75,0.25", "512,512,256,256,0,1"]
    (maps / "model-outputs-csv" / "s.csv").write_text("\n".join(rows) + "\n")
    (home / "runs").mkdir()
    return home


def large_cohort(run: Path, count: int = 100_000) -> Path:
    """A run whose cohort has so many tiles of 16 px, in one file, each of another colour than its neighbours."""
    import h5py

    images = run.parent.parent / "many"
    images.mkdir(parents=True)
    number = np.arange(count)
    colour = np.stack([number * 37 % 256, number // 256 % 256, number % 7 * 36], axis=1).astype(np.uint8)
    with h5py.File(images / "tiles.h5", "w") as file:
        made = file.create_dataset("x", (count, 16, 16, 3), "u1", chunks=(250, 16, 16, 3), compression="gzip")
        for start in range(0, count, 10_000):
            rows = slice(start, start + 10_000)
            made[rows] = np.broadcast_to(colour[rows, None, None], made[rows].shape)
    (run / "records").mkdir(parents=True)
    (run / "run.log").write_text("")
    lines = ["image_path,label,patient_id,site,split"]
    for row in range(count):
        part = "train" if row % 5 else "test"
        lines.append(f"tiles.h5#x/{row},{'ab'[row % 2]},P{row // 100:04},site-{row % 4},{part}")
    (run / "records" / "cohort.csv").write_text("\n".join(lines) + "\n")
    write_location(run / "records", images)
    return run


def huge_slide(path: Path, width: int = 100_000, height: int = 80_000) -> Path:
    """A pyramidal slide of 100,000 px, in squares of 8,192 px whose colour says which they are."""
    import zlib

    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    block, side = 8192, 1024
    packed: dict[tuple[int, int], bytes] = {}

    def square(column: int, row: int) -> bytes:
        if (column, row) not in packed:
            packed[column, row] = zlib.compress(np.broadcast_to(huge_colour(column, row), (side, side, 3)).tobytes(), 1)
        return packed[column, row]

    y, x = np.mgrid[0 : height // 64, 0 : width // 64]
    small = huge_colour(x * 64 // block, y * 64 // block)
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        common = {"tile": (side, side), "photometric": "rgb", "compression": "zlib", "resolutionunit": "CENTIMETER"}
        for factor in (1, 8):
            shape = (height // factor, width // factor, 3)
            columns, rows = -(-shape[1] // side), -(-shape[0] // side)
            step = block // (side * factor)
            tiles = (square(column // step, row // step) for row in range(rows) for column in range(columns))
            more = {"subifds": 2} if factor == 1 else {"subfiletype": 1}
            writer.write(tiles, shape=shape, dtype=np.uint8, resolution=(20000 / factor,) * 2, **common, **more)
        writer.write(small, subfiletype=1, resolution=(20000 / 64,) * 2, **common)
    return path


def huge_colour(column: np.ndarray | int, row: np.ndarray | int) -> np.ndarray:
    """(…, 3) uint8 colour of a square of the huge slide."""
    column, row = np.asarray(column), np.asarray(row)
    return np.stack([40 + 15 * column, 40 + 18 * row, np.full_like(column, 120)], axis=-1).astype(np.uint8)
