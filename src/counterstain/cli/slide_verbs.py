"""Verbs of whole slides: look at them, cut them into tiles. `slides run` has a file of its own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counterstain.cli.next_commands import after_table, show_next
from counterstain.cli.options import Columns, Jobs, Json, Scheduler, TilePx, app, columns_given, show, verb
from counterstain.cli.slide_options import (
    AssumeMpp,
    Edges,
    LeastTissue,
    Mpp,
    MppTable,
    Overlap,
    Recursive,
    Slides,
    TimeLimit,
    TissueMask,
)
from counterstain.cli.slides_run import slides_app

if TYPE_CHECKING:
    from counterstain.slides.inspection import SlideRecord


@app.command()
@verb
def inspect(
    slides: Slides,
    mpp: Mpp = 0.5,
    tile_px: TilePx = 256,
    overlap: Overlap = 0.0,
    least_tissue: LeastTissue = 0.5,
    assume_mpp: AssumeMpp = None,
    mpp_table: MppTable = None,
    columns: Columns = None,
    tissue_mask: TissueMask = True,
    edges: Edges = False,
    recursive: Recursive = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write, with a picture of each slide and its tiles.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Inspect slides: pyramid levels, µm/px and its source, tissue, and the tiles that `slides tiles` would extract.

    Several slides are summarised in one table. Exits with code 3 if a slide cannot be read.

    Example: counterstain inspect slides/ --mpp 0.5 --tile-px 256 --out pictures
    """
    import json

    from counterstain.errors import GateError, InputError
    from counterstain.slides.inspection import inspect_slides, summary_rows
    from counterstain.terminal import print_table
    from counterstain.terminal_progress import say

    records, failures = [], []
    for path, record in inspect_slides(
        slides, mpp=mpp, tile_px=tile_px, overlap=overlap, least_tissue=least_tissue, assume_mpp=assume_mpp,
        mpp_table=mpp_table, columns=columns_given(columns), recursive=recursive, thumbnails=out,
        whole_tiles=not edges, tissue=tissue_mask, say=say,
    ):  # fmt: skip
        if isinstance(record, InputError):
            failures.append({"slide": str(path), "reason": str(record)})
            say(f"{path.name}: {record}")
            continue
        records.append(record)
        if not as_json:
            _show(record)
    if as_json:
        show(json.dumps({"slides": records, "failures": failures}, indent=2))
    elif len(records) + len(failures) > 1:
        rows = summary_rows(records, [row["reason"] for row in failures])
        print_table("All slides", ("format, scanner", "µm/px (source)", "slides", "tiles", "refused"), rows)
    if failures:
        raise GateError(f"{len(failures)} of {len(records) + len(failures)} files could not be read")


def _show(record: "SlideRecord") -> None:
    """A slide's record in a few lines."""
    from counterstain.slides.inspection import plan_in_words
    from counterstain.text_table import one_line

    scale = "unknown"
    if record["mpp_x"] is not None:
        scale = f"{record['mpp_x']:.4g} × {record['mpp_y']:.4g} (from: {record['mpp_source']})"
    lens = f", {record['objective']:g}x" if record["objective"] else ""
    show(f"{one_line(record['slide'])}\n  {record['vendor']}, read by {record['reader']}{lens}\n  µm/px: {scale}")
    for number, level in enumerate(record["levels"]):
        mpp = "" if level["mpp"] is None else f", {level['mpp']:.4g} µm/px"
        tile = "" if level["tile_px"] is None else f", own tiles of {level['tile_px'][0]} × {level['tile_px'][1]} px"
        show(f"  level {number}: {level['width_px']:,} × {level['height_px']:,} px{mpp}{tile}")
    if record["bounds"]:
        show("  scanned area: x {}, y {}, {} × {} px".format(*record["bounds"]))
    shares = ", ".join(f"{name} {share:.0%}" for name, share in record["tissue"].items())
    show(f"  {shares}\n  {plan_in_words(record)}")
    for note in record["notes"]:
        show(f"  note: {note}")
    if record["thumbnail"]:
        show(f"  picture: {record['thumbnail']}")


@slides_app.command("tiles")
@verb
def slides_tiles(
    slides: Slides,
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write, with tiles and cohort.csv; it must not exist yet.")
    ],
    mpp: Mpp = 0.5,
    tile_px: TilePx = 256,
    overlap: Overlap = 0.0,
    least_tissue: LeastTissue = 0.5,
    tissue_mask: TissueMask = True,
    edges: Edges = False,
    annotations: Annotated[
        Path | None, typer.Option(help="Folder of annotations: QuPath, ASAP, ImageScope, HALO or Darwin.")
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Annotated class to use, or NAME=label; repeatable.")
    ] = None,
    rest: Annotated[str | None, typer.Option(help="Label of the tiles that no annotation touches.")] = None,
    least_overlap: Annotated[float, typer.Option(help="Share of a tile that its class must cover.")] = 0.5,
    origin: Annotated[
        str, typer.Option(help="Where (0, 0) of annotations is: auto, bounds (as in QuPath) or slide (as in ASAP).")
    ] = "auto",
    slide_table: Annotated[
        Path | None, typer.Option("--slide-table", help="CSV of slide_id and any of patient_id, site, label, split.")
    ] = None,
    pattern: Annotated[str | None, typer.Option(help="Regular expression for names: (?P<patient_id>…)")] = None,
    assume_mpp: AssumeMpp = None,
    mpp_table: MppTable = None,
    columns: Columns = None,
    recursive: Recursive = None,
    jobs: Jobs = 1,
    scheduler: Scheduler = None,
    time_limit: TimeLimit = None,
    as_json: Json = False,
) -> None:
    """Extract tiles from slides, labelled from annotations, with a cohort.csv for a study.

    Example: counterstain slides tiles slides/ --annotations drawn/ --class tumour=malignant --rest benign --out tiles
    """
    import json

    from counterstain.columns import columns_of_two
    from counterstain.engine import Engine
    from counterstain.errors import GateError
    from counterstain.slides.extract_tiles import ExtractionOptions, extract_tiles, find_slides
    from counterstain.slides.scale import read_mpp_table
    from counterstain.terminal_progress import say

    chosen = None
    if classes:
        chosen = {name: label or name for name, _, label in (text.partition("=") for text in classes)}
    of_slides, of_mpp = columns_of_two(columns_given(columns), both=slide_table is not None and mpp_table is not None)
    cut = extract_tiles(
        find_slides(slides, recursive=recursive, say=say), out,
        ExtractionOptions(
            mpp=mpp, tile_px=tile_px, overlap=overlap, least_tissue=least_tissue, whole_tiles=not edges,
            tissue=tissue_mask, annotations=annotations, classes=chosen, rest=rest, least_overlap=least_overlap,
            origin=origin, slide_table=slide_table, columns=of_slides, pattern=pattern, assume_mpp=assume_mpp,
            mpp_table=None if mpp_table is None else read_mpp_table(mpp_table, columns=of_mpp),
        ),
        engine=Engine(jobs=jobs, scheduler=scheduler, time_limit_s=time_limit), say=say,
    )  # fmt: skip
    for note in cut.notes:
        say(f"note: {note}")
    record = {"cohort": str(cut.cohort), "tiles": dict(cut.tiles), "failures": dict(cut.failures)}
    if as_json:
        show(json.dumps(record, indent=2))
    else:
        counts = ", ".join(f"{count:,} {label or 'without label'}" for label, count in cut.tiles.items())
        show(f"Result: {sum(cut.tiles.values()):,} tiles: {counts}\nCohort: {cut.cohort}")
        show_next(after_table(cut.cohort, "init"))
    if cut.failures:
        from counterstain.evaluation.format import plural

        raise GateError(f"{plural(len(cut.failures), 'slide')} skipped; {out / 'failures.csv'} says why")
