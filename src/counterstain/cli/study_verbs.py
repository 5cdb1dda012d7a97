"""Verbs from images to predictions: the whole study, or one stage of it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.options import (
    Columns,
    FollowLinks,
    Images,
    Json,
    Layout,
    Out,
    Pattern,
    Positive,
    Root,
    Set,
    Task,
    Unit,
    app,
    assignment,
    columns_given,
    verb,
)


@app.command()
@verb
def demo(
    out: Out = Path("demo"),
    seeds: Annotated[int, typer.Option(help="How many times each arm is trained.")] = 3,
    patients: Annotated[int, typer.Option(help="How many patients are made up.")] = 48,
) -> None:
    """The whole main job on made-up histology: two arms, a report.

    Example: counterstain demo --out demo
    """
    from counterstain.study.demo import run_demo
    from counterstain.terminal import print_result, talking

    with talking() as talk:
        run = run_demo(out, seeds=seeds, patients=patients, talk=talk)
    print_result(run, as_json=False)


@app.command()
@verb
def init(
    images: Images,
    out: Out = Path("study.yaml"),
    name: Annotated[str | None, typer.Option(help="Of the study; by default the folder's.")] = None,
    unit: Annotated[str | None, typer.Option(help="patient or image.")] = None,
    layout: Layout = "auto",
    positive: Positive = None,
    pattern: Pattern = None,
    task: Task = None,
    magnification: Annotated[str | None, typer.Option(help="For BreakHis: 40, 100, 200, 400; all by default.")] = None,
    columns: Columns = None,
    root: Root = None,
    follow_links: FollowLinks = False,
) -> None:
    """Look at a folder of images and write a commented study.yaml for it.

    Example: counterstain init images/ --positive malignant
    """
    from counterstain.study.init import start_study
    from counterstain.terminal import print_cohort, say

    options = {
        "layout": layout,
        "positive": positive,
        "pattern": pattern,
        "task": task,
        "magnification": magnification,
        "follow_links": follow_links or None,
    }
    cohort = start_study(images, out, name=name, unit=unit, columns=columns_given(columns), root=root, **options)
    print_cohort(cohort, as_json=False)
    say(f"wrote {out}; look at it, then: counterstain run {out}")


@app.command()
@verb
def run(
    study: Annotated[Path, typer.Argument(help="The study's YAML file.")],
    set_: Set = None,
    folder: Annotated[Path | None, typer.Option(help="Where runs/ and store/ are made.")] = None,
    jobs: Annotated[int, typer.Option(help="Trainings at once; each gets its share of the cores.")] = 1,
    scheduler: Annotated[str | None, typer.Option(help="Send trainings to a dask cluster: tcp://host:8786")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything; print the plan with its time and disk.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Do everything that a study asks for and is not done yet; stopped runs go on where they were.

    Example: counterstain run study.yaml --set training.epochs=50 --jobs 2
    """
    from counterstain.study.planning import plan_lines, plan_study
    from counterstain.study.run import run_study
    from counterstain.terminal import print_result, talking

    overrides = dict(assignment(text) for text in set_ or [])
    with talking() as talk:
        if dry_run:
            plan = plan_study(study, overrides=overrides, folder=folder, talk=talk)
            print(json.dumps(plan, indent=2) if as_json else "\n".join(plan_lines(plan, jobs=jobs)))
            return
        path = run_study(study, overrides=overrides, folder=folder, talk=talk, jobs=jobs, scheduler=scheduler)
    print_result(path, as_json=as_json)


@app.command()
@verb
def cohort(
    images: Images,
    out: Annotated[Path | None, typer.Option("--out", help="Write the table: .csv or .parquet.")] = None,
    layout: Layout = "auto",
    positive: Positive = None,
    pattern: Pattern = None,
    task: Task = None,
    magnification: Annotated[str | None, typer.Option(help="For BreakHis: 40, 100, 200, 400; all by default.")] = None,
    columns: Columns = None,
    root: Root = None,
    follow_links: FollowLinks = False,
    decode: Annotated[bool, typer.Option(help="Decode every image, and name those that cannot be read.")] = True,
    as_json: Json = False,
) -> None:
    """Count images, colour images, classes, patients and sites; name damaged images; write the cohort's table.

    Example: counterstain cohort breakhis/ --task subtype --out cohort.csv
    """
    from counterstain.cohort.cohort import write_cohort
    from counterstain.cohort.layouts import read_images
    from counterstain.images.unreadable import find_unreadable
    from counterstain.terminal import print_cohort, talking

    table = read_images(
        images, layout=layout, positive=positive, pattern=pattern, task=task, magnification=magnification,
        columns=columns_given(columns), root=root, follow_links=follow_links,
    )  # fmt: skip
    if out is not None:
        write_cohort(table, out)
    unreadable = None
    if decode and not any(name.endswith(".h5") for name in table.image):  # feature files are no images
        with talking() as talk:
            unreadable = find_unreadable(table, progress=talk.stored)
    print_cohort(table, as_json=as_json, unreadable=unreadable)


@app.command()
@verb
def split(
    images: Images,
    out: Out = Path("splits.csv"),
    test: Annotated[float, typer.Option(help="Share of the images to report on.")] = 0.2,
    val: Annotated[float, typer.Option(help="Share of the rest to choose with.")] = 0.2,
    folds: Annotated[int, typer.Option(help="Cross-validation folds; 1 for one division.")] = 1,
    repeats: Annotated[int, typer.Option(help="How often to divide into folds.")] = 1,
    sites: Annotated[
        bool, typer.Option("--sites", help="One fold a site: each is tested by models of others.")
    ] = False,
    preserve_sites: Annotated[
        bool, typer.Option("--preserve-sites", help="With --folds: every site whole in one fold, classes balanced.")
    ] = False,
    unit: Unit = "patient",
    seed: Annotated[int, typer.Option(help="Of the division.")] = 0,
    positive: Positive = None,
    columns: Columns = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Divide a cohort into train, val and test, by patient, stratified by class.

    Example: counterstain split cohort.csv --folds 5 --out splits.csv
    """
    from counterstain.cohort import splitters as splits
    from counterstain.cohort.layouts import read_images
    from counterstain.terminal import print_split

    table = read_images(images, positive=positive, columns=columns_given(columns), root=root)
    if sites:
        from counterstain.cohort.site_splitters import leave_one_site_out

        made = leave_one_site_out(table, val=val, unit=unit, seed=seed)
    elif preserve_sites:
        from counterstain.cohort.site_splitters import site_preserved_folds

        made = site_preserved_folds(table, k=folds, val=val, unit=unit, seed=seed)
    elif folds > 1:
        made = splits.folds(table, k=folds, repeats=repeats, val=val, unit=unit, seed=seed)
    else:
        made = splits.holdout(table, test=test, val=val, unit=unit, seed=seed)
    splits.write_split(made, out)
    print_split(splits.count_parts(made, table), as_json=as_json)


@app.command()
@verb
def audit(
    images: Images,
    splits: Annotated[Path | None, typer.Argument(help="The splits.csv to audit; without: the cohort alone.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for audit.json, baselines and splits.csv.")] = Path(
        "audit"
    ),
    unit: Unit = "patient",
    tile_px: Annotated[int, typer.Option(help="Side in px at which images are looked at.")] = 128,
    rotated: Annotated[bool, typer.Option(help="Look for rotated and cropped copies, too.")] = True,
    distinct_ids: Annotated[bool, typer.Option(help="18842 and 18842D are two patients.")] = False,
    apply: Annotated[Path | None, typer.Option(help="The decisions.csv of the Audit page: make what follows.")] = None,
    layout: Layout = "auto",
    positive: Positive = None,
    pattern: Pattern = None,
    columns: Columns = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Copies, leaks between parts, label conflicts, blank tiles and shortcuts; ends with 3 where there are leaks.

    Example: counterstain audit cohort.csv splits.csv --out audit
    """
    from counterstain.study.audit_stage import audit_images
    from counterstain.terminal import talking

    options = {
        "layout": layout,
        "positive": positive,
        "pattern": pattern,
        "columns": columns_given(columns),
        "root": root,
    }
    with talking() as talk:
        record, lines = audit_images(
            images, splits, out, unit=unit, tile_px=tile_px, rotated=rotated, distinct_ids=distinct_ids, apply=apply,
            talk=talk, **options,
        )  # fmt: skip
    print(json.dumps(record, indent=2) if as_json else "\n".join(lines))
    if record["verdict"] == "leaks":
        raise typer.Exit(3)


@app.command()
@verb
def augment(
    images: Images,
    out: Out = Path("augmentation.png"),
    tile_px: Annotated[int, typer.Option(help="Side of the tiles in px.")] = 257,
    count: Annotated[int, typer.Option(help="How many images to show.")] = 6,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    columns: Columns = None,
    root: Root = None,
) -> None:
    """A contact sheet: each transformation on images of the cohort.

    Example: counterstain augment images/ --out sheet.png
    """
    from counterstain.cohort.layouts import read_images
    from counterstain.study.contact_sheets import write_sheet

    cohort = read_images(images, columns=columns_given(columns), root=root)
    write_sheet(cohort, out, tile_px=tile_px, count=count, seed=seed)
    print(out)


@app.command()
@verb
def train(
    images: Images,
    splits: Annotated[Path, typer.Argument(help="The splits.csv of the cohort.")],
    out: Out,
    network: Annotated[str, typer.Option(help="given, modified, timm/… or a foundation model.")] = "given",
    batch: Annotated[int, typer.Option(help="Images a step.")] = 32,
    epochs: Annotated[int, typer.Option(help="At most.")] = 100,
    patience: Annotated[int, typer.Option(help="Epochs without improvement before stopping.")] = 10,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 1e-4,
    tile_px: Annotated[int, typer.Option(help="Side of the tiles in px.")] = 257,
    fit: Annotated[str, typer.Option(help="stretch, crop or exact.")] = "stretch",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Of the processor; by default all cores.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    fold: Annotated[str, typer.Option(help="Of a cross-validation: repeat-fold.")] = "0-0",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any other setting of an arm: tune=frozen")] = None,
    unit: Unit = "patient",
    positive: Positive = None,
    columns: Columns = None,
    root: Root = None,
) -> None:
    """Train one network once; writes a bundle, its history and its test predictions.

    On several devices: torchrun --nproc-per-node 2 -m counterstain train cohort.csv splits.csv --out model/

    Example: counterstain train cohort.csv splits.csv --network modified --batch 200 --out model/
    """
    from counterstain.study.one_model import train_once
    from counterstain.study.study_config import parse_arm
    from counterstain.terminal import talking

    named = {
        "network": network, "batch": batch, "epochs": epochs, "patience": patience, "learning_rate": learning_rate,
        "precision": precision, "device": device, "threads": threads,
    }  # fmt: skip
    settings = parse_arm(named, dict(assignment(text) for text in set_ or []))
    with talking() as talk:
        leads = train_once(
            images,
            splits,
            out,
            settings=settings,
            tile_px=tile_px,
            fit=fit,
            seed=seed,
            fold=fold,
            unit=unit,
            positive=positive,
            columns=columns_given(columns),
            root=root,
            talk=talk,
        )
    if leads:
        print(out)


@app.command()
@verb
def phantom(
    out: Out = Path("phantom"),
    patients: Annotated[int, typer.Option(help="How many.")] = 40,
    tiles: Annotated[int, typer.Option(help="About so many tiles a patient.")] = 12,
    tile_px: Annotated[int, typer.Option(help="Side of the tiles in px.")] = 257,
    difficulty: Annotated[float, typer.Option(help="0 easy to 1 hard.")] = 0.3,
    shortcut: Annotated[float, typer.Option(help="0 no colour shortcut to 1 colour tells all.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that draw.")] = 2,
) -> None:
    """Make up a cohort of H&E-like tiles whose truth is known.

    Example: counterstain phantom --out phantom --patients 40 --difficulty 0.5
    """
    from counterstain.phantom.tiles import Phantom, write_phantom
    from counterstain.terminal import print_cohort

    made = Phantom(
        patients=patients,
        tiles_per_patient=tiles,
        tile_px=tile_px,
        difficulty=difficulty,
        shortcut=shortcut,
        seed=seed,
    )
    print_cohort(write_phantom(made, out, workers=workers), as_json=False)
