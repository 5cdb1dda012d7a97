"""The verb that gives a trained model images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    allow_network,
    app,
    hash_again,
    show,
    takes_images,
    verb,
)
from counterstain.cohort.reading_options import ImageOptions

if TYPE_CHECKING:
    from counterstain.study.predicting import Predicted


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
        Path | None, typer.Option(help="Picture to write, too: the images with their calls (PNG).")
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
        Path | None, typer.Option(help="Folder for the weight of every tile, of a mil/… model.")
    ] = None,
    rehash: Rehash = False,
    as_json: Json = False,
) -> None:
    """Predict images: class, what cannot be ruled out, and what is unlike the training images; no labels are needed.

    MODEL is a run (the arm that did best on validation data is taken, and named), a bundle or an export. Where labels
    are known, the calls are scored. Ends with exit code 3 where an image could not be read.

    Example: counterstain predict runs/study new_hospital/ --out predictions.csv --sheet sheet.png
    """
    import json

    from counterstain.study.predicting import Asked, predict_images
    from counterstain.terminal_progress import talking

    allow_network(network_file)
    asked = Asked(
        arm=arm, seed=seed, fold=fold, ensemble=ensemble, splits=splits, part=part,
        split_fold=split_fold, runtime=runtime, precision=precision, device=device,
        attention=attention, sheet=sheet, reading=reading,
    )  # fmt: skip
    hash_again(rehash, out)
    with talking() as talk:
        predicted = predict_images(model, sources, out, asked=asked, talk=talk)
    if as_json:
        from counterstain.files import plain_values

        show(json.dumps(plain_values(predicted.record()), indent=2, ensure_ascii=False))
    else:
        _print(predicted, sheet)
    if predicted.set_aside:
        raise typer.Exit(3)


def _print(predicted: "Predicted", sheet: Path | None) -> None:
    from counterstain.terminal import print_scores

    show(predicted.summary())
    if predicted.scores is not None:
        print_scores(predicted.scores)
    show(f"Decision: {predicted.rule}")
    if predicted.called_words:
        show(predicted.called_words)
    show(f"Predictions: {predicted.out}")
    if sheet is not None:
        show(f"Sheet: {sheet}")
    if predicted.next_lines:
        show("Next:")
        for line in predicted.next_lines:
            show(f"  {line}")
    if predicted.scores is None:
        show(f"To score them, add a column `label` to {predicted.out}, and: counterstain evaluate {predicted.out}")
