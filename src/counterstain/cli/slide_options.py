"""The options that the verbs of whole slides share."""

from pathlib import Path
from typing import Annotated

import typer

Slides = Annotated[list[Path], typer.Argument(help="Slides, folders of slides, and dicomweb:// addresses of servers.")]
Mpp = Annotated[float, typer.Option(help="Resolution of the tiles in µm/px.")]
Overlap = Annotated[float, typer.Option(help="Share of a tile that overlaps its neighbour.")]
LeastTissue = Annotated[float, typer.Option(help="Share of a tile that must be tissue.")]
TissueMask = Annotated[bool, typer.Option(help="Leave out glass, pen marks and blur.")]
Edges = Annotated[bool, typer.Option("--edges", help="Keep tiles that reach over the edge, padded with white.")]
AssumeMpp = Annotated[float | None, typer.Option(help="Resolution in µm/px of slides that do not state it.")]
MppTable = Annotated[Path | None, typer.Option(help="CSV of slide,mpp that overrides what the files state.")]
Recursive = Annotated[
    bool | None, typer.Option(help="Search subfolders; by default only of folders without slides of their own.")
]
TimeLimit = Annotated[float | None, typer.Option("--time-limit", help="Seconds after which a slide is skipped.")]
