"""The reviewer's page: two tables of predictions or one, pasted or dropped, judged as `compare` and `evaluate` do."""

import secrets
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from counterstain.errors import InputError
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.evaluation.record_types import ComparisonRecord
from counterstain.evaluation.table_evaluation import evaluate_tables
from counterstain.serving.pages import REPORT_POLICY
from counterstain.serving.problems import ServingError

__all__ = ["ClaimAsked", "TablesAsked", "add_claim", "claim_record", "report_page"]

Table = Annotated[str, Field(min_length=1, max_length=20_000_000)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
KEPT = 8  # pages in memory, of about 1 MB
DRAWING = threading.Lock()  # one page at a time


class ClaimAsked(BaseModel):
    """Two models' prediction tables as text, each with a name; a name may have several, one for each seed."""

    model_config = ConfigDict(extra="forbid")
    models: dict[Name, list[Table]] = Field(min_length=2, max_length=2)
    primary: Annotated[str, Field(max_length=60)] = "auroc"
    positive: Annotated[str, Field(max_length=200)] | None = None


class TablesAsked(BaseModel):
    """One model's prediction tables as text, one for each seed."""

    model_config = ConfigDict(extra="forbid")
    name: Name = "predictions"
    tables: list[Table] = Field(min_length=1, max_length=20)
    positive: Annotated[str, Field(max_length=200)] | None = None


class ReportPages:
    """The last few pages that were asked for, in memory; no study is needed, and nothing is kept."""

    def __init__(self) -> None:
        self._pages: OrderedDict[str, bytes] = OrderedDict()
        self._changing = threading.Lock()

    def add(self, page: bytes) -> str:
        """Keep a page, and return its name in the address."""
        name = secrets.token_hex(8)
        with self._changing:
            self._pages[name] = page
            while len(self._pages) > KEPT:
                self._pages.popitem(last=False)
        return name

    def find(self, name: str) -> bytes:
        """A page that was kept.

        Raises:
            ServingError: 404 if it is not there, or no longer.
        """
        if name not in self._pages:
            raise ServingError(404, "this page is no longer kept; ask for it again")
        return self._pages[name]


def add_claim(app: FastAPI) -> None:
    """Add the routes."""
    pages = ReportPages()

    @app.post("/api/claim", tags=["claim"])
    def claim(request: ClaimAsked) -> dict[str, object]:
        """What may be claimed of two models: the record comparison.json of `counterstain compare`."""
        return dict(claim_record(request))

    @app.post("/api/evaluate", tags=["claim"])
    def evaluate(request: TablesAsked) -> dict[str, str]:
        """The page that `counterstain evaluate --out page.html` writes of one model's tables: its address here."""
        return {"page": f"/claim/{pages.add(report_page(request))}"}

    @app.get("/claim/{name}", include_in_schema=False)
    def page(name: str) -> Response:
        headers = {"content-security-policy": REPORT_POLICY}
        return Response(pages.find(name), media_type="text/html; charset=utf-8", headers=headers)


def claim_record(request: ClaimAsked) -> ComparisonRecord:
    """comparison.json of the two; with one table each these fitted models are judged, else the ways of training.

    Raises:
        InputError: If a table cannot be read, or the two cannot be joined; it says `table 1 of 'a'`, not a path.
    """
    if sum(len(tables) for tables in request.models.values()) > 20:
        raise InputError("more than 20 tables were sent; use `counterstain compare` for so many")
    arms = {name: _read_tables(name, texts, request.positive) for name, texts in request.models.items()}
    files = {name: [_table_name(name, number) for number in range(len(tables))] for name, tables in arms.items()}
    single = all(len(tables) == 1 for tables in arms.values())
    return compare_arms(arms, primary=request.primary, claim="models" if single else "procedures", files=files)


def report_page(request: TablesAsked) -> bytes:
    """The report of one model's tables as one HTML file.

    Raises:
        InputError: If a table cannot be read, or its figures cannot be drawn.
    """
    from counterstain.reports.table_report import write_table_report

    tables = _read_tables(request.name, request.tables, request.positive)
    record = evaluate_tables(tables)
    with DRAWING, tempfile.TemporaryDirectory(prefix="counterstain-") as folder:
        return write_table_report(record, tables, Path(folder) / "report.html", name=request.name).read_bytes()


def _read_tables(name: str, texts: list[str], positive: str | None) -> list[Predictions]:
    """Tables that were sent as text, read as files are."""
    tables = []
    with tempfile.TemporaryDirectory(prefix="counterstain-") as folder:
        for number, text in enumerate(texts):
            path = Path(folder) / f"{number}.csv"
            path.write_text(text, encoding="utf-8")
            try:
                tables.append(read_predictions(path, positive=positive))
            except InputError as error:
                title = _table_name(name, number)
                raise InputError(str(error).replace(str(path), title).replace(path.name, title)) from None
    return tables


def _table_name(name: str, number: int) -> str:
    return f"table {number + 1} of '{name}'"
