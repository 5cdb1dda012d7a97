"""Verbs of models beyond one study: features, search of settings, export."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counterstain.cli.next_commands import after_table, command, free_place, near, show_next
from counterstain.cli.options import (
    Arm,
    Device,
    Fold,
    Jobs,
    Json,
    Model,
    NetworkFile,
    OutFolder,
    Precision,
    RandomSeed,
    Rehash,
    Runtime,
    Scheduler,
    Seed,
    Set,
    StudyFile,
    StudyFolder,
    app,
    chosen_model,
    settings_given,
    show,
    takes_images,
    verb,
)
from counterstain.cli.slide_options import AssumeMpp, LeastTissue, MppTable, Overlap, TimeLimit
from counterstain.cohort.reading_options import ReadingOptions

if TYPE_CHECKING:
    from counterstain.study.results import Export


@app.command()
@verb
@takes_images
def features(
    model: Annotated[str, typer.Argument(help="Run, bundle or export; or a backbone as published: timm/…")],
    sources: Annotated[
        list[Path], typer.Argument(help="A cohort of tiles; with --mpp slides, or a manifest of slides.")
    ],
    reading: ReadingOptions,
    out: OutFolder = Path("features"),
    mpp: Annotated[float | None, typer.Option(help="Read slides, with tiles at this resolution in µm/px.")] = None,
    tile_px: Annotated[
        int | None, typer.Option(help="Side length of the tiles in px; a trained model has its own.")
    ] = None,
    fit: Annotated[str | None, typer.Option(help="How an image becomes a tile: stretch, crop or exact.")] = None,
    weights: Annotated[str, typer.Option(help="Weights of a backbone: pretrained, random, or a file.")] = "pretrained",
    overlap: Overlap = 0.0,
    least_tissue: LeastTissue = 0.5,
    assume_mpp: AssumeMpp = None,
    mpp_table: MppTable = None,
    arm: Arm = None,
    seed: Seed = None,
    fold: Fold = None,
    network_file: NetworkFile = None,
    runtime: Runtime = "auto",
    device: Device = "auto",
    precision: Precision = "fp32",
    jobs: Jobs = 1,
    scheduler: Scheduler = None,
    time_limit: TimeLimit = None,
    rehash: Rehash = False,
    as_json: Json = False,
) -> None:
    """Compute features of tiles: one .h5 file per slide, and a manifest for training mil/… arms on slides.

    Exits with code 3 if a slide was skipped; the same command again computes only what is missing.

    Example: counterstain features timm/resnet50 slides.csv --mpp 0.5 --tile-px 256 --out features
    """
    from counterstain.api.models import features as compute
    from counterstain.evaluation.format import plural

    made = compute(
        model, sources, out=out, mpp=mpp, tile_px=tile_px, fit=fit, weights=weights, overlap=overlap,
        least_tissue=least_tissue, assume_mpp=assume_mpp, mpp_table=mpp_table, arm=arm, seed=seed, fold=fold,
        network_file=network_file, runtime=runtime, device=device, precision=precision, jobs=jobs,
        scheduler=scheduler, time_limit=time_limit, rehash=rehash, verbose=True, **reading,
    )  # fmt: skip
    record = {"out": str(out), "slides": made.slides, "tiles": made.tiles, "failures": dict(made.failures)}
    if as_json:
        show(json.dumps(record))
    else:
        files = f"{plural(made.slides, 'file')}, one per slide"
        show(f"Result: features of {plural(made.tiles, 'tile')} in {files}\nFolder: {out}")
        show_next(after_table(out / "manifest.csv", "split"))
    if made.failures:
        raise typer.Exit(3)


@app.command()
@verb
def search(
    study: StudyFile,
    trials: Annotated[int | None, typer.Option(help="Number of trials in all; by default the study's.")] = None,
    set_: Set = None,
    folder: StudyFolder = None,
    as_json: Json = False,
) -> None:
    """Search the settings of one arm on validation patients, and write a study with the best of them.

    The study has a section `search`. A stopped search is resumed. The test part is not used.

    Example: counterstain search study.yaml --trials 20
    """
    from counterstain.api.studies import search as search_settings
    from counterstain.evaluation.format import plural

    result = search_settings(study, trials=trials, settings=settings_given(set_), folder=folder, verbose=True)
    if as_json:
        show(json.dumps({**asdict(result), "study": str(result.study)}, indent=2))
        return
    show(f"Result: {result.study} has the best settings of {plural(result.trials, 'trial')}; it is run once")
    show_next([command("run", study=result.study, set_=None)])


@app.command("lr-find")
@verb
def lr_find(
    study: StudyFile,
    arm: Annotated[str | None, typer.Option(help="Arm of the study; optional if there is only one.")] = None,
    out: OutFolder = Path("lr_find"),
    steps: Annotated[int, typer.Option(help="Number of steps, from the lowest learning rate to the highest.")] = 100,
    seed: RandomSeed = 0,
    set_: Set = None,
    folder: StudyFolder = None,
    as_json: Json = False,
) -> None:
    """Draw the training loss while the learning rate rises, and suggest a rate.

    Only training images are used, neither validation nor test images.

    Example: counterstain lr-find study.yaml --arm given-32 --out lr_find
    """
    from counterstain.api.studies import lr_find as find_rate

    rate = find_rate(
        study, arm=arm, out=out, steps=steps, seed=seed, settings=settings_given(set_), folder=folder, verbose=True
    )
    if as_json:
        show(json.dumps({**asdict(rate), "figure": str(rate.figure)}, indent=2))
        return
    show(f"{rate.summary()}\n{rate.figure}")


@app.command()
@verb
def export(
    model: Model,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; it must not exist yet.")],
    arm: Arm = None,
    seed: Seed = None,
    fold: Fold = None,
    network_file: NetworkFile = None,
    formats: Annotated[
        str, typer.Option(help="Formats in addition to the bundle: wsinfer, onnx, openvino; or none.")
    ] = "wsinfer,onnx,openvino",
    mpp: Annotated[
        float | None, typer.Option(help="Resolution of the tiles in µm/px; by default the model's own.")
    ] = None,
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="Export the network's own probabilities, without calibration.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Add an 8-bit OpenVINO model, and report its loss of accuracy.")
    ] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Cohort for the ranges of --int8 and its loss; by default the run's.")
    ] = None,
    cohort: Annotated[
        Path | None, typer.Option(help="Training images, if a model is exported without its run.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence on the model card: apache-2.0, cc-by-4.0, …")] = "",
    as_json: Json = False,
) -> None:
    """Export a model for QuPath (WSInfer), ONNX and OpenVINO, each checked against PyTorch.

    Exits with code 3, and writes nothing, if a probability differs by more than 1e-4.

    Example: counterstain export runs/study --arm given-32 --seed 0 --mpp 0.5 --out model/
    """
    from counterstain.api.models import export as export_model
    from counterstain.terminal_progress import say

    bundle = chosen_model(model, arm, seed, fold, network_file)
    exported = export_model(
        bundle, out, mpp=mpp, uncalibrated=uncalibrated, int8=int8, calibrate=calibrate, cohort=cohort,
        formats=[name.strip() for name in formats.split(",") if name.strip() not in ("", "none")],
        licence=licence, verbose=True,
    )  # fmt: skip
    record = exported.record
    if record["features"] is None:
        say(f"unfamiliar tiles are not flagged: {record['features_absent']}")
    if isinstance(record["int8"], dict):
        say(f"8-bit integers: {record['int8']['words']}")
    if as_json:
        show(json.dumps({"out": str(out), **record}, indent=2, sort_keys=True, ensure_ascii=False))
        return
    _print_export(exported, bundle)


def _print_export(exported: "Export", bundle: Path) -> None:
    """How far each format is from PyTorch, what that comes to, and what to do with the folder."""
    from counterstain.evaluation.format import plural
    from counterstain.export.parity import TOLERANCE
    from counterstain.learning.model_choice import run_of
    from counterstain.run_folder import record_path
    from counterstain.terminal import print_table, print_wrapped

    out, parity = exported.folder, exported.parity
    if parity:
        rows = [[row.runtime, f"{row.difference:.1e}", f"{row.images_per_s:.0f}", str(row.tiles)] for row in parity]
        print_table(str(out), ("runtime", "largest difference of a probability", "images/s", "tiles"), rows)
        checked = [row for row in parity if row.runtime not in ("torch", "int8")]
        most = max((row.difference for row in checked), default=0.0)
        allowed = f"({TOLERANCE:g} is allowed{'; not for int8' if exported.record['int8'] else ''})"
        agree = f"{plural(len(checked), 'format')} answer{'s' * (len(checked) == 1)} as PyTorch does"
        print_wrapped(f"Result: {agree}: no probability differs by more than {most:.1e} {allowed}.")
    show(f"Model: {out}")
    if "wsinfer" in exported.formats:
        print_wrapped(f"QuPath: copy {out} into the folder of your own models that WSInfer's preferences name.")
    commands = [command("privacy", path=out)]
    if (run := run_of(bundle)) is not None and record_path(run, "splits.csv").is_file():
        table = free_place(out.with_name("predictions.csv"))
        run = near(run)
        splits = record_path(run, "splits.csv")
        commands.insert(
            0, command("predict", model=out, sources=[run], splits=splits, out=table, arm=None, seed=None, fold=None)
        )
    show_next(commands)
