"""Keras's side of augment.py: its preprocessing layers on a batch. Run in Keras's environment.

python benchmarks/keras_augment.py TILE_PX TILES; each operation is one tf.function, called on a float32 batch in
memory, which is what the layers compute in, with as many threads as TensorFlow takes.
"""

import os
import sys
import time
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from turns import answer

layers = keras.layers


def make(operation: str) -> Any:
    """The layers for one operation, with the ranges of this project's defaults."""
    flip = [layers.RandomFlip("horizontal_and_vertical")]
    warp = [
        layers.RandomRotation(20 / 360, fill_mode="reflect"),
        layers.RandomTranslation(0.1, 0.1, fill_mode="reflect"),
        layers.RandomShear(x_factor=0.17, y_factor=0.0, fill_mode="reflect"),
    ]
    equalise = [layers.Equalization(value_range=(0, 255))]
    colour = [
        layers.RandomColorJitter(
            value_range=(0, 255), brightness_factor=0.2, contrast_factor=0.2, saturation_factor=(0.4, 0.6)
        )
    ]
    return {"equalise": equalise, "warp": warp, "colour": colour, "five": [*equalise, *flip, *warp]}[operation]


def compiled(operation: str) -> Any:
    """The operation as one TensorFlow function of a batch."""
    chain = make(operation)

    @tf.function
    def call(batch: Any) -> Any:
        for layer in chain:
            batch = layer(batch, training=True)
        return batch

    return call


def main() -> None:
    tile_px, count = int(sys.argv[1]), int(sys.argv[2])
    rng = np.random.default_rng(0)
    tiles = tf.constant(rng.integers(0, 256, (count, tile_px, tile_px, 3)).astype(np.float32))
    calls = {operation: compiled(operation) for operation in ("equalise", "warp", "colour", "five")}

    def measure() -> dict[str, Any]:
        rates = {}
        for operation, call in calls.items():
            began = time.perf_counter()
            call(tiles).numpy()
            rates[operation] = count / (time.perf_counter() - began)
        return rates

    measure()
    answer(measure)


if __name__ == "__main__":
    main()
