"""How many tiles are flagged as unlike the training images: of the test part, under shifts, and of another tissue.

    python benchmarks/unfamiliar.py --pcam FOLDER [--phantom FOLDER] [--epochs 10] [--images 2000]

The given network is trained on the phantom (drawn anew unless a folder is named), and on patches of PCam at 127 px (a
folder with train/ and valid/, and in them 0/ and 1/); its own statistics then judge
fresh tiles of the same kind (of which about 1 % should be flagged), the same tiles under shifts of the robustness card,
and the other data set's. One JSON line for each: shares of flagged tiles.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.layouts import read_images
from counterstain.cohort.manifest import write_cohort
from counterstain.cohort.splitters import holdout, official, write_split
from counterstain.files import write_csv
from counterstain.images.store import build_store, read_batch
from counterstain.learning.config import TrainingConfig
from counterstain.learning.ood_statistics import STATISTICS, OodStatistics, distances, read_ood_statistics, seen_of
from counterstain.learning.predictor import Predictor, load_predictor
from counterstain.phantom.tiles import Phantom, write_phantom
from counterstain.robustness.trials import TRIALS, Setting
from counterstain.study.one_model import train_once

TILE_PX, TILES = 127, 300
SHIFTS = {"stain_shift": (0.2, 0.5), "brightness": (-0.3, 0.3), "jpeg": (50, 10), "blur_px": (1, 4), "contrast": (0.5,)}

Tiles = NDArray[np.uint8]


def train_phantom(home: Path, drawn: Path | None, epochs: int) -> tuple[Predictor, OodStatistics, Tiles]:
    if drawn is not None:
        home.mkdir(parents=True)
        return train(home, drawn / "cohort.csv", epochs)
    cohort = write_phantom(
        Phantom(patients=40, tiles_per_patient=25, tile_px=TILE_PX, difficulty=0.05), home / "images"
    )
    write_cohort(cohort, home / "images" / "cohort.csv")
    return train(home, home / "images" / "cohort.csv", epochs)


def train_pcam(home: Path, pcam: Path, epochs: int, images: int) -> tuple[Predictor, OodStatistics, Tiles]:
    """Row numbers are the only ids: train and valid are slide-disjoint, so valid is the test part."""
    rows = []
    for part, most in (("train", images // 2), ("valid", TILES // 2)):
        for label in ("0", "1"):
            for path in sorted((pcam / part / label).iterdir())[:most]:
                word = "test" if part == "valid" else "val" if len(rows) % 5 == 0 else "train"
                rows.append((path.relative_to(pcam).as_posix(), label, word))
    for name, _, _ in rows:  # a table's images lie below it
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes((pcam / name).read_bytes())
    write_csv(home / "cohort.csv", ("image_path", "label", "split"), rows)
    return train(home, home / "cohort.csv", epochs)


def train(home: Path, table: Path, epochs: int) -> tuple[Predictor, OodStatistics, Tiles]:
    cohort = read_images(table)
    unit = "patient" if cohort.has_patients else "image"
    split = official(cohort, unit=unit) if "test" in set(cohort.table["split"]) else holdout(cohort, test=0.3)
    write_split(split, home / "splits.csv")
    settings = TrainingConfig(network="given", epochs=epochs, patience=4, learning_rate=1e-3)
    train_once(table, home / "splits.csv", home / "model", settings=settings, tile_px=TILE_PX, unit=unit)
    store = build_store(cohort, home / "store", tile_px=TILE_PX)
    test = np.flatnonzero(np.array(split.parts[0].assignment) == "test")[:TILES]
    tiles = read_batch(store, store.rows([cohort.image[row] for row in test]))
    return load_predictor(home / "model"), read_ood_statistics(home / "model" / STATISTICS), tiles


def flagged(predictor: Predictor, familiar: OodStatistics, tiles: Tiles) -> float:
    batches = [tiles[start : start + 64] for start in range(0, len(tiles), 64)]
    found = [distances(seen_of(predictor.network, predictor.to_tensor, batch), familiar) for batch in batches]
    return round(float((np.concatenate(found) > familiar.limit).mean()), 3)


def shares(predictor: Predictor, familiar: OodStatistics, tiles: Tiles) -> dict[str, float]:
    out = {"test part": flagged(predictor, familiar, tiles)}
    for name, strengths in SHIFTS.items():
        for at in strengths:
            changed = np.concatenate(
                [TRIALS[name].apply(tiles[start : start + 64], at, Setting()) for start in range(0, len(tiles), 64)]
            )
            out[f"{name} {at:g}"] = flagged(predictor, familiar, changed)
    out["inverted"] = flagged(predictor, familiar, 255 - tiles)
    out["white"] = flagged(predictor, familiar, np.full_like(tiles[:1], 244))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pcam", type=Path)
    parser.add_argument("--phantom", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=2000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own = {"phantom": train_phantom(Path(folder) / "phantom", asked.phantom, asked.epochs)}
        if asked.pcam is not None:
            own["pcam"] = train_pcam(Path(folder) / "pcam", asked.pcam.resolve(), asked.epochs, asked.images)
        for name, (predictor, familiar, tiles) in own.items():
            record = {"trained on": name, "tiles": len(tiles), **shares(predictor, familiar, tiles)}
            for other, (_, _, strange) in own.items():
                if other != name:
                    record[f"tiles of {other}"] = flagged(predictor, familiar, strange)
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
