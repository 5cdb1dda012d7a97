"""A network of the user's: a function or class in a Python file or package, wrapped so that it is used like ours.

Code is run where the user names it: in a study, with `train --network`, or with `--network-file` for a bundle. What a
bundle holds of it is a copy of the source, which is never run by itself.
"""

import hashlib
import importlib
import importlib.util
import inspect
import os
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from counterstain.errors import InputError, suggest

__all__ = [
    "SOURCE", "OwnNetwork", "allow_file", "build_own", "is_own", "own_layout", "read_reference", "receptive_field",
    "source_of",
]  # fmt: skip

SOURCE = "own_network.py"  # the copy in a bundle
_REFERENCE = re.compile(r"(?P<place>.+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class _Loaded:
    """A module that the user has named in this process, and the bytes of its source."""

    module: ModuleType
    source: bytes


# By SHA-256 of the source, as sys.modules holds modules by name: a training or a bundle is built from the source whose
# hash it records, and from no other.
_LOADED: dict[str, _Loaded] = {}


def is_own(network: str) -> bool:
    """Whether a network's name is a reference to the user's code: "my_nets.py:SmallNet" or "package.module:Name"."""
    return ":" in network


def read_reference(reference: str, base: Path) -> str:
    """Load the code that a reference names, and give the SHA-256 of its source; the code is run.

    Args:
        reference: "file.py:Name", the file counting from `base`, or "package.module:Name".
        base: folder of the study, or the working directory.

    Raises:
        InputError: If there is no such file, package or name, or the code cannot be run.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise InputError(f"network is '{reference}'; write my_nets.py:SmallNet or package.module:SmallNet")
    place, name = match["place"], match["name"]
    sha256 = allow_file(base / place) if place.endswith(".py") else _load_package(place)
    module = _LOADED[sha256].module
    if not callable(getattr(module, name, None)):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise InputError(f"{place} has no function or class '{name}'{suggest(name, known)}")
    return sha256


def allow_file(path: Path) -> str:
    """Run a Python file of the user's and remember it by the SHA-256 of its source, which is returned.

    Raises:
        InputError: If it is not there, or cannot be run.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; a network's file counts from the study's folder")
    source = path.read_bytes()
    sha256 = hashlib.sha256(source).hexdigest()
    if sha256 not in _LOADED:
        name = f"counterstain_own_{sha256[:16]}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise InputError(f"{path} is no Python file; name one that ends in .py")
        module = importlib.util.module_from_spec(spec)
        with _naming(str(path), "keep the network in one file, or install it as a package: package.module:Name"):
            exec(compile(source, str(path), "exec"), module.__dict__)  # the very bytes that were hashed
        sys.modules[name] = module
        _LOADED[sha256] = _Loaded(module, source)
    return sha256


def _load_package(name: str) -> str:
    with _naming(name, "install the package into this environment"):
        module = importlib.import_module(name)
    if not module.__file__:
        raise InputError(f"{name} is no module with a source file; name the module that the network is defined in")
    source = Path(module.__file__).read_bytes()
    sha256 = hashlib.sha256(source).hexdigest()
    _LOADED[sha256] = _Loaded(module, source)
    return sha256


@contextmanager
def _naming(place: str, remedy: str) -> Iterator[None]:
    """Errors of the user's code as one line that names the place; Keras stands on torch unless told otherwise."""
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        yield
    except InputError:
        raise
    except ModuleNotFoundError as error:
        extra = " (pip install 'counterstain[keras]')" if error.name == "keras" else ""
        raise InputError(f"{place}: {error}{extra}; {remedy}") from None
    except Exception as error:  # noqa: BLE001 (whatever somebody else's code may raise)
        frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
        line = f", line {frames[-1].lineno} of {Path(frames[-1].filename).name}" if frames else ""
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{place} failed: {type(error).__name__}: {reason}{line}; mend the network's code") from None


def source_of(sha256: str) -> bytes:
    """The bytes of a source that was loaded in this process."""
    return _LOADED[sha256].source


def own_layout(network: "OwnNetwork") -> dict[str, object]:
    """What a bundle must say to build the network again."""
    return {"own": {"sha256": network.sha256, "settings": dict(network.settings)}}


def build_own(
    reference: str, sha256: str, settings: Mapping[str, object], *, classes: int, tile_px: int, seed: int
) -> "OwnNetwork":
    """The user's network with fresh weights, the same for the same seed, tried on two tiles.

    Args:
        reference: as in read_reference; only the name behind the colon is looked at.
        sha256: of the source, which must have been loaded in this process.
        settings: keyword arguments beside `classes`, and `tile_px` where the function or class takes it.
        classes: how many; tile_px: side of the tiles in px; seed: of the weights.

    Raises:
        InputError: If the source was not named here, its arguments don't fit, it gives no nn.Module (or Keras model),
            or that gives anything but (B, classes) logits.
    """
    name = reference.rpartition(":")[2]
    if sha256 not in _LOADED:
        raise InputError(
            f"this model's network is code of a user's ({reference}), which is not run unbidden. Read the bundle's "
            f"copy of it, {SOURCE}, and name it: --network-file <bundle>/{SOURCE} (the file must be unchanged)"
        )
    make: Callable[..., Any] = getattr(_LOADED[sha256].module, name)
    arguments = dict(settings)
    try:
        signature = inspect.signature(make)
        if "tile_px" in signature.parameters:
            arguments["tile_px"] = tile_px
        signature.bind(classes=classes, **arguments)
    except TypeError as error:
        raise InputError(
            f"{reference} can't be called with classes={classes}, {arguments or 'no settings'}: {error}; it takes "
            f"`classes` and the keys of network_settings as keyword arguments"
        ) from None
    with _naming(reference, "install what it needs"), _seeded(seed):
        built = make(classes=classes, **arguments)
        if not isinstance(built, nn.Module):
            raise InputError(f"{reference} gave a {type(built).__name__}; a torch.nn.Module or a Keras model is needed")
        network = OwnNetwork(built, reference, sha256, settings, classes=classes)
        network.eval()
        _check_answers(network, reference, classes, tile_px)
    return network


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """All generators that initial weights may be drawn from, set; and put back as they were afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (what Keras draws from)
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _check_answers(network: "OwnNetwork", reference: str, classes: int, tile_px: int) -> None:
    """Refuse what does not answer two tiles with two rows of logits."""
    tiles = torch.rand(2, 3, tile_px, tile_px, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        answer = network.answer(tiles)
    if not isinstance(answer, Tensor) or tuple(answer.shape) != (2, classes):
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise InputError(
            f"{reference} gave {shape} for tiles of (2, 3, {tile_px}, {tile_px}); logits of (2, {classes}) are needed"
        )
    if not torch.isfinite(answer).all():
        raise InputError(
            f"{reference} gave a logit that is not finite before any training; correct its initial weights"
        )
    sums = answer.sum(1)
    if (answer >= 0).all() and (answer <= 1).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
        raise InputError(f"{reference} gives probabilities; logits are needed: leave its last softmax out")


class OwnNetwork(nn.Module):
    """A user's module: (B, 3, tile_px, tile_px) floats in the range of the arm's `scale` to (B, classes) logits.

    body: the module; of a Keras model its variables are held here in their order, since Keras numbers their names again
        for every model that a process builds.
    reference, sha256, settings: what it was built from.
    """

    def __init__(
        self, body: nn.Module, reference: str, sha256: str, settings: Mapping[str, Any], *, classes: int
    ) -> None:
        super().__init__()
        self.reference, self.sha256, self.settings = reference, sha256, dict(settings)
        self.classes = classes
        self.log_prior: Tensor  # by how much its logits are too high, see learning.objective
        self.register_buffer("log_prior", torch.zeros(classes))
        self.is_keras = _is_keras(body)
        if self.is_keras:
            _as_logits(body, reference)
            object.__setattr__(self, "_keras", body)  # not registered: its names would go into the weights' file
            self.variables = nn.ParameterList([variable.value for variable in body.variables])  # type: ignore[union-attr]
        else:
            self.body = body

    def forward(self, tiles: Tensor, masks: Tensor | None = None) -> Tensor:
        """(B, 3, tile_px, tile_px) floats to (B, classes) logits; its own dropout is drawn by torch or Keras."""
        return self.answer(tiles) - self.log_prior

    def answer(self, tiles: Tensor) -> Tensor:
        """What the user's module gives, whatever that is."""
        if self.is_keras:
            keras: Any = self.__dict__["_keras"]
            logits: Tensor = keras(tiles.permute(0, 2, 3, 1), training=self.training)
        else:
            logits = self.body(tiles)
        return logits


def _is_keras(module: nn.Module) -> bool:
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(module, keras.Model):
        return False
    if keras.backend.backend() != "torch":
        raise InputError(
            f"Keras runs on {keras.backend.backend()} here; set the environment variable KERAS_BACKEND=torch"
        )
    return True


def _as_logits(model: Any, reference: str) -> None:
    """A Keras model usually ends in a softmax: its last layer is made linear, which gives the logits."""
    activation = getattr(model.layers[-1], "activation", None)
    name = getattr(activation, "__name__", "linear")
    if name == "softmax":
        model.layers[-1].activation = sys.modules["keras"].activations.linear
    elif name != "linear":
        raise InputError(
            f"{reference} ends in {name}; end it in Dense(classes) or Dense(classes, activation='softmax')"
        )


def receptive_field(network: nn.Module, tile_px: int, *, tries: int = 4) -> int | None:
    """Side in px of the part of a tile that one place of the network's last map depends on; tile_px where it is all.

    None for a Keras model, whose maps are not shown.

    Found by gradients: the middle place of the last map (B, C, h, w) that still has several places, with respect to
    random tiles, all of whose non-zero pixels count. ReLU and max-pooling hide some pixels of one tile, so several are
    tried; the result is a lower bound that random tiles come close to.
    """
    if isinstance(network, OwnNetwork) and network.is_keras:
        return None
    maps: list[Tensor] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
            maps.append(output)

    handles = [module.register_forward_hook(note) for module in network.modules()]
    generator = torch.Generator().manual_seed(0)
    reached = torch.zeros(tile_px, tile_px, dtype=torch.bool)
    trained = network.training
    network.eval()
    try:
        for _ in range(tries):
            maps.clear()
            tiles = (torch.rand(1, 3, tile_px, tile_px, generator=generator) * 2 - 1).requires_grad_()
            network(tiles)
            if not maps:
                return tile_px
            middle = maps[-1][:, :, maps[-1].shape[2] // 2, maps[-1].shape[3] // 2].sum()
            (gradient,) = torch.autograd.grad(middle, tiles, allow_unused=True)
            if gradient is not None:
                reached |= (gradient[0] != 0).any(0)
    finally:
        network.train(trained)
        for handle in handles:
            handle.remove()
    if not reached.any():
        return tile_px
    sides = [int(reached.any(axis).nonzero().max() - reached.any(axis).nonzero().min()) + 1 for axis in (0, 1)]
    return max(sides)
