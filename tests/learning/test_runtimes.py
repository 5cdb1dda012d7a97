"""Every runtime answers as torch does, and the choice among them takes the fastest that does."""

import importlib.util
import sys
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from counterstain.errors import InputError
from counterstain.images.tensor import to_tensor
from counterstain.learning import runtimes
from counterstain.learning.networks import build_network
from counterstain.learning.runtimes import (
    RUNTIMES,
    TRIAL_TILES,
    Infer,
    Runtime,
    check_runtime,
    choose_runtime,
    softmax,
    torch_runtime,
)

PX = 127
MANY = 1_000_000
Tiles = NDArray[np.uint8]


@pytest.fixture(scope="module")
def tiles() -> Tiles:
    return np.random.default_rng(0).integers(0, 256, (70, PX, PX, 3), dtype=np.uint8)


@pytest.fixture
def network() -> nn.Module:
    return build_network("given", classes=3, tile_px=PX, seed=1)


def needed(name: str) -> None:
    missing = [package for package in RUNTIMES[name].packages if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed; pip install 'counterstain[runtimes]'")


def plainly(network: nn.Module, tiles: Tiles, scale: str) -> NDArray[np.float32]:
    """The network called as anyone would: one (B, 3, H, W) tensor, its memory in that order."""
    with torch.no_grad():
        return network.eval()(to_tensor(tiles, scale=scale).contiguous()).numpy()


def test_softmax_by_hand() -> None:
    # e^0 : e^ln 3 = 1 : 3
    assert softmax(np.array([[0, np.log(3)], [1000, 1000]], np.float32)) == pytest.approx(
        np.array([[0.25, 0.75], [0.5, 0.5]])
    )


@pytest.mark.parametrize("scale", ["0..1", "-1..1"])
@pytest.mark.parametrize("name", RUNTIMES)
def test_every_runtime_answers_as_the_network_does(name: str, scale: str, network: nn.Module, tiles: Tiles) -> None:
    needed(name)
    infer = RUNTIMES[name].make(network, PX, scale, "fp32")
    for count in (1, 3, 70):
        found = infer(tiles[:count])
        assert found.dtype == np.float32 and found.shape == (count, 3)
        np.testing.assert_allclose(found, plainly(network, tiles[:count], scale), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_bf16_is_near_and_is_not_fp32(name: str, network: nn.Module, tiles: Tiles) -> None:
    needed(name)
    chosen = choose_runtime(network, tiles, scale="-1..1", images=MANY, runtime=name, precision="bf16")
    expected = softmax(plainly(network, tiles, "-1..1"))
    difference = np.abs(softmax(chosen.infer(tiles)) - expected).max()
    assert difference < 0.02 and "bf16" in chosen.lines[-1]
    if name == "torch":  # others may leave it undone where the processor does not compute in it
        assert difference > 0
    assert "probabilities differ from torch in fp32 by" in chosen.lines[-1]


def test_training_can_go_on_after_predicting(network: nn.Module, tiles: Tiles) -> None:
    torch_runtime(network, scale="0..1")(tiles[:2])
    network.train()
    network(to_tensor(tiles[:2], scale="0..1")).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_openvino_reports_to_nobody(network: nn.Module) -> None:
    needed("openvino")
    RUNTIMES["openvino"].make(network, PX, "0..1", "fp32")
    assert sys.modules["openvino_telemetry"] is None


# ---- the choice


def row(make: Callable[..., Infer], *, least: int = 0, precisions: tuple[str, ...] = ("fp32", "bf16")) -> Runtime:
    return Runtime((), precisions, least, make)


def table_with(monkeypatch: pytest.MonkeyPatch, rows: dict[str, Runtime]) -> None:
    monkeypatch.setattr(runtimes, "RUNTIMES", {"torch": RUNTIMES["torch"], **rows})
    for name in rows:
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
        sys.modules[name].__version__ = "9"  # type: ignore[attr-defined]


def instant(network: nn.Module, tiles: Tiles, off: float = 0.0) -> Callable[..., Infer]:
    """A runtime that knows its answers beforehand, so that nothing can be faster."""
    known = plainly(network, tiles[:TRIAL_TILES], "0..1")
    known[:, 0] += np.float32(off)
    return lambda *_: lambda tiles: known[: len(tiles)]


def cannot(*_: object) -> Infer:
    raise InputError("it cannot take this network (an operation is missing); take torch")


def test_the_fastest_that_agrees_is_taken(network: nn.Module, tiles: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    table_with(
        monkeypatch,
        {
            "wrong": row(instant(network, tiles, off=0.01)),
            "right": row(instant(network, tiles, off=0.0001)),
            "broken": row(cannot),
            "later": row(instant(network, tiles), least=MANY + 1),
            "other": row(cannot, precisions=("bf16",)),
        },
    )
    chosen = choose_runtime(network, tiles, scale="0..1", images=MANY)
    assert chosen.name == "right"
    assert [line.split(" is not taken")[0] for line in chosen.lines[:-1]] == ["runtime wrong", "runtime broken"]
    assert "more than 0.0001" in chosen.lines[0] and "an operation is missing" in chosen.lines[1]
    assert chosen.lines[-1].startswith("runtime: right 9, fp32 (images/s on 32 of them: torch ")
    with pytest.raises(InputError, match=r"of wrong differ from torch's by .*; take torch"):
        choose_runtime(network, tiles, scale="0..1", images=MANY, runtime="wrong")
    with pytest.raises(InputError, match="an operation is missing"):
        choose_runtime(network, tiles, scale="0..1", images=MANY, runtime="broken")


def test_few_images_are_predicted_by_torch_untried(
    network: nn.Module, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    table_with(monkeypatch, {"right": row(instant(network, tiles), least=100)})
    few = choose_runtime(network, tiles, scale="0..1", images=99)
    assert few.name == "torch" and few.lines == (f"runtime: torch {torch.__version__}, fp32",)
    assert choose_runtime(network, tiles, scale="0..1", images=100).name == "right"
    assert choose_runtime(network, tiles[:0], scale="0..1", images=0).name == "torch"


@pytest.mark.parametrize(("seconds", "taken"), [(0.090, "other"), (0.097, "torch"), (0.150, "torch")])
def test_another_than_torch_must_be_worth_it(
    network: nn.Module, tiles: Tiles, monkeypatch: pytest.MonkeyPatch, seconds: float, taken: str
) -> None:
    table_with(monkeypatch, {"other": row(instant(network, tiles))})
    # Of torch, then of the other: the best of each counts.
    clock_of(monkeypatch, [0.9, 0.1, 0.2, 0.15, 0.9, 0.2, seconds, 0.8])
    assert choose_runtime(network, tiles, scale="0..1", images=MANY).name == taken


def test_of_a_slow_network_one_pass_is_enough(
    network: nn.Module, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    table_with(monkeypatch, {"other": row(instant(network, tiles))})
    clock_of(monkeypatch, [9.0, 8.0])
    assert choose_runtime(network, tiles, scale="0..1", images=MANY).name == "other"


def clock_of(monkeypatch: pytest.MonkeyPatch, passes: list[float]) -> None:
    """Passes take as many seconds as these, in turn, and there is no time after the last."""
    clock = iter([moment for took in passes for moment in (0.0, took)])
    monkeypatch.setattr(runtimes, "time", SimpleNamespace(perf_counter=lambda: next(clock)))


@pytest.mark.parametrize(
    ("asked", "precision", "words"),
    [
        ("openvin", "fp32", "did you mean 'openvino'"),
        ("auto", "fp16", "precision is 'fp16'"),
        ("onnxruntime", "bf16", "does not compute in bf16"),
    ],
)
def test_what_is_not_there_is_refused(asked: str, precision: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_installed", lambda package: True)
    with pytest.raises(InputError, match=words):
        check_runtime(asked, precision)


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_installed", lambda package: package != "onnx")
    with pytest.raises(InputError, match=r"needs onnx, not installed here; pip install 'counterstain\[runtimes\]'"):
        check_runtime("onnxruntime", "fp32")
    check_runtime("auto", "fp32")
    check_runtime("openvino", "fp32")
