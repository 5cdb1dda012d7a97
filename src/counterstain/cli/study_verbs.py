"""Verbs from images to predictions: the whole study, or one stage of it."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.next_commands import after_audit, after_cohort, command, free_place, show_next, trust_commands
from counterstain.cli.options import (
    FOLD,
    UNIT,
    Device,
    Images,
    Jobs,
    Json,
    Out,
    OutFolder,
    RandomSeed,
    Rehash,
    Scheduler,
    Set,
    StudyFile,
    StudyFolder,
    TilePx,
    Unit,
    app,
    settings_given,
    show,
    takes_images,
    verb,
)
from counterstain.cohort.reading_options import ReadingOptions


@app.command()
@verb
def demo(
    out: OutFolder = Path("demo"),
    seeds: Annotated[int, typer.Option(help="Number of trainings per arm, each with its own seed.")] = 3,
    patients: Annotated[int, typer.Option(help="Number of patients to generate.")] = 160,
    as_json: Json = False,
) -> None:
    """Run a whole study on synthetic histology: two arms, the old protocol beside them, a slide and a report.

    Example: counterstain demo --out demo
    """
    from counterstain.api.studies import demo as run_demo
    from counterstain.terminal import print_result

    print_result(run_demo(out, seeds=seeds, patients=patients, verbose=True).folder, as_json=as_json)


@app.command()
@verb
@takes_images
def init(
    images: Images,
    reading: ReadingOptions,
    out: Out = Path("study.yaml"),
    name: Annotated[str | None, typer.Option(help="Name of the study; by default the folder's or the table's.")] = None,
    unit: Annotated[str | None, UNIT] = None,
    all_keys: Annotated[bool, typer.Option("--all", help="Write every key that a study may have.")] = False,
    as_json: Json = False,
) -> None:
    """Look at a folder of images and write a commented study.yaml for it.

    Example: counterstain init images/ --positive malignant
    """
    from counterstain.api.images import init as start
    from counterstain.terminal import print_cohort
    from counterstain.terminal_progress import say

    cohort = start(images, out=out, name=name, unit=unit, all_keys=all_keys, **reading)
    print_cohort(cohort, as_json=as_json)
    if not (cohort.has_patients or unit == "image"):
        say(f"wrote {out}; it can be run once patients are known, see the notes above")
        return
    say(f"wrote {out}; look at it before you run it")
    if not as_json:
        show_next([command("run", study=out, dry_run=True), command("run", study=out)])


@app.command()
@verb
def run(
    study: StudyFile,
    set_: Set = None,
    folder: StudyFolder = None,
    jobs: Jobs = 1,
    scheduler: Scheduler = None,
    track: Annotated[
        list[str] | None, typer.Option("--track", help="Also write the run for a tracker: tensorboard, mlflow, wandb.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, and print the plan with its time and disk space.")
    ] = False,
    rehash: Rehash = False,
    as_json: Json = False,
) -> None:
    """Run every stage of a study that is not done yet; a stopped run is resumed.

    Example: counterstain run study.yaml --set training.epochs=50 --jobs 2
    """
    from counterstain.api.studies import run as run_study
    from counterstain.study.planning import plan_lines
    from counterstain.terminal import print_result

    settings = settings_given(set_)
    if dry_run:
        plan = run_study(study, settings=settings, folder=folder, dry_run=True, rehash=rehash, verbose=True).record
        show(json.dumps(plan, indent=2) if as_json else "\n".join(plan_lines(plan, jobs=jobs)))
        return
    finished = run_study(
        study, settings=settings, folder=folder, jobs=jobs, scheduler=scheduler, track=track or (), rehash=rehash,
        verbose=True,
    )  # fmt: skip
    print_result(finished.folder, as_json=as_json)


@app.command()
@verb
@takes_images
def cohort(
    images: Images,
    reading: ReadingOptions,
    out: Annotated[Path | None, typer.Option("--out", help="Table to write: .csv or .parquet.")] = None,
    decode: Annotated[bool, typer.Option(help="Decode every image, and name those that cannot be read.")] = True,
    as_json: Json = False,
) -> None:
    """Count images, colour images, classes, patients and sites; name damaged images; write the cohort's table.

    Example: counterstain cohort breakhis/ --task subtype --out cohort.csv
    """
    from counterstain.cohort.layouts import read_images
    from counterstain.cohort.manifest import write_cohort
    from counterstain.images.unreadable import find_unreadable
    from counterstain.terminal import print_cohort
    from counterstain.terminal_progress import talking

    table = read_images(images, **reading)
    if out is not None:
        write_cohort(table, out)
    unreadable = None
    if decode:
        with talking() as talk:
            unreadable = find_unreadable(table, progress=talk.stored)
    print_cohort(table, as_json=as_json, unreadable=unreadable)
    if not as_json:
        show_next(after_cohort(table, out, reading.get("positive")))


@app.command()
@verb
@takes_images
def split(
    images: Images,
    reading: ReadingOptions,
    out: Out = Path("splits.csv"),
    test: Annotated[float, typer.Option(help="Share of the images in the test part.")] = 0.2,
    val: Annotated[float, typer.Option(help="Share of the other images in the validation part.")] = 0.2,
    folds: Annotated[int, typer.Option(help="Number of cross-validation folds; 1 for a single split.")] = 1,
    repeats: Annotated[int, typer.Option(help="Number of repetitions of the cross-validation.")] = 1,
    sites: Annotated[
        bool, typer.Option("--sites", help="One fold per site: each site is tested by models trained on the others.")
    ] = False,
    preserve_sites: Annotated[
        bool, typer.Option("--preserve-sites", help="With --folds: keep each site in one fold, with balanced classes.")
    ] = False,
    unit: Unit = "patient",
    seed: RandomSeed = 0,
    as_json: Json = False,
) -> None:
    """Divide a cohort into train, val and test, by patient, stratified by class.

    Example: counterstain split cohort.csv --folds 5 --out splits.csv
    """
    from counterstain.api.images import split as split_cohort
    from counterstain.cohort.layouts import read_images
    from counterstain.cohort.split import count_parts
    from counterstain.terminal import print_split

    table = read_images(images, **reading)
    division = split_cohort(
        table, out=out, test=test, val=val, folds=folds, repeats=repeats, sites=sites, preserve_sites=preserve_sites,
        unit=unit, seed=seed,
    )  # fmt: skip
    print_split(count_parts(division, table), as_json=as_json)
    if not as_json:
        show_next(
            [
                command("audit", splits=out, out=free_place(Path("audit"))),
                command("train", splits=out, out=free_place(Path("model")), seed=None),
            ]
        )


@app.command()
@verb
@takes_images
def audit(
    images: Images,
    reading: ReadingOptions,
    splits: Annotated[
        Path | None, typer.Argument(help="The splits.csv to audit; without it only the cohort is audited.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for audit.json, baselines and splits.csv.")] = Path(
        "audit"
    ),
    unit: Unit = "patient",
    tile_px: Annotated[int, typer.Option(help="Side length in px at which images are compared.")] = 128,
    rotated: Annotated[bool, typer.Option(help="Also look for rotated and cropped copies.")] = True,
    distinct_ids: Annotated[
        bool, typer.Option(help="Treat similar ids, such as 18842 and 18842D, as different patients.")
    ] = False,
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Open no image; check only patients, ids, labels and parts.")
    ] = False,
    apply: Annotated[
        Path | None,
        typer.Option(help="Apply the decisions.csv of the Audit page: write the resulting cohort and split."),
    ] = None,
    rehash: Rehash = False,
    as_json: Json = False,
) -> None:
    """Look for duplicates, leaks between parts, label conflicts, blank tiles and shortcuts.

    Exits with code 3 if there are leaks.

    Example: counterstain audit cohort.csv splits.csv --out audit
    """
    from counterstain.api.images import audit as audit_cohort

    report = audit_cohort(
        images, splits, out=out, unit=unit, tile_px=tile_px, rotated=rotated, distinct_ids=distinct_ids,
        tables_only=tables_only, apply=apply, rehash=rehash, verbose=True, **reading,
    )  # fmt: skip
    show(json.dumps(report.record, indent=2) if as_json else "\n".join(report.lines))
    if not as_json and apply is None:
        show_next(after_audit(report.record["verdict"], splits, out))
    if not report.clean:
        raise typer.Exit(3)


@app.command()
@verb
@takes_images
def augment(
    images: Images,
    reading: ReadingOptions,
    out: Out = Path("augmentation.png"),
    tile_px: TilePx = 257,
    count: Annotated[int, typer.Option(help="Number of images to show.")] = 6,
    seed: RandomSeed = 0,
    as_json: Json = False,
) -> None:
    """Draw a contact sheet: each augmentation applied to some images of the cohort.

    Example: counterstain augment images/ --out sheet.png
    """
    from counterstain.api.images import augment as draw_sheet

    picture = draw_sheet(images, out=out, tile_px=tile_px, count=count, seed=seed, **reading)
    show(json.dumps({"out": str(picture)}) if as_json else picture)


@app.command()
@verb
@takes_images
def train(
    images: Images,
    reading: ReadingOptions,
    splits: Annotated[Path, typer.Argument(help="The splits.csv of the cohort.")],
    out: OutFolder,
    network: Annotated[
        str, typer.Option(help="Network: given, modified, timm/…, a foundation model, or your own my_nets.py:Net.")
    ] = "given",
    batch: Annotated[int, typer.Option(help="Number of tiles per batch.")] = 32,
    epochs: Annotated[int, typer.Option(help="Maximum number of epochs.")] = 100,
    patience: Annotated[int, typer.Option(help="Number of epochs without improvement before stopping.")] = 10,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-4,
    tile_px: TilePx = 257,
    fit: Annotated[str, typer.Option(help="How an image becomes a tile: stretch, crop or exact.")] = "stretch",
    precision: Annotated[str, typer.Option(help="Number format: auto, fp32 or bf16.")] = "auto",
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(help="Number of processor threads; by default one per core.")] = None,
    seed: RandomSeed = 0,
    fold: Annotated[str, FOLD] = "0-0",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any other setting of an arm: tune=frozen")] = None,
    unit: Unit = "patient",
    rehash: Rehash = False,
    as_json: Json = False,
) -> None:
    """Train one network once; write a bundle, its history and its test predictions.

    On several devices: torchrun --nproc-per-node 2 -m counterstain train cohort.csv splits.csv --out model/

    Example: counterstain train cohort.csv splits.csv --network modified --batch 200 --out model/
    """
    from counterstain.api.models import train as train_one
    from counterstain.learning.distributed import find_world

    train_one(
        images, splits, out, network=network, batch=batch, epochs=epochs, patience=patience,
        learning_rate=learning_rate, tile_px=tile_px, fit=fit, precision=precision, device=device, threads=threads,
        seed=seed, fold=fold, settings=settings_given(set_), unit=unit, rehash=rehash, verbose=True, **reading,
    )  # fmt: skip
    if not find_world(os.environ).leads:  # of several processes of one training, one speaks
        return
    if as_json:
        show(json.dumps({"out": str(out)}))
    else:
        _print_trained(out, images, splits, network)


def _print_trained(out: Path, images: Path, splits: Path, network: str) -> None:
    """What the model reaches on the test part, where it is, and what to do with it."""
    from counterstain.evaluation.arm_scores import score_arms
    from counterstain.evaluation.predictions_csv import read_predictions
    from counterstain.learning.bundle import read_bundle
    from counterstain.study.results import one_arm_words
    from counterstain.terminal import print_wrapped

    table, commands = out / "predictions.csv", []
    if table.is_file():
        known = read_bundle(out)
        scores = score_arms({network: [read_predictions(table, classes=known.classes)]}, stamp=known.stamp)
        print_wrapped(f"Result: {one_arm_words(scores, {})}")
        commands.append(command("evaluate", predictions=[table], model=out))
    show(f"Model: {out}")
    show_next([*commands, *trust_commands(out, images, out, done="train", splits=splits)])


@app.command()
@verb
def phantom(
    out: OutFolder = Path("phantom"),
    patients: Annotated[int, typer.Option(help="Number of patients to generate.")] = 40,
    tiles: Annotated[int, typer.Option(help="Approximate number of tiles per patient.")] = 12,
    tile_px: TilePx = 257,
    difficulty: Annotated[float, typer.Option(help="Difficulty of the task, from 0 (easy) to 1 (hard).")] = 0.3,
    shortcut: Annotated[
        float, typer.Option(help="Colour shortcut, from 0 (none) to 1 (the colour determines the class).")
    ] = 0.0,
    seed: RandomSeed = 0,
    workers: Annotated[int, typer.Option(help="Number of workers: processes that draw, or threads that decode.")] = 2,
    as_json: Json = False,
) -> None:
    """Generate a synthetic cohort of H&E-like tiles with known ground truth.

    Example: counterstain phantom --out phantom --patients 40 --difficulty 0.5
    """
    from counterstain.api.images import phantom as generate
    from counterstain.terminal import print_cohort

    generated = generate(
        out, patients=patients, tiles=tiles, tile_px=tile_px, difficulty=difficulty, shortcut=shortcut, seed=seed,
        workers=workers,
    )  # fmt: skip
    print_cohort(generated, as_json=as_json)
    if not as_json:
        study = free_place(Path("study.yaml"))
        show_next([command("init", images=out / "cohort.csv", positive=generated.positive, out=study)])
