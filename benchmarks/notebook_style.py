"""The user's notebook as a script, to measure against: cv2, offline augmentation, everything in memory, `model.fit`.

Run by against_notebook.py in an environment of its own; prints one JSON line. It is a kind copy: the one large float
array is allocated once and filled in place, where notebooks often hold a list and two arrays of the same at once.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
ROTATION_DEG, TRANSLATION, SHEAR_DEG = 20.0, 0.1, 10.0


def read_image(path: Path, tile_px: int) -> Image:
    """(tile_px, tile_px, 3) RGB, stretched to the square."""
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return cv2.resize(image, (tile_px, tile_px), interpolation=cv2.INTER_AREA)


def warp(image: Image, matrix: Any) -> Image:
    """The image moved by a 2×3 matrix."""
    return cv2.warpAffine(image, np.float32(matrix), image.shape[1::-1], borderMode=cv2.BORDER_REFLECT_101)


def augment(image: Image, random: np.random.Generator) -> list[Image]:
    """One image a transformation: flip, histogram equalisation of the luminance, rotation, translation, shear."""
    side = image.shape[0]
    luminance = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    luminance[:, :, 0] = cv2.equalizeHist(luminance[:, :, 0])
    angle_deg = random.uniform(-ROTATION_DEG, ROTATION_DEG)
    shift = np.round(random.uniform(-TRANSLATION, TRANSLATION, 2) * side)
    shear = np.tan(np.deg2rad(random.uniform(-SHEAR_DEG, SHEAR_DEG)))
    return [
        cv2.flip(image, int(random.integers(-1, 2))),
        cv2.cvtColor(luminance, cv2.COLOR_YCrCb2RGB),
        warp(image, cv2.getRotationMatrix2D((side / 2, side / 2), angle_deg, 1.0)),
        warp(image, [[1, 0, shift[0]], [0, 1, shift[1]]]),
        warp(image, [[1, shear, -shear * side / 2], [0, 1, 0]]),
    ]


def load(folder: Path, names: list[str], tile_px: int, copies: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Images in [0, 1], each followed by its `copies` - 1 augmented ones, and one-hot labels by folder name."""
    classes = sorted({name.split("/")[0] for name in names})
    random = np.random.default_rng(0)
    x = np.empty((len(names) * copies, tile_px, tile_px, 3), np.float32)
    y = np.zeros((len(names) * copies, len(classes)), np.float32)
    for row, name in enumerate(names):
        image = read_image(folder / name, tile_px)
        images = [image] + (augment(image, random) if copies > 1 else [])
        for copy, made in enumerate(images):
            np.divide(made, np.float32(255), out=x[row * copies + copy], casting="unsafe")
        y[row * copies : (row + 1) * copies, classes.index(name.split("/")[0])] = 1
    return x, y


def given_network(tile_px: int) -> keras.Model:
    """The given network, 135,482 parameters at 257 px."""
    layers: list[Any] = [keras.Input((tile_px, tile_px, 3))]
    for stride in (2, 1, 1, 1, 3):
        layers.append(keras.layers.Conv2D(48, 3, strides=stride, padding="same", activation="relu"))
        layers.append(keras.layers.MaxPooling2D(2, strides=2))
    layers += [keras.layers.Flatten(), keras.layers.Dense(1000, activation="relu"), keras.layers.Dropout(0.5)]
    layers.append(keras.layers.Dense(2, activation="softmax"))
    return keras.Sequential(layers)


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Seconds of each epoch, its validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path, help="JSON: folder, train, test, tile_px, copies, epochs")
    job = json.loads(parser.parse_args().job.read_text(encoding="utf-8"))
    began = time.perf_counter()
    folder = Path(job["folder"])
    x_train, y_train = load(folder, job["train"], job["tile_px"], job["copies"])
    x_test, y_test = load(folder, job["test"], job["tile_px"], 1)
    prepared = time.perf_counter()
    keras.utils.set_random_seed(0)
    network = given_network(job["tile_px"])
    network.compile(optimizer=keras.optimizers.Adam(1e-4), loss=keras.losses.BinaryCrossentropy(), metrics=["accuracy"])
    clock = Clock()
    # Patience beyond the last epoch: the notebook's callback is there, and the same epochs are run on both sides.
    stop = keras.callbacks.EarlyStopping(patience=job["epochs"] + 1, restore_best_weights=True)
    history = network.fit(
        x_train,
        y_train,
        batch_size=32,
        epochs=job["epochs"],
        validation_data=(x_test, y_test),
        callbacks=[clock, stop],
        verbose=0,
    )
    record = {
        "parameters": network.count_params(),
        "training_images": len(x_train),
        "prepare_s": prepared - began,
        "epoch_s": clock.seconds,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "loss": history.history["loss"][-1],
        "val_loss": min(history.history["val_loss"]),
        "precision": keras.config.dtype_policy().name,
        "threads": len(os.sched_getaffinity(0)),
        "versions": {"keras": keras.version(), "tensorflow": tensorflow_version(), "opencv": cv2.__version__},
    }
    print(json.dumps(record))


def tensorflow_version() -> str:
    import tensorflow

    return str(tensorflow.__version__)


if __name__ == "__main__":
    main()
