"""The application: pages, pictures and REST over a folder of runs; Guard stands before it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from counterstain.errors import InputError
from counterstain.evaluation.format import METRIC_NAMES
from counterstain.serving.api_document import describe
from counterstain.serving.audit_view import add_audit, audit_data
from counterstain.serving.claim_view import add_claim
from counterstain.serving.cohort_view import cohort_bytes
from counterstain.serving.error_view import error_data
from counterstain.serving.explain_routes import add_explain
from counterstain.serving.inference import ModelShelf
from counterstain.serving.live_view import live_data
from counterstain.serving.open_inference import add_open_inference
from counterstain.serving.pages import REPORT_POLICY, Links, render, static_file
from counterstain.serving.pictures import read_tiles, tile_picture
from counterstain.serving.predict_routes import add_predict
from counterstain.serving.problems import ServingError, problem
from counterstain.serving.runs import RunsFolder
from counterstain.serving.security import Access, Guard
from counterstain.serving.server import ServeOptions
from counterstain.serving.slide_queue import SlideQueue
from counterstain.serving.slide_routes import add_slides
from counterstain.serving.slide_view import SlideShelf
from counterstain.serving.study_view import studies_data
from counterstain.version import __version__

__all__ = ["Served", "make_app", "served_of"]

# What the page of a claim offers; the first is asked where nothing is chosen.
MEASURES = {
    name: METRIC_NAMES[name] for name in ("auroc", "balanced_accuracy", "accuracy", "recall", "specificity", "f1")
}


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a server shows.

    runs: the folder of runs; shelf: the models that can be asked; slides: those to look at.
    queue: slides that wait to be read by a model.
    """

    runs: RunsFolder
    shelf: ModelShelf
    slides: SlideShelf
    queue: SlideQueue


def served_of(runs: Path, options: ServeOptions) -> Served:
    """What a command line asks to be served.

    Raises:
        InputError: If a folder is none.
    """
    folder = RunsFolder(runs)
    maps = runs / "slide-maps"
    slides = SlideShelf(options.slides, options.maps, annotations=runs / "annotations", requested=maps)
    queue = SlideQueue(runs / "slide-requests", maps)
    return Served(runs=folder, shelf=ModelShelf(folder, options.model), slides=slides, queue=queue)


def make_app(served: Served, access: Access) -> Guard:
    """The ASGI application behind its door."""
    return Guard(bare_app(served, read_only=access.read_only), access)


def bare_app(served: Served, *, read_only: bool = False) -> FastAPI:
    """The application without the door, for its tests and its OpenAPI document."""

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        if not read_only:
            served.queue.start()  # what an earlier server left
        yield
        served.queue.close()
        served.shelf.close()

    app = FastAPI(
        title="Counterstain", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json",
        lifespan=running,
        description="Runs, tiles and predictions of a folder of studies. Errors are RFC 9457 problem details.",
    )  # fmt: skip
    _add_errors(app)
    _add_pages(app, served)
    _add_runs(app, served)
    add_predict(app, served.shelf)
    add_open_inference(app, served.shelf)
    add_audit(app, served.runs)
    add_explain(app, served.runs, served.shelf)
    add_claim(app)
    add_slides(app, served.slides, served.shelf, served.queue)
    describe(app)
    return app


# ---------------------------------------------------------------------------------------------------------- the errors


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ServingError)
    def refused(request: Request, error: ServingError) -> Response:
        return _refusal(request, error.status, error.detail)

    @app.exception_handler(InputError)
    def bad_input(request: Request, error: InputError) -> Response:
        return _refusal(request, 422, str(error))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return _refusal(request, 422, f"{place}: {first['msg']}; see /api/docs for what is needed")

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        detail = "there is no such page" if error.status_code == 404 else str(error.detail)
        return _refusal(request, error.status_code, detail)

    @app.exception_handler(Exception)
    def fault(request: Request, _: Exception) -> Response:
        return _refusal(request, 500, "this is a fault of ours; the terminal that runs the server shows what happened")


def _refusal(request: Request, status: int, detail: str) -> Response:
    """A page for who looks, problem details for programs."""
    wants_page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(("/api", "/v2"))
    if not wants_page:
        return problem(status, detail)
    heading = "Not found" if status == 404 else "That does not work"
    return HTMLResponse(render("missing", title=heading, links=Links(), heading=heading, detail=detail), status)


# ----------------------------------------------------------------------------------------------------------- the pages


def _add_pages(app: FastAPI, served: Served) -> None:
    links = Links()

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def studies() -> str:
        return render("studies", title="Studies", data=studies_data(served.runs), links=links)

    @app.get("/runs/{run}/errors", response_class=HTMLResponse, include_in_schema=False)
    def errors(run: str) -> str:
        return render("errors", title=f"Errors of {run}", data=error_data(served.runs.find(run)), run=run, links=links)

    @app.get("/runs/{run}/audit", response_class=HTMLResponse, include_in_schema=False)
    def audit(run: str) -> str:
        return render("audit", title=f"Audit of {run}", data=audit_data(served.runs.find(run)), run=run, links=links)

    @app.get("/runs/{run}/cohort", response_class=HTMLResponse, include_in_schema=False)
    def cohort(run: str) -> str:
        read_tiles(served.runs.find(run))
        return render("cohort", title=f"Cohort of {run}", run=run, links=links)

    @app.get("/runs/{run}/live", response_class=HTMLResponse, include_in_schema=False)
    def live(run: str) -> str:
        return render("live", title=f"Training of {run}", data=live_data(served.runs.find(run)), run=run, links=links)

    @app.get("/claim", response_class=HTMLResponse, include_in_schema=False)
    def claim() -> str:
        return render("claim", title="Claim", links=links, measures=MEASURES)

    @app.get("/runs/{run}/predict", response_class=HTMLResponse, include_in_schema=False)
    def predict(run: str) -> str:
        served.runs.find(run)
        return render(
            "predict", title=f"Predict with {run}", data={"models": served.shelf.names()}, run=run, links=links
        )

    @app.get("/api/docs", response_class=HTMLResponse, include_in_schema=False)
    def api() -> str:
        return render("api", title="REST", data=app.openapi(), links=links)

    @app.get("/runs/{run}/report", include_in_schema=False)
    def report(run: str) -> Response:
        page = served.runs.find(run) / "report.html"
        if not page.is_file() or page.is_symlink():
            raise ServingError(404, "this run has no report yet; it is written when the run is finished")
        headers = {"content-security-policy": REPORT_POLICY}
        return Response(page.read_bytes(), media_type="text/html; charset=utf-8", headers=headers)

    @app.get("/runs/{run}/tiles/{identity}", include_in_schema=False)
    def tile(run: str, identity: str, full: bool = False) -> Response:
        table = read_tiles(served.runs.find(run))
        content = tile_picture(table.root, table.find(identity), full=full)
        return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        file = static_file(name)
        if file is None:
            raise ServingError(404, "there is no such file")
        return Response(file[0], media_type=file[1])


def _add_runs(app: FastAPI, served: Served) -> None:
    @app.get("/api/runs", tags=["runs"])
    def runs() -> dict[str, object]:
        """Every run: verdict, primary measure with interval, stamp, uses of the test part."""
        return studies_data(served.runs)

    @app.get("/api/runs/{run}/cohort", tags=["runs"])
    def cohort(run: str) -> Response:
        """Every image of the cohort, column by column."""
        return Response(cohort_bytes(served.runs.find(run)), media_type="application/json")

    @app.get("/api/runs/{run}/live", tags=["runs"])
    def live(run: str) -> dict[str, object]:
        """State, curves, time left and log of a run, as its files are now."""
        return live_data(served.runs.find(run))

    @app.get("/api/runs/{run}/errors", tags=["runs"])
    def errors(run: str) -> dict[str, object]:
        """Confusion, probabilities of every test image, and each patient's influence on the first comparison."""
        return error_data(served.runs.find(run))
