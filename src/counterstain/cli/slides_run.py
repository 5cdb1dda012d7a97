"""The verb that reads a cohort of slides with a model."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterstain.cli.next_commands import command, near, show_next
from counterstain.cli.options import (
    Arm,
    Columns,
    Device,
    Fold,
    Jobs,
    Json,
    Model,
    NetworkFile,
    Precision,
    Runtime,
    Scheduler,
    Seed,
    app,
    chosen_model,
    columns_given,
    show,
    verb,
)
from counterstain.cli.slide_options import (
    AssumeMpp,
    LeastTissue,
    MppTable,
    Overlap,
    Recursive,
    Slides,
    TimeLimit,
    TissueMask,
)
from counterstain.cli.suggestions import SuggestingGroup

if TYPE_CHECKING:
    from counterstain.progress import SlideProgress, SlidesProgress
    from counterstain.slides.infer_cohort import SlidesResult

slides_app = typer.Typer(cls=SuggestingGroup, no_args_is_help=True, help="Whole slides: extract tiles, run a model.")
app.add_typer(slides_app, name="slides")


@slides_app.command("run")
@verb
def slides_run(
    model: Model,
    slides: Slides,
    out: Annotated[Path, typer.Option("--out", help="Folder of the results; the same command again resumes.")],
    arm: Arm = None,
    seed: Seed = None,
    fold: Fold = None,
    network_file: NetworkFile = None,
    mpp: Annotated[
        float | None, typer.Option(help="Resolution of the tiles in µm/px; by default the model's own.")
    ] = None,
    overlap: Overlap = 0.0,
    least_tissue: LeastTissue = 0.5,
    tissue_mask: TissueMask = True,
    truth: Annotated[
        Path | None, typer.Option(help="CSV of slide_id,patient_id,label,split; slides are scored against it.")
    ] = None,
    pooling: Annotated[
        str, typer.Option(help="Pooling from tiles to a slide: auto, mean, top_5pct_mean, quantile_90, …")
    ] = "auto",
    regions: Annotated[bool, typer.Option("--regions", help="Add merged regions of each class to GeoJSON.")] = False,
    compress: Annotated[bool, typer.Option("--compress", help="Write .geojson.gz instead of .geojson.")] = False,
    origin: Annotated[str, typer.Option(help="Where (0, 0) of GeoJSON is: bounds (as in QuPath) or slide.")] = "bounds",
    assume_mpp: AssumeMpp = None,
    mpp_table: MppTable = None,
    columns: Columns = None,
    allow_scale: Annotated[
        bool, typer.Option("--allow-scale", help="Allow another resolution than that of the training.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Report the network's own probabilities, without calibration.")
    ] = False,
    runtime: Runtime = "auto",
    precision: Precision = "fp32",
    device: Device = "auto",
    batch: Annotated[int | None, typer.Option(help="Number of tiles per batch.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of workers: processes that draw, or threads that decode.")
    ] = None,
    recursive: Recursive = None,
    jobs: Jobs = 1,
    scheduler: Scheduler = None,
    time_limit: TimeLimit = None,
    as_json: Json = False,
) -> None:
    """Run a model over slides: tables and GeoJSON of tiles, heat maps, and scores of slides and patients.

    The same command resumes a stopped run and gives the same bytes. A slide that cannot be read is skipped and named
    in failures.csv; the exit code is then 3.

    Example: counterstain slides run runs/demo slides/ --out maps --mpp 0.5
    """
    from counterstain.columns import columns_of_two
    from counterstain.engine import Engine
    from counterstain.errors import GateError
    from counterstain.learning.model_choice import run_of
    from counterstain.slides.infer_cohort import run_slides
    from counterstain.slides.infer_slide import InferenceOptions
    from counterstain.slides.scale import read_mpp_table

    bundle = chosen_model(model, arm, seed, fold, network_file)
    of_truth, of_mpp = columns_of_two(columns_given(columns), both=truth is not None and mpp_table is not None)
    settings = InferenceOptions(
        mpp=mpp,
        overlap=overlap,
        least_tissue=least_tissue if tissue_mask else None,
        batch=batch,
        runtime=runtime,
        precision=precision,
        device=device,
        workers=workers,
        assume_mpp=assume_mpp,
        mpp_table=read_mpp_table(mpp_table, columns=of_mpp) if mpp_table else None,
        allow_scale=allow_scale,
        origin=origin,
        merged=regions,
        compress=compress,
        calibrated=not raw,
    )
    with _talking() as talk:
        result = run_slides(
            bundle, slides, out, settings, truth=truth, columns=of_truth, pooling=pooling, recursive=recursive,
            engine=Engine(jobs=jobs, scheduler=scheduler, time_limit_s=time_limit), talk=talk,
        )  # fmt: skip
    _print(result, as_json=as_json)
    if not as_json and (run := run_of(bundle)) is not None:
        shown = [path if path.is_dir() else path.parent for path in slides]
        show_next([command("serve", runs=near(run), maps=[out], slides=list(dict.fromkeys(shown)))])
    if result.failures:
        from counterstain.evaluation.format import plural

        raise GateError(f"{plural(len(result.failures), 'slide')} skipped; {out / 'failures.csv'} says why")


def _print(result: "SlidesResult", *, as_json: bool) -> None:
    """The slides read, on stdout."""
    import json

    from counterstain.evaluation.format import plural
    from counterstain.terminal import print_table

    if as_json:
        slides = {name: {"tiles": row["tiles"], "pooled": row["pooled"]} for name, row in result.records.items()}
        failures = [{"slide": name, "path": path, "reason": why} for name, path, why in result.failures]
        show(json.dumps({"out": str(result.out), "slides": slides, "failures": failures}, indent=2))
        return
    records: dict[str, Any] = dict(result.records)
    rows = [(name, f"{row['tiles']:,}", f"{row['tile_mpp'][0]:.3g}") for name, row in records.items()]
    print_table("Slides read", ("slide", "tiles", "µm/px"), rows)
    tiles = sum(row["tiles"] for row in records.values())
    skipped = f"; {len(result.failures)} skipped" if result.failures else ""
    show(f"Result: {tiles:,} tiles of {plural(len(result.records), 'slide')} read{skipped}\nFolder: {result.out}")


@contextmanager
def _talking() -> Iterator["SlidesProgress"]:
    """Bars with time left for the slide and for all where stderr is a terminal, else a line a slide."""
    from counterstain.progress import SlidesProgress
    from counterstain.terminal_progress import progress_bars, say

    if not sys.stderr.isatty():
        yield SlidesProgress(say=say, progress=_line)
        return
    with progress_bars() as (bars, tell):
        plan = bars.add_task("slides looked at", total=None)
        every = bars.add_task("tiles of all slides", total=None, visible=False)
        of_slide = bars.add_task("", total=None, visible=False)
        at = [""]

        def planned(done: int, total: int) -> None:
            bars.update(plan, completed=done, total=total, visible=done < total)

        def told(progress: "SlideProgress") -> None:
            if progress.slide != at[0]:  # a new slide: its time left counts from here
                at[0] = progress.slide
                bars.reset(
                    of_slide, description=f"{progress.slide} ({progress.number} of {progress.slides})", visible=True
                )
            bars.update(of_slide, completed=progress.done, total=progress.tiles)
            bars.update(every, completed=progress.all_done, total=progress.all_tiles, visible=True)

        yield SlidesProgress(say=tell, planned=planned, progress=told)


def _line(progress: "SlideProgress") -> None:
    from counterstain.terminal_progress import say

    if progress.done == progress.tiles:
        say(
            f"  {progress.slide} ({progress.number} of {progress.slides}): {progress.tiles:,} tiles; "
            f"{progress.all_done:,} of {progress.all_tiles:,} of all"
        )
