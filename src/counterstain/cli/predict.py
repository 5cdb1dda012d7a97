"""The verb that gives a trained model images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counterstain.cli.next_commands import command, free_place, show_next
from counterstain.cli.options import (
    Arm,
    Device,
    Fold,
    Json,
    Model,
    NetworkFile,
    Out,
    OwnFold,
    Precision,
    Rehash,
    Runtime,
    Seed,
    SplitPart,
    Splits,
    app,
    show,
    takes_images,
    verb,
)
from counterstain.cohort.reading_options import ImageOptions

if TYPE_CHECKING:
    from counterstain.study.predicted import Predicted


@app.command()
@verb
@takes_images
def predict(
    model: Model,
    sources: Annotated[
        list[Path], typer.Argument(help="Images, folders, a table or a container; no labels are needed.")
    ],
    reading: ImageOptions,
    out: Out = Path("predictions.csv"),
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a picture (PNG): the images with their predicted classes.")
    ] = None,
    arm: Arm = None,
    seed: Seed = None,
    fold: Fold = None,
    network_file: NetworkFile = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average all seeds of the arm, and add their spread to each row.")
    ] = False,
    splits: Splits = None,
    part: SplitPart = "test",
    split_fold: OwnFold = None,
    runtime: Runtime = "auto",
    precision: Precision = "fp32",
    device: Device = "auto",
    attention: Annotated[
        Path | None, typer.Option(help="Folder for the attention weight of every tile (mil/… models).")
    ] = None,
    rehash: Rehash = False,
    as_json: Json = False,
) -> None:
    """Predict images: class, probabilities, prediction set, and which are unlike the training images.

    MODEL is a run (its best arm on validation data is used, and named), a bundle or an export. No labels are needed; if
    they are known, the predictions are scored. Exits with code 3 if an image could not be read.

    Example: counterstain predict runs/study new_hospital/ --out predictions.csv --sheet sheet.png
    """
    import json

    from counterstain.api.models import predict as predict_with

    predicted = predict_with(
        model, sources, out=out, sheet=sheet, arm=arm, seed=seed, fold=fold, network_file=network_file,
        ensemble=ensemble, splits=splits, part=part, split_fold=split_fold, runtime=runtime, precision=precision,
        device=device, attention=attention, rehash=rehash, verbose=True, **reading,
    )  # fmt: skip
    if as_json:
        from counterstain.files import plain_values

        show(json.dumps(plain_values(predicted.record()), indent=2, ensure_ascii=False))
    else:
        _print(predicted, sheet)
        show_next(_next(predicted, sources, sheet))
        if predicted.scores is None:
            show(f"To score them, add a column `label` to {out}, and: counterstain evaluate {out}")
    if predicted.set_aside:
        raise typer.Exit(3)


def _print(predicted: "Predicted", sheet: Path | None) -> None:
    from counterstain.terminal import print_findings, print_scores

    show(predicted.summary())
    if predicted.scores is not None:
        print_scores(predicted.scores)
    if (scores := predicted.finding_scores) is not None:
        print_findings(scores)
    show(f"Decision: {predicted.rule}")
    if predicted.called_words:
        show(predicted.called_words)
    show(f"Predictions: {predicted.out}")
    if sheet is not None:
        show(f"Sheet: {sheet}")


def _next(predicted: "Predicted", sources: list[Path], sheet: Path | None) -> list[str]:
    """What to do now: score, explain, average the seeds, look."""
    from counterstain.learning.bag_dataset import is_feature_file

    folder, several, out = predicted.choice.folder, len(predicted.choice.folders) > 1, predicted.out
    of_pixels = not is_feature_file(predicted.images.image[0])
    lines = []
    if predicted.scores is not None:
        # No folder holds what was promised of an average: its threshold is all that can be handed on.
        held = {"threshold": predicted.threshold} if several else {"model": folder}
        page = free_place(out.with_name("evaluation.html"))
        # The columns named were those of the images' table; this one is ours.
        lines.append(
            command("evaluate", predictions=[out], **held, out=page, columns=None, arm=None, seed=None, fold=None)
        )
        if len(sources) == 1 and of_pixels:
            place = free_place(out.with_name("explanation"))
            lines.append(command("explain", model=folder, images=sources[0], out=place, arm=None, seed=None, fold=None))
    if not several and (seeds := predicted.choice.seeds()):
        arm, fold = seeds[0].parts[-3], seeds[0].name.removeprefix("fold-")
        table = free_place(out.with_name("ensemble.csv"))
        lines.append(
            command("predict", ensemble=True, out=table, arm=arm, seed=None, fold=fold, sheet=None, attention=None)
        )
    if sheet is None and of_pixels:
        lines.append(command("predict", out=out, sheet=out.with_name("sheet.png")))
    return lines
