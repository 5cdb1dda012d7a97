"""Verbs that hand a model on: export."""

from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.common import Arm, Fold, Json, Model, NetworkFile, Seed, allow_network, app, verb


@app.command()
@verb
def export(
    model: Model,
    to: Annotated[Path, typer.Option("--to", help="The folder to write; it must not be there yet.")],
    arm: Arm = None,
    seed: Seed = None,
    fold: Fold = None,
    network_file: NetworkFile = None,
    formats: Annotated[str, typer.Option(help="Of wsinfer, onnx, openvino; or none.")] = "wsinfer,onnx,openvino",
    mpp: Annotated[float | None, typer.Option(help="µm per px of the tiles, where the model does not know it.")] = None,
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="Probabilities as the network gives them.")
    ] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Also an 8-bit OpenVINO model, and what it loses.")] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Cohort that sets int8's ranges and measures its loss; else the run's.")
    ] = None,
    cohort: Annotated[
        Path | None, typer.Option(help="The training images, where a model is exported without its run.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Of the model, for its card: apache-2.0, cc-by-4.0, …")] = "",
    as_json: Json = False,
) -> None:
    """A trained model for every runtime: QuPath (WSInfer), ONNX, OpenVINO, each proven to answer as PyTorch does.

    Ends with 3, and writes nothing, where a probability differs by more than 1e-4.

    Example: counterstain export runs/study --arm given-32 --seed 0 --mpp 0.5 --to model/
    """
    import json

    from counterstain.study.exporting import Wanted
    from counterstain.study.exporting import export as export_to
    from counterstain.terminal import print_table, talking

    allow_network(network_file)
    names = tuple(name.strip() for name in formats.split(",") if name.strip() not in ("", "none"))
    wanted = Wanted(
        arm=arm, seed=seed, fold=fold, formats=names, mpp=mpp, calibrated=not uncalibrated, int8=int8,
        calibrate=calibrate, cohort=cohort, licence=licence,
    )  # fmt: skip
    with talking() as talk:
        record = export_to(model, to, wanted, talk)
        if record["features"] is None:
            talk.say(f"unfamiliar tiles are not flagged: {record['features_absent']}")
        if record["int8"] is not None:
            talk.say(f"8-bit integers: {record['int8']['words']}")
    if as_json:
        print(json.dumps({"to": str(to), **record}, indent=2, sort_keys=True, ensure_ascii=False))
        return
    rows = [
        [row["runtime"], f"{row['difference']:.1e}", f"{row['images_per_s']:.0f}", str(row["tiles"])]
        for row in record["parity"]
    ]
    print_table(str(to), ("runtime", "largest difference of a probability", "images/s", "tiles"), rows)
