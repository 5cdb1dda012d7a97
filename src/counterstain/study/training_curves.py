"""progress.svg of a run: the curves of all its trainings as far as they have come, redrawn after every epoch.

Drawn by hand, in a few milliseconds: with a plotting library, it would cost a small network more than its epoch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from counterstain.errors import InputError
from counterstain.evaluation.format import plural
from counterstain.files import write_bytes
from counterstain.own_tables import read_rows

__all__ = ["CURVES", "PICTURE", "draw_curves", "read_history"]

PICTURE = "progress.svg"
CURVES = ("loss", "val_loss", "accuracy", "val_accuracy")
MOST = 60  # trainings that are drawn: the last of those begun
PANEL_W, PANEL_H, LEFT, TOP, GAP = 400, 180, 52, 46, 58
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # told apart by everybody

History = Mapping[str, Sequence[float]]


def read_history(path: Path) -> dict[str, list[float]]:
    """The curves in a training's history.csv; a last line that is being written is left out."""
    curves: dict[str, list[float]] = {name: [] for name in CURVES}
    if not path.is_file():
        return curves
    for row in read_rows(path):
        try:
            values = [float(row[name]) for name in CURVES]
        except (KeyError, ValueError):
            break
        for name, value in zip(CURVES, values, strict=True):
            curves[name].append(value)
    return curves


def draw_curves(run: Path, trainings: Sequence[str], epochs: Mapping[str, int]) -> None:
    """Write progress.svg: one row per arm, loss on the left and accuracy on the right.

    A picture that cannot be written is no reason to end a training: it is left out.

    Args:
        run: folder of the run.
        trainings: their folders within arms/, in the study's order: "given/seed-0/fold-0-0".
        epochs: arm -> how many epochs it may have.
    """
    histories = {name: read_history(run / "arms" / name / "history.csv") for name in trainings}
    begun = [name for name in trainings if histories[name]["loss"]]
    done = sum((run / "arms" / name / "SHA256SUMS").is_file() for name in trainings)
    title = f"{run.name}: {done} of {plural(len(trainings), 'training')} done"
    if len(begun) > MOST:
        title += f"; the last {MOST} are drawn"
    arms: dict[str, list[History]] = {name.partition("/")[0]: [] for name in trainings}
    for name in begun[-MOST:]:
        arms[name.partition("/")[0]].append(histories[name])
    try:
        write_bytes(run / PICTURE, _picture(title, {arm: curves for arm, curves in arms.items() if curves}, epochs))
    except InputError:
        return


def _picture(title: str, arms: Mapping[str, Sequence[History]], epochs: Mapping[str, int]) -> str:
    width, height = 2 * (PANEL_W + LEFT) + 36, TOP + max(len(arms), 1) * (PANEL_H + GAP) + 4
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" fill="#111">{escape(title)}</text>',
        f'<text x="{width - 36}" y="22" text-anchor="end">thick: validation, thin: training</text>',
    ]
    for row, (arm, histories) in enumerate(arms.items()):
        colour, top = COLOURS[row % len(COLOURS)], TOP + row * (PANEL_H + GAP)
        last = max(len(history["loss"]) for history in histories)
        most = max(last, min(epochs.get(arm, last), 2 * last), 2)
        for column, measure in enumerate(("loss", "accuracy")):
            left = LEFT + column * (PANEL_W + LEFT + 18)
            values = [value for history in histories for name in (measure, f"val_{measure}") for value in history[name]]
            low, high = (0.0, _above(values)) if measure == "loss" else (min(0.5, _below(values)), 1.0)
            parts += _axes(left, top, f"{arm}: {measure}", low, high, most)
            for history in histories:
                for name, thick in ((measure, 0.8), (f"val_{measure}", 1.8)):
                    points = _points(history[name], left, top, low, high, most)
                    parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="{thick}" points="{points}"/>')
    return "\n".join([*parts, "</svg>", ""])


def _above(values: Iterable[float]) -> float:
    """A round number that no usual loss is above; outliers of the first steps may be."""
    usual = sorted(value for value in values if math.isfinite(value))
    top = max(usual[int(0.98 * (len(usual) - 1))] if usual else 1.0, 1e-3)
    step = 10.0 ** math.floor(math.log10(top)) / 2
    return step * math.ceil(top / step)


def _below(values: Iterable[float]) -> float:
    usual = [value for value in values if math.isfinite(value)]
    return math.floor(10 * min(usual, default=0.0)) / 10


def _axes(left: int, top: int, title: str, low: float, high: float, most: int) -> list[str]:
    bottom, right = top + PANEL_H, left + PANEL_W
    parts = [
        f'<text x="{left}" y="{top - 6}" fill="#111">{escape(title)}</text>',
        f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#888"/>',
        f'<text x="{right}" y="{bottom + 30}" text-anchor="end">epoch</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * PANEL_H
        parts.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{low + share * (high - low):.3g}</text>')
        parts.append(f'<path d="M{left} {y:.0f}H{right}" stroke="#ddd"/>' if share else "")
    for epoch in sorted({1, (1 + most) // 2, most}):
        x = left + PANEL_W * (epoch - 1) / (most - 1)
        parts.append(f'<text x="{x:.0f}" y="{bottom + 16}" text-anchor="middle">{epoch}</text>')
    return [part for part in parts if part]


def _points(values: Sequence[float], left: int, top: int, low: float, high: float, most: int) -> str:
    """The corners of one curve; what is not finite is left out, and what is beyond the axis lies on its edge."""
    points = []
    for index, value in enumerate(values):
        if math.isfinite(value):
            share = min(max((value - low) / (high - low), 0.0), 1.0)
            points.append(f"{left + PANEL_W * index / (most - 1):.1f},{top + PANEL_H * (1 - share):.1f}")
    return " ".join(points)
