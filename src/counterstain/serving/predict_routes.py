"""REST of the models: one picture at a time."""

import asyncio
from typing import Annotated

import numpy as np
from fastapi import FastAPI, Query, Request

from counterstain.serving.inference import ModelShelf, answer_record, read_upload, run_beside
from counterstain.serving.problems import ServingError
from counterstain.serving.security import IMAGE_TYPES

__all__ = ["add_predict"]

PICTURE = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in IMAGE_TYPES},
    }
}


def add_predict(app: FastAPI, shelf: ModelShelf) -> None:
    """Add the routes."""

    @app.get("/api/models", tags=["predict"])
    def models() -> dict[str, list[str]]:
        """Names of the models that can be asked; the first is asked where none is named."""
        return {"models": shelf.names()}

    @app.post("/api/predict", tags=["predict"], openapi_extra=PICTURE)
    async def predict(
        request: Request,
        model: Annotated[str, Query(max_length=200)] = "",
        exact: bool = False,
        evidence: bool = False,
    ) -> dict[str, object]:
        """What a model says of one picture; the body is the picture's file.

        `exact` answers it in a batch of its own, to the last bit as `counterstain predict` does. `evidence` adds a map
        of where the picture speaks for the class that it is called.
        """
        content = await request.body()
        if not content:
            raise ServingError(422, "the body is empty; send the file of one picture")
        loaded = await run_beside(shelf.find, model)
        upload = await run_beside(read_upload, content, loaded.model)
        output = await asyncio.wrap_future(loaded.submit(upload.tile, alone=exact))
        record = answer_record(loaded, output, upload)
        if evidence:
            target = loaded.model.classes.index(record["decision"])
            cells = await run_beside(loaded.evidence, upload.tile, target)
            record["evidence"] = np.round(cells, 4).tolist()
        return record
