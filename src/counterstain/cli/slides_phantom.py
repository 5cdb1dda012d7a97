"""The verb that makes up whole slides."""

import json
from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.options import Json, Out, app, verb


@app.command(name="phantom-slides")
@verb
def phantom_slides(
    out: Out = Path("phantom-slides"),
    slides: Annotated[int, typer.Option(help="How many, malignant and benign by turns.")] = 4,
    size_px: Annotated[int, typer.Option(help="Width at level 0 in px.")] = 8192,
    height_px: Annotated[int | None, typer.Option(help="Height; by default three quarters of the width.")] = None,
    patients: Annotated[int, typer.Option(help="Of the phantom that the slides belong to.")] = 40,
    mpp: Annotated[float, typer.Option(help="True µm per px at level 0.")] = 0.5,
    states_mpp: Annotated[str, typer.Option(help="What the file says of it: right, missing or wrong.")] = "right",
    vendor: Annotated[str, typer.Option(help="generic (.tif) or aperio (.svs).")] = "generic",
    step: Annotated[int, typer.Option(help="From one level of the pyramid to the next: 2 or 4.")] = 4,
    pieces: Annotated[int, typer.Option(help="Pieces of tissue on a slide.")] = 1,
    tumours: Annotated[int, typer.Option(help="Tumours on a malignant slide.")] = 2,
    pen: Annotated[int, typer.Option(help="Pen strokes, over tissue and on glass.")] = 0,
    blur: Annotated[int, typer.Option(help="Patches out of focus.")] = 0,
    distinct_blocks: Annotated[int, typer.Option(help="Different 512-px blocks a class; more: slower.")] = 64,
    difficulty: Annotated[float, typer.Option(help="0 easy to 1 hard.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that draw.")] = 2,
    as_json: Json = False,
) -> None:
    """Make up whole slides whose tumours are known as polygons.

    Example: counterstain phantom-slides --out slides --slides 4 --size-px 8192 --pen 1
    """
    from counterstain.phantom.slide import PhantomSlide, write_slides
    from counterstain.phantom.tiles import Phantom
    from counterstain.terminal import say

    settings = PhantomSlide(
        phantom=Phantom(patients=patients, mpp=mpp, difficulty=difficulty, seed=seed),
        size_px=(size_px, height_px or size_px * 3 // 4), vendor=vendor, states_mpp=states_mpp, step=step,
        pieces=pieces, tumours=tumours, pen=pen, blur=blur, distinct_blocks=distinct_blocks,
    )  # fmt: skip
    truths = write_slides(
        out, slides, settings=settings, workers=min(workers, slides),
        progress=lambda done, total: say(f"slide {done} of {total}"),
    )  # fmt: skip
    record = {"folder": str(out), "slides": [{"slide_id": t.slide_id, "label": t.label} for t in truths]}
    print(json.dumps(record, indent=2) if as_json else out)
