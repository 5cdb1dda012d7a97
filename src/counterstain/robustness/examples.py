"""What the network was shown: one tile under every trial, for the eye."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.font_manager import FontProperties, findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from counterstain.files import write_with
from counterstain.images.store import Store, read_batch
from counterstain.robustness.losses import Evaluation
from counterstain.robustness.trials import Setting, Trial

__all__ = ["write_examples"]

Tiles = NDArray[np.uint8]

SIDE_PX, GAP_PX, LINE_PX = 168, 10, 24
_INK, _MUTED = (31, 35, 40), (92, 99, 107)


def write_examples(
    path: Path,
    store: Store,
    rows: NDArray[np.int64],
    setting: Setting,
    trials: Mapping[str, Trial],
    clean: Evaluation,
) -> str:
    """Write a picture with one row per trial: five tiles from one end to the other, the unchanged one among them.

    The tile is the one of the last (positive) class whose probability is the median of its class.

    Returns:
        The name of the image that is shown.
    """
    positives = np.flatnonzero(clean.table.label == len(clean.table.classes) - 1)
    chosen = int(positives[np.argsort(clean.table.prob[positives, -1], kind="stable")[len(positives) // 2]])
    tile = read_batch(store, rows[chosen : chosen + 1])
    beside = setting.rows(slice(chosen, chosen + 1))
    examples = [
        (
            trial.title,
            [
                ("as it is", tile[0]) if at == trial.clean else (trial.shown(at), trial.apply(tile, at, beside)[0])
                for at in _example_strengths(trial)
            ],
        )
        for trial in trials.values()
    ]
    if examples:
        write_with(path, lambda temporary: Image.fromarray(_laid_out(examples)).save(temporary, format="PNG"))
    return clean.table.image[chosen]


def _example_strengths(trial: Trial) -> tuple[float, ...]:
    """The unchanged tile and four strengths: on both sides of it where the trial has two."""
    weak, middle, strong = trial.strengths[1], trial.strengths[2], trial.strengths[4]
    if trial.signed:
        return (-strong, -middle, trial.clean, middle, strong)
    return (trial.clean, weak, middle, trial.strengths[3], strong)


def _laid_out(rows: Sequence[tuple[str, Sequence[tuple[str, Tiles]]]]) -> Tiles:
    """Rows of tiles under their captions and the row's title, on white."""
    step = 2 * LINE_PX + SIDE_PX + GAP_PX
    sheet = np.full((len(rows) * step - GAP_PX, 5 * (SIDE_PX + GAP_PX) - GAP_PX, 3), 255, np.uint8)
    for place, (_, cells) in enumerate(rows):
        top = place * step + 2 * LINE_PX
        for column, (_, tile) in enumerate(cells):
            left = column * (SIDE_PX + GAP_PX)
            how = cv2.INTER_AREA if tile.shape[0] >= SIDE_PX else cv2.INTER_NEAREST
            sheet[top : top + SIDE_PX, left : left + SIDE_PX] = cv2.resize(tile, (SIDE_PX, SIDE_PX), interpolation=how)
    image = Image.fromarray(sheet)
    pen = ImageDraw.Draw(image)
    # The letters of the figures; Pillow's own lack the minus sign and the µ.
    strong, plain = (ImageFont.truetype(findfont(FontProperties(weight=weight)), 15) for weight in ("bold", "normal"))
    for place, (title, cells) in enumerate(rows):
        top = place * step + LINE_PX
        pen.text((0, top - 5), title, fill=_INK, font=strong, anchor="ls")
        for column, (caption, _) in enumerate(cells):
            pen.text((column * (SIDE_PX + GAP_PX), top + LINE_PX - 6), caption, fill=_MUTED, font=plain, anchor="ls")
    return np.array(image)
