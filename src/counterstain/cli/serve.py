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
    host: Annotated[str, typer.Option(help="Another address than this machine's own; needs --token.")] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(help="Token that opens the page; by default a new one per start.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Write no decision.")] = False,
    model: Annotated[
        Path | None, typer.Option(help="A run, bundle or export for Predict, beside the runs' own.")
    ] = None,
    slides: Annotated[list[Path] | None, typer.Option(help="Folder of slides; may be given several times.")] = None,
    maps: Annotated[list[Path] | None, typer.Option(help="Folder that `slides run` wrote; several times, too.")] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the pages as files to this folder, and serve none.")
    ] = None,
) -> None:
    """Open a local page over your runs: look at studies, tiles, errors and slides, decide on copies, predict a picture.

    It is served to this machine alone, to whoever has the printed address. Ctrl-C ends it.

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
