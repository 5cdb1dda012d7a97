"""Pages and REST of slides."""

from typing import Annotated

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from counterstain.serving.api_document import JPEG
from counterstain.serving.inference import ModelShelf
from counterstain.serving.pages import Links, render
from counterstain.serving.slide_queue import SlideQueue
from counterstain.serving.slide_view import SlideShelf

__all__ = ["PolygonDrawn", "add_slides"]

Number = Annotated[float, Field(allow_inf_nan=False)]


class PolygonDrawn(BaseModel):
    """A polygon as the page sends it: level-0 points of a slide, and their class."""

    model_config = ConfigDict(extra="forbid")
    slide: Annotated[str, Field(max_length=40)]
    label: Annotated[str, Field(min_length=1, max_length=200)]
    points: Annotated[list[tuple[Number, Number]], Field(min_length=3, max_length=10_000)]


class SlideAsked(BaseModel):
    """Which model is to read a slide ("" is the first), and at how many µm/px (None: those of its training)."""

    model_config = ConfigDict(extra="forbid")
    model: Annotated[str, Field(max_length=200)] = ""
    mpp: Annotated[float, Field(ge=0.05, le=50, allow_inf_nan=False)] | None = None


class Nothing(BaseModel):
    """An empty object: a change is asked for by JSON, so that no form of another page can."""

    model_config = ConfigDict(extra="forbid")


def add_slides(app: FastAPI, shelf: SlideShelf, models: ModelShelf, queue: SlideQueue) -> None:
    """Add the routes."""
    _add_pages(app, shelf, models, queue)
    _add_requests(app, shelf, models, queue)

    @app.get("/api/slides", tags=["slides"])
    def every() -> dict[str, str]:
        """Opaque id -> name of every slide."""
        return shelf.names()

    @app.get("/api/slides/{identity}", tags=["slides"])
    def about(identity: str) -> dict[str, object]:
        """Size, µm per pixel, maps and annotations of a slide."""
        return shelf.data(identity)

    @app.get(
        "/api/slides/{identity}/tiles/{level}/{column}_{row}.jpg",
        tags=["slides"],
        response_class=Response,
        responses=JPEG,
    )
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


def _add_pages(app: FastAPI, shelf: SlideShelf, models: ModelShelf, queue: SlideQueue) -> None:
    links = Links()

    @app.get("/slides", response_class=HTMLResponse, include_in_schema=False)
    def slides() -> str:
        return render("slides", title="Slides", links=links, slides=shelf.names())

    @app.get("/slides/{identity}", response_class=HTMLResponse, include_in_schema=False)
    def slide(identity: str) -> str:
        data = shelf.data(identity)
        waiting = [
            queue.told(request)
            for request in queue.requests()
            if request.slide == identity and request.state == "waiting"
        ]
        more = {"models": models.names(), "requests": waiting}
        return render("slide", title=str(data["name"]), data=data | more, links=links)


def _add_requests(app: FastAPI, shelf: SlideShelf, models: ModelShelf, queue: SlideQueue) -> None:
    @app.post("/api/slides/{identity}/requests", tags=["slides"], status_code=202)
    def ask(identity: str, order: SlideAsked) -> dict[str, object]:
        """Have a slide read by a model; the answer is the request, which is also there after a restart."""
        shelf.find(identity)
        name, folder = models.place(order.model)
        return queue.told(queue.add(identity, shelf.path[identity], name, folder, mpp=order.mpp))

    @app.get("/api/slide-requests", tags=["slides"])
    def requests() -> list[dict[str, object]]:
        """Every request, the oldest first: waiting, reading, done (words: the map's name), failed or cancelled."""
        return [queue.told(request) for request in queue.requests()]

    @app.get("/api/slide-requests/{request}", tags=["slides"])
    def one(request: str) -> dict[str, object]:
        """One request, and how many of the slide's tiles are read."""
        return queue.told(queue.find(request))

    @app.post("/api/slide-requests/{request}/cancel", tags=["slides"])
    def cancel(request: str, _: Nothing) -> dict[str, object]:
        """Take back a request that is not done; what was read is kept for the next one."""
        return queue.told(queue.cancel(request))
