"""µm per pixel of a slide: where it comes from, what is believed, and whether it suits a model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from counterstain.columns import check_columns, find_column
from counterstain.errors import InputError, first_names
from counterstain.images.tile import CREDIBLE_MPP
from counterstain.tables import parse_number, read_table

__all__ = ["Scale", "check_scale", "choose_scale", "read_mpp_table", "require_mpp", "unused_rows"]

Pair = tuple[float, float]

# A 10x objective images 1 µm on a px of most scanners (0.5 at 20x, 0.25 at 40x); cameras differ by a fifth and more.
_UM_TIMES_OBJECTIVE = 10.0
_ABOUT = 1.5  # two statements that differ by more than this factor cannot both be right


@dataclass(frozen=True)
class Scale:
    """µm per level-0 px along x and y (None: unknown), who says so, and what to know about it."""

    mpp_x: float | None
    mpp_y: float | None
    source: str
    notes: tuple[str, ...] = ()


def choose_scale(
    path: Path,
    *,
    file: Pair | None = None,
    tiff: Pair | None = None,
    objective: float | None = None,
    assume_mpp: float | None = None,
    mpp_table: Mapping[str, Pair] | None = None,
) -> Scale:
    """The first credible one of: the user's table, the format's own words, TIFF resolution, the objective, assume_mpp.

    A table names the slide, so it overrules the file. `assume_mpp` speaks of all slides, so it only fills a gap; where
    it and the objective agree roughly, it is the better of the two.

    Args:
        path: the slide's file.
        file: (x, y) µm/px by the format's own metadata.
        tiff: (x, y) µm/px by TIFF's XResolution and YResolution.
        objective: nominal magnification.
        assume_mpp: µm/px of slides that do not say.
        mpp_table: (x, y) µm/px by file name or stem.

    Raises:
        InputError: If what the user states is not credible, or contradicts the objective.
    """
    low, high = CREDIBLE_MPP
    for origin, stated in (
        ("--assume-mpp", assume_mpp and (assume_mpp, assume_mpp)),
        ("the table", _row(mpp_table, path)),
    ):
        if stated and not _credible(stated):
            raise InputError(f"{origin} says {stated[0]:g} µm/px for {path.name}; needed: {low:g} to {high:g}")
    row = _row(mpp_table, path)
    if row is not None:
        contradicted = file is not None and _credible(file) and not _nearly_equal(row[0], file[0])
        return Scale(
            *row, "table", (f"the file says {file[0]:g} µm/px, the table {row[0]:g}",) if file and contradicted else ()
        )
    notes = []
    for source, mpp in (("file", file), ("tiff resolution", tiff)):
        if mpp is None:
            continue
        if _credible(mpp):
            notes += _against_objective(mpp[0], objective)
            return Scale(*mpp, source, tuple(notes))
        notes.append(f"{source} says {mpp[0]:.4g} × {mpp[1]:.4g} µm/px, which is implausible: treated as missing")
    if objective:
        return _by_objective(path, objective, assume_mpp, notes)
    if assume_mpp:
        return Scale(assume_mpp, assume_mpp, "--assume-mpp", tuple(notes))
    return Scale(None, None, "", tuple(notes))


def _by_objective(path: Path, objective: float, assume_mpp: float | None, notes: list[str]) -> Scale:
    nominal = _UM_TIMES_OBJECTIVE / objective
    if assume_mpp and not _nearly_equal(assume_mpp, nominal):
        raise InputError(
            f"{path.name} was scanned at {objective:g}x, about {nominal:g} µm/px, and --assume-mpp says "
            f"{assume_mpp:g}; give this slide its own row in --mpp-table"
        )
    if assume_mpp:
        return Scale(assume_mpp, assume_mpp, "--assume-mpp", tuple(notes))
    if not _credible((nominal, nominal)):
        return Scale(None, None, "", (*notes, f"objective {objective:g}x: treated as missing"))
    note = f"µm/px is not in the file: {nominal:g} is what {objective:g}x usually means, which depends on the scanner"
    return Scale(nominal, nominal, "objective", (*notes, note))


def _against_objective(mpp: float, objective: float | None) -> list[str]:
    if not objective or _nearly_equal(mpp, _UM_TIMES_OBJECTIVE / objective):
        return []
    return [
        f"{mpp:g} µm/px at {objective:g}x is unusual (about {_UM_TIMES_OBJECTIVE / objective:g}): check one of them"
    ]


def _nearly_equal(a: float, b: float) -> bool:
    return max(a, b) <= _ABOUT * min(a, b)


def _credible(mpp: Pair) -> bool:
    return all(math.isfinite(value) and CREDIBLE_MPP[0] <= value <= CREDIBLE_MPP[1] for value in mpp)


def _row(table: Mapping[str, Pair] | None, path: Path) -> Pair | None:
    if not table:
        return None
    return table.get(path.name, table.get(path.stem))


def read_mpp_table(path: Path, *, columns: Mapping[str, str] | None = None) -> dict[str, Pair]:
    """(x, y) µm/px by slide from a table of slide,mpp or slide,mpp_x,mpp_y; a slide is its file name or stem.

    Columns are found by their other names too, and numbers may have a decimal comma; see docs/tables.md.

    Args:
        path: of the table.
        columns: {slide_id, mpp, mpp_x or mpp_y: the table's column}, where the names are not known ones.

    Raises:
        InputError: If a column is missing, a number is none, or a slide stands in it twice or has no name.
    """
    table = read_table(path, kind="table of µm/px")
    nouns = dict(columns or {})
    check_columns(nouns, ("slide_id", "image_path", "mpp", "mpp_x", "mpp_y"), table.header, path.name)
    key = find_column("slide_id", table.header, nouns, path.name)
    key = key or find_column("image_path", table.header, nouns, path.name)
    pair = [find_column(noun, table.header, nouns, path.name) for noun in ("mpp_x", "mpp_y")]
    if not all(pair):
        pair = [find_column("mpp", table.header, nouns, path.name)] * 2
    if not key or not all(pair):
        raise InputError(
            f"{path} has columns {', '.join(table.header)}; needed: slide and mpp, or slide, mpp_x and mpp_y; "
            "other names can be told with --columns slide_id=<name>,mpp=<name>"
        )
    mpp_of: dict[str, Pair] = {}
    for row, (slide, *cells) in enumerate(zip(*(table.text(name) for name in (key, *pair)), strict=True)):
        name = Path(slide.replace("\\", "/")).name
        if not name:
            raise InputError(f"{path} line {table.line(row)} names no slide; name one, or remove the line")
        if name in mpp_of:
            raise InputError(f"{path} names slide '{name}' twice; one row per slide")
        x, y = (parse_number(cell) for cell in cells)
        if x is None or y is None or math.isnan(x + y):
            raise InputError(f"{path} row {row + 1} says '{cells[0]}' µm/px for '{name}'; a number is needed")
        mpp_of[name] = (x, y)
    return mpp_of


def unused_rows(table: Mapping[str, Pair], slides: Sequence[Path]) -> str:
    """A note on rows of a µm/px table that name none of the slides, "" where each names one."""
    known = {name for path in slides for name in (path.name, path.stem)}
    unknown = sorted(set(table) - known)
    if not unknown:
        return ""
    return f"{len(unknown)} of {len(table)} rows of the µm/px table name no slide that is read: {first_names(unknown)}"


def require_mpp(path: Path, mpp_x: float | None, mpp_y: float | None) -> Pair:
    """The (x, y) µm/px of a slide.

    Raises:
        InputError: If they are unknown, with what to do.
    """
    if mpp_x is None or mpp_y is None:
        raise InputError(
            f"{path.name} does not say its µm/px (no metadata, TIFF resolution or objective that can be believed); "
            "ask who scanned it, and say so with --assume-mpp, or in a CSV of slide,mpp with --mpp-table"
        )
    return mpp_x, mpp_y


def check_scale(model_mpp: float | None, tile_mpp: float, *, tolerance: float = 0.1) -> str:
    """Whether tiles at `tile_mpp` suit a model trained at `model_mpp`: a note to show, "" where all is well.

    Args:
        model_mpp: µm/px of the training tiles; None where its bundle does not say.
        tile_mpp: µm/px of the tiles to be read.
        tolerance: greatest relative difference.

    Raises:
        InputError: If they differ by more than `tolerance`.
    """
    if model_mpp is None:
        return f"the model does not record the µm/px at which it was trained: {tile_mpp:g} is assumed"
    if abs(tile_mpp - model_mpp) > tolerance * model_mpp:
        raise InputError(
            f"the model was trained at {model_mpp:g} µm/px (of its tiles, after any resizing) and the tiles are to be "
            f"read at {tile_mpp:g}; say --mpp {model_mpp:g}, and slides are resampled to it"
        )
    return ""
