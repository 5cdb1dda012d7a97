"""What a slide is, where its scale comes from, and what cutting it into tiles would do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.slides.guarded import require_readers
from counterstain.slides.info import Slide
from counterstain.slides.overview import Overview, read_overview, write_png
from counterstain.slides.reader import open_slide
from counterstain.slides.scale import read_mpp_table, unused_rows
from counterstain.slides.slide_files import find_slides
from counterstain.slides.tiling import Tiling, check_grid, plan_tiles
from counterstain.slides.tissue import TissueMask, tissue_mask

__all__ = ["draw_tiles", "inspect_slide", "inspect_slides", "plan_in_words", "read_picture", "summary_rows"]

SCHEMA = "counterstain.inspection/1"
_PICTURE_PX = 1600
_KEPT, _MASK, _PEN, _BLUR = (0, 130, 0), (0, 150, 220), (230, 110, 0), (120, 60, 200)


class PlanOfTiles(TypedDict):
    """The tiles that would be read of a slide."""

    mpp: float
    tile_px: int
    tile_um: float
    overlap: float
    level: int
    level_mpp: float
    actual_mpp: tuple[float, float]
    factor: tuple[float, float]
    resampled: bool
    grid: list[int]
    tiles: int


class SlideRecord(TypedDict):
    """See `inspect_slide`."""

    schema: str
    slide: str
    reader: str
    vendor: str
    scanner: str
    width_px: int
    height_px: int
    levels: list[dict[str, Any]]
    mpp_x: float | None
    mpp_y: float | None
    mpp_source: str
    objective: float | None
    bounds: tuple[int, int, int, int] | None
    tissue: dict[str, float]
    plan: PlanOfTiles | None
    refused: str | None
    thumbnail: str | None
    notes: list[str]


def inspect_slide(
    path: Path,
    *,
    mpp: float = 0.5,
    tile_px: int = 256,
    overlap: float = 0.0,
    least_tissue: float = 0.5,
    whole_tiles: bool = True,
    tissue: bool = True,
    assume_mpp: float | None = None,
    mpp_table: Path | Mapping[str, tuple[float, float]] | None = None,
    thumbnails: Path | None = None,
) -> SlideRecord:
    """A record of a slide (schema counterstain.inspection/1): frame, scale and its source, tissue, and the plan.

    Where the plan is refused (unknown scale, too coarse), `plan` is None and `refused` says why.

    Args:
        mpp, tile_px, overlap, least_tissue, whole_tiles: tiles to be planned, as in `plan_tiles`; by default those that
            `slides tiles` cuts. `slides run` reads those that stick out, too (whole_tiles False).
        tissue: whether glass, ink and blur are left out.
        thumbnails: folder for a picture with the kept tiles, and what was rejected, outlined.

    Raises:
        InputError: If it is not a slide that can be read.
    """
    with open_slide(path, assume_mpp=assume_mpp, mpp_table=mpp_table) as slide:
        info = slide.info
        mask = tissue_mask(slide)
        tiling, refused = None, None
        try:
            tiling = plan_tiles(
                slide,
                mpp=mpp,
                tile_px=tile_px,
                overlap=overlap,
                tissue=mask if tissue else None,
                least_tissue=least_tissue,
                whole_tiles=whole_tiles,
            )
        except InputError as error:
            refused = str(error)
        picture = None
        if thumbnails is not None:
            picture = thumbnails / f"{path.name}.png"
            write_png(draw_tiles(read_picture(slide), tiling, mask), picture)
        return {
            "schema": SCHEMA,
            "slide": str(path),
            "reader": info.reader,
            "vendor": info.vendor,
            "scanner": info.scanner,
            "width_px": info.size_px[0],
            "height_px": info.size_px[1],
            "levels": _levels(slide),
            "mpp_x": info.mpp_x,
            "mpp_y": info.mpp_y,
            "mpp_source": info.mpp_source,
            "objective": info.objective,
            "bounds": info.bounds,
            "tissue": {"tissue": mask.share, **mask.rejected},
            "plan": None if tiling is None else _plan(slide, tiling),
            "refused": refused,
            "thumbnail": None if picture is None else str(picture),
            "notes": [*info.notes, *mask.notes, *(tiling.notes if tiling else ())],
        }


def inspect_slides(
    slides: Sequence[Path],
    *,
    mpp: float,
    tile_px: int,
    overlap: float,
    least_tissue: float,
    whole_tiles: bool,
    tissue: bool,
    assume_mpp: float | None,
    mpp_table: Path | None,
    columns: Mapping[str, str] | None,
    recursive: bool | None,
    thumbnails: Path | None,
    say: Callable[[str], None],
) -> Iterator[tuple[Path, SlideRecord | InputError]]:
    """Each slide below some places with its record, or with the reason why it cannot be read.

    Args:
        slides: files, and folders of them; recursive: as in find_slides.
        mpp, tile_px, overlap, least_tissue: the grid of tiles, checked before a slide is opened.
        whole_tiles, tissue, assume_mpp, thumbnails: as in inspect_slide.
        mpp_table: CSV of slide,mpp; columns: {our column: the table's}.
        say: told which files are passed over, and which rows of the table name no slide.

    Raises:
        InputError: If an option is none, there is no slide, or the only one cannot be read.
    """
    require_readers()
    check_grid(mpp, tile_px, overlap, least_tissue)
    table = None if mpp_table is None else read_mpp_table(mpp_table, columns=columns)
    paths = find_slides(slides, recursive=recursive, say=say)
    if table is not None and (note := unused_rows(table, paths)):
        say(f"note: {note}")
    for path in paths:
        try:
            record = inspect_slide(
                path, mpp=mpp, tile_px=tile_px, overlap=overlap, least_tissue=least_tissue, whole_tiles=whole_tiles,
                tissue=tissue, assume_mpp=assume_mpp, mpp_table=table, thumbnails=thumbnails,
            )  # fmt: skip
        except InputError as error:
            if len(paths) == 1:
                raise
            yield path, error
        else:
            yield path, record


def _levels(slide: Slide) -> list[dict[str, Any]]:
    info = slide.info
    return [
        {
            "width_px": level.width_px,
            "height_px": level.height_px,
            "downsample": [level.downsample_x, level.downsample_y],
            "mpp": None if info.mpp_x is None else info.mpp_x * level.downsample_x,
            "tile_px": tile,
        }
        for level, tile in zip(info.levels, info.tile_grid, strict=True)
    ]


def _plan(slide: Slide, tiling: Tiling) -> PlanOfTiles:
    mpp_x = slide.info.mpp_x or float("nan")
    return {
        "mpp": tiling.mpp,
        "tile_px": tiling.tile_px,
        "tile_um": tiling.tile_px * tiling.mpp,
        "overlap": tiling.overlap,
        "level": tiling.level,
        "level_mpp": mpp_x * slide.info.levels[tiling.level].downsample_x,
        "actual_mpp": tiling.actual_mpp,
        "factor": tiling.factor,
        "resampled": tiling.resampled,
        "grid": [tiling.columns, tiling.rows],
        "tiles": len(tiling),
    }


def plan_in_words(record: SlideRecord) -> str:
    """What would be done, in one line, of a record of `inspect_slide`."""
    plan = record["plan"]
    if plan is None:
        return str(record["refused"])
    how = "as it is"
    if plan["resampled"]:
        x, y = plan["factor"]
        how = f"and averaged over {x:.4g} × {y:.4g} px"
    columns, rows = plan["grid"]
    return (
        f"{plan['tiles']:,} of {columns * rows:,} tiles of {plan['tile_px']} px ({plan['tile_um']:g} µm) hold enough "
        f"tissue; level {plan['level']} ({plan['level_mpp']:.4g} µm/px) is read {how}"
    )


def summary_rows(records: Sequence[SlideRecord], failures: Sequence[str]) -> list[tuple[str, ...]]:
    """Rows of (format and scanner, µm/px and its source, slides, tiles, refused) over many slides; the table's end.

    Args:
        records: of `inspect_slide`.
        failures: a reason for each file that could not be read at all.
    """
    groups: dict[tuple[str, str], list[SlideRecord]] = {}
    for record in records:
        mpp = record["mpp_x"]
        scale = "unknown" if mpp is None else f"{mpp:.3g} ({record['mpp_source']})"
        groups.setdefault((" ".join(filter(None, (record["vendor"], record["scanner"]))), scale), []).append(record)
    rows: list[tuple[str, ...]] = []
    for (scanner, scale), group in sorted(groups.items()):
        tiles = sum(record["plan"]["tiles"] for record in group if record["plan"] is not None)
        refused = sum(record["plan"] is None for record in group)
        rows.append((scanner, scale, str(len(group)), f"{tiles:,}", str(refused)))
    if failures:
        rows.append(("could not be read", "", str(len(failures)), "0", str(len(failures))))
    return rows


def read_picture(slide: Slide) -> Overview:
    """The scanned area at up to 1,600 px, to be looked at.

    Raises:
        InputError: If the file is damaged.
    """
    return read_overview(slide, finest_downsample=max(1.0, max(slide.info.area[2:]) / _PICTURE_PX))


def draw_tiles(overview: Overview, tiling: Tiling | None, mask: TissueMask | None = None) -> NDArray[np.uint8]:
    """The overview, kept tiles framed green; with a mask, tissue outlined blue, ink orange and blur violet.

    Returns:
        (H, W, 3) uint8 RGB, the size of the overview.
    """
    picture = np.ascontiguousarray(overview.pixels.copy())
    if mask is not None:
        for part, colour in ((mask.mask, _MASK), (mask.pen, _PEN), (mask.blur, _BLUR)):
            enlarged = cv2.resize(part.astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            outlines, _ = cv2.findContours(enlarged, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(picture, outlines, -1, colour, 1)
    if tiling is not None:
        scale, corner = np.array(overview.downsample), np.array(overview.origin_level0_px)
        low = np.floor((tiling.coords - corner) / scale).astype(int)
        high = np.floor((tiling.coords + np.array(tiling.tile_level0_px) - corner) / scale).astype(int)
        for (x, y), (right, bottom) in zip(low.tolist(), high.tolist(), strict=True):
            cv2.rectangle(picture, (x, y), (right, bottom), _KEPT, 1)
    return picture
