"""The reviewer's page: two tables of predictions or one, pasted or dropped, judged as `compare` and `evaluate` do."""

import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from counterstain.errors import InputError
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.evaluation.record_types import ComparisonRecord

__all__ = ["ClaimAsked", "add_claim", "claim_record"]

Table = Annotated[str, Field(min_length=1, max_length=20_000_000)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class ClaimAsked(BaseModel):
    """Two models' prediction tables as text, each with a name; a name may have several, one for each seed."""

    model_config = ConfigDict(extra="forbid")
    models: dict[Name, list[Table]] = Field(min_length=2, max_length=2)
    primary: Annotated[str, Field(max_length=60)] = "auroc"
    positive: Annotated[str, Field(max_length=200)] | None = None


def add_claim(app: FastAPI) -> None:
    """Add the route."""

    @app.post("/api/claim", tags=["claim"])
    def claim(asked: ClaimAsked) -> dict[str, object]:
        """What may be claimed of two models: the record comparison.json of `counterstain compare`."""
        return dict(claim_record(asked))


def claim_record(asked: ClaimAsked) -> ComparisonRecord:
    """comparison.json of the two; with one table each these fitted models are judged, else the ways of training.

    Raises:
        InputError: If a table cannot be read, or the two cannot be joined; it says `table 1 of 'a'`, not a path.
    """
    if sum(len(tables) for tables in asked.models.values()) > 20:
        raise InputError("more than 20 tables were sent; use `counterstain compare` for so many")
    arms: dict[str, list[Predictions]] = {}
    files: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="counterstain-") as folder:
        for arm, (name, texts) in enumerate(asked.models.items()):
            for number, text in enumerate(texts, start=1):
                shown, path = f"table {number} of '{name}'", Path(folder) / f"{arm}-{number}.csv"
                path.write_text(text, encoding="utf-8")
                try:
                    table = read_predictions(path, positive=asked.positive)
                except InputError as error:
                    words = str(error).replace(str(path), shown).replace(path.name, shown)
                    raise InputError(words) from None
                arms.setdefault(name, []).append(table)
                files.setdefault(name, []).append(shown)
    single = all(len(tables) == 1 for tables in arms.values())
    return compare_arms(arms, primary=asked.primary, claim="models" if single else "procedures", files=files)
