"""What runs a network where only its answers are wanted: a table with a row each, and a timed choice among them."""

import importlib
import importlib.util
import io
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from counterstain.errors import InputError, first_line, suggest
from counterstain.images.tensor import scale_of, to_tensor
from counterstain.learning.networks import seen_side

__all__ = [
    "FEATURES",
    "PRECISIONS",
    "PROBABILITIES",
    "RUNTIMES",
    "TRIAL_TILES",
    "WARM_TILES",
    "Infer",
    "Output",
    "Runtime",
    "RuntimeChoice",
    "check_runtime",
    "choose_runtime",
    "import_openvino",
    "noise_tiles",
    "softmax",
    "torch_runtime",
]

# Tiles (B, tile_px, tile_px, 3) uint8 to logits (B, classes) float32.
Infer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

PRECISIONS = ("fp32", "bf16")
TOLERANCE = 1e-4  # of an output, between a runtime's fp32 and torch's
WARM_TILES, TRIAL_TILES, TRIAL_PASSES = 8, 32, 4
TRIAL_SECONDS = 0.5  # what a runtime's passes take at least, so that threads have woken and memory is in place
_LONGEST_TRIAL_S = 5.0  # a large backbone needs this long for one pass, and is told apart by it
_AT_ONCE = 2  # tiles of a request to OpenVINO
_WORTH = 1.05  # how many times as fast as torch another runtime must be


@dataclass(frozen=True)
class Runtime:
    """One row of the table.

    packages:     what must be installed.
    precisions:   what it computes in.
    least_images: from how many images on its preparation is repaid, so that it is tried without being asked for.
    make:         (network, tile_px, scale, precision) to what runs it on the processor.
    """

    packages: tuple[str, ...]
    precisions: tuple[str, ...]
    least_images: int
    make: Callable[[nn.Module, int, str, str], Infer]


@dataclass(frozen=True)
class Output:
    """What a network gives, and how far two runtimes' outputs of the same tiles are apart.

    words:      for messages, plural.
    read:       (N, D) float32 of the network to (N, D) float64 that is compared.
    difference: of two (N, D), the largest over the tiles.
    """

    words: str
    read: Callable[[NDArray[np.float32]], NDArray[np.float64]]
    difference: Callable[[NDArray[np.float64], NDArray[np.float64]], float]


@dataclass(frozen=True)
class RuntimeChoice:
    """What runs the network, and why it does: one line for each runtime that was looked at, the one taken last."""

    name: str
    infer: Infer
    lines: tuple[str, ...]


def choose_runtime(
    network: nn.Module,
    tiles: NDArray[np.uint8],
    *,
    scale: str,
    images: int,
    runtime: str = "auto",
    precision: str = "fp32",
    output: Output | None = None,
) -> RuntimeChoice:
    """The runtime that was asked for, or the fastest of those installed, after its answers were compared with torch's.

    "auto" is torch for few images. For more, every installed runtime that takes the precision predicts a few of the
    actual tiles against the clock, and another than torch is taken where it is at least 5 % faster.

    Args:
        network: on the processor.
        tiles: (N, tile_px, tile_px, 3) uint8, some of those to be predicted; the first 32 are used.
        scale: see images.tensor.scale_of.
        images: how many are to be predicted.
        runtime: "auto" or a name of RUNTIMES.
        precision: "fp32" or "bf16". With bf16 the largest difference from fp32 is said, and not judged.
        output: what the network gives, PROBABILITIES (of its logits, the default) or FEATURES.

    Raises:
        InputError: If the runtime is unknown, not installed, does not compute in that precision, cannot take the
            network, or gives an output that differs from torch's by more than 1e-4 in fp32.
    """
    output = output or PROBABILITIES
    check_runtime(runtime, precision)
    network.eval()
    # A network that looks at a tile several ways is several networks to another runtime, and takes minutes to convert.
    many_views = runtime == "auto" and getattr(network, "views", 1) > 1
    if runtime == "torch" or len(tiles) == 0 or many_views:
        names = ["torch"]
    elif runtime != "auto":
        names = [runtime]
    else:
        names = [name for name, row in RUNTIMES.items() if _suits(row, precision, images)]
    if names == ["torch"] and precision == "fp32":
        return RuntimeChoice(
            "torch", torch_runtime(network, scale=scale), (f"runtime: torch {torch.__version__}, fp32",)
        )
    tile_px = tiles.shape[1]
    reference = output.read(torch_runtime(network, scale=scale)(tiles[:TRIAL_TILES]))
    rates: dict[str, float] = {}
    runtimes: dict[str, Infer] = {}
    lines, differences = [], {}
    for name in names:
        try:
            infer = RUNTIMES[name].make(network, tile_px, scale, precision)
            infer(tiles[:WARM_TILES])
            outputs, rates[name] = _timed(infer, tiles[:TRIAL_TILES])
            differences[name] = output.difference(output.read(outputs), reference)
            _check_agreement(name, differences[name], precision, output)
            runtimes[name] = infer
        except InputError as error:
            if runtime != "auto":
                raise
            lines.append(f"runtime {name} is not taken: {error}")
    best = max(runtimes, key=lambda name: rates[name] / (1 if name == "torch" else _WORTH))
    speeds = ", ".join(f"{name} {rates[name]:.0f}" for name in runtimes)
    lines.append(
        f"runtime: {best} {_version(best)}, {precision} (images/s on {len(reference)} of them: {speeds}; "
        f"{output.words} differ from torch in fp32 by {differences[best]:.2g} at most)"
    )
    return RuntimeChoice(best, runtimes[best], tuple(lines))


def _timed(infer: Infer, tiles: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
    """The outputs, and the most images a second of a few passes: whatever disturbs one only makes it slower."""
    best, spent, passes = float("inf"), 0.0, 0
    while spent < TRIAL_SECONDS or (passes < TRIAL_PASSES and spent < _LONGEST_TRIAL_S):
        began = time.perf_counter()
        outputs = infer(tiles)
        seconds = time.perf_counter() - began
        best, spent, passes = min(best, seconds), spent + seconds, passes + 1
    return outputs, len(tiles) / best


def noise_tiles(count: int, tile_px: int) -> NDArray[np.uint8]:
    """(count, tile_px, tile_px, 3) uint8, always the same: for a trial where no real tile is at hand."""
    return np.random.default_rng(0).integers(0, 256, (count, tile_px, tile_px, 3), dtype=np.uint8)


def torch_runtime(network: nn.Module, *, scale: str, device: str = "cpu", precision: str = "fp32") -> Infer:
    """PyTorch itself. The network's weights are put in the order of the tiles (channels last), which is faster."""
    network = network.eval().to(memory_format=torch.channels_last)
    side = seen_side(network)

    def infer(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        kind = device.partition(":")[0]
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
            inputs = to_tensor(tiles[:, :side, :side], scale=scale, device=device)
            logits: NDArray[np.float32] = network(inputs).float().cpu().numpy()
        return logits

    return infer


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, C) float64 probabilities of (N, C) logits, each row summing to 1."""
    wide = logits.astype(np.float64)
    exponents = np.exp(wide - wide.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities


def _largest_difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.abs(one - other).max())


def _relative_difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The largest distance of two rows, as a share of the second one's length: features have no unit."""
    lengths = np.maximum(np.linalg.norm(other, axis=1), np.finfo(np.float32).tiny)
    return float((np.linalg.norm(one - other, axis=1) / lengths).max())


PROBABILITIES = Output("probabilities", softmax, _largest_difference)
FEATURES = Output("features (relative to their length)", lambda rows: rows.astype(np.float64), _relative_difference)


class _FromTiles(nn.Module):
    """A network that takes tiles as they are stored, so that a runtime does the scaling inside its graph."""

    def __init__(self, network: nn.Module, scale: str) -> None:
        super().__init__()
        self.network = network
        factor, offset = (torch.tensor(values).view(1, 3, 1, 1) for values in scale_of(scale))
        self.register_buffer("factor", factor, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, tiles: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 to (B, classes) logits."""
        side = seen_side(self.network)
        pixels = tiles[:, :side, :side].permute(0, 3, 1, 2).float()
        logits: Tensor = self.network(pixels * self.factor + self.offset)  # type: ignore[operator]
        return logits


def _make_torch(network: nn.Module, tile_px: int, scale: str, precision: str) -> Infer:
    return torch_runtime(network, scale=scale, precision=precision)


def _make_openvino(network: nn.Module, tile_px: int, scale: str, precision: str) -> Infer:
    """Two tiles a request, two requests a core, so that no core waits for the next: the fastest way of those tried."""
    openvino = import_openvino()
    from openvino.frontend import GeneralFailure, OpConversionFailure

    example = torch.zeros((_AT_ONCE, tile_px, tile_px, 3), dtype=torch.uint8)
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    try:
        with warnings.catch_warnings():  # of its tracing of the network's Python, whose sizes are fixed here
            warnings.simplefilter("ignore")
            model = openvino.convert_model(_FromTiles(network, scale).eval(), example_input=example)
        model.reshape([_AT_ONCE, tile_px, tile_px, 3])
        compiled = openvino.Core().compile_model(model, "CPU", settings)
    except (RuntimeError, GeneralFailure, OpConversionFailure) as error:
        raise InputError(f"openvino cannot take this network ({first_line(error)[:200]}); take torch") from None
    queue = openvino.AsyncInferQueue(compiled, 2 * compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    classes = int(compiled.output(0).partial_shape[1].get_length())
    queue.set_callback(lambda request, place: np.copyto(place, request.get_output_tensor().data[: len(place)]))

    def infer(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = np.empty((len(tiles), classes), dtype=np.float32)
        for start in range(0, len(tiles), _AT_ONCE):
            piece = tiles[start : start + _AT_ONCE]
            places = logits[start : start + _AT_ONCE]
            full = np.resize(piece, (_AT_ONCE, *piece.shape[1:])) if len(piece) < _AT_ONCE else piece
            queue.start_async({0: full}, places, share_inputs=True)
        queue.wait_all()
        return logits

    return infer


def _make_onnxruntime(network: nn.Module, tile_px: int, scale: str, precision: str) -> Infer:
    import onnxruntime

    example = torch.zeros((2, tile_px, tile_px, 3), dtype=torch.uint8)
    stream = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batch = {0: torch.export.Dim("batch")}
            program: Any = torch.onnx.export(
                _FromTiles(network, scale).eval(), (example,), dynamo=True, dynamic_shapes=(batch,), verbose=False
            )
        program.save(stream)
    except RuntimeError as error:
        raise InputError(f"onnxruntime cannot take this network ({first_line(error)[:200]}); take torch") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(stream.getvalue(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def infer(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(None, {name: tiles})[0]
        return logits

    return infer


RUNTIMES = {
    "torch": Runtime((), PRECISIONS, 0, _make_torch),
    "openvino": Runtime(("openvino",), PRECISIONS, 2_000, _make_openvino),
    # Its export takes seconds, so that it is repaid later.
    "onnxruntime": Runtime(("onnxruntime", "onnx", "onnxscript"), ("fp32",), 20_000, _make_onnxruntime),
}


def check_runtime(runtime: str, precision: str) -> None:
    """Refuse a runtime or precision that is unknown or not to be had, before any long work.

    Raises:
        InputError: With what there is, or what to install.
    """
    if runtime not in ("auto", *RUNTIMES):
        raise InputError(f"no runtime is called '{runtime}'{suggest(runtime, ('auto', *RUNTIMES))}")
    if precision not in PRECISIONS:
        raise InputError(f"precision is '{precision}'{suggest(precision, PRECISIONS)}")
    if runtime == "auto":
        return
    missing = [package for package in RUNTIMES[runtime].packages if not _installed(package)]
    if missing:
        raise InputError(
            f"runtime {runtime} needs {', '.join(missing)}, not installed here; pip install 'counterstain[runtimes]'"
        )
    if precision not in RUNTIMES[runtime].precisions:
        raise InputError(f"runtime {runtime} does not compute in {precision} on a processor; take torch or openvino")


def _suits(row: Runtime, precision: str, images: int) -> bool:
    return images >= row.least_images and precision in row.precisions and all(map(_installed, row.packages))


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _check_agreement(name: str, difference: float, precision: str, output: Output) -> None:
    if precision == "fp32" and not difference <= TOLERANCE:
        raise InputError(
            f"the {output.words} of {name} differ from torch's by {difference:.2g}, more than {TOLERANCE:g}; take torch"
        )


def _version(name: str) -> str:
    return str(sys.modules[name].__version__).partition("-")[0]  # without the build that follows


def import_openvino() -> ModuleType:
    """The module, silenced: its optional companion reports every import over the network. Nothing leaves from here."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")
