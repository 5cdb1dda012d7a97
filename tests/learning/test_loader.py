"""Batches for a GPU, made here on the processor: the same images as the other path, whether they fit or not."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from counterstain.cohort.cohort import Cohort
from counterstain.images.augment import augment_batch, expand_batch, image_keys
from counterstain.images.augmentation import Augmentation
from counterstain.images.store import Store, build_store, read_batch
from counterstain.images.tensor import to_tensor
from counterstain.learning.loader import keep_on_device, make_inputs

CPU = torch.device("cpu")
ROWS = np.array([7, 2, 5, 0, 3], dtype=np.int64)  # the training images' rows of the store, in no order
CHOSEN = np.array([4, 0, 2], dtype=np.int64)  # of those
EXACT = {"rotation_deg": 0.0, "translation": 0.0, "shear_deg": 0.0}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """8 tiles of noise."""
    folder = tmp_path_factory.mktemp("tiles")
    random = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(random.integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(folder / f"{number}.png")
    table = pd.DataFrame(
        [{"image_path": f"{number}.png", "label": "ab"[number % 2]} for number in range(8)], dtype=object
    )
    for name in ("patient_id", "slide_id", "site", "split"):
        table[name] = pd.Series([""] * 8, dtype=object)
    for name in ("mpp", "x", "y"):
        table[name] = np.nan
    return build_store(Cohort(table, ("a", "b"), folder, positive="b"), folder / "store", tile_px=32, fit="exact")


def test_what_does_not_fit_is_not_kept(store: Store) -> None:
    bytes_needed = 5 * 32 * 32 * 3
    assert keep_on_device(store, ROWS, CPU, room=bytes_needed - 1) is None
    kept = keep_on_device(store, ROWS, CPU, room=bytes_needed)
    assert kept is not None and np.array_equal(kept.numpy(), read_batch(store, ROWS))


@pytest.mark.parametrize("mode", ["none", "on_the_fly", "expand"])
@pytest.mark.parametrize("fits", [True, False])
def test_inputs_are_those_of_the_processor_s_path(store: Store, mode: str, fits: bool) -> None:
    settings = Augmentation(mode=mode, quarter_turns=True, equalise_probability=0.5, **EXACT)
    keys = image_keys([store.image[row] for row in ROWS])
    which = np.array([0, 1, 2], dtype=np.int64) if mode == "expand" else None
    kept = keep_on_device(store, ROWS, CPU, room=1 << 30) if fits else None
    made = make_inputs(
        store, ROWS, keys[CHOSEN], chosen=CHOSEN, which=which, on_device=kept, device=CPU, augmentation=settings,
        seed=1, epoch=2, scale="-1..1",
    )  # fmt: skip
    tiles = read_batch(store, ROWS[CHOSEN])
    if which is not None:
        tiles = expand_batch(tiles, keys[CHOSEN], which, settings=settings, seed=1)
    elif mode == "on_the_fly":
        tiles = augment_batch(tiles, keys[CHOSEN], settings=settings, seed=1, epoch=2)
    assert torch.equal(made, to_tensor(tiles, scale="-1..1"))
