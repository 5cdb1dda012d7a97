"""Pages and REST of slides."""

from typing import Annotated, Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from counterstain.serving.pages import Links, render
from counterstain.serving.slide_view import SlideShelf

__all__ = ["PolygonDrawn", "add_slides"]

Number = Annotated[float, Field(allow_inf_nan=False)]


class PolygonDrawn(BaseModel):
    """A polygon as the page sends it: level-0 points of a slide, and their class."""

    model_config = ConfigDict(extra="forbid")
    slide: Annotated[str, Field(max_length=40)]
    label: Annotated[str, Field(min_length=1, max_length=200)]
    points: Annotated[list[tuple[Number, Number]], Field(min_length=3, max_length=10_000)]


def add_slides(app: FastAPI, shelf: SlideShelf) -> None:
    """Add the routes."""
    links = Links()

    @app.get("/slides", response_class=HTMLResponse, include_in_schema=False)
    def slides() -> str:
        return render("slides", title="Slides", links=links, slides=shelf.names())

    @app.get("/slides/{identity}", response_class=HTMLResponse, include_in_schema=False)
    def slide(identity: str) -> str:
        data = shelf.data(identity)
        return render("slide", title=data["name"], data=data, links=links)

    @app.get("/api/slides", tags=["slides"])
    def every() -> dict[str, str]:
        """Opaque id -> name of every slide."""
        return shelf.names()

    @app.get("/api/slides/{identity}", tags=["slides"])
    def about(identity: str) -> dict[str, Any]:
        """Size, µm per pixel, maps and annotations of a slide."""
        return shelf.data(identity)

    @app.get("/api/slides/{identity}/tiles/{level}/{column}_{row}.jpg", tags=["slides"])
    def tile(identity: str, level: int, column: int, row: int) -> Response:
        """One DeepZoom tile."""
        content = shelf.tile(identity, level, column, row)
        return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    @app.get("/api/slides/{identity}/maps/{run}", tags=["slides"])
    def heat(identity: str, run: str) -> dict[str, object]:
        """A model's map of a slide."""
        return shelf.heat(identity, run)

    @app.post("/api/polygons", tags=["slides"], status_code=201)
    def draw(drawn: PolygonDrawn) -> dict[str, object]:
        """Add a polygon to a slide's drawn annotations."""
        return shelf.draw(drawn.slide, drawn.label, drawn.points)
