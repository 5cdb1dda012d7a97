"""A table written as text and read: for the tests of what tables of predictions say."""

from pathlib import Path
from typing import Any

from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions

# Predicted classes alone: 60 images of 30 patients, half of them called right.
HARD = "image,patient,y_true,y_pred\n" + "".join(f"i{k},p{k // 2},{k % 2},{int(k % 3 > 0)}\n" for k in range(60))


def read(folder: Path, text: str, **how: Any) -> Predictions:
    """The predictions of t.csv in a folder, which gets this text."""
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return read_predictions(path, **how)
