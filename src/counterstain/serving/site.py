"""The pages as files, for a paper's supplement: no server, opened from a disk, nothing to decide."""

import shutil
from pathlib import Path
from typing import Any

from counterstain.errors import InputError
from counterstain.files import write_bytes
from counterstain.serving.audit_view import audit_data
from counterstain.serving.cohort_view import cohort_data
from counterstain.serving.error_view import error_data
from counterstain.serving.live_view import live_data
from counterstain.serving.pages import SavedLinks, render, static_files
from counterstain.serving.pictures import read_tiles, tile_picture
from counterstain.serving.problems import ServingError
from counterstain.serving.runs import RunsFolder
from counterstain.serving.slide_view import DZ_TILE_PX, SlideShelf, deepest
from counterstain.serving.study_view import studies_data

__all__ = ["write_site"]

SLIDE_PX = 8192  # the longer side of the finest level that is written
VIEWS = {"cohort": cohort_data, "audit": audit_data, "errors": error_data, "live": live_data}
TITLES = {"cohort": "Cohort of", "audit": "Audit of", "errors": "Errors of", "live": "Training of"}


def write_site(runs: Path, out: Path, *, slides: tuple[Path, ...] = (), maps: tuple[Path, ...] = ()) -> Path:
    """Write the pages of every run to `out`, and return the first page's path.

    What a run does not have yet, or cannot be read, is a page that says so.

    Args:
        runs: the folder of runs, or one run.
        out: a folder that is not there yet, or is empty.
        slides: folders of slides, which are written with their maps, no longer than SLIDE_PX; maps: those of
            `slides run`, beside the ones that were asked for on the page.

    Raises:
        InputError: If `runs` holds no run, or `out` is a file or has something in it.
    """
    folder = RunsFolder(runs)
    folders = folder.folders()
    if not folders:
        raise InputError(f"{runs} holds no run; name the folder that your runs are in, such as runs")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise InputError(f"{out} is a file or has something in it; name a new folder")
    shelf = SlideShelf(slides, maps, annotations=runs / "annotations", requested=runs / "slide-maps")
    links = SavedLinks(slides=bool(shelf.path))
    for name, content in static_files().items():
        write_bytes(out / "static" / name, content)
    write_bytes(out / "index.html", render("studies", title="Studies", data=studies_data(folder), links=links))
    for name, run in folders.items():
        for view in VIEWS:
            write_bytes(out / f"{name}-{view}.html", _page(view, name, run, links))
        report = run / "report.html"
        if report.is_file() and not report.is_symlink():
            shutil.copyfile(report, out / f"{name}-report.html")
        _write_tiles(name, run, out / "tiles")
    if shelf.path:
        write_bytes(out / "slides.html", render("slides", title="Slides", links=links, slides=shelf.names()))
    for identity in shelf.path:
        _write_slide(identity, shelf, out, links)
    return out / "index.html"


def _write_slide(identity: str, shelf: SlideShelf, out: Path, links: SavedLinks) -> None:
    """A slide's page, its maps within it, and its tiles up to the finest level that SLIDE_PX allows."""
    name = shelf.names()[identity]
    try:
        data, size = shelf.data(identity), shelf.find(identity).info.size_px
    except ServingError as error:
        page = render("missing", title=name, links=links, heading=name, detail=error.detail)
        write_bytes(out / links.slide(identity), page)
        return
    levels = deepest(*size)
    finest = max(level for level in range(levels + 1) if max(size) / 2 ** (levels - level) <= SLIDE_PX)
    for level in range(min(8, finest), finest + 1):
        columns, rows = (-(-px // (DZ_TILE_PX * 2 ** (levels - level))) for px in size)
        for column in range(columns):
            for row in range(rows):
                try:
                    content = shelf.tile(identity, level, column, row)
                except ServingError:
                    continue  # damaged there
                write_bytes(out / "slides" / identity / f"{level}_{column}_{row}.jpg", content)
    data |= {"finest": finest, "heats": {run: shelf.heat(identity, run) for run in shelf.maps_of(identity)}}
    write_bytes(out / links.slide(identity), render("slide", title=name, data=data, links=links))


def _page(view: str, name: str, run: Path, links: SavedLinks) -> str:
    try:
        data: dict[str, Any] = VIEWS[view](run)
    except (ServingError, InputError) as error:
        return render("missing", title=name, run=name, links=links, heading=name, detail=str(error))
    return render(view, title=f"{TITLES[view]} {name}", data=data, run=name, links=links)


def _write_tiles(name: str, run: Path, folder: Path) -> None:
    """Small pictures of the cohort, by opaque id; one that cannot be read is left out."""
    try:
        table = read_tiles(run)
    except ServingError:
        return
    for identity, row in table.row.items():
        try:
            write_bytes(folder / f"{name}-{identity}.jpg", tile_picture(table.root, table.image[row]))
        except ServingError:
            continue
