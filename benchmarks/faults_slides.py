"""Do damaged slides and annotation files ever end a batch, in a traceback, or in more memory than a slide needs?

Small sound files (plain and pyramidal TIFF, JPEG, SVS, OME-TIFF, DICOM; GeoJSON, Darwin, ASAP, ImageScope, HALO) are
damaged at random, each by one of: flipped bits, cut short, bytes overwritten, numbers of the header set to 0 or to the
greatest, blocks moved. Each goes through `inspect`, `slides tiles` and, with a bundle, `slides run`, in this process
and beside a sound slide.

    python benchmarks/faults_slides.py --slides 300 --annotations 500 --bundle runs/demo/arms/given/seed0

prints one line of JSON; `try_slides` and `try_annotations` are what benchmarks/faults.py and the tests call.
"""

import argparse
import json
import resource
import struct
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.slides.annotations import load_annotations
from counterstain.slides.extract_tiles import ExtractionOptions, extract_tiles
from counterstain.slides.infer_cohort import run_slides
from counterstain.slides.infer_slide import InferenceOptions
from counterstain.slides.inspection import inspect_slide
from counterstain.slides.slide_files import slide_name

HALO = """<Annotations><Annotation Name="a"><Regions><Region Type="Polygon" NegativeROA="0"><Vertices>
<V X="10" Y="10"/><V X="90" Y="12"/><V X="50" Y="99"/></Vertices></Region>
<Region Type="Ellipse" NegativeROA="1"><Vertices>
<V X="30" Y="30"/><V X="50" Y="50"/></Vertices></Region></Regions></Annotation></Annotations>"""
ASAP = """<?xml version="1.0"?><ASAP_Annotations><Annotations><Annotation Name="x" Type="Polygon" PartOfGroup="tumour">
<Coordinates><Coordinate Order="0" X="1" Y="2"/><Coordinate Order="1" X="90,5" Y="2"/>
<Coordinate Order="2" X="9" Y="80"/>
</Coordinates></Annotation></Annotations></ASAP_Annotations>"""
RING = [[0, 0], [90, 0], [90, 90], [0, 0]]
GEOJSON = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "id": "PathAnnotationObject", "geometry": {"type": "Polygon", "coordinates": [RING]},
         "properties": {"objectType": "annotation", "classification": {"name": "tumour"}, "childObjects": [
             {"type": "Feature", "geometry": None, "properties": {"classification": {"names": ["a", "b"]}}}]}},
    ],
}  # fmt: skip
DARWIN = {
    "version": "2.0",
    "annotations": [
        {"name": "stroma", "polygon": {"paths": [[{"x": x, "y": y} for x, y in RING[:3]]]}, "slot_names": ["0"]},
        {"name": "tumour", "bounding_box": {"x": 1, "y": 2, "w": 30, "h": 40}},
        {"name": "cell", "ellipse": {"center": {"x": 9, "y": 9}, "radius": {"x": 3, "y": 4}, "angle": 0.5}},
    ],
}
ANNOTATIONS = {
    "a.geojson": json.dumps(GEOJSON).encode(),
    "a.json": json.dumps(DARWIN).encode(),
    "a.xml": ASAP.encode(),
    "b.xml": HALO.replace("<V ", "<Vertex ").replace('"Polygon"', '"0"').replace('"Ellipse"', '"2"').encode(),
    "a.annotations": HALO.encode(),
}


def tissue(px: int = 512) -> NDArray[np.uint8]:
    """(px, px, 3) stained texture on white glass."""
    rng = np.random.default_rng(0)
    image = np.full((px, px, 3), 243, np.int16)
    inner = slice(px // 8, px * 7 // 8)
    image[inner, inner] = np.array([190, 110, 180], np.int16) + rng.normal(0, 25, (px * 3 // 4, px * 3 // 4, 1)).astype(
        np.int16
    )
    return np.clip(image, 0, 255).astype(np.uint8)


def sound_slides(folder: Path) -> list[Path]:
    """One small sound slide of each kind that the readers know, OpenSlide's and tifffile's."""
    image = tissue()
    scale: dict[str, Any] = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER", "photometric": "rgb"}
    words = "Aperio Image Library v1\n512x512 [0,0 512x512] (128x128) JPEG/RGB Q=80|AppMag = 20|MPP = 0.5"
    kinds: dict[str, dict[str, Any]] = {
        "jpeg.tif": {"compression": "jpeg", "tile": (128, 128)},
        "plain.tif": {"tile": (128, 128)},
        "deflate.tif": {"compression": "deflate", "tile": (128, 128), "predictor": True},
        "strips.tif": {"compression": "lzw", "rowsperstrip": 64},
        "j2k.tif": {"compression": "jpeg2000", "tile": (128, 128)},
        "big.tif": {"compression": "zstd", "tile": (128, 128)},
        "aperio.svs": {"compression": "jpeg", "tile": (128, 128), "description": words},
    }
    paths = []
    for name, options in kinds.items():
        with tifffile.TiffWriter(folder / name, bigtiff=name == "big.tif") as file:
            for number, level in enumerate((image, image[::2, ::2].copy())):
                more = {key: value for key, value in options.items() if key != "description" or not number}
                file.write(level, metadata=None, subfiletype=int(number > 0), **scale, **more)
        paths.append(folder / name)
    deep = image.astype(np.uint16) * 16
    tifffile.imwrite(folder / "deep.tif", deep, tile=(128, 128), metadata=None, compression="deflate", **scale)
    with tifffile.TiffWriter(folder / "pyramid.ome.tif", ome=True) as file:
        size = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        file.write(image, subifds=1, metadata=size, tile=(128, 128), compression="deflate", photometric="rgb")
        file.write(image[::2, ::2].copy(), subfiletype=1, tile=(128, 128), compression="deflate", photometric="rgb")
    return [*paths, folder / "deep.tif", folder / "pyramid.ome.tif", _dicom(folder / "level.dcm", image)]


def _dicom(path: Path, image: NDArray[np.uint8], tile: int = 128) -> Path:
    """An uncompressed whole-slide level, element by element (DICOM PS3.3 A.32.8)."""

    def element(group: int, number: int, kind: str, value: bytes) -> bytes:
        value += (b"\0" if kind in ("UI", "OB") else b" ") * (len(value) % 2)
        length = struct.pack("<HI", 0, len(value)) if kind in ("OB", "SQ") else struct.pack("<H", len(value))
        return struct.pack("<HH", group, number) + kind.encode() + length + value

    def item(content: bytes) -> bytes:
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content

    short = struct.Struct("<H").pack
    kind, root = b"1.2.840.10008.5.1.4.1.1.77.1.6", b"1.2.826.0.1.3680043.10.1"
    frames = [image[y : y + tile, x : x + tile].tobytes() for y in range(0, 512, tile) for x in range(0, 512, tile)]
    spacing = element(0x28, 0x30, "DS", b"0.0005\\0.0005")
    meta = b"".join([
        element(2, 1, "OB", b"\0\1"), element(2, 2, "UI", kind), element(2, 3, "UI", root + b".3"),
        element(2, 0x10, "UI", b"1.2.840.10008.1.2.1"), element(2, 0x12, "UI", root),
    ])  # fmt: skip
    content = b"".join([
        element(8, 8, "CS", b"ORIGINAL\\PRIMARY\\VOLUME\\NONE"), element(8, 0x16, "UI", kind),
        element(8, 0x18, "UI", root + b".3"), element(8, 0x60, "CS", b"SM"), element(0x20, 0xD, "UI", root + b".1"),
        element(0x20, 0xE, "UI", root + b".2"), element(0x20, 0x13, "IS", b"1"),
        element(0x20, 0x9311, "CS", b"TILED_FULL"), element(0x28, 2, "US", short(3)),
        element(0x28, 4, "CS", b"RGB"), element(0x28, 6, "US", short(0)),
        element(0x28, 8, "IS", str(len(frames)).encode()), element(0x28, 0x10, "US", short(tile)),
        element(0x28, 0x11, "US", short(tile)), element(0x28, 0x100, "US", short(8)),
        element(0x28, 0x101, "US", short(8)), element(0x28, 0x102, "US", short(7)),
        element(0x28, 0x103, "US", short(0)), element(0x48, 6, "UL", struct.pack("<I", 512)),
        element(0x48, 7, "UL", struct.pack("<I", 512)),
        element(0x5200, 0x9229, "SQ", item(element(0x28, 0x9110, "SQ", item(spacing)))),
        element(0x7FE0, 0x10, "OB", b"".join(frames)),
    ])  # fmt: skip
    path.write_bytes(b"\0" * 128 + b"DICM" + element(2, 0, "UL", struct.pack("<I", len(meta))) + meta + content)
    return path


def damaged(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """The kind of damage, and the bytes with it."""
    found = bytearray(content)
    kind = str(rng.choice(["bits", "header bits", "cut", "overwritten", "zeros", "greatest", "moved"]))
    place = int(rng.integers(0, max(1, len(found) - 16)))
    head = int(rng.integers(0, min(len(found), 2_000)))
    if kind in ("bits", "header bits"):
        for _ in range(int(rng.integers(1, 12))):
            where = int(rng.integers(0, len(found) if kind == "bits" else min(len(found), 600)))
            found[where] ^= 1 << int(rng.integers(0, 8))
    elif kind == "cut":
        del found[place:]
    elif kind == "overwritten":
        found[place : place + 64] = rng.bytes(len(found[place : place + 64]))
    elif kind == "moved":
        del found[place : place + 8]
    else:
        size = int(rng.choice([1, 2, 4, 8]))
        found[head : head + size] = (b"\0" if kind == "zeros" else b"\xff") * len(found[head : head + size])
    return kind, bytes(found)


def damaged_tag(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """A classic little-endian TIFF with the value or count of one of its tags set to 0, 1 or the greatest."""
    if content[:4] != b"II*\0":
        return damaged(content, rng)
    found = bytearray(content)
    start = struct.unpack("<I", found[4:8])[0]
    if start + 2 > len(found):
        return damaged(content, rng)
    entry = start + 2 + 12 * int(rng.integers(0, max(1, struct.unpack("<H", found[start : start + 2])[0])))
    field = int(rng.choice([entry + 4, entry + 8]))
    found[field : field + 4] = struct.pack("<I", int(rng.choice([0, 1, 2, 7, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])))
    return "tag", bytes(found)


def try_slides(count: int, folder: Path, *, seed: int = 0, bundle: Path | None = None) -> dict[str, Any]:
    """Damage `count` slides and read each beside a sound one: inputs, how each ended, tracebacks, peak memory in MB.

    With a bundle (of a model of 0.5 µm/px), `slides run` reads them, too.
    """
    rng = np.random.default_rng(seed)
    sound = sound_slides(folder)
    contents = [path.read_bytes() for path in sound]
    ended, kinds, tracebacks, slowest = Counter[str](), Counter[str](), list[str](), 0.0
    for number in range(count):
        source = number % len(sound)
        kind, content = (damaged_tag if rng.random() < 0.5 else damaged)(contents[source], rng)
        path = folder / f"damaged{number}{''.join(sound[source].suffixes[-2:])}"
        path.write_bytes(content)
        kinds[kind] += 1
        began = time.process_time()
        try:
            ended[_one_slide(path, sound[0], folder / f"out{number}", bundle)] += 1
        except Exception:  # noqa: BLE001 (what escapes is what is counted)
            tracebacks.append(f"{sound[source].name} {kind} {number}: {traceback.format_exc()[-1500:]}")
        slowest = max(slowest, time.process_time() - began)
        path.unlink()
    return _record("slides", count, ended, kinds, tracebacks, slowest)


def _one_slide(path: Path, sound: Path, out: Path, bundle: Path | None) -> str:
    refused = False
    try:
        inspect_slide(path, mpp=0.5, tile_px=128)
    except InputError:
        refused = True
    cut = extract_tiles([path, sound], out, ExtractionOptions(mpp=0.5, tile_px=128, assume_mpp=0.5))
    if sound.name not in {f"{name}{sound.suffix}" for name in _cut_slides(cut.cohort)}:
        raise RuntimeError(f"the sound slide was not cut beside {path.name}")
    if bundle is not None:
        result = run_slides(bundle, [path, sound], out / "run", InferenceOptions(assume_mpp=0.5))
        if slide_name(sound) not in result.records:
            raise RuntimeError(f"the sound slide was not read beside {path.name}")
        refused = refused or bool(result.failures)
    return "refused" if refused or cut.failures else "read"


def _cut_slides(cohort: Path) -> set[str]:
    return {line.split(",")[3] for line in cohort.read_text(encoding="utf-8").splitlines()[1:]}


def try_annotations(count: int, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Damage `count` annotation files and read each: inputs, how each ended, tracebacks, peak memory in MB."""
    rng = np.random.default_rng(seed)
    ended, kinds, tracebacks, slowest = Counter[str](), Counter[str](), list[str](), 0.0
    names = list(ANNOTATIONS)
    for number in range(count):
        name = names[number % len(names)]
        kind, content = (_changed_value if rng.random() < 0.4 else damaged)(ANNOTATIONS[name], rng)
        path = folder / name
        path.write_bytes(content)
        kinds[kind] += 1
        began = time.process_time()
        try:
            load_annotations(path)
            ended["read"] += 1
        except InputError:
            ended["refused"] += 1
        except Exception:  # noqa: BLE001 (what escapes is what is counted)
            tracebacks.append(f"{name} {kind} {number}: {traceback.format_exc()[-1500:]}")
        slowest = max(slowest, time.process_time() - began)
    return _record("annotations", count, ended, kinds, tracebacks, slowest)


def _changed_value(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Text in which one number, word, list or record stands for another: right syntax, wrong content."""
    text = content.decode("utf-8", "replace")
    marks = ['"', "[", "{", "0", "9", "1", "null", "type", "name", "x", "X"]
    others = [
        "",
        "null",
        "[]",
        "{}",
        "[[]]",
        "1e999",
        "-1",
        "NaN",
        '"',
        "\x00",
        "9" * 400,
        '{"a": 1}',
        "[5]",
        "true",
        "é",
    ]
    mark = str(rng.choice([mark for mark in marks if mark in text]))
    pieces = text.split(mark)
    place = int(rng.integers(1, len(pieces)))
    changed = mark.join(pieces[:place]) + str(rng.choice(others)) + mark.join(pieces[place:])
    return "changed value", changed.encode()


def _record(
    what: str, count: int, ended: Counter[str], kinds: Counter[str], tracebacks: list[str], slowest: float
) -> dict[str, Any]:
    return {
        "what": what, "inputs": count, "ended": dict(ended), "kinds": dict(kinds), "tracebacks": len(tracebacks),
        "first_tracebacks": tracebacks[:5], "slowest_cpu_s": round(slowest, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=300)
    parser.add_argument("--annotations", type=int, default=500)
    parser.add_argument("--bundle", type=Path, help="a model; `slides run` reads the slides with it, too")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [try_slides(asked.slides, Path(folder), seed=asked.seed, bundle=asked.bundle)]
        found.append(try_annotations(asked.annotations, Path(folder), seed=asked.seed))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
