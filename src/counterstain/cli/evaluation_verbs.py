"""Verbs of judging alone: anyone's prediction tables, and the report of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterstain.cli.options import Columns, Json, Positive, app, columns_given, verb

if TYPE_CHECKING:
    from counterstain.evaluation.predictions import Predictions


@app.command()
@verb
def evaluate(
    predictions: Annotated[list[Path], typer.Argument(help="predictions.csv of one model; several: its seeds.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="A folder for scores.json and scores.csv, or a page: report.html.")
    ] = None,
    threshold: Annotated[
        str | None, typer.Option(help="0.3, or a rule with --threshold-from: youden, sensitivity>=0.95, cost 5:1.")
    ] = None,
    threshold_from: Annotated[
        list[Path] | None,
        typer.Option("--threshold-from", help="A table of validation patients on which the rule chooses."),
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option("--by", help="Subgroups: site, slide, patient, or any column of the table.")
    ] = None,
    prevalence: Annotated[
        float | None, typer.Option(help="Share of the positive class where the model is to be used: adds PPV and NPV.")
    ] = None,
    interval: Annotated[str, typer.Option(help="jackknife or bootstrap, both over patients.")] = "jackknife",
    model: Annotated[
        Path | None, typer.Option(help="Its bundle: which images it was trained on, and whether its promises hold.")
    ] = None,
    ledger: Annotated[Path | None, typer.Option(help="Folder in which this look is written down.")] = None,
    positive: Positive = None,
    columns: Columns = None,
    as_json: Json = False,
) -> None:
    """Scores, calibration, net benefit and subgroups of anyone's prediction table, with intervals over patients.

    Example: counterstain evaluate predictions.csv --positive malignant --by site --prevalence 0.05 --out report.html
    """
    from counterstain.evaluation.comparison_notes import check_copies
    from counterstain.evaluation.deployed import read_deployed
    from counterstain.evaluation.predictions_csv import read_columns, read_predictions
    from counterstain.evaluation.table_evaluation import ARM, columns_wanted, evaluate_tables
    from counterstain.terminal import print_scores

    if out is not None:
        _check_place(out)
    named = columns_given(columns)
    tables = [read_predictions(path, positive=positive, columns=named) for path in predictions]
    check_copies({ARM: tables}, {ARM: [str(path) for path in predictions]})
    cells = read_columns(predictions[0], columns_wanted(by or ()))
    record = evaluate_tables(
        tables,
        interval=interval,
        threshold=threshold,
        validation=[read_predictions(path, classes=tables[0].classes, columns=named) for path in threshold_from or ()],
        prevalence=prevalence,
        by=_groups(by or [], cells, predictions[0]),
        deployed=None if model is None else read_deployed(model),
        columns=cells,
    )
    if model is not None:
        record["seen"] = _seen(model, tables[0])
    if ledger is not None:
        from counterstain.evaluation.test_set_log import note_tables

        record["looks"] = note_tables(ledger, predictions, tables[0])
    if out is not None:
        _write(out, record, tables, predictions)
    print_scores(record, as_json=as_json)


def _check_place(out: Path) -> None:
    """A page's name, or that of a folder: a name with another ending was meant as a file."""
    from counterstain.errors import InputError

    if out.suffix.lower() in (".csv", ".json", ".pdf", ".txt", ".md", ".xlsx", ".png", ".svg", ".parquet"):
        raise InputError(
            f"--out is {out}; name a page that ends in .html, or a folder, which gets scores.json and scores.csv"
        )


def _groups(by: list[str], columns: Mapping[str, tuple[str, ...]], table: Path) -> dict[str, tuple[str, ...] | None]:
    """The groups that --by asks for: None for those that every table knows, else the cells of its column."""
    from counterstain.errors import InputError
    from counterstain.evaluation.subgroups import GROUPINGS

    unknown = next((name for name in by if name not in GROUPINGS and name not in columns), None)
    if unknown is not None:
        raise InputError(f"--by {unknown}: {table} has no column '{unknown}'; name one of its columns, or site")
    return {name: columns.get(name) for name in by}


def _seen(model: Path, table: "Predictions") -> dict[str, Any]:
    """Which images and patients of a table the model was trained on."""
    from counterstain.audit.training_set import MEMBERS, overlap, read_members

    if not (model / MEMBERS).is_file():
        return {"counts": {}, "words": [f"unknown, since {model} does not list what its model was trained on"]}
    found = overlap(read_members(model), patient=table.patient, image=table.image)
    return {"counts": dict(found.seen), "words": list(found.words)}


def _write(out: Path, record: Mapping[str, Any], tables: "Sequence[Predictions]", paths: list[Path]) -> None:
    """The page where `out` ends in .html, else scores.json and scores.csv in that folder."""
    if out.suffix.lower() in (".html", ".htm"):
        from counterstain.reports.table_report import write_table_report

        write_table_report(record, tables, out, name=", ".join(path.name for path in paths))
        return
    from counterstain.evaluation.table_evaluation import evaluation_rows
    from counterstain.files import write_csv, write_json

    write_json(out / "scores.json", record)
    write_csv(out / "scores.csv", *evaluation_rows(record))


@app.command()
@verb
def compare(
    predictions: Annotated[
        list[str], typer.Argument(help="NAME=predictions.csv, or just the file; a name twice: seeds.")
    ],
    primary: Annotated[
        str | None, typer.Option(help="The measure that the verdict is about: auroc (default), sensitivity, f1, …")
    ] = None,
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
    columns: Columns = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write comparison.json here.")] = None,
    as_json: Json = False,
) -> None:
    """Compare models on the same cases, with the patient as the unit, and say what may be claimed.

    Several tables under one name judge the way of training. With one table each, --fixed-models judges these models.

    Example: counterstain compare a=a_seed0.csv a=a_seed1.csv a=a_seed2.csv b=b_seed0.csv b=b_seed1.csv b=b_seed2.csv
    """
    from counterstain.errors import GateError, InputError
    from counterstain.evaluation.comparison import compare_arms, threshold_notes
    from counterstain.evaluation.predictions_csv import read_predictions
    from counterstain.evaluation.thresholds import decided_arms
    from counterstain.files import write_json
    from counterstain.terminal import print_comparison

    if noninferiority and equivalence:
        raise InputError("--noninferiority and --equivalence were both given; ask one question")
    if primary is not None and co_primary is not None:
        raise InputError(
            f"--primary {primary} and --co-primary {co_primary} were both given; name all endpoints in one"
        )
    named = columns_given(columns)
    arms: dict[str, list[Any]] = {}
    files: dict[str, list[str]] = {}
    for text in predictions:
        name, _, path = text.rpartition("=")
        arms.setdefault(name or path, []).append(read_predictions(Path(path), positive=positive, columns=named))
        files.setdefault(name or path, []).append(path)
    if primary is None and co_primary is None and any(table.hard for tables in arms.values() for table in tables):
        raise InputError(
            "a table has predicted classes alone, which have no AUROC; ask about --primary accuracy, f1, …"
        )
    record = compare_arms(
        arms,
        primary=primary or "auroc",
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
    if threshold:
        record["warnings"] = [*threshold_notes(threshold, record), *record["warnings"]]
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
    from counterstain.reports.run_report import write_report

    print(write_report(folder))
