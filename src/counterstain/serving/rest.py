"""REST of the models: one picture at a time, and the Open Inference Protocol v2 as Triton and KServe speak it."""

import asyncio
import base64
import binascii
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import anyio
import numpy as np
from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from counterstain.images.source import BadImage
from counterstain.images.tile import fit_tile
from counterstain.serving.inference import LoadedModel, ModelShelf, Tile, answer_record, read_upload
from counterstain.serving.problems import ServingError
from counterstain.serving.security import IMAGE_TYPES
from counterstain.version import __version__

__all__ = ["add_rest"]

T = TypeVar("T")
MOST_TILES = 64  # of one request of the Open Inference Protocol
PICTURE = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in IMAGE_TYPES},
    }
}


class Tensor(BaseModel):
    """One tensor of a request: tiles as UINT8 (N, H, W, 3), or N pictures as BYTES, each base64."""

    model_config = ConfigDict(extra="ignore")
    name: str = Field(max_length=200)
    shape: list[Annotated[int, Field(ge=0, le=1 << 20)]] = Field(max_length=8)
    datatype: Literal["UINT8", "BYTES"]
    data: list[Any]


class InferRequest(BaseModel):
    """A request of the Open Inference Protocol; one input is taken."""

    model_config = ConfigDict(extra="ignore")
    id: str | None = Field(default=None, max_length=200)
    inputs: list[Tensor] = Field(min_length=1, max_length=1)


# Threads for pictures and models are few and their own, so that pages and tiles are answered whatever is predicted.
_threads: WeakKeyDictionary[asyncio.AbstractEventLoop, anyio.CapacityLimiter] = WeakKeyDictionary()


async def run_beside(work: Callable[..., T], *given: object) -> T:
    """The result of a function that takes a while, run in one of few threads."""
    limiter = _threads.setdefault(asyncio.get_running_loop(), anyio.CapacityLimiter(4))
    return await anyio.to_thread.run_sync(work, *given, limiter=limiter)


def add_rest(app: FastAPI, shelf: ModelShelf) -> None:
    """Add the routes."""
    _add_predict(app, shelf)
    _add_about(app, shelf)

    @app.post("/v2/models/{name}/infer", tags=["open inference"])
    async def infer(name: str, asked: InferRequest) -> dict[str, object]:
        """Probabilities, decision and distance of up to 64 tiles."""
        loaded = await run_beside(shelf.find, name)
        tiles = await run_beside(_tiles, asked.inputs[0], loaded)
        outputs = await asyncio.gather(*(asyncio.wrap_future(loaded.submit(tile)) for tile in tiles))
        records = [answer_record(loaded, output) for output in outputs]
        prob = [float(value) for output in outputs for value in output.prob[0]]
        made = [
            {"name": "prob", "shape": [len(tiles), len(loaded.model.classes)], "datatype": "FP64", "data": prob},
            {"name": "decision", "shape": [len(tiles)], "datatype": "BYTES",
             "data": [record["decision"] for record in records]},
        ]  # fmt: skip
        if all("distance" in record for record in records):
            distance = [record["distance"] for record in records]
            made.append({"name": "distance", "shape": [len(tiles)], "datatype": "FP64", "data": distance})
        return {"model_name": loaded.name, **({} if asked.id is None else {"id": asked.id}), "outputs": made}


def _add_predict(app: FastAPI, shelf: ModelShelf) -> None:
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
            found = await run_beside(loaded.evidence, upload.tile, target)
            record["evidence"] = np.round(found, 4).tolist()
        return record


def _add_about(app: FastAPI, shelf: ModelShelf) -> None:
    @app.get("/api/models", tags=["predict"])
    def models() -> dict[str, list[str]]:
        """Names of the models that can be asked; the first is asked where none is named."""
        return {"models": shelf.names()}

    @app.get("/v2", tags=["open inference"])
    def server() -> dict[str, object]:
        """Name and version of this server."""
        return {"name": "counterstain", "version": __version__, "extensions": []}

    @app.get("/v2/health/live", tags=["open inference"])
    def live() -> dict[str, bool]:
        """Whether the server runs."""
        return {"live": True}

    @app.get("/v2/health/ready", tags=["open inference"])
    def ready() -> dict[str, bool]:
        """Whether there is a model to ask."""
        return {"ready": bool(shelf.names())}

    @app.get("/v2/models/{name}/ready", tags=["open inference"])
    def model_ready(name: str) -> dict[str, object]:
        """Whether a model can be asked; loads it where it is not loaded yet."""
        return {"name": shelf.find(name).name, "ready": True}

    @app.get("/v2/models/{name}", tags=["open inference"])
    def model(name: str) -> dict[str, Any]:
        """Inputs and outputs of a model."""
        loaded = shelf.find(name)
        side, classes = loaded.model.tile_px, len(loaded.model.classes)
        return {
            "name": loaded.name, "versions": ["1"], "platform": "counterstain",
            "inputs": [{"name": "tiles", "datatype": "UINT8", "shape": [-1, side, side, 3]}],
            "outputs": [{"name": "prob", "datatype": "FP64", "shape": [-1, classes]},
                        {"name": "decision", "datatype": "BYTES", "shape": [-1]}],
            "parameters": {"classes": list(loaded.model.classes), "mpp": loaded.model.mpp},
        }  # fmt: skip


def _tiles(tensor: Tensor, loaded: LoadedModel) -> list[Tile]:
    """The tiles of a request, as the model takes them.

    Raises:
        ServingError: 422 if the data are not what the shape and type say, or no picture.
    """
    if not tensor.shape or not 1 <= tensor.shape[0] <= MOST_TILES:
        raise ServingError(422, f"shape is {tensor.shape}; 1 to {MOST_TILES} tiles are taken at once")
    count = tensor.shape[0]
    if tensor.datatype == "BYTES":
        if len(tensor.data) != count or not all(isinstance(item, str) for item in tensor.data):
            raise ServingError(422, f"BYTES of shape {tensor.shape} needs {count} texts, each a picture as base64")
        try:
            pictures = [base64.b64decode(item, validate=True) for item in tensor.data]
        except (binascii.Error, ValueError):
            raise ServingError(422, "a text of data is not base64; encode each picture's file") from None
        return [read_upload(picture, loaded.model).tile for picture in pictures]
    if len(tensor.shape) != 4 or tensor.shape[3] != 3 or 0 in tensor.shape:
        raise ServingError(422, f"shape is {tensor.shape}; (N, H, W, 3) is needed, channels last")
    try:
        values = np.asarray(tensor.data).reshape(tensor.shape)
    except (ValueError, OverflowError):
        raise ServingError(422, f"data do not fill the shape {tensor.shape} with numbers") from None
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 255:
        raise ServingError(422, "UINT8 needs whole numbers from 0 to 255")
    bundle = loaded.model.predictor.bundle
    try:
        each = values.astype(np.uint8)
        return [fit_tile(tile, "the tile", tile_px=bundle.tile_px, fit=bundle.fit) for tile in each]
    except BadImage as error:
        raise ServingError(422, f"the tile {error.reason}") from None
