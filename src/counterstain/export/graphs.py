"""A trained network as graphs that other programs run: what they take, what they give, and how they are written.

ONNX and OpenVINO take stored tiles, (B, H, W, 3) uint8 of any size, and give probabilities: the resizing, scaling and
calibration are inside. The TorchScript file is what WSInfer and QuPath load: it takes what ToTensor makes of a tile,
(B, 3, H, W) float of 0…1 of any size, and gives logits, for they apply the softmax. The resizing is inside that graph,
too: every client has another one, and a model of another resampling is another model.
"""

import importlib.util
import io
import logging
import math
import re
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from counterstain.errors import InputError, first_line
from counterstain.images.resize import STEPS
from counterstain.images.tensor import scale_of
from counterstain.learning.bundle import Bundle
from counterstain.learning.runtimes import import_openvino, softmax

__all__ = [
    "INT8", "ONNX", "OPENVINO", "TORCHSCRIPT", "Calibrated", "Run", "SlideGraph", "TileGraph", "check_packages",
    "open_onnx", "open_openvino", "open_torchscript", "white_margin", "write_int8", "write_onnx", "write_openvino",
    "write_torchscript",
]  # fmt: skip

Tiles = NDArray[np.uint8]
# Tiles (B, H, W, 3) uint8 to probabilities (B, classes).
Run = Callable[[Tiles], NDArray[np.float64]]

TORCHSCRIPT = "torchscript_model.pt"  # the one name that QuPath's extension looks for
ONNX = "model.onnx"
OPENVINO = "openvino_model.xml"
INT8 = "openvino_int8_model.xml"

PACKAGES = {
    "wsinfer": (),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino", "onnx", "onnxscript"),
    "int8": ("nncf", "openvino", "onnx", "onnxscript"),
}
_EXTRA = {"int8": "int8,runtimes"}


class Calibrated(nn.Module):
    """Logits to the logarithms of calibrated probabilities, as evaluation.calibration does it in numpy.

    method, parameters: of a calibration's record; "none" for probabilities as the network gives them.
    clip: probabilities are clipped to this before their logarithm is taken, as they were when this was fitted.
    """

    def __init__(self, method: str, parameters: Mapping[str, Any], clip: float) -> None:
        super().__init__()
        self.method, self.clip = method, clip
        # Buffers, and not numbers in the code: they go with the graph to whichever device runs it.
        self.temperature: Tensor
        self.slope: Tensor
        self.intercept: Tensor
        self.x: Tensor
        self.y: Tensor
        for name in ("temperature", "slope", "intercept"):
            self.register_buffer(name, torch.tensor(float(parameters.get(name, 0))), persistent=False)
        for name in ("x", "y"):
            self.register_buffer(name, torch.tensor(parameters.get(name, []), dtype=torch.float32), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """(B, classes) to (B, classes)."""
        logs = torch.log_softmax(logits, 1)
        if self.method == "none":
            return logs
        if self.method == "temperature":
            return torch.log_softmax(logs.clamp(min=math.log(self.clip)) / self.temperature, 1)
        if self.method == "platt":
            largest = math.log((1 - self.clip) / self.clip)
            odds = (logits[:, 1] - logits[:, 0]).clamp(-largest, largest) * self.slope + self.intercept
            return torch.log_softmax(torch.stack([torch.zeros_like(odds), odds], 1), 1)
        p = self._step(torch.exp(logs[:, 1]))
        return torch.log(torch.stack([1 - p, p], 1))

    def _step(self, p: Tensor) -> Tensor:
        """The isotonic steps: linear between the points, level beyond the first and the last."""
        width = self.x[1:] - self.x[:-1]
        inside = torch.minimum((p[:, None] - self.x[:-1]).clamp(min=0), width)
        return self.y[0] + (inside * ((self.y[1:] - self.y[:-1]) / width)).sum(1)


class TileGraph(nn.Module):
    """Stored tiles of any size to probabilities: fitted to tile_px as the bundle says, scaled, predicted, calibrated.

    images.resize's rule, as a matrix for each axis, so that a graph can hold it: where neither side grows each new
    pixel is the mean of what it covers, else it is interpolated linearly, and halves of a grey level are found.
    """

    def __init__(self, network: nn.Module, bundle: Bundle, calibrated: nn.Module) -> None:
        super().__init__()
        self.network, self.calibrated = network, calibrated
        self.tile_px, self.crops = bundle.tile_px, bundle.fit == "crop"
        factor, offset = (torch.tensor(values).view(1, 3, 1, 1) for values in scale_of(bundle.scale))
        self.factor: Tensor
        self.offset: Tensor
        self.place: Tensor
        self.register_buffer("factor", factor, persistent=False)
        self.register_buffer("offset", offset, persistent=False)
        self.register_buffer("place", torch.arange(bundle.tile_px, dtype=torch.float32)[:, None], persistent=False)

    def forward(self, tiles: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 to (B, classes) float32, each row summing to 1."""
        pixels = self.fit(tiles.permute(0, 3, 1, 2).float())
        logits = self.network(pixels * self.factor + self.offset)
        return torch.exp(self.calibrated(logits))

    def fit(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) floats of 0…255 to (B, 3, tile_px, tile_px), whole numbers."""
        # Counted, for a tracer would take the number of a shape for the same in every tile.
        height, width = (torch.ones_like(line).sum() for line in (pixels[0, 0, :, 0], pixels[0, 0, 0, :]))
        side = torch.full_like(height, self.tile_px)
        rows, columns = side, side
        if self.crops:
            shorter = torch.minimum(height, width)
            rows = torch.maximum(side, torch.round(height * side / shorter))
            columns = torch.maximum(side, torch.round(width * side / shorter))
        shrinks = (rows <= height) & (columns <= width)
        down = self._weights(pixels.shape[2], height, rows, shrinks)
        across = self._weights(pixels.shape[3], width, columns, shrinks)
        resized = (down @ pixels) @ across.T
        resized = torch.round(resized * STEPS) / STEPS
        # Up where both sides are halved, to the even level otherwise. A quarter of all px are halves there, and a
        # difference of one level in each moves a sure model's answer.
        halved = (rows * 2 == height) & (columns * 2 == width)
        return torch.where(halved, torch.floor(resized + 0.5), torch.round(resized))

    def _weights(self, count: int, length: Tensor, resized: Tensor, shrinks: Tensor) -> Tensor:
        """(tile_px, count): what each old pixel of an axis adds to each new one, of the middle of the resized axis.

        Quotients of whole numbers, which float32 holds exactly up to 2^24: places are counted in 1/resized of an old px
        where areas are taken, and in half of that where centres are.
        """
        place = self.place + torch.floor((resized - self.tile_px) / 2)
        old = torch.arange(count, dtype=torch.float32, device=length.device)[None, :]
        last, first = (
            torch.minimum((place + 1) * length, (old + 1) * resized),
            torch.maximum(place * length, old * resized),
        )
        covered = (last - first).clamp(min=0) / length
        unit = 2 * resized
        centre = torch.minimum(((2 * place + 1) * length - resized).clamp(min=0), unit * (length - 1))
        between = (unit - (centre - unit * old).abs()).clamp(min=0) / unit
        return torch.where(shrinks, covered, between)


class SlideGraph(nn.Module):
    """What WSInfer runs: tiles as ToTensor gives them to logits, whose softmax are the probabilities.

    A margin that a client left black because the slide ends there becomes white, which is what our own tiles have.
    """

    def __init__(self, graph: TileGraph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, tiles: Tensor) -> Tensor:
        """(B, 3, H, W) float of 0…1, H and W of any size, to (B, classes)."""
        pixels = self.graph.fit(white_margin(torch.round(tiles * 255)))
        logits: Tensor = self.graph.calibrated(self.graph.network(pixels * self.graph.factor + self.graph.offset))
        return logits


def white_margin(pixels: Tensor) -> Tensor:
    """The rows at the bottom and the columns at the right that are wholly 0 become 255; a tile of nothing else stays.

    Args:
        pixels: (B, 3, H, W) floats of 0…255.
    """
    brightest = pixels.amax(1)
    # From the far end on: the brightest px met so far is 0 as long as there was nothing but the margin.
    rows = brightest.amax(2).flip(1).cummax(1)[0].flip(1)[:, None, :, None]
    columns = brightest.amax(1).flip(1).cummax(1)[0].flip(1)[:, None, None, :]
    tile_brightest = brightest.amax((1, 2))[:, None, None, None]
    margin = (torch.minimum(rows, columns) == 0) & (tile_brightest > 0)
    return torch.where(margin, torch.full_like(pixels, 255), pixels)


def check_packages(formats: tuple[str, ...]) -> None:
    """Refuse a format whose packages are not installed.

    Raises:
        InputError: With what to install.
    """
    for name in formats:
        missing = [package for package in PACKAGES[name] if importlib.util.find_spec(package) is None]
        if missing:
            extra = _EXTRA.get(name, "runtimes")
            raise InputError(f"{name} needs {', '.join(missing)}, not installed; pip install 'counterstain[{extra}]'")


# ---------------------------------------------------------------------------------------------------- written, opened


def write_torchscript(graph: SlideGraph, path: Path, *, tile_px: int) -> None:
    """Trace the graph (a script of these networks would not compile), for batches and tiles of any size.

    Nothing of where it was traced is in the file, and equal graphs make equal bytes.

    Raises:
        InputError: If torch cannot trace it.
    """
    example = torch.zeros((2, 3, tile_px + 13, tile_px + 22))
    with _quietly():
        _forget_classes()
        try:
            traced = torch.jit.trace(graph.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise InputError(
                f"torch cannot trace this network ({first_line(error)[:200]}); leave wsinfer out"
            ) from None
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            archive = Path(folder) / path.name
            torch.jit.save(traced, str(archive))
            _plain_archive(archive, path)


def _forget_classes() -> None:
    """A class that was traced before in this process would get a number in its name, and the file other bytes."""
    torch._C._jit_clear_class_registry()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()
    torch.jit._state._clear_class_state()


def _plain_archive(source: Path, path: Path) -> None:
    """A TorchScript archive without its debug records, which hold absolute paths, and with no time of writing.

    Every entry stays uncompressed and begins at a multiple of 64 bytes, as torch has it, so that it can be mapped.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        skipped = (".debug_pkl", "/.data/serialization_id")
        entries = {name: old.read(name) for name in old.namelist() if not name.endswith(skipped)}
        numbers = sorted({int(number) for text in (*entries, *_texts(entries)) for number in _NUMBERED.findall(text)})

        def renumbered(text: str) -> str:
            return _NUMBERED.sub(lambda match: f"___torch_mangle_{numbers.index(int(match[1]))}", text)

        for name, content in entries.items():
            if name.endswith((".py", "/data.pkl")):
                entries[name] = renumbered(content.decode("latin-1")).encode("latin-1")
        for name, content in sorted((renumbered(name), content) for name, content in entries.items()):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            pad = -(new.start_dir + _FILE_HEADER + len(name.encode()) + 4) % 64
            entry.extra = struct.pack("<2sH", b"FB", pad) + b"Z" * pad
            new.writestr(entry, content)


_FILE_HEADER = 30  # bytes of it before the name of an entry
# torch numbers classes of one name through all that its process has ever traced.
_NUMBERED = re.compile(r"___torch_mangle_(\d+)")


def _texts(files: Mapping[str, bytes]) -> Iterator[str]:
    """The code of an archive, byte by byte."""
    yield from (content.decode("latin-1") for name, content in files.items() if name.endswith(".py"))


def open_torchscript(path: Path) -> Run:
    """What runs the file as WSInfer does: ToTensor before, a softmax after."""
    with _quietly():
        model = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]

    def run(tiles: Tiles) -> NDArray[np.float64]:
        pixels = torch.from_numpy(tiles.copy()).permute(0, 3, 1, 2).contiguous().float().div(255)
        with torch.inference_mode(), _quietly():
            logits: Tensor = model(pixels)
        return softmax(logits.numpy())

    return run


def write_onnx(graph: TileGraph, path: Path, facts: Mapping[str, str] | None = None) -> None:
    """The graph with every size but the colours free: axes "batch", "height" and "width".

    Args:
        graph: of the model.
        path: of the file; weights beyond 2 GB go into a file beside it.
        facts: what the file says of the model, as its metadata.

    Raises:
        InputError: If torch cannot export it.
    """
    # The sides are odd and unequal: an exporter takes a size that is 1, or that meets another one, for a fixed one.
    example = torch.zeros((2, graph.tile_px + 13, graph.tile_px + 22, 3), dtype=torch.uint8)
    free = dict.fromkeys(range(3), torch.export.Dim.DYNAMIC)
    with _quietly():
        try:
            program: Any = torch.onnx.export(
                graph.eval(), (example,), dynamo=True, dynamic_shapes=(free,), verbose=False,
                input_names=["tiles"], output_names=["probabilities"],
            )  # fmt: skip
        except RuntimeError as error:
            raise InputError(f"torch cannot export this network to ONNX ({first_line(error)[:200]})") from None
        _tidy(program.model, facts or {})
        program.save(str(path))


_AXES = ("batch", "height", "width")


def _tidy(model: Any, facts: Mapping[str, str]) -> None:
    """Name the free axes, and exchange the exporter's notes, which hold absolute paths, for what is to be known."""
    axis_of = {str(size): name for size, name in zip(model.graph.inputs[0].shape, _AXES, strict=False)}
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    values = [
        *model.graph.inputs,
        *model.graph.outputs,
        *(out for node in model.graph.all_nodes() for out in node.outputs),
    ]
    for value in values:
        value.metadata_props.clear()
        for place, size in enumerate(value.shape or ()):
            if str(size) in axis_of:
                value.shape[place] = axis_of[str(size)]
    for holder in (model, model.graph, *model.functions.values()):
        holder.metadata_props.clear()
        holder.doc_string = None
    model.metadata_props.update(facts)


def open_onnx(path: Path) -> Run:
    """What runs the file on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # its notes on what it tidied up in the graph are nobody's business
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda tiles: np.asarray(session.run(None, {"tiles": tiles})[0], dtype=np.float64)


def write_openvino(source: Path, path: Path) -> None:
    """OpenVINO's two files from the ONNX file; weights stay fp32, which its own tools would halve."""
    _save_openvino(import_openvino().convert_model(str(source)), path)


def _save_openvino(model: Any, path: Path) -> None:
    """Save it with its layers numbered from 0: OpenVINO numbers through all that its process has ever made."""
    for number, layer in enumerate(model.get_ordered_ops()):
        if layer.get_type_name() != "Parameter":
            layer.set_friendly_name(f"{layer.get_type_name()}_{number}")
    import_openvino().save_model(model, str(path), compress_to_fp16=False)


def write_int8(source: Path, path: Path, tiles: Tiles) -> None:
    """OpenVINO's model with 8-bit integers inside, their ranges set by these tiles, (N, H, W, 3) uint8."""
    openvino = import_openvino()
    # It draws a progress bar on stdout, which is for data.
    with _quietly(), redirect_stdout(io.StringIO()):
        import nncf

        nncf.set_log_level(logging.ERROR)
        model = openvino.Core().read_model(str(source))
        quantised = nncf.quantize(model, nncf.Dataset([tile[None] for tile in tiles]), subset_size=len(tiles))
    _save_openvino(quantised, path)


def open_openvino(path: Path) -> Run:
    """What runs the file on the processor, in fp32 where the file is."""
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = import_openvino().Core().compile_model(str(path), "CPU", settings)
    return lambda tiles: np.asarray(compiled(tiles)[0], dtype=np.float64)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' warnings: of sizes that are fixed here, and that they are old."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
            for category in (FutureWarning, DeprecationWarning, UserWarning):
                warnings.filterwarnings("ignore", category=category, module=r"(torch|timm|onnx|openvino|nncf|numpy)")
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.", category=FutureWarning)
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.", category=DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)
