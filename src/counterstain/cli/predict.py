"""The verb that gives a trained model images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counterstain.cli.options import (
    Arm,
    Columns,
    Fold,
    Json,
    Model,
    NetworkFile,
    Out,
    OwnFold,
    Root,
    Seed,
    allow_network,
    app,
    columns_given,
    verb,
)

if TYPE_CHECKING:
    from counterstain.study.predicting import Predicted


@app.command()
@verb
def predict(
    model: Model,
    sources: Annotated[list[Path], typer.Argument(help="Pictures, a folder, a CSV, a container; no labels needed.")],
    out: Out = Path("predictions.csv"),
    sheet: Annotated[Path | None, typer.Option(help="Also a picture of the images with their calls (PNG).")] = None,
    arm: Arm = None,
    seed: Seed = None,
    fold: Fold = None,
    network_file: NetworkFile = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average all seeds of the arm; adds their spread to each row.")
    ] = False,
    splits: Annotated[Path | None, typer.Option(help="Predict only a part of this splits.csv …")] = None,
    part: Annotated[str, typer.Option(help="… this one.")] = "test",
    split_fold: OwnFold = None,
    runtime: Annotated[str, typer.Option(help="torch, openvino, onnxruntime; auto: the fastest that agrees.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, or bf16: faster, and a little off.")] = "fp32",
    attention: Annotated[Path | None, typer.Option(help="Of mil/…: a folder for the weight of every tile.")] = None,
    columns: Columns = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Call every image, say what can't be told and what is unlike the training images; no labels are needed.

    MODEL is a run (the arm that did best on validation data is taken, and named), a bundle or an export. Where labels
    are known, the calls are scored. Ends with 3 where an image could not be read.

    Example: counterstain predict runs/study new_hospital/ --out predictions.csv --sheet sheet.png
    """
    import json

    from counterstain.study.predicting import Asked, predict_images
    from counterstain.terminal import talking

    allow_network(network_file)
    asked = Asked(
        arm=arm, seed=seed, fold=fold, ensemble=ensemble, splits=splits, part=part,
        split_fold=split_fold, root=root, runtime=runtime, precision=precision,
        attention=attention, columns=columns_given(columns), sheet=sheet,
    )  # fmt: skip
    with talking() as talk:
        predicted = predict_images(model, sources, out, asked=asked, talk=talk)
    if as_json:
        from counterstain.files import plain_values

        print(json.dumps(plain_values(predicted.record()), indent=2, ensure_ascii=False))
    else:
        _print(predicted, sheet)
    if predicted.set_aside:
        raise typer.Exit(3)


def _print(predicted: "Predicted", sheet: Path | None) -> None:
    from counterstain.terminal import print_scores

    print(predicted.summary())
    if predicted.scores is not None:
        print_scores(predicted.scores)
    print(f"Decision: {predicted.rule}")
    print(f"Predictions: {predicted.out}")
    if sheet is not None:
        print(f"Sheet: {sheet}")
    if predicted.next_lines:
        print("Next:")
        for line in predicted.next_lines:
            print(f"  {line}")
    if predicted.scores is None:
        print(f"To score them, add a column `label` to {predicted.out}, and: counterstain evaluate {predicted.out}")
