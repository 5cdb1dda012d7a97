"""Which figures a run's report has: drawn from its records, written to its figures folder, ready to stand in a page."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from counterstain.evaluation.format import clean, interval, listed, metric_name, number, plural, share, shorten
from counterstain.evaluation.format import natural as in_order
from counterstain.evaluation.metrics import pr_curve_points, roc_curve_points
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.record_types import ScoreRow, ScoresRecord
from counterstain.files import write_csv
from counterstain.reports.figure_data import (
    FigureData,
    benefit_data,
    confusion_data,
    curve_data,
    forest_data,
    history_data,
    reliability_data,
    split_data,
)
from counterstain.reports.figure_style import PHONE, current_style, save_as, say, styled, svg_bytes
from counterstain.reports.figure_words import measure_name
from counterstain.reports.figures import (
    Curve,
    Row,
    confusion_figure,
    forest_figure,
    history_figure,
    pr_figure,
    roc_figure,
    save_figure,
    split_figure,
)
from counterstain.reports.probability_figures import net_benefit_figure, reliability_figure
from counterstain.reports.run_record import RunRecord, TrainingRun

__all__ = [
    "Illustration",
    "capital",
    "find_score",
    "illustrate",
    "keep_figure",
    "mean_curve",
    "part_order",
    "photograph_uri",
    "png_uri",
    "primary",
    "svg_uri",
]

Floats = NDArray[np.float64]

# Where a figure has so many strokes that its SVG is this large, the page takes the PNG: the SVG stays beside it.
LARGEST_SVG = 400_000
LARGEST_PHOTOGRAPH = 600_000
SMALLER = ((1400, 88), (1400, 80), (1100, 80), (900, 75), (700, 75), (500, 70), (300, 60))  # px of width, JPEG quality
GRID = np.linspace(0.0, 1.0, 401)
FEW_PARTS = 6
MOST_RELIABILITY = 4


@dataclass(frozen=True)
class Illustration:
    """A figure as a page shows it.

    data: a data: URI; alt: says in words what is seen; narrow: two stand side by side; phone: the same drawn for a
    narrow screen, "" where `data` can be read there.
    """

    name: str
    data: str
    alt: str
    caption: str
    narrow: bool = False
    phone: str = ""


def find_score(scores: ScoresRecord, arm: str, metric: str, level: str, klass: str | None = None) -> ScoreRow | None:
    """One arm's score record, or None where it was not made."""
    rows = scores["arms"][arm]["scores"] if arm in scores["arms"] else []
    wanted = (metric, level, klass)
    return next((found for found in rows if (found["metric"], found["level"], found["class"]) == wanted), None)


def part_order(names: Sequence[str]) -> list[str]:
    """The parts of a split in the order of their use: train, val, test, then external tests by name."""
    first = [name for name in ("train", "val", "test") if name in names]
    return first + [name for name in in_order(names) if name not in first]


def png_uri(content: bytes) -> str:
    """A PNG as a data: URI."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def photograph_uri(content: bytes, largest: int = LARGEST_PHOTOGRAPH) -> str:
    """A PNG of tiles as a data: URI of at most `largest` characters: as it is where small, else as a JPEG.

    A smaller picture is tried before a coarser one; the smallest of all is taken whatever its size.
    """
    uri = png_uri(content)
    if len(uri) <= largest:
        return uri
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        whole = image.convert("RGB")
    for width, quality in SMALLER:
        shown = whole.copy()
        shown.thumbnail((width, width * shown.height // shown.width + 1), Image.Resampling.LANCZOS)
        smaller = io.BytesIO()
        shown.save(smaller, "JPEG", quality=quality)
        uri = f"data:image/jpeg;base64,{base64.b64encode(smaller.getvalue()).decode()}"
        if len(uri) <= largest:
            break
    return uri


def illustrate(run: RunRecord, folder: Path | None = None) -> dict[str, list[Illustration]]:
    """Draw, write and return every figure of a run, by the section that it belongs to.

    Args:
        run: whose figures are drawn.
        folder: where they are written; by default the run's own folder of figures.
    """
    folder = folder or run.folder / "figures"
    return {
        "arms": _arms_forest(run, folder),
        "split": _split(run, folder),
        "histories": _histories(run, folder),
        "confusions": _confusions(run, folder),
        "curves": _curves(run, folder),
        "differences": _differences(run, folder),
        "reliability": _reliability(run, folder),
        "benefit": _benefit(run, folder),
    }


def _reliability(run: RunRecord, folder: Path) -> list[Illustration]:
    """Reliability of the first arms, before and after calibration."""
    arms = run.in_use.get("arms") or {}
    found = []
    for number_, arm in enumerate(arm for arm in run.arms[:MOST_RELIABILITY] if arm in arms):
        own = arms[arm]
        after = own["after"]["ece"]
        alt = f"Reliability of {clean(arm)}: {clean(after['name'])} {number(after['value'])} after calibration"
        found.append(keep_figure(
            partial(reliability_figure, own["before"], own["after"], title=clean(arm), stamp=run.stamp),
            folder / f"reliability-{number_ + 1}", alt=alt, caption="", narrow=True,
            data=reliability_data(own["before"], own["after"]),
        ))  # fmt: skip
    return found


def _benefit(run: RunRecord, folder: Path) -> list[Illustration]:
    curves = run.decision_curve.get("arms") or {}
    chosen = [(clean(arm), curves[arm]) for arm in run.arms if arm in curves]
    if not chosen:
        return []
    alt = f"Net benefit over the thresholds for {listed(arm for arm, _ in chosen)}, treating all, and treating nobody"
    draw = partial(net_benefit_figure, chosen, stamp=run.stamp)
    return [keep_figure(draw, folder / "net_benefit", alt=alt, caption="", data=benefit_data(chosen))]


def keep_figure(
    draw: Callable[[], Figure],
    path: Path,
    *,
    alt: str,
    caption: str,
    narrow: bool = False,
    data: FigureData | None = None,
) -> Illustration:
    """Draw a figure in the current style, write it and its numbers, and return it as a page shows it.

    In the page's own style it is written as SVG and PNG, a wide one is drawn a second time for narrow screens, and the
    page takes the PNG where the SVG would be too large. In another style it is one file of that style's format.

    Args:
        draw: makes the figure.
        path: without a suffix.
        alt, caption, narrow: see Illustration.
        data: what is drawn, for `path`.csv.
    """
    if data is not None:
        write_csv(path.with_name(f"{path.name}.csv"), data.columns, data.rows)
    style = current_style()
    if style.format:
        save_as(draw(), path, style.format)
        return Illustration(path.name, "", alt, caption, narrow)
    png, svg = save_figure(draw(), path)
    content, phone = svg.read_bytes(), ""
    uri = svg_uri(content) if len(content) <= LARGEST_SVG else png_uri(png.read_bytes())
    if not narrow:
        with styled(PHONE):
            slim = svg_bytes(draw())
        phone = svg_uri(slim) if len(slim) <= LARGEST_SVG else ""
    return Illustration(path.name, uri, alt, caption, narrow, phone)


def svg_uri(content: bytes) -> str:
    """An SVG as a data: URI."""
    return f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"


def _percent(run: RunRecord) -> str:
    return f"{100 * float(run.scores.get('confidence', 0.95)):g}\u00a0%"


def _arms_forest(run: RunRecord, folder: Path) -> list[Illustration]:
    metric, level = primary(run)
    found = {arm: find_score(run.scores, arm, metric, level) for arm in run.arms}
    rows = [
        Row(arm, score["value"], score["low"], score["high"], tuple(v for v in score["per_seed"] if v is not None))
        for arm, score in found.items()
        if score is not None
    ]
    if not rows:
        return []
    unit = run.scores["unit"]
    title = f"{capital(metric_name(metric))} of each arm on the test part, {level} level"

    def draw() -> Figure:
        measure = _measure(metric)
        return forest_figure(
            rows,
            title=capital(
                say("{measure} of each arm on the test part, {level} level", measure=measure, level=say(level))
            ),
            axis_label=say("{measure} with {percent} interval", measure=measure, percent=_percent(run)),
            stamp=run.stamp,
        )

    caption = (
        f"Points are means over the training seeds, bars their {_percent(run)} intervals with the {unit} as the "
        "unit. Small ticks above them are single seeds. Overlapping bars do not show that arms are equal: see the "
        "paired differences below."
    )
    return [keep_figure(draw, folder / "arms", alt=title, caption=caption, data=forest_data(rows, "arm"))]


def _measure(metric: str) -> str:
    """The name of a measure in the language of the figures."""
    return measure_name(metric, current_style().language)


def primary(run: RunRecord) -> tuple[str, str]:
    """The metric and level that the verdict is about; AUROC of images where nothing was compared."""
    section = run.comparison or run.resolved.get("comparison") or {}
    return str(section.get("primary") or "auroc"), str(section.get("level") or "image")


def capital(text: str) -> str:
    """The text with its first letter in capitals."""
    return text[:1].upper() + text[1:]


def _split(run: RunRecord, folder: Path) -> list[Illustration]:
    parts = run.split.get("parts", ())
    if len(parts) != 1 or len(run.scores["classes"]) > FEW_PARTS:
        return []
    counts = parts[0]["counts"]
    images = {
        name: {klass: of_class["images"] for klass, of_class in counts[name]["per_class"].items()}
        for name in part_order(list(counts))
    }
    title = "Images of each part of the split, by class"

    def draw() -> Figure:
        title = say("Images of each part of the split, by class")
        return split_figure(images, run.scores["classes"], title=title, stamp=run.stamp)

    return [keep_figure(draw, folder / "split", alt=title, caption="", data=split_data(images))]


def _histories(run: RunRecord, folder: Path) -> list[Illustration]:
    # A probe has one fit and no epochs: its curve would be an empty frame.
    trainings = [own for own in run.trainings if own.has_epochs]
    if not trainings:
        return []
    every = [value for own in trainings for key in ("loss", "val_loss") for value in own.history[key]]
    lowest = min(value for own in trainings for key in ("accuracy", "val_accuracy") for value in own.history[key])
    limits = (max(own.epochs for own in trainings), float(np.nanmax(every)), lowest)
    made = []
    for arm in run.arms:
        own = [training for training in trainings if training.arm == arm]
        if not own:
            continue
        title = f"Training of {arm}: loss and accuracy over {plural(len(own), 'run')}"
        data = history_data([(f"seed {t.seed}, fold {t.fold}", t.history, t.best_epoch) for t in own])
        draw = partial(_history, arm, own, limits, run.stamp)
        made.append(keep_figure(draw, folder / f"history-{arm}", alt=title, caption="", data=data))
    return made


def _history(arm: str, trainings: Sequence[TrainingRun], limits: tuple[int, float, float], stamp: str) -> Figure:
    """The training curves of one arm."""
    several = "{count} run" if len(trainings) == 1 else "{count} runs"
    runs = say(several, count=len(trainings))
    return history_figure(
        [training.history for training in trainings],
        [training.best_epoch for training in trainings],
        title=say("Training of {arm}: loss and accuracy over {runs}", arm=arm, runs=runs),
        limits=limits,
        stamp=stamp,
    )


def _confusions(run: RunRecord, folder: Path) -> list[Illustration]:
    made = []
    for arm in run.arms:
        matrices = run.scores["arms"][arm].get("confusion", {})
        if not matrices:
            continue
        total = np.sum([np.asarray(matrix) for matrix in matrices.values()], axis=0)
        made += _confusion_pair(run, arm, total, len(matrices), folder)
    return made


def _confusion_pair(run: RunRecord, arm: str, total: NDArray[np.int64], seeds: int, folder: Path) -> list[Illustration]:
    """The sum over the seeds and, beside it, the mean: its counts are those of the test part."""
    classes = run.scores["classes"]
    kinds: list[tuple[str, str, Any]] = [("", "{arm}, sum of {seeds} seeds", total)]
    if seeds > 1:
        kinds.append(("-mean", "{arm}, mean over {seeds} seeds", total / seeds))
    rows = "; ".join(
        f"true {clean(name)}: {share(total[index, index], total[index].sum(), 0)} predicted right"
        for index, name in enumerate(classes)
    )
    made = []
    for suffix, template, counts in kinds:
        title = template.format(arm=arm, seeds=seeds) if seeds > 1 else arm
        made.append(keep_figure(
            partial(_confusion, counts, classes, arm, template if seeds > 1 else "", seeds, run.stamp),
            folder / f"confusion-{arm}{suffix}", alt=f"Confusion matrix of {title}. {rows}.", caption="",
            narrow=len(classes) <= 3, data=confusion_data(counts, classes),
        ))  # fmt: skip
    return made


def _confusion(counts: Any, classes: Sequence[str], arm: str, template: str, seeds: int, stamp: str) -> Figure:
    title = say(template, arm=arm, seeds=seeds) if template else arm
    return confusion_figure(counts, classes, title=title, stamp=stamp)


# ------------------------------------------------------------------------------------------------------- ROC and PR


def _curves(run: RunRecord, folder: Path) -> list[Illustration]:
    arms = [arm for arm in run.arms if run.predictions[arm]]
    if not arms:
        return []
    positive = run.scores.get("positive")
    what = shorten(positive, 16) if positive else "macro mean"
    made = []
    for name, metric, template in (
        ("roc", "auroc", "ROC curves, {what}"),
        ("pr", "auprc", "Precision–recall, {what}"),
    ):
        curves = [_arm_curve(run, arm, metric) for arm in arms]
        prevalence = _prevalence(run.predictions[arms[0]][0])
        draw = partial(_curve_figure, name, template, curves, positive, prevalence, run.stamp)
        alt = f"{template.format(what=what)}. {listed(f'{curve.name}: {curve.note}' for curve in curves)}."
        axes = ("false_positive_rate", "sensitivity") if name == "roc" else ("recall", "precision")
        data = curve_data(curves, *axes)
        made.append(keep_figure(draw, folder / name, alt=alt, caption="", narrow=True, data=data))
    return made


def _curve_figure(
    name: str, template: str, curves: Sequence[Curve], positive: str | None, prevalence: float, stamp: str
) -> Figure:
    title = say(template, what=shorten(positive, 16) if positive else say("macro mean"))
    if name == "roc":
        return roc_figure(curves, title=title, stamp=stamp)
    return pr_figure(curves, prevalence=prevalence, title=title, stamp=stamp)


def _prevalence(table: Predictions) -> float:
    """Share of the positive class; of more than two classes the mean over those that are there."""
    shares = np.bincount(table.label, minlength=len(table.classes)) / len(table)
    return float(shares[-1]) if len(shares) == 2 else float(shares[shares > 0].mean())


def _arm_curve(run: RunRecord, arm: str, metric: str) -> Curve:
    score = find_score(run.scores, arm, metric, "image")
    level = f"{100 * run.scores['confidence']:g} %"
    ends = "" if score is None else interval(score["low"], score["high"])
    value = number(None if score is None else score["value"])
    note = f"{metric_name(metric)} {value}{f' ({level}: {ends})' if ends else ''}"
    curves = np.stack([mean_curve(table, metric) for table in run.predictions[arm]])
    x, mean, low, high = GRID, curves.mean(axis=0), curves.min(axis=0), curves.max(axis=0)
    if metric == "auroc":
        x, mean, low, high = (np.concatenate([[0.0], values]) for values in (x, mean, low, high))
    return Curve(arm, note, x, mean, low, high)


def mean_curve(table: Predictions, metric: str) -> Floats:
    """(401,) sensitivity at even false-positive rates ("auroc"), or precision at even recalls ("auprc").

    Of two classes the positive one's; of more, the mean over the classes that are in the table, each against the rest.
    """
    classes = range(len(table.classes)) if len(table.classes) > 2 else [1]
    curves = []
    for index in classes:
        positive = table.label == index
        if positive.any() and not positive.all():
            points = roc_curve_points if metric == "auroc" else pr_curve_points
            x, y, _ = points(positive, table.prob[:, index])
            curves.append(_between(x, y) if metric == "auroc" else y[np.searchsorted(x, GRID, side="left")])
    return np.mean(curves, axis=0) if curves else np.full(len(GRID), np.nan)


def _between(x: Floats, y: Floats) -> Floats:
    """The highest point of the curve at each x of the grid; between two points a straight line (ties of the score)."""
    last = np.searchsorted(x, GRID, side="right") - 1
    after = np.minimum(last + 1, len(x) - 1)
    step = x[after] - x[last]
    share_way = np.divide(GRID - x[last], step, out=np.zeros_like(GRID), where=step > 0)
    return y[last] + share_way * (y[after] - y[last])


# ------------------------------------------------------------------------------------------------------- differences


def _differences(run: RunRecord, folder: Path) -> list[Illustration]:
    pairs = run.comparison.get("pairs", ())
    if not pairs:
        return []
    metric, level = primary(run)
    rows = [
        Row(f"{pair['a']} − {pair['b']}", pair["difference"], pair["low"], pair["high"], strong=bool(pair["primary"]))
        for pair in pairs
    ]
    margin = run.comparison.get("margin")
    title = f"Paired differences in {metric_name(metric)}, {level} level"

    def draw() -> Figure:
        measure = _measure(metric)
        label = "difference in {measure}: right of 0, the first-named arm is higher"
        return forest_figure(
            rows,
            title=say("Paired differences in {measure}, {level} level", measure=measure, level=say(level)),
            axis_label=say(label, measure=measure),
            reference=0.0,
            margin=margin,
            stamp=run.stamp,
        )

    percent = 100 * (1 - float(run.comparison.get("alpha", 0.05)))
    unit = run.comparison.get("unit", "patient")
    caption = (
        f"Each bar is the {percent:g}\u00a0% interval of a difference between two arms on the same {unit}s, before "
        "correction for the number of pairs."
    )
    if margin is not None:
        caption += f" The grey band is the margin of ±{margin:g} within which a difference would not matter."
    if any(not pair["primary"] for pair in pairs):
        caption += " Grey rows are exploratory: they were not prespecified."
    return [keep_figure(draw, folder / "differences", alt=title, caption=caption, data=forest_data(rows, "pair"))]
