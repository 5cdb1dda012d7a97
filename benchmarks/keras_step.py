"""Keras's side of training_step.py: `model.fit` of the given network on arrays in memory. Run in Keras's environment.

python benchmarks/keras_step.py POLICY ALLOCATOR TILE_PX BATCH STEPS, with POLICY float32 or mixed_bfloat16 and
ALLOCATOR default or kept.
"""

import ctypes
import os
import sys
import time
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
if __name__ == "__main__" and sys.argv[2] == "kept":  # before anything large is allocated; the same values as ours
    for option, value in ((-3, 1 << 30), (-1, (1 << 31) - 1), (-2, 64 << 20)):
        ctypes.CDLL(None).mallopt(option, value)

import keras
import numpy as np
from notebook_style import given_network
from turns import answer


def main() -> None:
    policy, _, *sizes = sys.argv[1:]
    tile_px, batch, steps = map(int, sizes)
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    network = given_network(tile_px)
    network.compile(optimizer=keras.optimizers.Adam(1e-4), loss=keras.losses.BinaryCrossentropy(), metrics=["accuracy"])
    rng = np.random.default_rng(0)
    x = rng.random((steps * batch, tile_px, tile_px, 3), dtype=np.float32)
    y = np.eye(2, dtype=np.float32)[rng.integers(0, 2, steps * batch)]
    clock = Steps(batch)

    def measure() -> dict[str, Any]:
        network.fit(x, y, batch_size=batch, epochs=1, verbose=0, callbacks=[clock])
        return {"images_per_s": clock.images_per_s}

    for _ in range(-(-60 // steps)):  # as many steps as ours takes before it is measured
        measure()
    answer(measure)


class Steps(keras.callbacks.Callback):  # type: ignore[misc]
    """Images per second from the end of the first step to the end of the last: `fit`'s own start is not counted."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch, self.count, self.began, self.images_per_s = batch, 0, 0.0, 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.count = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.count == 0:
            self.began = time.perf_counter()
        else:
            self.images_per_s = self.count * self.batch / (time.perf_counter() - self.began)
        self.count += 1


if __name__ == "__main__":
    main()
