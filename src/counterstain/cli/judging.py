"""Verbs of judging alone: anyone's prediction tables, and the report of a run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from counterstain.cli.common import Json, Positive, app, verb


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
    co_primary: Annotated[
        str | None, typer.Option("--co-primary", help="Several that must all pass: sensitivity,specificity.")
    ] = None,
    level: Annotated[str, typer.Option(help="image or patient.")] = "image",
    reference: Annotated[str | None, typer.Option(help="Compare the others with this one only.")] = None,
    margin: Annotated[float | None, typer.Option(help="A difference too small to matter.")] = None,
    noninferiority: Annotated[
        bool, typer.Option("--noninferiority", help="Ask whether the first is not worse by the margin.")
    ] = False,
    equivalence: Annotated[
        bool, typer.Option("--equivalence", help="Ask whether they differ by less than the margin.")
    ] = False,
    gate: Annotated[
        bool, typer.Option("--gate", help="Exit 3 unless the first is shown to be better (or what was asked).")
    ] = False,
    fixed_models: Annotated[
        bool, typer.Option("--fixed-models", help="Judge these fitted models alone, one table each.")
    ] = False,
    threshold: Annotated[
        list[str] | None, typer.Option("--threshold", help="Frozen: 0.3 for all, or NAME=0.3; may stand several times.")
    ] = None,
    detect: Annotated[
        float | None, typer.Option(help="Say how many patients a difference of this size would need.")
    ] = None,
    prior_sd: Annotated[
        float, typer.Option("--prior-sd", help="Sceptical prior on a true difference: its standard deviation.")
    ] = 0.05,
    alpha: Annotated[float, typer.Option(help="How often a false winner may be named.")] = 0.05,
    positive: Positive = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write comparison.json here.")] = None,
    as_json: Json = False,
) -> None:
    """Compare models on the same cases, with the patient as the unit, and say what may be claimed.

    Several tables under one name judge the way of training. With one table each, --fixed-models judges these models.

    Example: counterstain compare a=a_seed0.csv a=a_seed1.csv a=a_seed2.csv b=b_seed0.csv b=b_seed1.csv b=b_seed2.csv
    """
    from counterstain.errors import GateError, InputError
    from counterstain.files import write_json
    from counterstain.judging.comparison import compare_arms
    from counterstain.judging.reading import read_predictions
    from counterstain.judging.thresholds import decided_arms
    from counterstain.terminal import print_comparison

    if noninferiority and equivalence:
        raise InputError("--noninferiority and --equivalence were both given; ask one question")
    arms: dict[str, list[Any]] = {}
    files: dict[str, list[str]] = {}
    for text in predictions:
        name, _, path = text.rpartition("=")
        arms.setdefault(name or path, []).append(read_predictions(Path(path), positive=positive))
        files.setdefault(name or path, []).append(path)
    record = compare_arms(
        arms,
        primary=primary,
        co_primary=[name.strip() for name in (co_primary or "").split(",") if name.strip()],
        level=level,
        reference=reference,
        margin=margin,
        alpha=alpha,
        hypothesis="noninferiority" if noninferiority else "equivalence" if equivalence else "difference",
        claim="models" if fixed_models else "procedures",
        decided=decided_arms(arms, threshold) if threshold else None,
        detect=detect,
        prior_sd=prior_sd,
        files=files,
    )
    if out is not None:
        write_json(out, record)
    print_comparison(record, as_json=as_json)
    if gate and not record["shown"]:
        raise GateError(f"the gate is shut: it is not shown {record['asked']}")


@app.command()
@verb
def report(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Draw the figures and write report.html of a run anew.

    Example: counterstain report runs/demo
    """
    from counterstain.reporting.report import write_report

    print(write_report(folder))
