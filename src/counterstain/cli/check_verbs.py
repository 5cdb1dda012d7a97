"""Verbs that check a model: how robust it is, and what its score depends on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from counterstain.cli.next_commands import show_next, trust_commands
from counterstain.cli.options import (
    Arm,
    Device,
    Fold,
    Images,
    Json,
    Model,
    NetworkFile,
    OutFolder,
    OwnFold,
    Precision,
    RandomSeed,
    Rehash,
    Runtime,
    Seed,
    SplitPart,
    Splits,
    app,
    chosen_model,
    show,
    takes_images,
    verb,
)
from counterstain.cohort.reading_options import ImageOptions


@app.command()
@verb
@takes_images
def robustness(
    model: Model,
    images: Images,
    reading: ImageOptions,
    out: OutFolder = Path("robustness"),
    splits: Splits = None,
    part: SplitPart = "test",
    split_fold: OwnFold = None,
    budget: Annotated[
        Path | None, typer.Option(help="YAML file of limits; exits with code 3 if one is exceeded.")
    ] = None,
    sample: Annotated[int | None, typer.Option(help="Maximum number of images, spread evenly over patients.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Run only this trial: blur, rotation, …; repeatable.")] = None,
    arm: Arm = None,
    seed: Seed = None,
    fold: Fold = None,
    network_file: NetworkFile = None,
    runtime: Runtime = "auto",
    precision: Precision = "fp32",
    device: Device = "auto",
    rehash: Rehash = False,
    as_json: Json = False,
) -> None:
    """Measure what a model loses under other stains, blur, JPEG, exposure, scanners, a wrong µm/px, and rotation.

    Writes robustness.json, robustness.csv and robustness.html; differences are paired, intervals over patients.

    Example: counterstain robustness model/ cohort.csv --splits splits.csv --budget budget.yaml --out card
    """
    import json

    from counterstain.api.trust import robustness as try_model
    from counterstain.robustness.card import check_limits

    bundle = chosen_model(model, arm, seed, fold, network_file)
    card = try_model(
        bundle, images, out=out, splits=splits, part=part, split_fold=split_fold, budget=budget, sample=sample,
        only=only, runtime=runtime, precision=precision, device=device, rehash=rehash, verbose=True, **reading,
    )  # fmt: skip
    if as_json:
        show(json.dumps(card.record, indent=2))
    else:
        _print_card(card.record, out)
        show_next(trust_commands(bundle, images, out, done="robustness"))
    check_limits(card.record)  # the card is whole: it is shown before the gate says no


def _print_card(record: Mapping[str, Any], out: Path) -> None:
    """The losses as a table, the notes, and where the card is."""
    from counterstain.evaluation.text_tables import shown_interval
    from counterstain.reports.alarms import robustness_alarm
    from counterstain.reports.robustness_report import headline, loss_rows
    from counterstain.terminal import print_table, print_wrapped

    if alarm := robustness_alarm(record):
        print_wrapped(" ".join(alarm))
    rows = []
    for title, worse, first, turned in loss_rows(record):
        cells = []
        for step in (worse[1], worse[2], worse[4]):
            auroc = step["scores"]["auroc"]
            cells.append(f"{shown_interval(auroc['difference'], auroc['low'], auroc['high'])} at {step['shown']}")
        rows.append([title, *cells, "none found" if first is None else first["shown"], f"{100 * turned:.1f} %"])
    if rows:
        title = f"Change of AUROC and its 95 % interval, unit {record['unit']}"
        print_table(title, ["trial", "mild", "moderate", "severe", "first sure loss", "turned at moderate"], rows)
    for note in record["notes"]:
        print_wrapped(f"Note: {note}")
    print_wrapped(f"Result: {headline(record)}")
    show(f"Card: {out / 'robustness.html'}")


@app.command()
@verb
@takes_images
def explain(
    model: Model,
    images: Images,
    reading: ImageOptions,
    out: OutFolder = Path("explanation"),
    splits: Splits = None,
    part: SplitPart = "test",
    split_fold: OwnFold = None,
    method: Annotated[
        str, typer.Option(help="Saliency method: hirescam, gradcam, gradcam++ or integrated-gradients.")
    ] = "hirescam",
    each: Annotated[int, typer.Option(help="Number of tiles per row of the gallery.")] = 8,
    trials: Annotated[int, typer.Option(help="Number of tiles on which the maps are checked.")] = 32,
    embedding: Annotated[
        str, typer.Option(help="Map of the features: pca, or umap where umap-learn is installed.")
    ] = "pca",
    arm: Arm = None,
    seed: Seed = None,
    fold: Fold = None,
    network_file: NetworkFile = None,
    device: Device = "auto",
    random_seed: RandomSeed = 0,
    rehash: Rehash = False,
    as_json: Json = False,
) -> None:
    """Show where the score is sensitive, never why: saliency maps, their sanity checks, and a map of the features.

    Exits with code 3, without a map, if the model is not detectably better than chance.

    Example: counterstain explain model/ cohort.csv --splits splits.csv --out explanation
    """
    import json

    from counterstain.api.trust import explain as explain_model
    from counterstain.reports.explanation_checks import summary
    from counterstain.terminal import print_wrapped

    bundle = chosen_model(model, arm, seed, fold, network_file)
    explanation = explain_model(
        bundle, images, out=out, splits=splits, part=part, split_fold=split_fold, method=method, each=each,
        trials=trials, embedding=embedding, device=device, random_seed=random_seed, rehash=rehash, verbose=True,
        **reading,
    )  # fmt: skip
    if as_json:
        show(json.dumps(explanation.record["validity"], indent=2))
        return
    print_wrapped(f"Result: {summary(explanation.validity)}")
    show(f"Page: {explanation.page}")
    show_next(trust_commands(bundle, images, out, done="explain"))
