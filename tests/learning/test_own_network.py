"""A network of the user's: built from its file, refused by name where it does not fit, used like ours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from counterstain.errors import InputError
from counterstain.learning.build import last_layer, layout_of
from counterstain.learning.bundle import Bundle, load_network, read_bundle, write_bundle
from counterstain.learning.own_network import (
    _LOADED,
    SOURCE,
    OwnNetwork,
    allow_file,
    build_own,
    is_own,
    read_reference,
    receptive_field,
)

SMALL = """\
import torch
from torch import nn


class SmallNet(nn.Module):
    def __init__(self, classes, width=8):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, width, 3, 2), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def forward(self, tiles):
        return self.head(self.maps(tiles).mean((2, 3)))


def with_side(classes, tile_px):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * tile_px**2, classes))


def probabilities(classes):
    return nn.Sequential(SmallNet(classes), nn.Softmax(1))


def one_too_many(classes):
    return SmallNet(classes + 1)


def infinite(classes):
    net = SmallNet(classes)
    nn.init.constant_(net.head.bias, float("inf"))
    return net


def no_module(classes):
    return 3


def breaks(classes):
    raise RuntimeError("no luck")


def no_classes(width):
    return SmallNet(2, width)
"""
PX = 33


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    (tmp_path / "my_nets.py").write_text(SMALL)
    return tmp_path


def build(nets: Path, name: str, **settings: object) -> OwnNetwork:
    reference = f"my_nets.py:{name}"
    return build_own(reference, read_reference(reference, nets), settings, classes=2, tile_px=PX, seed=3)


def test_references() -> None:
    assert is_own("my_nets.py:SmallNet") and is_own("package.module:Name")
    assert not is_own("given") and not is_own("timm/resnet18") and not is_own("mil/abmil")


def test_the_same_seed_gives_the_same_weights_and_moves_no_generator(nets: Path) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, two = build(nets, "SmallNet"), build(nets, "SmallNet")
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    sha = one.sha256
    other = build_own("my_nets.py:SmallNet", sha, {}, classes=2, tile_px=PX, seed=4)
    assert not torch.equal(one.state_dict()["body.head.weight"], other.state_dict()["body.head.weight"])
    assert build(nets, "SmallNet", width=5).state_dict()["body.head.weight"].shape == (2, 5)
    assert build(nets, "with_side")(torch.zeros(1, 3, PX, PX)).shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("SmallNte", {}, "has no function or class 'SmallNte'; did you mean 'SmallNet'"),
        ("SmallNet", {"widht": 3}, "widht"),
        ("probabilities", {}, "leave its last softmax out"),
        ("one_too_many", {}, r"gave \(2, 3\) for tiles of \(2, 3, 33, 33\); logits of \(2, 2\)"),
        ("infinite", {}, "not finite before any training"),
        ("no_module", {}, "gave a int; a torch.nn.Module or a Keras model"),
        ("breaks", {}, r"RuntimeError: no luck, line \d+ of my_nets.py"),
        ("no_classes", {"width": 3}, "it takes `classes`"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(nets: Path, name: str, settings: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(nets, name, **settings)


def test_files_that_cannot_be_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; a network's file counts from the study's folder"):
        read_reference("gone.py:Net", tmp_path)
    with pytest.raises(InputError, match=r"write my_nets\.py:SmallNet or package"):
        read_reference("my nets:Net", tmp_path)
    with pytest.raises(InputError, match="No module named 'no_such_package'"):
        read_reference("no_such_package.nets:Net", tmp_path)
    for text, words in (
        ("def x(:\n", "SyntaxError"),
        ("import no_such_module\n", "No module named"),
        ("1/0\n", "line 1"),
    ):
        (tmp_path / "bad.py").write_text(text)
        with pytest.raises(InputError, match=words):
            read_reference("bad.py:Net", tmp_path)


def test_a_package_serves_too() -> None:
    sha = read_reference("torchvision.models.resnet:ResNet", Path())
    assert len(sha) == 64


def test_a_bundle_runs_no_code_until_the_file_is_named(nets: Path, tmp_path: Path) -> None:
    network = build(nets, "SmallNet", width=5)
    bundle = Bundle("my_nets.py:SmallNet", ("a", "b"), PX, "stretch", "-1..1", layout=layout_of(network))
    folder = tmp_path / "bundle"
    write_bundle(folder, bundle, network)
    assert (folder / SOURCE).read_text() == SMALL
    assert read_bundle(folder) == bundle
    kept = dict(_LOADED)
    _LOADED.clear()  # as in a new process
    try:
        with pytest.raises(InputError, match=r"not run unbidden.*--network-file"):
            load_network(folder)
        (nets / "changed.py").write_text(SMALL + "\n")
        allow_file(nets / "changed.py")
        with pytest.raises(InputError, match="the file must be unchanged"):
            load_network(folder)
        allow_file(folder / SOURCE)
        _, loaded = load_network(folder)
    finally:
        _LOADED.update(kept)
    tiles = torch.rand(3, 3, PX, PX)
    assert torch.equal(loaded(tiles), network(tiles))
    (folder / SOURCE).write_text("changed")
    with pytest.raises(InputError, match="is not the file that was written"):
        load_network(folder)


def test_receptive_field_by_hand(nets: Path) -> None:
    # 3×3 at stride 2, then 3×3: 3 + 2·2 = 7 px.
    assert receptive_field(build(nets, "SmallNet"), PX) == 7
    assert receptive_field(build(nets, "with_side"), PX) == PX
    # 3×3, 2×2 pooling, 3×3: 3 + 1 + 2·2 = 8 px.
    pooled = nn.Sequential(nn.Conv2d(3, 16, 3), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3))
    assert 7 <= (receptive_field(pooled, PX, tries=16) or 0) <= 8


def test_features_are_those_before_the_last_linear_layer(nets: Path) -> None:
    network = build(nets, "SmallNet")
    assert last_layer(network) is network.body.head  # type: ignore[union-attr]


KERAS = """\
import keras


def make(classes, dense=1, last="softmax"):
    layers = [keras.Input((127, 127, 3))]
    for stride in (2, 1, 1, 1, 3):
        layers.append(keras.layers.Conv2D(48, 3, strides=stride, padding="same", activation="relu"))
        layers.append(keras.layers.MaxPooling2D(pool_size=2, strides=2))
    layers.append(keras.layers.Flatten())
    for _ in range(dense):
        layers += [keras.layers.Dense(1000, activation="relu"), keras.layers.Dropout(0.5)]
    layers.append(keras.layers.Dense(classes, activation=last))
    return keras.Sequential(layers)
"""


@pytest.fixture
def keras_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("KERAS_TORCH_DEVICE", "cpu")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    pytest.importorskip("keras", reason="Keras is only in the dev extra: pip install -e '.[dev]'")
    (tmp_path / "my_keras.py").write_text(KERAS)
    return tmp_path


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(("dense", "name"), [(1, "given"), (2, "modified")])
def test_keras_models_answer_as_ours_with_the_same_weights(keras_file: Path, dense: int, name: str) -> None:
    from counterstain.learning.networks import build_network

    sha = read_reference("my_keras.py:make", keras_file)
    theirs = build_own("my_keras.py:make", sha, {"dense": dense}, classes=2, tile_px=127, seed=0)
    ours = build_network(name, classes=2, tile_px=127, seed=5).eval()
    with torch.no_grad():
        weights = [value for value in theirs.parameters() if value.requires_grad]
        for value, own in zip(weights, ours.parameters(), strict=True):
            order = (2, 3, 1, 0) if own.ndim == 4 else tuple(reversed(range(own.ndim)))
            value.copy_(own.permute(order))
    tiles = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (3, 3, 127, 127)).astype(np.float32))
    with torch.no_grad():
        np.testing.assert_allclose(theirs(tiles).numpy(), ours(tiles).numpy(), atol=1e-5)
        theirs.train()
        assert not torch.allclose(theirs(tiles), theirs(tiles))  # its dropout is on while it learns
    again = build_own("my_keras.py:make", sha, {"dense": dense}, classes=2, tile_px=127, seed=0)
    assert list(again.state_dict()) == list(theirs.state_dict())  # Keras itself would number its layers anew
    with pytest.raises(InputError, match=r"ends in sigmoid; end it in Dense"):
        build_own("my_keras.py:make", sha, {"last": "sigmoid"}, classes=2, tile_px=127, seed=0)
