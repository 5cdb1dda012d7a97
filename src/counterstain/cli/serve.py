"""The verb that opens the local page."""

from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.options import app, show, verb


@app.command()
@verb
def serve(
    runs: Annotated[Path, typer.Argument(help="The folder that runs are in, or one run.")] = Path("runs"),
    port: Annotated[int, typer.Option(help="Port of the page; 0 takes a free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Address other than this machine's own; needs --token.")] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(help="Token that opens the page; by default a new one each time.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Write no decisions.")] = False,
    model: Annotated[
        Path | None, typer.Option(help="Run, bundle or export for Predict, in addition to the runs' own.")
    ] = None,
    slides: Annotated[list[Path] | None, typer.Option(help="Folder of slides; repeatable.")] = None,
    maps: Annotated[list[Path] | None, typer.Option(help="Folder written by `slides run`; repeatable.")] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the pages as files to this folder instead of serving them.")
    ] = None,
) -> None:
    """Open a local page over your runs: studies, tiles, errors and slides; decide on duplicates, predict a picture.

    Only this machine can reach it, and only with the printed address. Ctrl-C stops it.

    Example: counterstain serve runs
    """
    import asyncio

    from counterstain.serving.server import ServeOptions, start, web_is_there
    from counterstain.terminal_progress import say

    web_is_there()
    options = ServeOptions(
        host=host, port=port, token=token, read_only=read_only, model=model,
        slides=tuple(slides or ()), maps=tuple(maps or ()),
    )  # fmt: skip
    if export is not None:
        from counterstain.serving.site import write_site

        show(write_site(runs, export, slides=options.slides, maps=options.maps))
        return
    started = start(runs, options)
    first, *others = started.lines()
    show(first)
    for line in others:
        say(line)
    asyncio.run(started.run())
