"""From slides to a folder of tiles and the cohort.csv that a study trains on."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from counterstain.cohort.cohort_columns import COLUMNS, choose_columns
from counterstain.cohort.layouts import LAYOUTS
from counterstain.cohort.patterns import match_pattern
from counterstain.engine import Engine, check_engine
from counterstain.errors import InputError, suggest
from counterstain.files import write_bytes, write_csv, write_json
from counterstain.records import short_repr
from counterstain.slides.annotated_tiles import Labelling, check_classes, label_slide
from counterstain.slides.annotations import ORIGINS
from counterstain.slides.guarded import require_readers
from counterstain.slides.info import Slide
from counterstain.slides.inspection import draw_tiles, read_picture
from counterstain.slides.overview import write_png
from counterstain.slides.reader import open_slide
from counterstain.slides.scale import read_mpp_table, unused_rows
from counterstain.slides.slide_files import find_slides, folder_names, slide_name
from counterstain.slides.slide_workers import each_slide
from counterstain.slides.tiling import Tiling, check_grid, plan_tiles, read_tile
from counterstain.slides.tissue import tissue_mask
from counterstain.system import usable_cores
from counterstain.tables import read_cells

__all__ = ["ExtractedTiles", "ExtractionOptions", "extract_tiles", "find_slides", "slide_name"]

SCHEMA = "counterstain.cutting/1"
FAILURES = "failures.csv"
_KNOWN = ("patient_id", "site", "label", "split")


@dataclass(frozen=True, kw_only=True)
class ExtractionOptions:
    """How slides are cut.

    mpp, tile_px, overlap, least_tissue, whole_tiles: as in `plan_tiles`
    tissue:        whether glass, ink and blur are left out
    annotations:   folder of one annotation file per slide, of any program that `load_annotations` reads
    classes:       {annotated name: label}; None takes every name
    rest:          label of tiles that no annotation touches; None leaves them out
    least_overlap: share of a tile that its class must cover
    origin:        where an annotation's (0, 0) lies, as in `load_annotations`
    slide_table:   CSV of slide and any of patient_id, site, label, split
    columns:       {our column: the slide table's}, where the names are not known ones
    pattern:       regular expression that finds patient_id (or site, label) in the slide's name
    assume_mpp, mpp_table: as in `open_slide`
    """

    mpp: float
    tile_px: int
    overlap: float = 0.0
    least_tissue: float = 0.5
    whole_tiles: bool = True
    tissue: bool = True
    annotations: Path | None = None
    classes: Mapping[str, str] | None = None
    rest: str | None = None
    least_overlap: float = 0.5
    origin: str = "auto"
    slide_table: Path | None = None
    columns: Mapping[str, str] | None = None
    pattern: str | None = None
    assume_mpp: float | None = None
    mpp_table: Path | Mapping[str, tuple[float, float]] | None = None


@dataclass(frozen=True)
class ExtractedTiles:
    """What was cut: the cohort.csv, tiles by label, slides skipped as (slide, reason), and notes."""

    cohort: Path
    tiles: Mapping[str, int]
    failures: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def __fspath__(self) -> str:
        return str(self.cohort)

    def __repr__(self) -> str:
        return short_repr(self)


def _check_annotation_options(settings: ExtractionOptions) -> None:
    """Refuse what would be passed over, or could not be meant."""
    if settings.origin not in ORIGINS:
        raise InputError(f"origin is '{settings.origin}'{suggest(settings.origin, ORIGINS)}")
    if not 0 < settings.least_overlap <= 1:
        raise InputError(f"--least-overlap is {settings.least_overlap:g}; a share above 0 and up to 1 is needed")
    for name, label in (settings.classes or {}).items():
        if not name.strip() or not label.strip():
            raise InputError(f"--class is '{name}={label}'; write the annotated class, or NAME=label")
    if settings.rest is not None and not settings.rest.strip():
        raise InputError("--rest is empty; give the label of the tiles that no annotation touches, or leave it out")
    if settings.annotations is None and (settings.classes or settings.rest is not None):
        option = "--class" if settings.classes else "--rest"
        raise InputError(f"{option} is of annotations, and none are given; name their folder with --annotations")


def extract_tiles(
    slides: Sequence[Path],
    out: Path,
    settings: ExtractionOptions,
    *,
    engine: Engine | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ExtractedTiles:
    """Write tiles/<slide>/<x>_<y>.png, previews/<slide>.png, cohort.csv, failures.csv and cutting.json.

    With annotations, tiles that get no label are not written; they are counted. A slide that cannot be read is skipped,
    with its reason in failures.csv; the others are cut. TCGA's barcodes give patient and site where nothing else does.

    Args:
        engine: who cuts, one slide per task; this process where None. The files are the same.
        say: called with one line per slide.

    Raises:
        InputError: If `out` holds a cohort already, a setting is wrong, or no slide gave a tile.
    """
    if (out / "cohort.csv").exists():
        raise InputError(f"{out} holds a cohort already; name a new folder")
    check_grid(settings.mpp, settings.tile_px, settings.overlap, settings.least_tissue)
    _check_annotation_options(settings)
    require_readers()
    nouns_of, notes = _known_of(slides, settings)
    labelling = _labelling(settings)
    annotated = check_classes(slides, labelling) if labelling is not None else set()
    if settings.mpp_table is not None:
        scales = settings.mpp_table
        scales = read_mpp_table(scales) if isinstance(scales, Path) else scales
        notes += [note] if (note := unused_rows(scales, slides)) else []
    folders = folder_names([slide_name(path) for path in slides])
    engine = engine or Engine()
    check_engine(**asdict(engine))
    orders = {str(path): _order(path, out, settings, folders, nouns_of, engine) for path in slides}
    done: dict[str, tuple[list[list[Any]], dict[str, Any]]] = {}
    refused: dict[str, str] = {}
    for outcome in each_slide(_cut, orders, engine, say=say):
        name = orders[outcome.name].name
        if outcome.result is None:
            refused[outcome.name] = outcome.refusal
            say(f"{name}: skipped: {outcome.refusal}")
            continue
        done[outcome.name] = tiles, record = outcome.result
        say(f"{name}: {len(tiles):,} tiles" + (f", {record['ambiguous']:,} ambiguous" if record["ambiguous"] else ""))
    # In the order of the slides, whoever was done first.
    rows = [row for place in orders if place in done for row in done[place][0]]
    records = [done[place][1] | {"slide": place} for place in orders if place in done]
    failures = [(orders[place].name, place, refused[place]) for place in orders if place in refused]
    notes += [f"{record['slide_id']}: {note}" for record in records for note in record["notes"]]
    if failures:
        write_csv(out / FAILURES, ("slide", "path", "reason"), failures)
    if not rows:
        raise InputError(f"no tile was cut: {failures[0][2] if failures else 'no tile holds enough tissue or a label'}")
    if not all(row[2] for row in rows):
        notes.append("patients are unknown: name them with a slide table or a pattern, or no split can keep them apart")
    counts = dict(Counter(row[1] for row in rows))
    empty = sorted(annotated - set(counts))
    if empty:
        notes.append(f"no tile got the label {', '.join(empty)}: its areas are too small for tiles, or hold no tissue")
    if len(counts) < 2:
        notes.append(f"all tiles have one label ({next(iter(counts)) or 'none'}): a study needs two or more")
    options = {key: str(value) if isinstance(value, Path) else value for key, value in vars(settings).items()}
    record = {"schema": SCHEMA, "settings": options, "slides": records, "tiles": counts}
    record["failures"] = {name: reason for name, _, reason in failures}
    write_json(out / "cutting.json", record)
    write_csv(out / "cohort.csv", COLUMNS, rows)  # last: where it is, all of it is
    return ExtractedTiles(
        out / "cohort.csv", counts, tuple((name, reason) for name, _, reason in failures), tuple(notes)
    )


def _labelling(settings: ExtractionOptions) -> Labelling | None:
    if settings.annotations is None:
        return None
    return Labelling(settings.annotations, settings.classes, settings.rest, settings.least_overlap, settings.origin)


def _known_of(slides: Sequence[Path], settings: ExtractionOptions) -> tuple[dict[str, dict[str, str]], list[str]]:
    """What the table, the pattern and TCGA's barcodes say of each slide, by its name; and notes."""
    names = [slide_name(path) for path in slides]
    nouns_of: dict[str, dict[str, str]] = {name: {} for name in names}
    if settings.slide_table is not None:
        table = read_cells(settings.slide_table, kind="table of slides")
        chosen = choose_columns(list(table), settings.columns, where=settings.slide_table.name, needed=())
        key = chosen.get("slide_id") or chosen.get("image_path")
        if key is None or not set(_KNOWN) & set(chosen):
            raise InputError(
                f"{settings.slide_table} has columns {', '.join(table)}; needed: slide_id and any of "
                f"{', '.join(_KNOWN)}; other names can be told with --columns slide_id=<name>"
            )
        row_of = {slide_name(Path(slide.replace("\\", "/"))): row for row, slide in enumerate(table[key])}
        row_of |= {slide: row for row, slide in enumerate(table[key])}
        for name in names:
            if name not in row_of:
                raise InputError(
                    f"{settings.slide_table} has no row for slide '{name}'; add it, or leave the slide out"
                )
            nouns_of[name] = {noun: table[chosen[noun]][row_of[name]] for noun in _KNOWN if noun in chosen}
    if settings.pattern is not None:
        for column, values in match_pattern(settings.pattern, names).items():
            for name, value in zip(names, values, strict=True):
                nouns_of[name].setdefault(column, value)
    return nouns_of, _add_barcodes(nouns_of)


def _add_barcodes(nouns_of: dict[str, dict[str, str]]) -> list[str]:
    """Add patient and site to slides that are named after TCGA's barcode and have no patient yet; a note on it."""
    barcode = LAYOUTS["tcga"].pattern
    count = 0
    for name, nouns in nouns_of.items():
        match = re.match(barcode, name) if not nouns.get("patient_id") else None
        if match is not None:
            nouns["patient_id"] = match["patient_id"]
            nouns["site"] = nouns.get("site") or match["site"]
            count += 1
    return [f"patient and site of {count} slides are read from their TCGA barcodes"] if count else []


@dataclass(frozen=True)
class _Order:
    """One slide to be cut: its file and name, the folder to write and the slide's in it, and what is known of it."""

    path: Path
    name: str
    out: Path
    folder: str
    settings: ExtractionOptions
    nouns: Mapping[str, str]


def _order(
    path: Path,
    out: Path,
    settings: ExtractionOptions,
    folders: Mapping[str, str],
    nouns_of: Mapping[str, Mapping[str, str]],
    engine: Engine,
) -> _Order:
    """What is reported of one slide; workers of a cluster start in a folder of their own."""
    name = slide_name(path)
    if engine.scheduler is not None:
        path, out = path.absolute(), out.absolute()
        table, annotations = settings.mpp_table, settings.annotations
        settings = replace(
            settings,
            mpp_table=table.absolute() if isinstance(table, Path) else table,
            annotations=None if annotations is None else annotations.absolute(),
        )
    return _Order(path, name, out, folders[name], settings, nouns_of[name])


def _cut(order: _Order) -> tuple[list[list[Any]], dict[str, Any]]:
    """One slide's tiles on disk, their rows of the cohort, and a record of the slide."""
    path, name, settings, nouns = order.path, order.name, order.settings, order.nouns
    with open_slide(path, assume_mpp=settings.assume_mpp, mpp_table=settings.mpp_table) as slide:
        mask = tissue_mask(slide)
        tiling = plan_tiles(
            slide,
            mpp=settings.mpp,
            tile_px=settings.tile_px,
            overlap=settings.overlap,
            tissue=mask if settings.tissue else None,
            least_tissue=settings.least_tissue,
            whole_tiles=settings.whole_tiles,
        )
        labelling = _labelling(settings)
        labels, remarks = label_slide(path, slide, tiling, labelling) if labelling is not None else (None, ())
        label = labels.label if labels else (nouns.get("label", ""),) * len(tiling)
        used = [row for row in range(len(tiling)) if label[row] or labels is None]
        files = _write_tiles(slide, tiling, used, order.out, Path("tiles") / order.folder)
        write_png(draw_tiles(read_picture(slide), tiling, mask), order.out / "previews" / f"{order.folder}.png")
        mpp = float(np.sqrt(np.prod(tiling.actual_mpp)))
        rows = [
            [file, label[row], nouns.get("patient_id", ""), name, nouns.get("site", ""), mpp,
             int(tiling.coords[row, 0]), int(tiling.coords[row, 1]), nouns.get("split", "")]
            for file, row in zip(files, used, strict=True)
        ]  # fmt: skip
        info = slide.info
        record = {
            "slide_id": name,
            "slide": str(path),
            "reader": info.reader,
            "mpp": [info.mpp_x, info.mpp_y],
            "mpp_source": info.mpp_source,
            "actual_mpp": tiling.actual_mpp,
            "tile_level0_px": tiling.tile_level0_px,
            "level": tiling.level,
            "tiles": len(used),
            "unlabelled": len(tiling) - len(used),
            "ambiguous": labels.ambiguous if labels else 0,
            "tissue": {"tissue": mask.share, **mask.rejected},
            "notes": [*info.notes, *mask.notes, *tiling.notes, *remarks],
        }
        return rows, record


def _write_tiles(slide: Slide, tiling: Tiling, rows: Sequence[int], out: Path, folder: Path) -> list[str]:
    def write(row: int) -> str:
        x, y = tiling.coords[row].tolist()
        file = folder / f"{x}_{y}.png"
        tile = read_tile(slide, tiling, row)
        good, png = cv2.imencode(".png", cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 3])
        if not good:
            raise RuntimeError(f"{file} could not be packed")
        write_bytes(out / file, png.tobytes())
        return file.as_posix()

    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(write, rows))
