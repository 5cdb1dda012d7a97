"""Make the two prediction tables of the README up again: 40 patients, 5 images each, two models; no real images.

    python examples/tables/make.py

Python's own random numbers are the same in every version, so the files don't change.
"""

import csv
import math
import random
from pathlib import Path

PATIENTS, IMAGES = 40, 5


def main() -> None:
    """Write ours.csv and theirs.csv beside this file: the same images, our model a little better."""
    rng = random.Random(13)
    patients = [(f"case{number:02d}", number % 2, rng.gauss(0, 0.6)) for number in range(1, PATIENTS + 1)]
    for name, strength in (("ours", 2.2), ("theirs", 1.0)):
        with (Path(__file__).parent / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["image_path", "patient_id", "site", "label", "prob_benign", "prob_malignant"])
            for number, (patient, positive, hard) in enumerate(patients):
                for image in range(1, IMAGES + 1):
                    score = (strength if positive else -strength) + hard + rng.gauss(0, 1.2)
                    p = round(1 / (1 + math.exp(-score)), 4)
                    label, site = ("benign", "malignant")[positive], f"hospital {'ABC'[number % 3]}"
                    writer.writerow([f"{patient}_{image}.png", patient, site, label, f"{1 - p:.4f}", f"{p:.4f}"])


if __name__ == "__main__":
    main()
