"""Verbs of evaluation alone: anyone's prediction tables, and the report of a run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counterstain.cli.next_commands import command, free_place, show_next
from counterstain.cli.options import (
    AT_WORK,
    Arm,
    Columns,
    Fold,
    Json,
    Order,
    Positive,
    Seed,
    app,
    columns_given,
    order_given,
    show,
    verb,
)

if TYPE_CHECKING:
    from counterstain.evaluation.comparison_result import Comparison
    from counterstain.evaluation.scores_result import Scores

OF_FINDINGS = ("predictions", "columns", "out", "as_json")  # what may be asked of a table of several findings
A_DIFFERENCE = 0.05  # whose number of patients is suggested where no margin says what would matter


@app.command()
@verb
def evaluate(
    predictions: Annotated[
        list[Path], typer.Argument(help="The predictions.csv of a model; several are seeds of one training procedure.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for scores.json and scores.csv, or a page: report.html.")
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(help="Threshold: 0.3, or a rule with --threshold-from: youden, sensitivity>=0.95, cost 5:1."),
    ] = None,
    threshold_from: Annotated[
        list[Path] | None,
        typer.Option("--threshold-from", help="Predictions of validation patients that the rule is applied to."),
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option("--by", help="Subgroups: site, slide, patient, or any column of the table.")
    ] = None,
    prevalence: Annotated[
        float | None, typer.Option(help="Prevalence of the positive class where the model is used: adds PPV and NPV.")
    ] = None,
    interval: Annotated[
        str, typer.Option(help="Method of the intervals: jackknife or bootstrap, both over patients.")
    ] = "jackknife",
    model: Annotated[
        Path | None,
        typer.Option(help="The model's run, bundle or export: were these images in training, and do its claims hold?"),
    ] = None,
    arm: Arm = None,
    seed: Seed = None,
    fold: Fold = None,
    ledger: Annotated[Path | None, typer.Option(help="Folder in which this use of the test set is recorded.")] = None,
    positive: Positive = None,
    columns: Columns = None,
    order: Order = None,
    as_json: Json = False,
) -> None:
    """Score anyone's predictions: accuracy, calibration, net benefit and subgroups, with intervals over patients.

    Example: counterstain evaluate predictions.csv --positive malignant --by site --prevalence 0.05 --out report.html
    """
    from counterstain.api.evaluation import evaluate as score
    from counterstain.terminal import print_scores, print_wrapped

    if _of_findings(predictions, columns):
        _print_findings(list(predictions), columns, out, as_json=as_json)
        return
    scores = score(
        list(predictions), out=out, threshold=threshold, threshold_from=threshold_from or None, by=by or (),
        prevalence=prevalence, interval=interval, model=model, arm=arm, seed=seed, fold=fold,
        ledger=ledger, positive=positive, columns=columns_given(columns),
        order=order_given(order),
    )  # fmt: skip
    print_scores(scores.record, as_json=as_json)
    if not as_json:
        print_wrapped(f"Result: {_scores_in_words(scores)}")
        show_next(_after_scores(predictions, out, by or ()))


def _of_findings(predictions: Sequence[Path], columns: list[str] | None) -> bool:
    """Whether the first table has several findings, each with a truth of its own, and no one label."""
    from counterstain.evaluation.findings_csv import holds_findings
    from counterstain.tables import read_table

    return predictions[0].is_file() and holds_findings(
        read_table(predictions[0], kind="prediction table"), columns_given(columns)
    )


def _print_findings(
    models: list[Path] | dict[str, list[Path]], columns: list[str] | None, out: Path | None, *, as_json: bool
) -> None:
    """All findings together; what is asked of one finding alone is refused."""
    from counterstain.api.finding_evaluation import evaluate_findings
    from counterstain.api.sources import refuse_options
    from counterstain.terminal import print_findings

    refuse_options(
        "of one finding, and the table has several; name the columns of one with "
        "--columns label=label_<finding>,prob_1=prob_<finding>",
        **{f"--{name.replace('_', '-')}": value for name, value in AT_WORK.get()[1].items() if name not in OF_FINDINGS},
    )
    print_findings(evaluate_findings(models, columns=columns_given(columns), out=out).record, as_json=as_json)


def _scores_in_words(scores: "Scores") -> str:
    """The first measure with its interval and what it rests on; of a deployed model, how many promises it keeps."""
    from counterstain.evaluation.format import counted_rows, listed, plural
    from counterstain.evaluation.metric_names import measure_words

    name = "auroc" if "auroc" in scores.metrics and scores["auroc"].value is not None else "accuracy"
    counts = counted_rows(scores.images, scores.record.get("rows_are", "image"), scores.patients)
    words = f"{measure_words(name, scores.positive)} is {scores[name]} on {counts}."
    if deployed := scores.record.get("deployed"):
        stated = [row for row in deployed["rows"] if row["word"] != "nothing stated"]
        missed = [row["what"] for row in stated if row["word"] == "missed"]
        kept = f"{listed(missed)} {'is' if len(missed) == 1 else 'are'} missed" if missed else "none is missed"
        words += f" Of {plural(len(stated), 'promise')} {kept}." if stated else ""
    return words


def _after_scores(predictions: Sequence[Path], out: Path | None, by: Sequence[str]) -> list[str]:
    """The same as a page, and site by site where the first table has several."""
    from counterstain.evaluation.predictions_csv import read_columns

    commands = []
    if out is None or not out.suffix:
        page = Path(f"{predictions[0].stem}.html" if len(predictions) == 1 else "evaluation.html")
        commands.append(command("evaluate", out=free_place(page)))
    if "site" not in by and len(set(read_columns(predictions[0], ["site"]).get("site", ()))) > 1:
        commands.append(command("evaluate", by=[*by, "site"]))
    return commands


def _by_name(predictions: Sequence[str]) -> dict[str, list[Path]]:
    """Model -> its tables, of texts NAME=PATH; a path without a name is its own."""
    models: dict[str, list[Path]] = {}
    for text in predictions:
        name, _, path = text.rpartition("=")
        models.setdefault(name or path, []).append(Path(path))
    return models


@app.command()
@verb
def compare(
    predictions: Annotated[
        list[str],
        typer.Argument(
            help="NAME=predictions.csv, or just the file; repeat a name for several seeds; or runs, for their arms."
        ),
    ],
    primary: Annotated[
        str | None, typer.Option(help="Measure that the verdict is about: auroc (default), sensitivity, f1, …")
    ] = None,
    co_primary: Annotated[
        str | None, typer.Option("--co-primary", help="Several measures that must all pass: sensitivity,specificity.")
    ] = None,
    level: Annotated[str, typer.Option(help="What is scored: image, slide or patient.")] = "image",
    reference: Annotated[str | None, typer.Option(help="Compare the other models with this one only.")] = None,
    margin: Annotated[float | None, typer.Option(help="A difference too small to matter.")] = None,
    noninferiority: Annotated[
        bool, typer.Option("--noninferiority", help="Test whether the first is not worse by more than the margin.")
    ] = False,
    equivalence: Annotated[
        bool, typer.Option("--equivalence", help="Test whether they differ by less than the margin.")
    ] = False,
    gate: Annotated[
        bool, typer.Option("--gate", help="Exit with 3 unless the first is shown to be better (or what was asked).")
    ] = False,
    fixed_models: Annotated[
        bool, typer.Option("--fixed-models", help="Compare these fitted models only, one table each.")
    ] = False,
    threshold: Annotated[
        list[str] | None, typer.Option("--threshold", help="Frozen threshold: 0.3 for all, or NAME=0.3; repeatable.")
    ] = None,
    detect: Annotated[
        float | None, typer.Option(help="Report how many patients a difference of this size would need.")
    ] = None,
    prior_sd: Annotated[
        float, typer.Option("--prior-sd", help="Standard deviation of the sceptical prior on a true difference.")
    ] = 0.05,
    alpha: Annotated[float, typer.Option(help="Accepted probability of naming a false winner.")] = 0.05,
    positive: Positive = None,
    columns: Columns = None,
    order: Order = None,
    out: Annotated[Path | None, typer.Option("--out", help="File to write: comparison.json.")] = None,
    as_json: Json = False,
) -> None:
    """Compare models on the same cases, with the patient as the unit, and say what may be claimed.

    Several tables under one name compare training procedures; --fixed-models compares fitted models, one table each.

    Example: counterstain compare a=a_seed0.csv a=a_seed1.csv a=a_seed2.csv b=b_seed0.csv b=b_seed1.csv b=b_seed2.csv
    """
    from counterstain.api.model_comparison import check_shown
    from counterstain.api.model_comparison import compare as compare_models

    models = _by_name(predictions)
    if _of_findings(next(iter(models.values())), columns):
        _print_findings(models, columns, out, as_json=as_json)
        return
    comparison = compare_models(
        models, primary=primary, level=level, reference=reference, margin=margin, noninferiority=noninferiority,
        co_primary=[name.strip() for name in (co_primary or "").split(",") if name.strip()], equivalence=equivalence,
        fixed_models=fixed_models, threshold=threshold or None, detect=detect, prior_sd=prior_sd, alpha=alpha,
        positive=positive, columns=columns_given(columns), order=order_given(order), out=out,
    )  # fmt: skip
    _print_comparison(comparison, detect=detect, out=out, as_json=as_json)
    if gate:
        check_shown(comparison)


def _print_comparison(comparison: "Comparison", *, detect: float | None, out: Path | None, as_json: bool) -> None:
    """The verdict; then how many patients would tell, where these can't, and the record as a file."""
    from counterstain.evaluation.pair_verdicts import UNSETTLED
    from counterstain.terminal import print_comparison

    print_comparison(comparison.record, as_json=as_json)
    if as_json:
        return
    commands = []
    if detect is None and any(pair.primary and pair.verdict in UNSETTLED for pair in comparison.pairs):
        commands.append(command("compare", detect=comparison.record["margin"] or A_DIFFERENCE, gate=None))
    if out is None:
        commands.append(command("compare", out=free_place(Path("comparison.json")), gate=None))
    show_next(commands)


@app.command()
@verb
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    no_tiles: Annotated[
        bool, typer.Option("--no-tiles", help="Leave out pictures of images, for private data.")
    ] = False,
    figures: Annotated[
        str | None, typer.Option(help="Also draw the figures for a thesis or paper: pdf, svg or png.")
    ] = None,
    width: Annotated[str | None, typer.Option(help="Width of these figures, such as 85mm.")] = None,
    font: Annotated[float | None, typer.Option(help="Font size of these figures in pt.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of these figures: en or de.")] = None,
    as_json: Json = False,
) -> None:
    """Redraw the figures and rewrite the report.html of a run.

    Example: counterstain report runs/demo --figures pdf --width 85mm --font 7
    """
    from counterstain.api.studies import report as draw

    page = draw(folder, no_tiles=no_tiles, figures=figures, width=width, font=font, language=language)
    place = None if figures is None else folder / f"figures-{figures}"
    if as_json:
        show(json.dumps({"report": str(page)} | ({} if place is None else {"figures": str(place)})))
    else:
        show(page if place is None else f"{page}\n{place}")
