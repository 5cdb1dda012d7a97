"""Models in memory: pictures of many requests are gathered into batches, and each gets its own answer."""

import asyncio
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import anyio
import numpy as np
from numpy.typing import NDArray

from counterstain.audit.training_set import MEMBERS, Members, overlap, read_members
from counterstain.errors import InputError
from counterstain.evaluation.model_output import ModelOutput
from counterstain.evaluation.predictions import Predictions
from counterstain.images.decode import decode_content, hash_content
from counterstain.images.source import BadImage
from counterstain.images.tile import fit_tile
from counterstain.serving.problems import ServingError
from counterstain.serving.runs import RunsFolder

if TYPE_CHECKING:  # PyTorch is loaded with the first model: who only looks does without its 400 MB
    from counterstain.study.model import Model

__all__ = ["MOST_PIXELS", "LoadedModel", "ModelShelf", "Tile", "Upload", "answer_record", "read_upload", "run_beside"]

Tile = NDArray[np.uint8]
T = TypeVar("T")
MOST_PIXELS = 16_000_000  # of a picture that is sent
BATCH = 8  # 16 takes 190 MB more and, on two cores, is no faster
WAITING = 256  # pictures that may wait for a model
GATHER_S = 0.002  # how long a batch waits for more
KEPT = 2  # models in memory
DECODING_UPLOADS = threading.BoundedSemaphore(2)  # apart from the tiles of pages, which never wait for an upload


@dataclass(frozen=True)
class Upload:
    """A picture that was sent: the tile as the model takes it, and the hash of what was sent."""

    tile: Tile
    file_hash: str


@dataclass
class _Order:
    tile: Tile
    alone: bool
    answer: "Future[ModelOutput]"


class LoadedModel:
    """A model with a thread of its own, which answers whatever waits, a batch at a time."""

    def __init__(self, name: str, model: "Model") -> None:
        self.name, self.model = name, model
        self.members: Members | None = None
        if (model.folder / MEMBERS).is_file():
            self.members = read_members(model.folder)
        self._orders: queue.Queue[_Order | None] = queue.Queue(WAITING)
        self._postponed: _Order | None = None
        self._computing = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"model {name}", daemon=True)
        self._thread.start()

    def submit(self, tile: Tile, *, alone: bool = False) -> "Future[ModelOutput]":
        """The answer for one tile, (tile_px, tile_px, 3) uint8, in the future.

        Args:
            tile: as fit_tile makes it.
            alone: in a batch of its own, and so to the last bit what `counterstain predict` says of this one picture;
                in a batch with others the last digits may differ (by 3e-8 in the tests).

        Raises:
            ServingError: 429 if too many wait already.
        """
        order = _Order(tile, alone, Future())
        try:
            self._orders.put_nowait(order)
        except queue.Full:
            raise ServingError(429, f"{WAITING} pictures are waiting already; send it again in a moment") from None
        return order.answer

    def evidence(self, tile: Tile, target: int) -> NDArray[np.float64]:
        """(side, side) where the picture speaks for a class, 0 to 1; all 0 where nothing does."""
        from counterstain.explanation.saliency import make_explainer, sensitivity

        with self._computing:
            cells = sensitivity(make_explainer(self.model.predictor, "hirescam"), tile[None], np.array([target]))[0]
        most = float(cells.max())
        return np.asarray(cells / most if most > 0 else cells, dtype=np.float64)

    def close(self) -> None:
        """Answer what waits, and end."""
        self._orders.put(None)

    def _work(self) -> None:
        while True:
            first = self._postponed or self._orders.get()
            self._postponed = None
            if first is None:
                return
            batch = [first]
            while not first.alone and len(batch) < BATCH:
                try:
                    following = self._orders.get(timeout=GATHER_S)
                except queue.Empty:
                    break
                if following is None:
                    self._orders.put(None)
                    break
                if following.alone:
                    self._postponed = following
                    break
                batch.append(following)
            self._answer(batch)

    def _answer(self, batch: list[_Order]) -> None:
        try:
            with self._computing:
                output = self.model.predict(np.stack([order.tile for order in batch]))
        except Exception as error:  # noqa: BLE001 (whoever asked is told; the thread lives on)
            for order in batch:
                order.answer.set_exception(error)
            return
        for row, order in enumerate(batch):
            order.answer.set_result(_row(output, row))


def _row(output: ModelOutput, row: int) -> ModelOutput:
    part = slice(row, row + 1)
    return ModelOutput(
        image=("picture",), classes=output.classes, prob=output.prob[part],
        called=None if output.called is None else output.called[part],
        in_set=None if output.in_set is None else output.in_set[part],
        distance=None if output.distance is None else output.distance[part],
        threshold=output.threshold, distance_limit=output.distance_limit, notes=output.notes,
    )  # fmt: skip


class ModelShelf:
    """The models that can be asked: one that was named, and each run's own, loaded when they are first asked."""

    def __init__(self, runs: RunsFolder, named: Path | None = None) -> None:
        self.runs, self.named = runs, named
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._loading = threading.Lock()

    def names(self) -> list[str]:
        """The one that was named first, then the runs that have a trained model."""
        trained = [name for name, path in self.runs.folders().items() if any((path / "arms").glob("*/*/*/bundle.json"))]
        return [*([self.named.resolve().name] if self.named is not None else []), *trained]

    def place(self, name: str = "") -> tuple[str, Path]:
        """Name and folder of a model; "" is the first.

        Raises:
            ServingError: 404 if there is none of this name.
        """
        named = None if self.named is None else self.named.resolve().name
        if self.named is not None and named is not None and name in ("", named):
            return named, self.named
        names = self.names()
        if not names or (name and name not in names):
            raise ServingError(404, f"there is no model '{name[:100]}'; there are: {', '.join(names[:20]) or 'none'}")
        return name or names[0], self.runs.find(name or names[0])

    def find(self, name: str = "") -> LoadedModel:
        """A model by name, in memory; "" is the first.

        Raises:
            ServingError: 404 if there is none of this name, 422 if it cannot be used.
        """
        with self._loading:
            if name in self._loaded:
                self._loaded.move_to_end(name)
                return self._loaded[name]
        return self.open(*self.place(name))

    def open(self, name: str, path: Path) -> LoadedModel:
        """The model in a folder, in memory under a name; the one that was asked least lately makes room.

        Raises:
            ServingError: 422 if it cannot be used.
        """
        from counterstain.study.model import load_model

        with self._loading:
            if name not in self._loaded:
                try:
                    self._loaded[name] = LoadedModel(name, load_model(path, device="auto"))
                except InputError as error:
                    raise ServingError(422, f"the model of {name} cannot be used: {error}") from None
            self._loaded.move_to_end(name)
            while len(self._loaded) > KEPT:
                self._loaded.popitem(last=False)[1].close()
            return self._loaded[name]

    def close(self) -> None:
        """End every model's thread."""
        for model in self._loaded.values():
            model.close()


# Threads for pictures and models are few and their own, so that pages and tiles are answered whatever is predicted.
_threads: WeakKeyDictionary[asyncio.AbstractEventLoop, anyio.CapacityLimiter] = WeakKeyDictionary()


async def run_beside(work: Callable[..., T], *arguments: object) -> T:
    """The result of a function that takes a while, run in one of few threads."""
    limiter = _threads.setdefault(asyncio.get_running_loop(), anyio.CapacityLimiter(4))
    return await anyio.to_thread.run_sync(work, *arguments, limiter=limiter)


def read_upload(content: bytes, model: "Model") -> Upload:
    """A picture's bytes as the tile that a model takes.

    Raises:
        ServingError: 422 if it is no picture, is too large, or has not the size that the model needs.
    """
    bundle = model.predictor.bundle
    try:
        with DECODING_UPLOADS:
            pixels = decode_content(content, "the picture", max_pixels=MOST_PIXELS).pixels
            tile = fit_tile(pixels, "the picture", tile_px=bundle.tile_px, fit=bundle.fit)
    except BadImage as error:
        raise ServingError(422, f"the picture {error.reason}") from None
    return Upload(tile, hash_content(content))


def answer_record(loaded: LoadedModel, output: ModelOutput, upload: Upload | None = None) -> dict[str, object]:
    """What is said of one picture: the columns of predictions.csv, and what they rest on.

    Args:
        loaded: the model.
        output: its answer for one tile.
        upload: the picture, to look for among the training images; None where only its pixels are known.
    """
    from counterstain.study.calibrate import decided_as

    table = Predictions(
        image=output.image, patient=output.image, slide=("",), site=("",), label=np.zeros(1, np.int64),
        prob=output.prob, classes=output.classes,
    )  # fmt: skip
    call, rule = decided_as(loaded.model.calibration, table)
    record: dict[str, Any] = {
        f"prob_{name}": float(value) for name, value in zip(output.classes, output.prob[0], strict=True)
    }
    record |= {"decision": output.classes[call[0]], "decision_rule": rule}
    if output.prediction_sets is not None:
        record["prediction_set"] = list(output.prediction_sets[0])
    if output.distance is not None and output.distance_limit is not None:
        record |= {"distance": float(output.distance[0]), "distance_limit": float(output.distance_limit)}
        record["unfamiliar"] = bool(output.distance[0] > output.distance_limit)
    if upload is not None and loaded.members is not None:
        matches = overlap(loaded.members, file=[upload.file_hash], tiles=[upload.tile], image=("",))
        record["seen_in_training"] = bool(matches.rows["file"] or matches.rows["pixels"])
    return {
        "model": loaded.name, "network": loaded.model.network, "classes": list(output.classes), **record,
        "calibrated": loaded.model.calibration is not None, "notes": list(output.notes),
    }  # fmt: skip
