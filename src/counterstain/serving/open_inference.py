"""The Open Inference Protocol v2 as Triton and KServe speak it: tensors of tiles, or files of pictures, in.

Tensors come as JSON, or as bytes behind it ("binary_tensor_data", the way Triton's own client sends them).
"""

import asyncio
import base64
import binascii
import struct
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from counterstain.images.source import BadImage
from counterstain.images.tile import fit_tile
from counterstain.serving.inference import LoadedModel, ModelShelf, Tile, answer_record, read_upload, run_beside
from counterstain.serving.problems import ServingError
from counterstain.version import __version__

__all__ = ["add_open_inference"]

MOST_TILES = 64  # of one request
HEADER = "inference-header-content-length"


class Parameters(BaseModel):
    """Of a tensor; its bytes follow the JSON where binary_data_size is given."""

    model_config = ConfigDict(extra="ignore")
    binary_data_size: Annotated[int, Field(ge=0)] | None = None


class Tensor(BaseModel):
    """One tensor of a request: tiles as UINT8 (N, H, W, 3), or N pictures as BYTES, base64 in JSON."""

    model_config = ConfigDict(extra="ignore")
    name: str = Field(max_length=200)
    shape: list[Annotated[int, Field(ge=0, le=1 << 20)]] = Field(max_length=8)
    datatype: Literal["UINT8", "BYTES"]
    data: list[Any] | None = None
    parameters: Parameters = Parameters()


class InferRequest(BaseModel):
    """A request of the Open Inference Protocol; one input is taken."""

    model_config = ConfigDict(extra="ignore")
    id: str | None = Field(default=None, max_length=200)
    inputs: list[Tensor] = Field(min_length=1, max_length=1)


BODY = {"requestBody": {"required": True, "content": {
    "application/json": {"schema": InferRequest.model_json_schema()},
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}  # fmt: skip


def add_open_inference(app: FastAPI, shelf: ModelShelf) -> None:
    """Add the routes."""
    _add_about(app, shelf)

    @app.post("/v2/models/{name}/infer", tags=["open inference"], openapi_extra=BODY)
    @app.post("/v2/models/{name}/versions/1/infer", tags=["open inference"], openapi_extra=BODY)
    async def infer(name: str, request: Request) -> dict[str, object]:
        """Probabilities, decision and distance of up to 64 tiles."""
        loaded = await run_beside(shelf.find, name)
        parsed, tiles = await run_beside(_read, await request.body(), request.headers.get(HEADER), loaded)
        outputs = await asyncio.gather(*(asyncio.wrap_future(loaded.submit(tile)) for tile in tiles))
        records = [answer_record(loaded, output) for output in outputs]
        prob = [float(value) for output in outputs for value in output.prob[0]]
        results = [
            {"name": "prob", "shape": [len(tiles), len(loaded.model.classes)], "datatype": "FP64", "data": prob},
            {"name": "decision", "shape": [len(tiles)], "datatype": "BYTES",
             "data": [record["decision"] for record in records]},
        ]  # fmt: skip
        if all("distance" in record for record in records):
            distance = [record["distance"] for record in records]
            results.append({"name": "distance", "shape": [len(tiles)], "datatype": "FP64", "data": distance})
        identity = {} if parsed.id is None else {"id": parsed.id}
        return {"model_name": loaded.name, "model_version": "1", **identity, "outputs": results}


def _add_about(app: FastAPI, shelf: ModelShelf) -> None:
    @app.get("/v2", tags=["open inference"])
    def server() -> dict[str, object]:
        """Name and version of this server."""
        return {"name": "counterstain", "version": __version__, "extensions": ["binary_tensor_data"]}

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
    def model(name: str) -> dict[str, object]:
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


def _read(content: bytes, header: str | None, loaded: LoadedModel) -> tuple[InferRequest, list[Tile]]:
    """A request and its tiles, as the model takes them.

    Raises:
        ServingError: 422 if the data are not what the shape and type say, or no picture.
    """
    if header is not None and (not header.isdigit() or len(header) > 9 or int(header) > len(content)):
        raise ServingError(422, f"{HEADER} is '{header[:20]}'; the bytes of the JSON at the body's start are needed")
    end = len(content) if header is None else int(header)
    try:
        request = InferRequest.model_validate_json(content[:end])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise ServingError(422, f"{place}: {first['msg']}; see /api/docs for what is needed") from None
    tensor = request.inputs[0]
    if not tensor.shape or not 1 <= tensor.shape[0] <= MOST_TILES:
        raise ServingError(422, f"shape is {tensor.shape}; 1 to {MOST_TILES} tiles are taken at once")
    behind = content[end:]
    if tensor.data is None and tensor.parameters.binary_data_size != len(behind):
        raise ServingError(422, f"{len(behind)} bytes follow the JSON; data, or as many as binary_data_size are needed")
    if tensor.datatype == "BYTES":
        pictures = _framed(behind, tensor.shape) if tensor.data is None else _decoded(tensor.data, tensor.shape)
        return request, [read_upload(picture, loaded.model).tile for picture in pictures]
    return request, _fitted(behind if tensor.data is None else tensor.data, tensor.shape, loaded)


def _decoded(data: list[Any], shape: list[int]) -> list[bytes]:
    """Pictures that were sent as base64."""
    if len(data) != shape[0] or not all(isinstance(item, str) for item in data):
        raise ServingError(422, f"BYTES of shape {shape} needs {shape[0]} texts, each a picture as base64")
    try:
        return [base64.b64decode(item, validate=True) for item in data]
    except (binascii.Error, ValueError):
        raise ServingError(422, "a text of data is not base64; encode each picture's file") from None


def _framed(behind: bytes, shape: list[int]) -> list[bytes]:
    """Pictures that were sent as bytes, each after its length as 4 bytes, the lowest first."""
    pictures: list[bytes] = []
    at = 0
    while at + 4 <= len(behind) and len(pictures) < shape[0]:
        (length,) = struct.unpack_from("<I", behind, at)
        pictures.append(behind[at + 4 : at + 4 + length])
        at += 4 + length
    if at != len(behind) or len(pictures) != shape[0]:
        raise ServingError(422, f"BYTES of shape {shape} needs {shape[0]} pictures, each after 4 bytes of its length")
    return pictures


def _fitted(data: list[Any] | bytes, shape: list[int], loaded: LoadedModel) -> list[Tile]:
    """Tiles that were sent as numbers."""
    if len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise ServingError(422, f"shape is {shape}; (N, H, W, 3) is needed, channels last")
    try:
        values = (np.frombuffer(data, np.uint8) if isinstance(data, bytes) else np.asarray(data)).reshape(shape)
    except (ValueError, OverflowError):
        raise ServingError(422, f"data do not fill the shape {shape} with numbers") from None
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 255:
        raise ServingError(422, "UINT8 needs whole numbers from 0 to 255")
    bundle = loaded.model.predictor.bundle
    try:
        each = values.astype(np.uint8)
        return [fit_tile(tile, "the tile", tile_px=bundle.tile_px, fit=bundle.fit) for tile in each]
    except BadImage as error:
        raise ServingError(422, f"the tile {error.reason}") from None
