"""The command line: each verb parses, calls one public function, and prints. stdout is data, stderr is talk."""

import functools
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from counterstain import __version__
from counterstain.errors import GateError, InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a folder of histology images to a claim that survives another hospital. Start with: counterstain demo",
)

P = ParamSpec("P")

Images = Annotated[Path, typer.Argument(help="A folder of images, or a CSV or Parquet manifest.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Unit = Annotated[str, typer.Option(help="patient, or image where patients are unknown.")]
Positive = Annotated[str | None, typer.Option(help="The positive one of two classes.")]
Layout = Annotated[str, typer.Option(help="How names carry labels and ids: auto, folder, breakhis, idc, tcga, …")]
Pattern = Annotated[str | None, typer.Option(help="Regular expression with groups such as (?P<patient_id>…).")]
Task = Annotated[str | None, typer.Option(help="For layouts with several: binary or subtype (BreakHis).")]
Out = Annotated[Path, typer.Option("--out", help="File or folder to write.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Replace a key of the study: training.epochs=5")]


def main() -> None:
    """Run one verb."""
    # A scheduler's SIGTERM ends a run like Ctrl-C does: nothing is half written, and the exit code says which.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    app()


def verb(function: Callable[P, None]) -> Callable[P, None]:
    """A command whose input errors end in one line and exit code 2, a shut gate in 3, an interruption in 130."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except InputError as error:
            print(f"counterstain: {error}", file=sys.stderr)
            raise typer.Exit(2) from None
        except GateError as error:
            print(f"counterstain: {error}", file=sys.stderr)
            raise typer.Exit(3) from None
        except KeyboardInterrupt:
            print("counterstain: stopped; the same command goes on from where it was", file=sys.stderr)
            raise typer.Exit(130) from None

    return wrapped


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def counterstain(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """From a folder of histology images to a claim that survives another hospital."""


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
) -> None:
    """Look at a folder of images and write a commented study.yaml for it.

    Example: counterstain init images/ --positive malignant
    """
    from counterstain.study.starter import start_study
    from counterstain.terminal import print_cohort, say

    options = {
        "layout": layout,
        "positive": positive,
        "pattern": pattern,
        "task": task,
        "magnification": magnification,
    }
    cohort = start_study(images, out, name=name, unit=unit, **options)
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be trained.")] = False,
    as_json: Json = False,
) -> None:
    """Do everything that a study asks for and is not done yet; stopped runs go on where they were.

    Example: counterstain run study.yaml --set training.epochs=50 --jobs 2
    """
    from counterstain.study.run import plan_study, run_study
    from counterstain.terminal import print_result, talking

    overrides = dict(_assignment(text) for text in set_ or [])
    with talking() as talk:
        if dry_run:
            print(json.dumps(plan_study(study, overrides=overrides, folder=folder, talk=talk), indent=2))
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
    as_json: Json = False,
) -> None:
    """Count images, colour images, classes, patients and sites; write the cohort's table.

    Example: counterstain cohort breakhis/ --task subtype --out cohort.csv
    """
    from counterstain.cohort.manifest import write_cohort
    from counterstain.study.inputs import read_images
    from counterstain.terminal import print_cohort

    table = read_images(
        images, layout=layout, positive=positive, pattern=pattern, task=task, magnification=magnification
    )
    if out is not None:
        write_cohort(table, out)
    print_cohort(table, as_json=as_json)


@app.command()
@verb
def split(
    images: Images,
    out: Out = Path("splits.csv"),
    test: Annotated[float, typer.Option(help="Share of the images to report on.")] = 0.2,
    val: Annotated[float, typer.Option(help="Share of the rest to choose with.")] = 0.2,
    folds: Annotated[int, typer.Option(help="Cross-validation folds; 1 for one division.")] = 1,
    repeats: Annotated[int, typer.Option(help="How often to divide into folds.")] = 1,
    unit: Unit = "patient",
    seed: Annotated[int, typer.Option(help="Of the division.")] = 0,
    positive: Positive = None,
    as_json: Json = False,
) -> None:
    """Divide a cohort into train, val and test, by patient, stratified by class.

    Example: counterstain split cohort.csv --folds 5 --out splits.csv
    """
    from counterstain.cohort import split as splits
    from counterstain.study.inputs import read_images
    from counterstain.terminal import print_split

    table = read_images(images, positive=positive)
    if folds > 1:
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
    layout: Layout = "auto",
    positive: Positive = None,
    pattern: Pattern = None,
    as_json: Json = False,
) -> None:
    """Copies, leaks between parts, label conflicts, blank tiles and shortcuts; ends with 3 where there are leaks.

    Example: counterstain audit cohort.csv splits.csv --out audit
    """
    from counterstain.study.auditing import audit_images
    from counterstain.terminal import talking

    options = {"layout": layout, "positive": positive, "pattern": pattern}
    with talking() as talk:
        record, lines = audit_images(
            images, splits, out, unit=unit, tile_px=tile_px, rotated=rotated, distinct_ids=distinct_ids, talk=talk,
            **options,
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
) -> None:
    """A contact sheet: each transformation on images of the cohort.

    Example: counterstain augment images/ --out sheet.png
    """
    from counterstain.study.inputs import read_images
    from counterstain.study.sheet import write_sheet

    write_sheet(read_images(images), out, tile_px=tile_px, count=count, seed=seed)
    print(out)


@app.command()
@verb
def train(
    images: Images,
    splits: Annotated[Path, typer.Argument(help="The splits.csv of the cohort.")],
    out: Out,
    network: Annotated[str, typer.Option(help="given or modified.")] = "given",
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
    unit: Unit = "patient",
    positive: Positive = None,
) -> None:
    """Train one network once; writes a bundle, its history and its test predictions.

    On several devices: torchrun --nproc-per-node 2 -m counterstain train cohort.csv splits.csv --out model/

    Example: counterstain train cohort.csv splits.csv --network modified --batch 200 --out model/
    """
    from counterstain.learning.training import Training
    from counterstain.study.single import train_once
    from counterstain.terminal import talking

    settings = Training(
        network=network, batch=batch, epochs=epochs, patience=patience, learning_rate=learning_rate,
        precision=precision, device=device, threads=threads,
    )  # fmt: skip
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
            talk=talk,
        )
    if leads:
        print(out)


@app.command()
@verb
def predict(
    bundle: Annotated[Path, typer.Argument(help="The folder of a trained model.")],
    images: Images,
    out: Out = Path("predictions.csv"),
    splits: Annotated[Path | None, typer.Option(help="Predict only a part of this splits.csv …")] = None,
    part: Annotated[str, typer.Option(help="… this one.")] = "test",
    runtime: Annotated[str, typer.Option(help="torch, openvino, onnxruntime; auto: the fastest that agrees.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, or bf16: faster, and a little off.")] = "fp32",
) -> None:
    """Probabilities for every image of a cohort, as predictions.csv.

    Example: counterstain predict model/ new_hospital/ --out predictions.csv
    """
    from counterstain.study.single import predict_once
    from counterstain.terminal import talking

    with talking() as talk:
        predict_once(bundle, images, out, splits=splits, part=part, runtime=runtime, precision=precision, talk=talk)
    print(out)


@app.command()
@verb
def evaluate(
    predictions: Annotated[list[Path], typer.Argument(help="predictions.csv of one model; several: its seeds.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write scores.json and scores.csv here.")] = None,
    interval: Annotated[str, typer.Option(help="jackknife or bootstrap, both over patients.")] = "jackknife",
    model: Annotated[Path | None, typer.Option(help="Its bundle: says which images it was trained on.")] = None,
    ledger: Annotated[Path | None, typer.Option(help="Folder in which this look is written down.")] = None,
    positive: Positive = None,
    as_json: Json = False,
) -> None:
    """Accuracy, precision, recall, specificity, AUROC … of anyone's prediction table, with intervals.

    Example: counterstain evaluate predictions.csv --positive malignant
    """
    from counterstain.files import write_csv, write_json
    from counterstain.judging.evaluation import score_arms, score_rows
    from counterstain.judging.reading import read_predictions
    from counterstain.terminal import print_scores

    tables = [read_predictions(path, positive=positive) for path in predictions]
    record = score_arms({"model": tables}, interval=interval)
    if model is not None:
        from counterstain.audit.membership import overlap, read_members

        found = overlap(read_members(model), patient=tables[0].patient, image=tables[0].image)
        record["seen"] = {"counts": dict(found.seen), "words": list(found.words)}
    if ledger is not None:
        from counterstain.judging.ledger import note_tables

        record["looks"] = note_tables(ledger, predictions, tables[0])
    if out is not None:
        write_json(out / "scores.json", record)
        write_csv(out / "scores.csv", *score_rows(record))
    print_scores(record, as_json=as_json)


@app.command()
@verb
def compare(
    predictions: Annotated[
        list[str], typer.Argument(help="NAME=predictions.csv, or just the file; a name twice: seeds.")
    ],
    primary: Annotated[str, typer.Option(help="The measure that the verdict is about.")] = "auroc",
    level: Annotated[str, typer.Option(help="image or patient.")] = "image",
    margin: Annotated[float | None, typer.Option(help="A difference too small to matter.")] = None,
    noninferiority: Annotated[
        bool, typer.Option("--noninferiority", help="Ask only whether the first is not worse by the margin.")
    ] = False,
    fixed_models: Annotated[
        bool, typer.Option("--fixed-models", help="Judge these fitted models alone, one table each.")
    ] = False,
    alpha: Annotated[float, typer.Option(help="How often a false winner may be named.")] = 0.05,
    positive: Positive = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write comparison.json here.")] = None,
    as_json: Json = False,
) -> None:
    """Compare models on the same cases, with the patient as the unit, and say what may be claimed.

    Several tables a name judge the way of training. With one table each, --fixed-models judges these two models.

    Example: counterstain compare a=a_seed0.csv a=a_seed1.csv a=a_seed2.csv b=b_seed0.csv b=b_seed1.csv b=b_seed2.csv
    """
    from counterstain.files import write_json
    from counterstain.judging.comparison import compare_arms
    from counterstain.judging.reading import read_predictions
    from counterstain.terminal import print_comparison

    arms: dict[str, list[Any]] = {}
    for text in predictions:
        name, _, path = text.rpartition("=")
        arms.setdefault(name or path, []).append(read_predictions(Path(path), positive=positive))
    record = compare_arms(
        arms,
        primary=primary,
        level=level,
        margin=margin,
        alpha=alpha,
        hypothesis="noninferiority" if noninferiority else "difference",
        claim="models" if fixed_models else "procedures",
    )
    if out is not None:
        write_json(out, record)
    print_comparison(record, as_json=as_json)


@app.command()
@verb
def report(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Draw the figures and write report.html of a run anew.

    Example: counterstain report runs/demo
    """
    from counterstain.reporting.report import write_report

    print(write_report(folder))


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
    from counterstain.cohort.phantom import Phantom, write_phantom
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


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: write key=value, such as training.epochs=5")
    return key, value


if __name__ == "__main__":
    main()
