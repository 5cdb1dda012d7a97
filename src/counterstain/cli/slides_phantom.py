"""The verb that generates whole slides."""

import json
from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.options import Json, OutFolder, RandomSeed, app, show, verb


@app.command(name="phantom-slides")
@verb
def phantom_slides(
    out: OutFolder = Path("phantom-slides"),
    slides: Annotated[int, typer.Option(help="Number of slides, alternately malignant and benign.")] = 4,
    size_px: Annotated[int, typer.Option(help="Width of a slide at level 0 in px.")] = 8192,
    height_px: Annotated[
        int | None, typer.Option(help="Height of a slide in px; by default three quarters of the width.")
    ] = None,
    patients: Annotated[int, typer.Option(help="Number of patients to generate.")] = 40,
    mpp: Annotated[float, typer.Option(help="True resolution at level 0 in µm/px.")] = 0.5,
    states_mpp: Annotated[
        str, typer.Option(help="Resolution that the file states: right, missing or wrong.")
    ] = "right",
    vendor: Annotated[str, typer.Option(help="File format: generic (.tif) or aperio (.svs).")] = "generic",
    step: Annotated[int, typer.Option(help="Factor from one pyramid level to the next: 2 or 4.")] = 4,
    pieces: Annotated[int, typer.Option(help="Number of pieces of tissue per slide.")] = 1,
    tumours: Annotated[int, typer.Option(help="Number of tumours per malignant slide.")] = 2,
    pen: Annotated[int, typer.Option(help="Number of pen strokes, over tissue and on glass.")] = 0,
    blur: Annotated[int, typer.Option(help="Number of out-of-focus areas.")] = 0,
    distinct_blocks: Annotated[
        int, typer.Option(help="Number of different 512-px blocks per class; more is slower.")
    ] = 64,
    difficulty: Annotated[float, typer.Option(help="Difficulty of the task, from 0 (easy) to 1 (hard).")] = 0.3,
    seed: RandomSeed = 0,
    workers: Annotated[int, typer.Option(help="Number of workers: processes that draw, or threads that decode.")] = 2,
    as_json: Json = False,
) -> None:
    """Generate synthetic whole slides with tumours annotated as polygons.

    Example: counterstain phantom-slides --out slides --slides 4 --size-px 8192 --pen 1
    """
    from counterstain.api.images import phantom_slides as generate

    truths = generate(
        out, slides=slides, size_px=size_px, height_px=height_px, patients=patients, mpp=mpp, states_mpp=states_mpp,
        vendor=vendor, step=step, pieces=pieces, tumours=tumours, pen=pen, blur=blur, distinct_blocks=distinct_blocks,
        difficulty=difficulty, seed=seed, workers=workers, verbose=True,
    )  # fmt: skip
    record = {"folder": str(out), "slides": [{"slide_id": t.slide_id, "label": t.label} for t in truths]}
    show(json.dumps(record, indent=2) if as_json else out)
