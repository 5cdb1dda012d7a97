"""The verb that shows where a model's score is sensitive, with the checks of whether that can be trusted."""

from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.common import (
    Arm,
    Columns,
    Fold,
    Images,
    Json,
    Model,
    NetworkFile,
    Out,
    app,
    chosen_model,
    columns_given,
    verb,
)


@app.command()
@verb
def explain(
    model: Model,
    images: Images,
    out: Out = Path("explanation"),
    splits: Annotated[Path | None, typer.Option(help="Explain only a part of this splits.csv …")] = None,
    part: Annotated[str, typer.Option(help="… this one.")] = "test",
    method: Annotated[str, typer.Option(help="hirescam, gradcam, gradcam++ or integrated-gradients.")] = "hirescam",
    each: Annotated[int, typer.Option(help="Tiles a row of the gallery.")] = 8,
    trials: Annotated[int, typer.Option(help="Tiles that the maps are tried on.")] = 32,
    embedding: Annotated[str, typer.Option(help="pca, or umap where umap-learn is installed.")] = "pca",
    arm: Arm = None,
    seed_of_model: Annotated[int | None, typer.Option("--model-seed", help="Of a run: this seed.")] = None,
    fold: Fold = None,
    network_file: NetworkFile = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of everything drawn.")] = 0,
    columns: Columns = None,
    as_json: Json = False,
) -> None:
    """Where the score is sensitive, never why: maps, checks of them, and tiles by their features.

    Ends with 3 and without a map where the model cannot be told from one that guesses.

    Example: counterstain explain model/ cohort.csv --splits splits.csv --out explanation
    """
    import json

    from counterstain.explanation.explaining import Settings, explain_bundle
    from counterstain.learning.bundle import read_bundle
    from counterstain.study.inputs import read_images
    from counterstain.terminal import talking

    bundle = chosen_model(model, arm, seed_of_model, fold, network_file)
    settings = Settings(method=method, each=each, trials=trials, embedding=embedding, seed=seed)
    classes = read_bundle(bundle).classes
    two = classes[-1] if len(classes) == 2 else None
    cohort = read_images(images, positive=two, columns=columns_given(columns))
    with talking() as talk:
        record = explain_bundle(
            bundle, cohort, out, settings=settings, splits=splits, part=part, device=device,
            say=talk.say, progress=talk.stored,
        )  # fmt: skip
    print(json.dumps(record["validity"], indent=2) if as_json else out / "explanation.html")
