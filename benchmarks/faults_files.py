"""Damaged and hostile files of every kind that is read, but slides and annotations (faults_slides.py): one Tally each.

Each kind starts from sound files made here, damages them at random (bits, cuts, zeros, numbers of the header) or
exchanges a value for one of another kind, and reads each in this process. Where an input is known to be wrong (a class
that is not known, probabilities that do not sum to 1, a key that no section has, a bit of a hashed file), reading it
counts as taking it silently.
"""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import yaml
from faults_slides import damaged
from faults_tally import Tally
from PIL import Image

from counterstain.audit.training_set import MEMBERS, read_members
from counterstain.cohort.layouts import read_folder
from counterstain.cohort.manifest import read_manifest
from counterstain.cohort.splitters import read_split
from counterstain.evaluation.calibration import CALIBRATION, apply_calibration, read_calibration
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import plain_cell, read_json, safe_cell, write_csv
from counterstain.images.decode import decode
from counterstain.learning.bundle import RECORD, SUMS, WEIGHTS, Bundle, load_network, read_bundle, seal, write_bundle
from counterstain.learning.features import read_features
from counterstain.learning.networks import build_network
from counterstain.robustness.budget import read_budget
from counterstain.study.study_config import read_study

Rng = np.random.Generator
OTHERS: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, -0.5, 1e308, 10**30, float("nan"), float("inf"), "", " ", "x", "é" * 50,
    "2024-13-45", "=1+1", "../../x", "\x00", [], [None], [[]], {}, {"a": None}, ["a", "a"],
)  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- images


def _images() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (37, 41, 3), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (37, 41), dtype=np.uint16))
    wanted: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("png", rgb, {}), ("png", rgb.convert("P"), {}), ("png", rgb.convert("RGBA"), {}), ("png", deep, {}),
        ("png", rgb.convert("1"), {}), ("jpg", rgb, {"quality": 80}), ("jpg", rgb, {"progressive": True}),
        ("jpg", rgb.convert("CMYK"), {}), ("jpg", rgb.convert("L"), {}), ("tif", rgb, {}),
        ("tif", rgb, {"compression": "tiff_lzw"}), ("tif", rgb, {"compression": "tiff_deflate"}),
        ("tif", rgb, {"compression": "jpeg"}), ("tif", deep, {}), ("bmp", rgb, {}), ("webp", rgb, {}),
        ("webp", rgb, {"lossless": True}), ("gif", rgb.convert("P"), {}), ("jp2", rgb, {}),
    ]  # fmt: skip
    made = {}
    for number, (suffix, image, options) in enumerate(wanted):
        stream = io.BytesIO()
        kind = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(suffix, suffix.upper())
        image.save(stream, kind, **options)
        made[f"{number}.{suffix}"] = stream.getvalue()
    return made


def _png_with(content: bytes, rng: Rng) -> tuple[str, bytes]:
    """A PNG whose header says other sizes, depths or colours, under a right checksum."""
    import zlib

    if content[:4] != b"\x89PNG":
        return damaged(content, rng)
    body = bytearray(content[16:29])
    field = int(rng.integers(0, 4))
    if field < 2:
        body[4 * field : 4 * field + 4] = struct.pack(">I", int(rng.choice([0, 1, 2**16, 2**31 - 1, 2**32 - 1])))
    else:
        body[8 + field - 2] = int(rng.integers(0, 256))
    return "png header", content[:16] + bytes(body) + struct.pack(">I", zlib.crc32(b"IHDR" + body)) + content[33:]


def try_images(count: int, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Damaged images of 19 kinds, each decoded."""
    tally, rng = Tally("images", folder), np.random.default_rng(seed)
    sound = list(_images().items())
    for number in range(count):
        name, content = sound[number % len(sound)]
        kind, broken = (_png_with if rng.random() < 0.2 else damaged)(content, rng)
        (folder / name).write_bytes(broken)
        tally.one(kind, f"{name} {number}", lambda name=name: decode(name, root=folder))
    return tally.record()


# --------------------------------------------------------------------------------------------------------------- tables


def _rows() -> list[list[Any]]:
    rng = np.random.default_rng(1)
    return [[f"i{k}.png", f"P{k // 3}", "ab"[k // 3 % 2], p, 1 - p] for k, p in enumerate(rng.random(24).round(4))]


HEADER = ["image_path", "patient_id", "label", "prob_a", "prob_b"]


def _wrong_tables() -> Iterator[tuple[str, list[str], list[list[Any]]]]:
    """Tables of predictions that are wrong in a known way, in any of their rows."""
    for row in range(24):
        for name, column, value in (
            ("sum is not 1", 3, 3.0), ("sum is not 1", 4, -4.0), ("no number", 3, "high"), ("nan", 3, "nan"),
            ("infinite", 3, "inf"), ("negative", 3, -0.25), ("class unknown", 2, "zebra"), ("no label", 2, ""),
            ("empty", 4, ""),
        ):  # fmt: skip
            rows = _rows()
            rows[row][column] = value
            yield name, HEADER, rows
        rows = _rows()
        rows[row][0] = rows[(row + 1) % 24][0]
        yield "image twice", HEADER, rows
        rows = _rows()
        rows[row][1] = ""
        yield "patient missing", HEADER, rows
        rows = _rows()
        del rows[row][4]
        yield "cell missing", HEADER, rows
    rows = [[cell for place, cell in enumerate(row) if place != 2] for row in _rows()]
    yield "no labels", [name for place, name in enumerate(HEADER) if place != 2], rows
    yield "column twice", [*HEADER[:4], "prob_a"], _rows()
    yield "no rows", HEADER, []


def _csv(header: list[str], rows: list[list[Any]], separator: str = ",") -> bytes:
    return "\n".join(separator.join(map(str, row)) for row in [header, *rows]).encode() + b"\n"


def _table_files(folder: Path) -> dict[str, bytes]:
    """Sound tables of every form: CSV by separators and encodings, Parquet, a manifest, splits."""
    frame = pd.DataFrame(_rows(), columns=HEADER)
    frame.to_parquet(folder / "sound.parquet")
    manifest = [[row[0], row[2], row[1], 0.5] for row in _rows()]
    splits = [[row[0], ("train", "val", "test")[k // 3 % 3]] for k, row in enumerate(_rows())]
    files = {
        "a.csv": _csv(HEADER, _rows()), "b.csv": _csv(HEADER, _rows(), ";"), "c.tsv": _csv(HEADER, _rows(), "\t"),
        "d.csv": _csv(HEADER, _rows()).decode().encode("utf-16"), "e.parquet": (folder / "sound.parquet").read_bytes(),
        "cohort.csv": _csv(["image_path", "label", "patient_id", "mpp"], manifest),
        "splits.csv": _csv(["image_path", "split"], splits),
    }  # fmt: skip
    (folder / "manifest.csv").write_bytes(files["cohort.csv"])
    for row in _rows():
        Image.new("RGB", (16, 16)).save(folder / row[0])
    return files


def _changed_text(content: bytes, rng: Rng) -> tuple[str, bytes]:
    """One separator, quote, digit or line end of a text exchanged for another."""
    marks = [b",", b"\n", b"0", b".", b"P", b"a", b";", b"\t", b"_"]
    new = [
        b"",
        b'"',
        b"'",
        b"\r",
        b"\x00",
        b"\xff",
        b",,",
        b"\n\n",
        b"9" * 400,
        b"NaN",
        b"=1+1",
        "é".encode(),
        b"\xef\xbb\xbf",
    ]
    mark = marks[int(rng.choice([k for k, mark in enumerate(marks) if mark in content] or [0]))]
    pieces = content.split(mark)
    place = int(rng.integers(1, max(2, len(pieces))))
    return "changed text", mark.join(pieces[:place]) + new[int(rng.integers(0, len(new)))] + mark.join(pieces[place:])


def _read_any(path: Path, manifest: Path) -> object:
    if path.name.startswith("cohort"):
        return read_manifest(path)
    if path.name.startswith("splits"):
        return read_split(path, read_manifest(manifest), unit="image")
    return read_predictions(path)


def try_tables(count: int, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Predictions, manifests and splits: damaged ones, and some that are wrong in a known way."""
    tally, rng = Tally("tables", folder), np.random.default_rng(seed)
    sound = list(_table_files(folder).items())
    for name, content in sound:  # the damage is the damage: what it is done to can be read
        (folder / name).write_bytes(content)
        _read_any(folder / name, folder / "manifest.csv")
    wrong = list(_wrong_tables())
    for number in range(count):
        if number % 4 == 0:
            kind, header, rows = wrong[number // 4 % len(wrong)]
            path = folder / "wrong.csv"
            path.write_bytes(_csv(header, rows))
            tally.one(kind, f"{kind} {number // 4 % len(wrong)}", lambda path=path: read_predictions(path), wrong=True)
            continue
        name, content = sound[number % len(sound)]
        kind, broken = (_changed_text if rng.random() < 0.5 and name != "e.parquet" else damaged)(content, rng)
        (folder / name).write_bytes(broken)
        tally.one(kind, f"{name} {number}", lambda p=folder / name: _read_any(p, folder / "manifest.csv"))
    return tally.record()


def try_names(count: int, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Names that are hostile as formulas, markup, paths or terminal escapes: a table gives them back, and runs none."""
    tally, rng = Tally("names", folder), np.random.default_rng(seed)
    letters = list("=+-@\t\r\n'\",;ab0 é<>&\x1b[]{}|/\\%")
    path = folder / "names.csv"

    def through_a_table(names: list[str]) -> None:
        write_csv(path, ("image_path", "label"), [(name, "x") for name in names])
        cells = path.read_bytes().decode()  # line ends as they are
        given = pd.read_csv(io.StringIO(cells), dtype=str, keep_default_na=False)["image_path"].tolist()
        if [plain_cell(cell) for cell in given] != names:
            raise RuntimeError(f"{names!r} came back as {given!r}")
        for name in names:
            cell = safe_cell(name)
            if cell[:1] in "=+-@\t\r" and cell and not cell.strip("+-.0123456789eE") == "":
                raise RuntimeError(f"{name!r} is written as {cell!r}, which a spreadsheet runs")

    for _ in range(count):
        size = int(rng.integers(1, 12))
        name = "".join(letters[k] for k in rng.integers(0, len(letters), size))
        tally.one("name", repr(name), lambda name=name: through_a_table([name, f"{name}2"]))
    return tally.record()


# ---------------------------------------------------------------------------------------------------------- YAML, JSON

STUDY: dict[str, Any] = {
    "name": "s", "cohort": {"path": "x", "layout": "auto"}, "split": {"method": "folds", "folds": 5, "seed": 0},
    "tiles": {"tile_px": 127, "fit": "stretch"}, "augmentation": {"rotation_deg": 30},
    "training": {"epochs": 2, "learning_rate": 1e-3}, "arms": {"a": {"network": "given", "batch": 8}},
    "seeds": [0, 1], "comparison": {"primary": "auroc", "alpha": 0.05}, "audit": {"gate": "stop"},
    "calibration": {"method": "temperature", "alpha": 0.1},
}  # fmt: skip
BUDGET = {"stain_shift": {"auroc_drop": 0.05, "at": 0.2}, "rotation": {"flipped": 0.02}, "clean": {"auroc": 0.8}}
# What is wrong whatever else the file says: no value of these kinds stands for the one that is meant.
WRONG: tuple[tuple[str, Any], ...] = (
    ("name", "../x"), ("name", None), ("name", []), ("cohort.path", None), ("cohort.path", 5), ("cohort.pth", "x"),
    ("split.method", "fold"), ("split.folds", 1), ("split.folds", -3), ("split.folds", "five"), ("split.seed", -1),
    ("split.test", 1.5), ("split.test", 0), ("split.test", "nan"), ("split.repeats", 0), ("tiles.tile_px", 0),
    ("tiles.tile_px", -1), ("tiles.tile_px", 10**9), ("tiles.fit", "squash"), ("tiles.max_bad", 1), ("tiles.x", 1),
    ("training.epochs", 0), ("training.epochs", -1), ("training.epochs", "many"), ("training.epochs", [1]),
    ("training.learning_rate", 0), ("training.learning_rate", -1), ("training.learning_rate", "fast"),
    ("training.epoch", 5), ("training.batch", 0), ("arms", {}), ("arms", []), ("arms.a", 5), ("arms.a.network", "nope"),
    ("arms.a.batch", -8), ("arms.a.bath", 8), ("arms.../x", {}), ("seeds", []), ("seeds", [0, 0]), ("seeds", [-1]),
    ("seeds", "x"), ("seeds", [0.5]), ("comparison.primary", "aurox"), ("comparison.alpha", 0), ("comparison.alpha", 1),
    ("comparison.margin", -0.1), ("comparison.hypothesis", "equivalence"), ("comparison.pairs", [["a", "zz"]]),
    ("audit.gate", "perhaps"), ("audit.gat", "stop"), ("calibration.method", "magic"), ("calibration.alpha", 2),
    ("augmentation.mode", "always"), ("augmentation.rotation", 30), ("serach", {}),
)  # fmt: skip


def _with(record: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    made = json.loads(json.dumps(record))
    *parents, last = dotted.split(".") if ".." not in dotted else dotted.split(".", 1)
    part = made
    for parent in parents:
        part = part.setdefault(parent, {})
    part[last] = value
    return dict(made)


def _places(record: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a nested record, inner ones too."""
    steps = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    for step, inner in steps:
        yield (*place, step)
        yield from _places(inner, (*place, step))


def _exchanged(record: dict[str, Any], rng: Rng) -> tuple[str, dict[str, Any]]:
    """The record with one value for one of another kind."""
    made = json.loads(json.dumps(record))
    places = list(_places(made))
    place = places[int(rng.integers(0, len(places)))]
    part = made
    for step in place[:-1]:
        part = part[step]
    value = OTHERS[int(rng.integers(0, len(OTHERS)))]
    part[place[-1]] = value
    return f"{'.'.join(map(str, place))} = {str(value)[:30]!r}", made


_ODD_YAML = (
    "ledger: 2024-13-45", "? [a, b]\n: c", 'seeds: [!!int ""]', "ledger: !!bool x", "ledger: !!timestamp x",
    "ledger: !!float x", "a: &x [1]\nb: *x", "a: !!python/object/apply:os.system ['true']", "a: [", "a: {", "- a",
    "a\nb",
    "%YAML 9.9\n---\na: 1", "a: 1\n---\nb: 2", "\t", "a: 1\na: 2", "<<: *x", "<<: 1", "!!set {a, b}", "a: !!binary x",
    "a: " + "[" * 5000, "a: " + "9" * 5000, "\ufeff", "a: !!omap [b, c]", "? ? a", "a: 0o9", "a: 1:99:99", "a: 0x",
)  # fmt: skip


def try_yaml(count: int, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Studies and budgets: damaged bytes, values of another kind, wrong values, and what YAML itself chokes on."""
    tally, rng = Tally("yaml", folder), np.random.default_rng(seed)
    path = folder / "study.yaml"
    readers: list[tuple[dict[str, Any], Callable[[Path], object]]] = [(STUDY, read_study), (BUDGET, read_budget)]
    for record, read in readers:
        path.write_text(yaml.safe_dump(record), encoding="utf-8")
        read(path)
    for number in range(count):
        record, read = readers[number % 7 == 0]
        turn, wrong = number % 4, False
        if turn == 0:
            dotted, value = WRONG[number // 4 % len(WRONG)]
            record, read, wrong = STUDY, read_study, True
            kind, label, content = (
                "wrong value",
                f"{dotted} = {value!r}",
                yaml.safe_dump(_with(record, dotted, value)).encode(),
            )
        elif turn == 1:
            label, made = _exchanged(record, rng)
            kind, content = "other kind", yaml.safe_dump(made, allow_unicode=True).encode()
        elif turn == 2:
            odd = _ODD_YAML[number // 4 % len(_ODD_YAML)]
            kind, label, wrong = "odd YAML", odd[:40], True
            content = (odd + "\n" if rng.random() < 0.5 else yaml.safe_dump(record) + odd + "\n").encode()
        else:
            kind, content = (_changed_text if rng.random() < 0.5 else damaged)(yaml.safe_dump(record).encode(), rng)
            label = str(number)
        path.write_bytes(content)
        tally.one(kind, label, lambda read=read: read(path), wrong=wrong)
    return tally.record()


def _bundle(folder: Path) -> Path:
    """A sound bundle with its companions."""
    write_bundle(folder, Bundle("given", ("a", "b"), 127, "exact", "-1..1", mpp=0.5),
                 build_network("given", classes=2, tile_px=127, seed=0))  # fmt: skip
    calibration = {
        "schema": "counterstain.calibration/1", "method": "temperature", "parameters": {"temperature": 2.5},
        "threshold": 0.4, "threshold_rule": "youden", "alpha": 0.1, "qhat": 0.3, "classes": ["a", "b"], "patients": 12,
        "images": 40, "unit": "patient", "notes": ["n"], "conformal": "marginal", "qhat_by_class": [], "stated": {},
    }  # fmt: skip
    members = {"schema": "counterstain.members/1", "salt": "0" * 16, "patient": ["0" * 64], "image": [], "file": []}
    (folder / CALIBRATION).write_text(json.dumps(calibration))
    (folder / MEMBERS).write_text(json.dumps(members))
    seal(folder)
    return folder


def try_json(count: int, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Records: values of another kind and damaged bytes, under right hashes where a bundle has hashes."""
    tally, rng = Tally("json", folder), np.random.default_rng(seed)
    bundle = _bundle(folder / "bundle")
    table = read_predictions_of(folder)

    def calibrated(path: Path) -> object:
        fitted = read_calibration(path.parent)
        return None if fitted is None else apply_calibration(fitted, table)

    readers: dict[str, Callable[[Path], object]] = {
        RECORD: lambda path: read_bundle(path.parent), CALIBRATION: calibrated,
        MEMBERS: lambda path: read_members(path.parent),
    }  # fmt: skip
    sound = {name: (bundle / name).read_bytes() for name in readers}
    deep = [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b"",
        b"null",
        b"[]",
        b'{"a": 1e999}',
        b'{"a": NaN}',
        b"9" * 5000,
    ]
    for number in range(count):
        name = list(readers)[number % len(readers)]
        if number % 5 == 4:
            kind, label, content = "no record", "deep", deep[number // 5 % len(deep)]
        elif number % 5 == 3:
            kind, content = damaged(sound[name], rng)
            label = f"{name} {number}"
        else:
            label, made = _exchanged(json.loads(sound[name]), rng)
            kind, content = "other kind", json.dumps(made).encode()
        (bundle / name).write_bytes(content)
        seal(bundle)
        wrong = kind == "no record"
        tally.one(kind, f"{name}: {label}", lambda name=name: readers[name](bundle / name), wrong=wrong)
        if number % 10 == 0:
            tally.one(kind, f"read_json {label}", lambda name=name: read_json(bundle / name), wrong=wrong)
        (bundle / name).write_bytes(sound[name])
    return tally.record()


def read_predictions_of(folder: Path) -> Any:
    """The sound table of predictions."""
    path = folder / "table.csv"
    path.write_bytes(_csv(HEADER, _rows()))
    return read_predictions(path)


# ------------------------------------------------------------------------------------------------------------- bundles


def try_bundles(count: int, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Bundles: a flipped bit or a cut in any file (never to be read), and wrong values under right hashes."""
    tally, rng = Tally("bundles", folder), np.random.default_rng(seed)
    bundle = _bundle(folder / "bundle")
    sound = {path.name: path.read_bytes() for path in bundle.iterdir()}
    record = json.loads(sound[RECORD])
    for number in range(count):
        if number % 3:
            name = list(sound)[int(rng.integers(0, len(sound)))]
            kind, content = "bits", bytearray(sound[name])
            where = int(rng.integers(0, 8 * len(content)))
            content[where // 8] ^= 1 << where % 8
            if number % 3 == 2:
                kind = "cut"
                del content[int(rng.integers(0, len(content))) :]
            (bundle / name).write_bytes(content)
            tally.one(kind, f"{name} {number}", lambda: load_network(bundle), wrong=True)
        else:
            name = WEIGHTS if number % 2 else RECORD
            if name == RECORD:
                label, made = _exchanged(record, rng)
                kind, content = "other kind, right hashes", bytearray(json.dumps(made).encode())
            else:
                kind, broken = damaged(sound[WEIGHTS][:2000] + sound[WEIGHTS][2000:], rng)
                label, content = kind, bytearray(broken)
                kind = "weights, right hashes"
            (bundle / name).write_bytes(content)
            seal(bundle)
            tally.one(kind, f"{name} {label}", lambda: load_network(bundle))
            (bundle / SUMS).write_bytes(sound[SUMS])
        (bundle / name).write_bytes(sound[name])
    load_network(bundle)  # it was the damage
    return tally.record()


# ---------------------------------------------------------------------------------------------------------- containers


def try_containers(count: int, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Feature files, and images in HDF5 and NumPy files: damaged, linked to other files, of other shapes and types."""
    tally, rng = Tally("containers", folder), np.random.default_rng(seed)
    place = folder / "set"
    place.mkdir(exist_ok=True)
    images = rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    with h5py.File(folder / "features.h5", "w") as file:
        file.create_dataset("features", data=rng.normal(size=(20, 8)).astype("f4"), chunks=(5, 8), compression="gzip")
        file["coords"] = np.arange(40).reshape(20, 2)
    with h5py.File(folder / "images.h5", "w") as file:
        file.create_dataset("x", data=images, chunks=(1, 16, 16, 3), compression="gzip")
        file["y"] = np.arange(6) % 2
    np.savez_compressed(folder / "images.npz", train_images=images, train_labels=np.arange(6) % 2)
    sound = {name: (folder / name).read_bytes() for name in ("features.h5", "images.h5", "images.npz")}

    def as_cohort(path: Path) -> None:
        for old in place.iterdir():
            old.unlink()
        (place / path.name).write_bytes(path.read_bytes())
        cohort = read_folder(place)
        for name in cohort.image[:3]:
            decode(name, root=place)

    odd = list(_odd_containers(folder))
    for number in range(count):
        if number % 6 == 5:
            kind, path = odd[number // 6 % len(odd)]
            tally.one(
                kind, path.name, lambda p=path: read_features(p) if "feat" in p.name else as_cohort(p), wrong=True
            )
            continue
        name = list(sound)[number % 3]
        kind, content = damaged(sound[name], rng)
        path = folder / f"damaged-{name}"
        path.write_bytes(content)
        tally.one(kind, f"{name} {number}", lambda p=path: read_features(p) if "feat" in p.name else as_cohort(p))
    return tally.record()


def _odd_containers(folder: Path) -> Iterator[tuple[str, Path]]:
    """Sound files of which nothing may be read: links out of them, shapes of terabytes, Python objects, words."""
    rows = np.ones((4, 3), np.float32)
    with h5py.File(folder / "other.h5", "w") as file:
        file["secret"] = rows
    makers: dict[str, Callable[[Any], object]] = {
        "external link": lambda file: file.__setitem__("features", h5py.ExternalLink("other.h5", "/secret")),
        "soft link": lambda file: file.__setitem__("features", h5py.SoftLink("/nowhere")),
        "external storage": lambda file: file.create_dataset(
            "features", (4, 3), "f4", external=[(str(folder / "other.h5"), 0, h5py.h5f.UNLIMITED)]
        ),
        "terabytes": lambda file: file.create_dataset("features", (10**7, 10**5), "f4", chunks=(64, 64)),
        "words": lambda file: file.__setitem__("features", np.array([[b"a"]])),
        "a number": lambda file: file.__setitem__("features", 5.0),
        "a group": lambda file: file.create_group("features"),
        "not finite": lambda file: file.__setitem__("features", rows * np.nan),
        "coords of another length": lambda file: file.update({"features": rows, "coords": np.zeros((9, 2))}),
        "nothing": lambda file: None,
    }  # fmt: skip
    for number, (kind, make) in enumerate(makers.items()):
        path = folder / f"feat-odd{number}.h5"
        with h5py.File(path, "w") as file:
            make(file)
        yield kind, path
    np.savez(folder / "objects.npz", train_images=np.array([{}] * 3, dtype=object), train_labels=np.arange(3))
    yield "Python objects", folder / "objects.npz"
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (10**7, 32, 32, 3)})
    labels = io.BytesIO()
    np.save(labels, np.zeros(10**7, np.uint8))
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", head.getvalue() + bytes(1000))
        archive.writestr("train_labels.npy", labels.getvalue())
    yield "bomb", folder / "bomb.npz"
