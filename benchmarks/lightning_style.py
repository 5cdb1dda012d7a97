"""Lightning's side of against_loops.py: ImageFolder, torchvision v2, two workers, a Trainer; as its tutorials do it.

python benchmarks/lightning_style.py FOLDER, with FOLDER/train/<class> and FOLDER/val/<class>; in its own environment.
"""

import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from given_in_torch import AUGMENTATION, given_network
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from turns import answer, peak_bytes

TILE_PX, BATCH, WORKERS = 257, 32, 2


class Classifier(lightning.LightningModule):  # type: ignore[misc]
    """The given network with Adam 1e-4 and cross-entropy."""

    def __init__(self) -> None:
        super().__init__()
        self.network = given_network()

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        return functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: Any, number: int) -> None:
        self.log("val_loss", functional.cross_entropy(self.network(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-4)


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    folder = Path(sys.argv[1])
    to_float = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
    shift = (AUGMENTATION["translation"],) * 2
    varied = [
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
        v2.RandomEqualize(p=AUGMENTATION["equalise"]),
        v2.RandomAffine(
            AUGMENTATION["rotation_deg"], translate=shift, shear=AUGMENTATION["shear_deg"],
            interpolation=v2.InterpolationMode.BILINEAR,
        ),
    ]  # fmt: skip
    start = [v2.ToImage(), v2.Resize((TILE_PX, TILE_PX))]
    train = ImageFolder(folder / "train", v2.Compose([*start, *varied, *to_float]))
    val = ImageFolder(folder / "val", v2.Compose([*start, *to_float]))
    loaders = [
        DataLoader(data, BATCH, shuffle=data is train, num_workers=WORKERS, persistent_workers=False)
        for data in (train, val)
    ]
    model = Classifier()

    def measure() -> dict[str, Any]:
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        began = time.perf_counter()
        trainer.fit(model, *loaders)
        epoch_s = time.perf_counter() - began
        return {"epoch_s": epoch_s, "images": len(train), "peak_gb": peak_bytes(with_children=True) / 1e9}

    answer(measure)


if __name__ == "__main__":
    main()
