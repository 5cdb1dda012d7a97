"""The verb that hands results of slides over as DICOM."""

import json
from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.options import Arm, Fold, Json, Model, NetworkFile, Seed, chosen_model, show, verb
from counterstain.cli.slide_options import Recursive, Slides
from counterstain.cli.slides_run import slides_app


@slides_app.command("dicom")
@verb
def slides_dicom(
    model: Model,
    slides: Slides,
    maps: Annotated[Path, typer.Option("--maps", help="Folder that slides run wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the DICOM files of each slide.")],
    send: Annotated[
        str | None, typer.Option("--send", help="Server to store them on: dicomweb://HOST:PORT/dicom-web.")
    ] = None,
    codes: Annotated[
        list[str] | None, typer.Option("--code", help="Code of a class: CLASS=VALUE^SCHEME^MEANING; repeatable.")
    ] = None,
    algorithm: Annotated[
        str | None, typer.Option("--algorithm", help="Name of the algorithm; by default the network's.")
    ] = None,
    arm: Arm = None,
    seed: Seed = None,
    fold: Fold = None,
    network_file: NetworkFile = None,
    recursive: Recursive = None,
    as_json: Json = False,
) -> None:
    """Write results on DICOM slides as DICOM: heat map, regions and class; send them to a server.

    The heat map is a Parametric Map, the regions are Microscopy Bulk Simple Annotations, and the class is a Structured
    Report (TID 1500). A slide that is not DICOM, or has no results, is skipped, and the exit code is 3.

    Example: counterstain slides dicom runs/demo slides/ --maps maps --out dicom
    """
    from counterstain.errors import GateError
    from counterstain.slides.dicom_export import write_dicom_results
    from counterstain.slides.slide_files import find_slides
    from counterstain.terminal_progress import say

    bundle = chosen_model(model, arm, seed, fold, network_file)
    pairs = (text.partition("=") for text in codes or ())
    done = write_dicom_results(
        bundle, find_slides(slides, recursive=recursive, say=say), maps, out,
        codes={name: code for name, _, code in pairs}, algorithm=algorithm, send=send, say=say,
    )  # fmt: skip
    record = {
        "out": str(done.out),
        "slides": {name: [str(path) for path in files] for name, files in done.files.items()},
        "failures": [{"slide": name, "reason": reason} for name, reason in done.failures],
        "sent_to": done.sent_to,
    }
    show(json.dumps(record, indent=2) if as_json else done.out)
    if done.failures:
        from counterstain.evaluation.format import plural

        raise GateError(f"{plural(len(done.failures), 'slide')} skipped: {done.failures[0][1]}")
