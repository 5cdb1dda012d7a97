"""fastai's side of against_loops.py: ImageDataLoaders, Resize an item, aug_transforms a batch; as its book does it.

python benchmarks/fastai_style.py FOLDER, with FOLDER/train/<class> and FOLDER/val/<class>; in its own environment.
"""

import sys
import time
import warnings
from pathlib import Path
from typing import Any

from fastai.vision.all import (
    Adam,
    CrossEntropyLossFlat,
    ImageDataLoaders,
    Learner,
    Resize,
    ResizeMethod,
    aug_transforms,
)
from given_in_torch import AUGMENTATION, given_network
from turns import answer, peak_bytes

TILE_PX, BATCH, WORKERS = 257, 32, 2


def main() -> None:
    warnings.filterwarnings("ignore")
    loaders = ImageDataLoaders.from_folder(
        Path(sys.argv[1]),
        train="train",
        valid="val",
        item_tfms=Resize(TILE_PX, method=ResizeMethod.Squish),
        # One affine warp per batch, as fastai composes it; it has neither shear nor equalisation among its usual ones.
        batch_tfms=aug_transforms(
            flip_vert=True,
            max_rotate=AUGMENTATION["rotation_deg"],
            max_zoom=1.0,
            max_lighting=0,
            max_warp=0,
            p_affine=1,
        ),
        bs=BATCH,
        num_workers=WORKERS,
        device="cpu",
    )
    learner = Learner(loaders, given_network(), loss_func=CrossEntropyLossFlat(), opt_func=Adam, lr=1e-4)
    images = len(loaders.train_ds)

    def measure() -> dict[str, Any]:
        began = time.perf_counter()
        with learner.no_bar(), learner.no_logging():
            learner.fit(1)
        epoch_s = time.perf_counter() - began
        return {"epoch_s": epoch_s, "images": images, "peak_gb": peak_bytes(with_children=True) / 1e9}

    answer(measure)


if __name__ == "__main__":
    main()
