"""Verbs of models beyond one study: features, search of settings, export."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.options import (
    Arm,
    Columns,
    Fold,
    Json,
    Model,
    NetworkFile,
    Out,
    Positive,
    Root,
    Seed,
    Set,
    allow_network,
    app,
    assignment,
    chosen_model,
    columns_given,
    verb,
)
from counterstain.errors import InputError


@app.command()
@verb
def features(
    model: Annotated[str, typer.Argument(help="A run, a bundle or an export; or a backbone: timm/…")],
    sources: Annotated[list[Path], typer.Argument(help="A cohort of tiles; with --mpp slides, or a manifest of them.")],
    out: Out = Path("features"),
    mpp: Annotated[float | None, typer.Option(help="Read slides, their tiles at so many µm/px.")] = None,
    tile_px: Annotated[int | None, typer.Option(help="Side of the tiles in px; a trained model has its own.")] = None,
    fit: Annotated[str | None, typer.Option(help="Of a cohort: stretch, crop or exact, which is the default.")] = None,
    weights: Annotated[str, typer.Option(help="Of a backbone: pretrained, random, or a file.")] = "pretrained",
    overlap: Annotated[float, typer.Option(help="Of slides: share of a tile that its neighbour covers too.")] = 0.0,
    least_tissue: Annotated[float, typer.Option(help="Of slides: share of a tile that must be tissue.")] = 0.5,
    assume_mpp: Annotated[float | None, typer.Option(help="µm/px of slides that do not say it.")] = None,
    mpp_table: Annotated[Path | None, typer.Option(help="CSV of slide,mpp that overrules the files.")] = None,
    arm: Arm = None,
    seed: Seed = None,
    fold: Fold = None,
    network_file: NetworkFile = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, or bf16: faster, and a little off.")] = "fp32",
    positive: Positive = None,
    columns: Columns = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Features of tiles, one .h5 a slide, and the manifest with which slides are learned from them (mil/… arms).

    Ends with 3 where a slide was set aside; the same command again makes only what is missing.

    Example: counterstain features timm/resnet50 slides.csv --mpp 0.5 --tile-px 256 --out features
    """
    import json

    from counterstain.cohort.layouts import read_images
    from counterstain.learning.device import prepare_device
    from counterstain.learning.encoder import load_encoder
    from counterstain.slides.feature_files import TileGrid, encode_slides, encode_tiles
    from counterstain.slides.scale import read_mpp_table
    from counterstain.slides.slide_files import names_slides
    from counterstain.study.prepare import TABLES
    from counterstain.terminal import talking

    table = sources[0] if len(sources) == 1 and sources[0].suffix.lower() in TABLES else None
    if mpp is None and len(sources) != 1:
        raise InputError("name one cohort of tiles (a folder or a manifest); to read slides, say --mpp")
    if mpp is None and table is None and names_slides(sources[0]):
        raise InputError(f"{sources[0]} is of slides, and at what µm/px their tiles are read is not said: add --mpp")
    if mpp is not None and fit is not None:
        raise InputError("--fit is for a cohort of tiles; slides are read at --mpp")
    machine = prepare_device(device=device, precision="fp32" if precision == "auto" else precision)
    if Path(model).is_dir():
        model = str(chosen_model(Path(model), arm, seed, fold, network_file))
    encoder = load_encoder(model, tile_px=tile_px, weights=weights, device=machine.device, precision=machine.precision)
    with talking() as talk:
        if mpp is None:
            cohort = read_images(sources[0], positive=positive, columns=columns_given(columns), root=root)
            made = encode_tiles(encoder, cohort, out, fit=fit or encoder.fit or "exact", talk=talk)
        else:
            named = columns_given(columns)
            known = None if table is None else read_images(table, positive=positive, columns=named, root=root)
            slides = sources if known is None else [known.root / name for name in known.image]
            laying = TileGrid(
                mpp=mpp, overlap=overlap, least_tissue=least_tissue or None, assume_mpp=assume_mpp,
                mpp_table=None if mpp_table is None else read_mpp_table(mpp_table),
            )  # fmt: skip
            made = encode_slides(encoder, slides, out, laying, table=known, talk=talk)
    print(json.dumps({"out": str(out), "slides": made.slides, "tiles": made.tiles,
                      "failures": dict(made.failures)}) if as_json else out)  # fmt: skip
    if made.failures:
        raise typer.Exit(3)


@app.command()
@verb
def search(
    study: Annotated[Path, typer.Argument(help="The study's YAML file, with a section `search`.")],
    trials: Annotated[int | None, typer.Option(help="How many in all; by default what the study says.")] = None,
    set_: Set = None,
    folder: Annotated[Path | None, typer.Option(help="Where runs/ and store/ are made.")] = None,
    as_json: Json = False,
) -> None:
    """Search settings of one arm on validation patients; writes the study with the best of them, to be run once.

    Goes on where an earlier search was stopped. The test part is not looked at.

    Example: counterstain search study.yaml --trials 20
    """
    from counterstain.study.search import search_settings
    from counterstain.terminal import talking

    with talking() as talk:
        found = search_settings(
            study, trials=trials, overrides=dict(assignment(text) for text in set_ or []), folder=folder, talk=talk
        )
    if as_json:
        print(json.dumps({**asdict(found), "study": str(found.study)}, indent=2))
        return
    print(f"{found.study}; run it once: counterstain run {found.study}")


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

    from counterstain.export.from_run import ExportOptions
    from counterstain.export.from_run import export as export_to
    from counterstain.terminal import print_table, talking

    allow_network(network_file)
    names = tuple(name.strip() for name in formats.split(",") if name.strip() not in ("", "none"))
    wanted = ExportOptions(
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
        [row["runtime"], f"{row['difference']:.1e}", f"{record['images_per_s'][row['runtime']]:.0f}", str(row["tiles"])]
        for row in record["parity"]
    ]
    print_table(str(to), ("runtime", "largest difference of a probability", "images/s", "tiles"), rows)
