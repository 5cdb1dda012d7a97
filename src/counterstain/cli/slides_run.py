"""The verb that reads a cohort of slides with a model."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counterstain.cli.options import (
    Arm,
    Columns,
    Fold,
    Json,
    Model,
    NetworkFile,
    Seed,
    app,
    chosen_model,
    columns_given,
    columns_of_two,
    verb,
)

if TYPE_CHECKING:
    from counterstain.slides.infer_cohort import SlideProgress, SlidesProgress, SlidesResult

slides_app = typer.Typer(no_args_is_help=True, help="Whole slides: cut them into tiles, read them with a model.")
app.add_typer(slides_app, name="slides")


@slides_app.command("run")
@verb
def slides_run(
    model: Model,
    slides: Annotated[list[Path], typer.Argument(help="Slides, and folders of them.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the results; the same again goes on.")],
    arm: Arm = None,
    seed: Seed = None,
    fold: Fold = None,
    network_file: NetworkFile = None,
    mpp: Annotated[float | None, typer.Option(help="µm/px of the tiles; the model's by default.")] = None,
    overlap: Annotated[float, typer.Option(help="Share of a tile that its neighbour covers too.")] = 0.0,
    least_tissue: Annotated[float, typer.Option(help="Share of a tile that must be tissue.")] = 0.5,
    tissue_mask: Annotated[bool, typer.Option(help="Leave out glass, pen and blur.")] = True,
    truth: Annotated[Path | None, typer.Option(help="CSV of slide_id,patient_id,label,split: scores slides.")] = None,
    pooling: Annotated[str, typer.Option(help="Tiles to slide: auto, mean, top_5pct_mean, quantile_90, …")] = "auto",
    regions: Annotated[bool, typer.Option("--regions", help="Add merged regions of each class to GeoJSON.")] = False,
    compress: Annotated[bool, typer.Option("--gz", help="Write .geojson.gz.")] = False,
    origin: Annotated[str, typer.Option(help="(0, 0) of GeoJSON: bounds, as QuPath shows it, or slide.")] = "bounds",
    assume_mpp: Annotated[float | None, typer.Option(help="µm/px of slides that do not say.")] = None,
    mpp_table: Annotated[Path | None, typer.Option(help="CSV of slide,mpp for slides that misstate it.")] = None,
    columns: Columns = None,
    allow_scale: Annotated[bool, typer.Option("--allow-scale", help="Read at another µm/px than trained at.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Leave the model's calibration out.")] = False,
    runtime: Annotated[str, typer.Option(help="torch, openvino, onnxruntime, or auto: the fastest.")] = "torch",
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    batch: Annotated[int | None, typer.Option(help="Tiles predicted together.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that decode; one a core by default.")] = None,
    recursive: Annotated[
        bool | None,
        typer.Option(help="Search subfolders too; by default only of folders without slides of their own."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read slides with a model: tables and GeoJSON of tiles, heat maps, and scores of slides and patients.

    Stopped at any moment, the same command goes on to the same bytes. A slide that cannot be read is set aside in
    failures.csv, the others are read, and the exit code is 3.

    Example: counterstain slides run runs/demo slides/ --out maps --mpp 0.5
    """
    from counterstain.errors import GateError
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
            talk=talk,
        )  # fmt: skip
    _print(result, as_json=as_json)
    if result.failures:
        raise GateError(f"{len(result.failures)} slides were set aside; {out / 'failures.csv'} says why")


def _print(result: "SlidesResult", *, as_json: bool) -> None:
    """The slides read, on stdout."""
    import json

    from counterstain.terminal import print_table

    if as_json:
        slides = {name: {"tiles": row["tiles"], "pooled": row["pooled"]} for name, row in result.records.items()}
        failures = [{"slide": name, "path": path, "reason": why} for name, path, why in result.failures]
        print(json.dumps({"out": str(result.out), "slides": slides, "failures": failures}, indent=2))
        return
    rows = [(name, f"{row['tiles']:,}", f"{row['tile_mpp'][0]:.3g}") for name, row in result.records.items()]
    print_table("Slides read", ("slide", "tiles", "µm/px"), rows)
    print(f"Results: {result.out}")


@contextmanager
def _talking() -> Iterator["SlidesProgress"]:
    """Bars with time left for the slide and for all where stderr is a terminal, else a line a slide."""
    from counterstain.slides.infer_cohort import SlidesProgress
    from counterstain.terminal import progress_bars, say

    if not sys.stderr.isatty():
        yield SlidesProgress(say=say, progress=_line)
        return
    with progress_bars() as (bars, tell):
        plan = bars.add_task("slides looked at", total=None)
        every = bars.add_task("tiles of all slides", total=None, visible=False)
        own = bars.add_task("", total=None, visible=False)
        at = [""]

        def planned(done: int, total: int) -> None:
            bars.update(plan, completed=done, total=total, visible=done < total)

        def told(progress: "SlideProgress") -> None:
            if progress.slide != at[0]:  # a new slide: its time left counts from here
                at[0] = progress.slide
                bars.reset(own, description=f"{progress.slide} ({progress.number} of {progress.slides})", visible=True)
            bars.update(own, completed=progress.done, total=progress.tiles)
            bars.update(every, completed=progress.all_done, total=progress.all_tiles, visible=True)

        yield SlidesProgress(say=tell, planned=planned, progress=told)


def _line(progress: "SlideProgress") -> None:
    from counterstain.terminal import say

    if progress.done == progress.tiles:
        say(
            f"  {progress.slide} ({progress.number} of {progress.slides}): {progress.tiles:,} tiles; "
            f"{progress.all_done:,} of {progress.all_tiles:,} of all"
        )
