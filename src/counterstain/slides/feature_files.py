"""Feature files of slides: one .h5 per slide in TRIDENT's layout, of a cohort's tiles or straight from slides.

`features` (tiles, D) float32 and `coords` (tiles, 2) int64, level-0 px, with attributes: patch_size (px of a tile),
patch_size_level0 (the same in level-0 px, of slides), mpp, encoder and others. A manifest beside them is what a study
of mil/… arms reads. A slide whose file is there and was made of the same is not made again.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.cohort import Cohort
from counterstain.engine import Engine, check_engine
from counterstain.errors import InputError, first_names
from counterstain.files import hash_json, read_json, write_csv, write_json
from counterstain.images import resize
from counterstain.images.store import Store, build_store, read_batch
from counterstain.learning.bag_dataset import refuse_features
from counterstain.learning.device import prepare_device
from counterstain.learning.encoder import Encoder, choose_encoder_runtime, load_encoder
from counterstain.learning.features import Features, write_features
from counterstain.learning.runtimes import TRIAL_TILES
from counterstain.progress import Progress
from counterstain.records import short_repr
from counterstain.slides.info import Slide
from counterstain.slides.outputs import SlideJob, find_jobs
from counterstain.slides.reader import open_slide
from counterstain.slides.scale import check_scale
from counterstain.slides.slide_files import find_slides
from counterstain.slides.slide_workers import each_slide, threads_of
from counterstain.slides.tile_stream import batch_size, read_ahead
from counterstain.slides.tiling import Tiling, plan_tiles
from counterstain.slides.tissue import tissue_mask
from counterstain.version import __version__

__all__ = ["MANIFEST", "FeatureFiles", "TileGrid", "encode_slides", "encode_tiles"]

SCHEMA = "counterstain.feature-files/1"
MANIFEST, RECORD, FAILURES, RUNTIME = "manifest.csv", "features.json", "failures.csv", "runtime.json"
_MANY = 2_000  # tiles of a slide, where none was planned yet: a section of 10 mm at 0.5 µm/px has about so many
COLUMNS = ("image_path", "label", "patient_id", "slide_id", "site", "mpp", "split")


@dataclass(frozen=True, kw_only=True)
class TileGrid:
    """How tiles are laid on slides: see slides.tiling.plan_tiles and slides.reader.open_slide.

    mpp: µm/px of the tiles. least_tissue: None keeps every tile.
    """

    mpp: float
    overlap: float = 0.0
    least_tissue: float | None = 0.5
    assume_mpp: float | None = None
    mpp_table: Mapping[str, tuple[float, float]] | None = None
    workers: int | None = None


@dataclass(frozen=True)
class FeatureFiles:
    """What was made: feature files in all, those that were there before, tiles, and (slide, reason) of failures."""

    out: Path
    slides: int
    before: int
    tiles: int
    failures: tuple[tuple[str, str], ...] = ()

    def __fspath__(self) -> str:
        return str(manifest if (manifest := self.out / MANIFEST).is_file() else self.out)

    def __repr__(self) -> str:
        return short_repr(self)


def encode_tiles(
    encoder: Encoder, cohort: Cohort, out: Path, *, fit: str, runtime: str = "torch", talk: Progress | None = None
) -> FeatureFiles:
    """Write the features of a cohort's tiles, one file for each slide_id.

    The manifest gives a slide the label of its tiles. Where they differ and there are two classes it is the positive
    one (a slide is positive where any of its tiles is, the assumption of multiple-instance learning), and it is said;
    of more classes such a slide has no label and is left out of the manifest, and that is said, too.

    Args:
        encoder: see load_encoder.
        cohort: its images are tiles, with slide_id; x, y are level-0 px where known.
        out: folder of the files; the tile store is made beside it.
        fit: how images become tiles; "exact" takes them as they are.
        runtime: see learning.encoder.choose_encoder_runtime.
        talk: where progress is told.

    Raises:
        InputError: If a tile has no slide, a slide is of two patients, sites or parts, two slides would share a file,
            or too many images cannot be read.
    """
    talk = talk or Progress()
    refuse_features(cohort)
    nameless = next((name for name, slide in zip(cohort.image, cohort.table["slide_id"], strict=True) if not slide), "")
    if nameless:
        raise InputError(f"{nameless} has no slide_id; features are one file per slide: add that column to a manifest")
    files = _file_names(cohort.table["slide_id"])
    listed = _listed(cohort, files, talk)
    store = build_store(cohort, out.parent / "store", tile_px=encoder.tile_px, fit=fit, progress=talk.stored)
    for name, reason in store.set_aside:
        talk.say(f"skipped: {name}: {reason}")
    if runtime != "torch":
        sample = read_batch(store, np.arange(min(TRIAL_TILES, len(store.image))))
        encoder = _with_runtime(encoder, runtime, sample, len(store.image), out, talk)
    stored = set(store.image)
    table = cohort.table[[name in stored for name in cohort.image]]
    before, done = 0, 0
    slides = table.groupby("slide_id", sort=False)
    for slide, tiles in slides:
        before += _encode_stored(encoder, store, tiles, out / files[str(slide)], slide=str(slide), fit=fit)
        done += len(tiles)
        if talk.stored is not None:
            talk.stored(done, len(table))
    written = {files[str(slide)] for slide in slides.groups}
    write_csv(out / MANIFEST, COLUMNS, [row for row in listed if row[0] in written])
    _write_record(out, encoder, {"source": "tiles", "fit": fit}, len(written), len(table))
    return FeatureFiles(out, len(written), before, len(table))


def _listed(cohort: Cohort, files: Mapping[str, str], talk: Progress) -> list[tuple[Any, ...]]:
    """The manifest's rows, of each slide that has a label."""
    rows, mixed = list[tuple[Any, ...]](), list[str]()
    for slide, tiles in cohort.table.groupby("slide_id", sort=False):
        labels = set(tiles["label"])
        label = labels.pop() if len(labels) == 1 else cohort.positive
        mixed += [str(slide)] * bool(labels)
        patient, site, split = (_the_one(tiles[name], str(slide)) for name in ("patient_id", "site", "split"))
        if label:
            rows.append((files[str(slide)], label, patient, slide, site, _number(tiles["mpp"]), split))
    if mixed:
        rule = "they count as positive" if cohort.positive else f"they are left out of {MANIFEST}"
        talk.say(f"{len(mixed)} slides have tiles of several classes ({first_names(mixed)}): {rule}")
    return rows


def _the_one(column: Any, slide: str) -> str:
    """The one value that a slide's tiles have in a column.

    Raises:
        InputError: If they have several.
    """
    values = sorted(set(column))
    if len(values) > 1:
        raise InputError(
            f"tiles of slide '{slide}' have several values of {column.name}: {first_names(values)}; correct it"
        )
    return str(values[0])


def _number(column: Any) -> float | None:
    """The one number of a column, where it has one."""
    values = set(column.dropna())
    return values.pop() if len(values) == 1 else None


def _file_names(slides: Iterable[str]) -> dict[str, str]:
    """A file for each slide: its id, with what no file name should have made "_"."""
    names = {slide: re.sub(r"[^\w.+-]+", "_", slide).lstrip(".") + ".h5" for slide in slides}
    slide_of: dict[str, str] = {}
    for slide, name in names.items():
        first = slide_of.setdefault(name.casefold(), slide)
        if first != slide:
            raise InputError(f"slides '{first}' and '{slide}' would both be {name}; give one of them another slide_id")
    return names


def _encode_stored(encoder: Encoder, store: Store, table: Any, path: Path, *, slide: str, fit: str) -> bool:
    """Write one slide's file from the store; True where it was there before."""
    rows = store.rows(list(table["image_path"]))
    coords = table[["x", "y"]].to_numpy(dtype=np.float64)
    coords = np.where(np.isnan(coords), -1, np.round(coords)).astype(np.int64)
    content = [store.content[row] for row in rows]
    key = hash_json({"encoder": encoder.record, "fit": fit, "tiles": content, "coords": coords})
    if _key_of(path) == key:
        return True
    batches = (rows[start : start + 64] for start in range(0, len(rows), 64))
    features = np.concatenate([encoder.features(read_batch(store, batch)) for batch in batches])
    attributes = {"patch_size": encoder.tile_px, "fit": fit}
    mpp = _number(table["mpp"])
    if mpp is not None and fit == "exact":
        attributes["mpp"] = mpp
    _write(path, features, coords, encoder, name=slide, key=key, attributes=attributes)
    return False


def encode_slides(
    encoder: Encoder,
    slides: Sequence[Path],
    out: Path,
    grid: TileGrid,
    *,
    table: Cohort | None = None,
    runtime: str = "torch",
    engine: Engine | None = None,
    talk: Progress | None = None,
) -> FeatureFiles:
    """Write the features of slides' tiles, one file per slide; a slide that cannot be read is skipped, others continue.

    Args:
        encoder: see load_encoder.
        slides: files, and folders of them.
        out: folder of the files; gets failures.csv.
        grid: where tiles lie.
        table: what is known of the slides, image_path being their files: then a manifest is written.
        runtime: see learning.encoder.choose_encoder_runtime; the same one for all slides.
        engine: who reads, one slide per task; this process where None.
        talk: where progress is told.

    Raises:
        InputError: Before any slide is read: for what is asked, or where an encoder was trained at another scale.
    """
    talk, engine = talk or Progress(), engine or Engine()
    check_engine(**asdict(engine))
    note = check_scale(encoder.mpp, grid.mpp)
    if note:
        talk.say(note)
    if runtime != "torch":
        encoder = _with_runtime(encoder, runtime, None, _MANY * len(find_slides(slides)), out, talk)
    depends = {
        "encoder": dict(encoder.record), "mpp": grid.mpp, "overlap": grid.overlap,
        "least_tissue": grid.least_tissue, "assume_mpp": grid.assume_mpp,
        "mpp_table": dict(grid.mpp_table or {}), "resampling": resize.VERSION,
    }  # fmt: skip
    jobs = find_jobs(slides, out, depends, compress=False, time_limit_s=engine.time_limit_s)
    before = {job.name: _count(path) for job in jobs if _key_of(path := out / f"{job.name}.h5") == job.key}
    loaded, progress = (None, None) if engine.elsewhere else (encoder, talk.stored)
    orders = {}
    for job in jobs:
        if job.name in before:
            continue
        sent = job if engine.scheduler is None else job.absolute()  # a cluster's workers start in other folders
        path = (out / f"{job.name}.h5").absolute()
        orders[job.name] = _Order(loaded, encoder.again, threads_of(None, engine), sent, path, grid, progress)
    counts, refused = dict(before), dict[str, str]()
    for name in before:
        talk.say(f"{name}: {before[name]:,} tiles, read before")
    for number, outcome in enumerate(each_slide(_encode_order, orders, engine, say=talk.say), start=1):
        if outcome.result is None:
            refused[outcome.name] = outcome.refusal
            talk.say(f"{outcome.name} is skipped: {outcome.refusal}")
        else:
            counts[outcome.name] = outcome.result
            talk.say(f"{number} of {len(orders)}, {outcome.name}: {outcome.result:,} tiles")
    failures = [(job.name, refused[job.name]) for job in jobs if job.name in refused]
    tiles = sum(counts.values())
    write_csv(out / FAILURES, ("slide", "reason"), failures)
    if table is not None:
        done = [job for job in jobs if job.name not in refused]
        write_csv(out / MANIFEST, COLUMNS, _slide_rows(done, table, grid.mpp))
    result = FeatureFiles(out, len(jobs) - len(failures), len(before), tiles, tuple(failures))
    _write_record(out, encoder, {"source": "slides"} | depends, result.slides, tiles)
    return result


def _slide_rows(jobs: Sequence[SlideJob], table: Cohort, mpp: float) -> Iterator[tuple[Any, ...]]:
    """The manifest's rows, of slides that are listed in a table."""
    place = {Path(table.root, image).resolve(): number for number, image in enumerate(table.image)}
    for job in jobs:
        row = table.table.iloc[place[job.path.resolve()]]
        slide = row["slide_id"] or job.name
        yield f"{job.name}.h5", row["label"], row["patient_id"], slide, row["site"], mpp, row["split"]


def _with_runtime(
    encoder: Encoder, runtime: str, tiles: NDArray[np.uint8] | None, images: int, out: Path, talk: Progress
) -> Encoder:
    """The encoder with the runtime asked for. What "auto" took the first time is taken again: its bytes differ."""
    before = read_json(out / RUNTIME) if (out / RUNTIME).is_file() else {}
    if runtime == "auto" and before.get("encoder") == dict(encoder.record):
        runtime = str(before["runtime"])
    chosen, lines = choose_encoder_runtime(encoder, runtime, images=images, tiles=tiles)
    for line in lines:
        talk.say(line)
    write_json(out / RUNTIME, {"encoder": dict(encoder.record), "runtime": chosen.runtime})
    return chosen


@dataclass(frozen=True)
class _Order:
    """One slide whose features are asked for.

    encoder: what computes them; None in another process, which loads it again with `again`, to compute with `threads`
    path: of the file to write
    """

    encoder: Encoder | None
    again: tuple[tuple[str, str | int | None], ...]
    threads: int
    job: SlideJob
    path: Path
    grid: TileGrid
    progress: Callable[[int, int], None] | None


def _encode_order(order: _Order) -> int:
    """Write one slide's file; how many tiles it has."""
    encoder = order.encoder or _encoder(order.again, order.threads)
    return _encode_slide(encoder, order.job, order.path, order.grid, order.progress)


@functools.lru_cache(maxsize=1)
def _encoder(again: tuple[tuple[str, str | int | None], ...], threads: int) -> Encoder:
    """The encoder, loaded once for all slides of one process."""
    options: dict[str, Any] = dict(again)
    prepare_device(device=options["device"], precision=options["precision"], threads=threads)
    return load_encoder(options.pop("model"), **options)


def _encode_slide(
    encoder: Encoder, job: SlideJob, path: Path, grid: TileGrid, progress: Callable[[int, int], None] | None
) -> int:
    """Write one slide's file; how many tiles it has."""

    def opened() -> Slide:
        return open_slide(job.path, assume_mpp=grid.assume_mpp, mpp_table=grid.mpp_table)

    with opened() as slide:
        info = slide.info
        tiling = _plan(slide, encoder.tile_px, grid)
    features, done = list[NDArray[np.float32]](), 0
    for tiles in read_ahead(opened, tiling, _batches(tiling), workers=grid.workers):
        features.append(encoder.features(tiles))
        done += len(tiles)
        if progress is not None:
            progress(done, len(tiling))
    attributes: dict[str, Any] = {
        "patch_size": tiling.tile_px,
        "patch_size_level0": max(1, round(tiling.tile_level0_px[0])),
        "overlap": round(tiling.overlap * tiling.tile_px),
        "mpp": grid.mpp,
        "level0_mpp": float(info.mpp_x or np.nan),
        "level0_width": info.size_px[0],
        "level0_height": info.size_px[1],
    }
    if info.objective and info.mpp_x:
        attributes["level0_magnification"] = info.objective
        attributes["target_magnification"] = info.objective * info.mpp_x / grid.mpp
    _write(path, np.concatenate(features), tiling.coords, encoder, name=job.name, key=job.key, attributes=attributes)
    return len(tiling)


def _plan(slide: Slide, tile_px: int, grid: TileGrid) -> Tiling:
    mask = None if grid.least_tissue is None else tissue_mask(slide)
    tiling = plan_tiles(
        slide, mpp=grid.mpp, tile_px=tile_px, overlap=grid.overlap, tissue=mask,
        least_tissue=0.0 if grid.least_tissue is None else grid.least_tissue,
    )  # fmt: skip
    if len(tiling) == 0:
        raise InputError(
            f"{slide.info.path} has no tile with {grid.least_tissue or 0:.0%} tissue; lower --least-tissue"
        )
    return tiling


def _batches(tiling: Tiling) -> Iterator[NDArray[np.int64]]:
    size = batch_size(tiling.tile_px)
    return (np.arange(start, min(start + size, len(tiling))) for start in range(0, len(tiling), size))


def _write(
    path: Path,
    features: NDArray[np.float32],
    coords: NDArray[np.int64],
    encoder: Encoder,
    *,
    name: str,
    key: str,
    attributes: Mapping[str, Any],
) -> None:
    provenance = {"name": name, "encoder": encoder.name, "key": key, "counterstain": __version__}
    write_features(path, Features(features, coords, {**attributes, **provenance}))


def _key_of(path: Path) -> str:
    """What a file says it was made of; "" where it is not there, or is no file of ours."""
    try:
        with h5py.File(path, "r") as file:
            return str(file["coords"].attrs.get("key", ""))
    except (OSError, KeyError):
        return ""


def _count(path: Path) -> int:
    with h5py.File(path, "r") as file:
        return len(file["features"])


def _write_record(out: Path, encoder: Encoder, source: Mapping[str, Any], slides: int, tiles: int) -> None:
    record = {"schema": SCHEMA, "counterstain": __version__, "encoder": encoder.name, **source}
    write_json(out / RECORD, {**record, "encoded_by": dict(encoder.record), "slides": slides, "tiles": tiles})
