"""What the network was shown: one tile under every trial, for the eye."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from counterstain.files import write_with
from counterstain.pixels.store import Store, read_batch
from counterstain.robustness.scoring import Judged
from counterstain.robustness.trials import Setting, Trial

__all__ = ["write_examples"]

Tiles = NDArray[np.uint8]

SIDE_PX, GAP_PX, CAPTION_PX = 168, 8, 26
_INK = (31, 35, 40)


def write_examples(
    path: Path,
    store: Store,
    rows: NDArray[np.int64],
    setting: Setting,
    trials: Mapping[str, Trial],
    clean: Judged,
) -> str:
    """Write a picture with a row a trial: five tiles from one end to the other, the unchanged one among them.

    The tile is the one of the last (positive) class whose probability is the median of its class.

    Returns:
        The name of the image that is shown.
    """
    own = np.flatnonzero(clean.table.label == len(clean.table.classes) - 1)
    chosen = int(own[np.argsort(clean.table.prob[own, -1], kind="stable")[len(own) // 2]])
    tile = read_batch(store, rows[chosen : chosen + 1])
    beside = setting.rows(slice(chosen, chosen + 1))
    shown = []
    for trial in trials.values():
        cells = [
            (f"{trial.title}: as it is" if at == trial.clean else trial.shown(at),
             tile[0] if at == trial.clean else trial.apply(tile, at, beside)[0])
            for at in _five(trial)
        ]  # fmt: skip
        shown.append(cells)
    if shown:
        write_with(path, lambda temporary: Image.fromarray(_laid_out(shown)).save(temporary, format="PNG"))
    return clean.table.image[chosen]


def _five(trial: Trial) -> tuple[float, ...]:
    """The unchanged tile and four strengths: on both sides of it where the trial has two."""
    weak, middle, strong = trial.strengths[1], trial.strengths[2], trial.strengths[4]
    if trial.signed:
        return (-strong, -middle, trial.clean, middle, strong)
    return (trial.clean, weak, middle, trial.strengths[3], strong)


def _laid_out(rows: Sequence[Sequence[tuple[str, Tiles]]]) -> Tiles:
    """Rows of tiles under their captions, on white."""
    width = max(len(cells) for cells in rows) * (SIDE_PX + GAP_PX) - GAP_PX
    step = CAPTION_PX + SIDE_PX + GAP_PX
    sheet = np.full((len(rows) * step - GAP_PX, width, 3), 255, np.uint8)
    for place, cells in enumerate(rows):
        top = place * step + CAPTION_PX
        for column, (_, tile) in enumerate(cells):
            left = column * (SIDE_PX + GAP_PX)
            how = cv2.INTER_AREA if tile.shape[0] >= SIDE_PX else cv2.INTER_NEAREST
            sheet[top : top + SIDE_PX, left : left + SIDE_PX] = cv2.resize(tile, (SIDE_PX, SIDE_PX), interpolation=how)
    image = Image.fromarray(sheet)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=14)
    for place, cells in enumerate(rows):
        for column, (words, _) in enumerate(cells):
            at = (column * (SIDE_PX + GAP_PX), place * step + CAPTION_PX - 5)
            pen.text(at, words, fill=_INK, font=font, anchor="ls")
    return np.array(image)
