"""The given and the modified network against the same networks in Keras: outputs, gradients, and one training step.

The Keras networks are written as the user's own script writes them, with Keras's own padding, pooling, initial
layout, loss and optimisers. Keras stands on torch here, so the sums inside one convolution are the same; what differs,
and is compared, is the padding, the order of ReLU and pooling, the order of flattening, the loss and the update.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from counterstain.images.tensor import to_tensor
from counterstain.learning import training_state, training_step
from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import prepare_device
from counterstain.learning.networks import NETWORKS, TileNetwork, build_network, count_parameters

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras"
)

Array = NDArray[np.float32]
LABEL = np.array([0, 1, 1, 0, 1, 0])
RATE, EPSILON = 1e-4, 1e-7
ONE_HOT = np.eye(2, dtype=np.float32)[LABEL]
# 128 px pads unevenly in the first convolution (stride 2) and 257 px, the user's, in the last (stride 3); 300 px pads
# not at all in the last; at 320 px the last map is 2×2, so the order of flattening counts.
SLOW_PX = [pytest.param(tile_px, marks=pytest.mark.slow) for tile_px in (257, 300, 320)]


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Keras on torch on the processor, its settings away from the developer's home."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KERAS_BACKEND", "torch")
        environment.setenv("KERAS_TORCH_DEVICE", "cpu")
        environment.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        module = pytest.importorskip("keras", reason="Keras is only in the dev extra: pip install -e '.[dev]'")
        assert module.backend.backend() == "torch"
        yield module
        module.utils.clear_session()


def keras_network(keras: Any, name: str, tile_px: int) -> Any:
    """The user's network in Keras; without dropout, which is random and so cannot be compared step by step."""
    layers = [keras.Input((tile_px, tile_px, 3))]
    for stride in (2, 1, 1, 1, 3):
        layers.append(keras.layers.Conv2D(48, 3, strides=stride, padding="same", activation="relu"))
        layers.append(keras.layers.MaxPooling2D(pool_size=2, strides=2))
    layers.append(keras.layers.Flatten())
    layers += [keras.layers.Dense(1000, activation="relu") for _ in range({"given": 1, "modified": 2}[name])]
    layers.append(keras.layers.Dense(2, activation="softmax"))
    return keras.Sequential(layers)


def in_keras_layout(values: Iterable[Tensor]) -> list[Array]:
    """Our weights (or gradients) as Keras lays them out: (out, in, h, w) as (h, w, in, out), dense transposed."""
    arrays = [value.detach().numpy() for value in values]
    return [array.transpose(*range(2, array.ndim), 1, 0) if array.ndim > 1 else array for array in arrays]


def spread_outputs(network: TileNetwork, tiles: NDArray[np.uint8]) -> None:
    logits = network(to_tensor(tiles, scale="0..1"))
    margin = logits[:, 1] - logits[:, 0]
    network.output.weight.div_(margin.std())
    network.output.bias.div_(margin.std())
    network.output.bias[1] -= margin.mean() / margin.std()


def pair(keras: Any, name: str, tile_px: int, *, spread: bool = False) -> tuple[TileNetwork, Any]:
    """Our network, dropout off, and Keras's with the same weights: Glorot's times 1.5, and random biases.

    spread: the output layer is scaled so that the tiles' logit differences have mean 0 and standard deviation 1.
    """
    network = build_network(name, classes=2, tile_px=tile_px, seed=tile_px).eval()
    generator = torch.Generator().manual_seed(tile_px)
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if key.endswith("bias"):
                nn.init.normal_(parameter, std=0.1, generator=generator)
            else:
                parameter.mul_(1.5)
        if spread:
            spread_outputs(network, stored_tiles(tile_px))
    twin = keras_network(keras, name, tile_px)
    twin.set_weights(in_keras_layout(network.parameters()))
    return network, twin


def stored_tiles(tile_px: int) -> NDArray[np.uint8]:
    """(6, tile_px, tile_px, 3) noise, each tile in a colour of its own."""
    random = np.random.default_rng(tile_px)
    colour = random.random((len(LABEL), 1, 1, 3))
    return (255 * colour * random.random((len(LABEL), tile_px, tile_px, 3))).astype(np.uint8)


def for_keras(tiles: NDArray[np.uint8]) -> Array:
    """Scaled as the user's script does it."""
    return tiles.astype(np.float32) / np.float32(255)


def largest_difference(ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    """Over all weights of all layers."""
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("tile_px", [128, 257, *SLOW_PX[1:]])
@pytest.mark.parametrize("name", NETWORKS)
def test_probabilities_are_equal(keras: Any, name: str, tile_px: int) -> None:
    network, twin = pair(keras, name, tile_px, spread=True)
    tiles = stored_tiles(tile_px)
    assert twin.count_params() == count_parameters(network)
    prob = functional.softmax(network(to_tensor(tiles, scale="0..1")), 1).detach().numpy()
    theirs = twin(for_keras(tiles)).detach().numpy()
    np.testing.assert_allclose(prob, theirs, atol=1e-5, rtol=0)
    assert prob[:, 1].std() > 0.1  # were all tiles alike to the network, equal outputs would say little


@pytest.mark.parametrize("tile_px", [128, *SLOW_PX])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_the_binary_cross_entropy_are_equal(keras: Any, name: str, tile_px: int) -> None:
    network, twin = pair(keras, name, tile_px)
    tiles = stored_tiles(tile_px)
    loss = functional.cross_entropy(network(to_tensor(tiles, scale="0..1")), torch.from_numpy(LABEL))
    ours = in_keras_layout(torch.autograd.grad(loss, list(network.parameters())))
    their_loss = keras.losses.BinaryCrossentropy()(ONE_HOT, twin(for_keras(tiles)))
    their_weights = [weight.value for weight in twin.trainable_variables]
    theirs = [gradient.numpy() for gradient in torch.autograd.grad(their_loss, their_weights)]
    assert loss.item() == pytest.approx(their_loss.item(), abs=1e-5)
    assert largest_difference(ours, theirs) < 1e-5
    assert all(np.abs(gradient).max() > 1e-4 for gradient in ours)


def one_step(
    keras: Any, name: str, tile_px: int, their_optimiser: Any, our_optimiser: Callable[..., Any] | None = None
) -> tuple[list[Array], list[Array], list[Array], Array]:
    """One training step on one batch: the weights before, ours after, Keras's after, and our gradient in one line.

    our_optimiser: in place of the one that training makes.
    """
    network, twin = pair(keras, name, tile_px)
    machine = prepare_device(precision="fp32", device="cpu")
    settings = TrainingConfig(
        network=name,
        learning_rate=RATE,
        epsilon=EPSILON,
        precision="fp32",
        device="cpu",
        micro_batch=4,
        scale="0..1",
    )
    state = training_state.start_state(settings, machine, classes=2, tile_px=tile_px, seed=0)
    state.network.load_state_dict(network.state_dict())
    state.network.eval()
    if our_optimiser is not None:
        state.optimiser = our_optimiser(state.network.parameters())
    training_step.take_step(state, stored_tiles(tile_px), LABEL, settings, machine)
    gradient = in_keras_layout(parameter.grad for parameter in state.network.parameters() if parameter.grad is not None)
    twin.compile(optimizer=their_optimiser, loss=keras.losses.BinaryCrossentropy())
    twin.train_on_batch(for_keras(stored_tiles(tile_px)), ONE_HOT)
    before, after = (in_keras_layout(weights.parameters()) for weights in (network, state.network))
    return before, after, twin.get_weights(), flat(gradient)


def flat(arrays: Iterable[Array]) -> Array:
    """All layers' numbers in one line."""
    return np.concatenate([array.ravel() for array in arrays])


def updates(before: list[Array], after: list[Array]) -> Array:
    """What one step added to each weight, all layers in one line."""
    return flat(after) - flat(before)


@pytest.mark.parametrize("tile_px", [128, *SLOW_PX])
@pytest.mark.parametrize("name", NETWORKS)
def test_one_step_of_gradient_descent_gives_the_same_weights(keras: Any, name: str, tile_px: int) -> None:
    """With plain gradient descent the step is as large as the gradient, so equal weights need equal gradients."""
    before, ours, theirs, _ = one_step(
        keras, name, tile_px, keras.optimizers.SGD(10.0), lambda weights: torch.optim.SGD(weights, lr=10.0)
    )
    assert largest_difference(ours, theirs) < 1e-4
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(ours, before, strict=True))


@pytest.mark.parametrize("tile_px", [128, *SLOW_PX])
@pytest.mark.parametrize("name", NETWORKS)
def test_one_step_of_adam_gives_the_same_weights(keras: Any, name: str, tile_px: int) -> None:
    """Adam as both are used: learning rate 1e-4, epsilon 1e-7.

    The first step moves no weight by more than the rate, so "the same to 1e-4" could hardly fail; the updates are
    compared, in units of the rate. With g the gradient, PyTorch (algorithm 1 of Kingma & Ba 2015, arXiv:1412.6980)
    moves a weight by g / (|g| + epsilon), and Keras (their rewritten form, end of section 2) by
    g / (|g| + epsilon / sqrt(1 - beta2)): its epsilon is 32 times as large in the first step, and the same after some
    thousands. So the two differ by more than 1 % of the rate only where 0 < |g| < 3.1e-4, and nowhere by more than
    0.70 of it.
    """
    before, ours, theirs, gradient = one_step(keras, name, tile_px, keras.optimizers.Adam(RATE, epsilon=EPSILON))
    difference = np.abs(updates(before, ours) - updates(before, theirs)) / RATE
    assert difference[np.abs(gradient) > 3.2e-4].max() < 0.01
    assert difference.max() < 0.70
    assert (difference > 0.01).mean() < 0.2
    assert np.abs(updates(before, ours)).max() > 0.99 * RATE
    assert largest_difference(ours, theirs) < 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_adam_differs_from_keras_only_by_where_epsilon_stands(keras: Any, name: str) -> None:
    """Given Keras's epsilon / sqrt(1 - beta2), PyTorch moves every weight as Keras does in the first step."""
    before, ours, theirs, _ = one_step(
        keras,
        name,
        128,
        keras.optimizers.Adam(RATE, epsilon=EPSILON),
        lambda weights: torch.optim.Adam(weights, lr=RATE, eps=EPSILON / math.sqrt(1 - 0.999)),
    )
    assert np.abs(updates(before, ours) - updates(before, theirs)).max() < 0.01 * RATE
