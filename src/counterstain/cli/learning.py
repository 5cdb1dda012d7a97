"""Verbs of learning beyond one study: features, probes and the search for settings."""

from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.common import (
    Arm,
    Columns,
    Fold,
    Json,
    NetworkFile,
    Out,
    Positive,
    Seed,
    app,
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
    as_json: Json = False,
) -> None:
    """Features of tiles, one .h5 a slide, and the manifest with which slides are learned from them (mil/… arms).

    Ends with 3 where a slide was set aside; the same command again makes only what is missing.

    Example: counterstain features timm/resnet50 slides.csv --mpp 0.5 --tile-px 256 --out features
    """
    import json

    from counterstain.learning.encoders import load_encoder
    from counterstain.learning.machine import prepare_machine
    from counterstain.slides.scale import read_mpp_table
    from counterstain.slides.slide_files import names_slides
    from counterstain.study.feature_files import Laying, encode_slides, encode_tiles
    from counterstain.study.inputs import TABLES, read_images
    from counterstain.terminal import talking

    table = sources[0] if len(sources) == 1 and sources[0].suffix.lower() in TABLES else None
    if mpp is None and len(sources) != 1:
        raise InputError("name one cohort of tiles (a folder or a manifest); to read slides, say --mpp")
    if mpp is None and table is None and names_slides(sources[0]):
        raise InputError(f"{sources[0]} is of slides, and at what µm/px their tiles are read is not said: add --mpp")
    if mpp is not None and fit is not None:
        raise InputError("--fit is for a cohort of tiles; slides are read at --mpp")
    machine = prepare_machine(device=device, precision="fp32" if precision == "auto" else precision)
    if Path(model).is_dir():
        model = str(chosen_model(Path(model), arm, seed, fold, network_file))
    encoder = load_encoder(model, tile_px=tile_px, weights=weights, device=machine.device, precision=machine.precision)
    with talking() as talk:
        if mpp is None:
            cohort = read_images(sources[0], positive=positive, columns=columns_given(columns))
            made = encode_tiles(encoder, cohort, out, fit=fit or encoder.fit or "exact", talk=talk)
        else:
            known = None if table is None else read_images(table, positive=positive, columns=columns_given(columns))
            slides = sources if known is None else [known.root / name for name in known.image]
            laying = Laying(
                mpp=mpp, overlap=overlap, least_tissue=least_tissue or None, assume_mpp=assume_mpp,
                mpp_table=None if mpp_table is None else read_mpp_table(mpp_table),
            )  # fmt: skip
            made = encode_slides(encoder, slides, out, laying, table=known, talk=talk)
    print(json.dumps({"out": str(out), "slides": made.slides, "tiles": made.tiles,
                      "failures": dict(made.failures)}) if as_json else out)  # fmt: skip
    if made.failures:
        raise typer.Exit(3)
