"""Which figures a run's report has: drawn from its records, written to its figures folder, ready to stand in a page."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from counterstain.evaluation.format import capital, clean, listed, metric_name, number, plural, share
from counterstain.evaluation.rows import unit_words
from counterstain.reports.figure_data import (
    benefit_data,
    confusion_data,
    forest_data,
    history_data,
    reliability_data,
    split_data,
)
from counterstain.reports.figure_style import current_style, say
from counterstain.reports.figure_words import measure_name
from counterstain.reports.figures import Row, confusion_figure, forest_figure, history_figure, split_figure
from counterstain.reports.illustration import Illustration, keep_figure
from counterstain.reports.probability_figures import net_benefit_figure, reliability_figure
from counterstain.reports.run_curves import curve_illustrations
from counterstain.reports.run_record import RunRecord, TrainingRun, find_score, part_order, primary
from counterstain.reports.run_tables import scores_level

__all__ = ["illustrate"]


FEW_PARTS = 6
MOST_RELIABILITY = 4


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
        "curves": curve_illustrations(run, folder),
        "differences": _differences(run, folder),
        "reliability": _reliability(run, folder),
        "benefit": _benefit(run, folder),
    }


def _reliability(run: RunRecord, folder: Path) -> list[Illustration]:
    """Reliability of the first arms, before and after calibration."""
    arms = run.in_use.get("arms") or {}
    illustrations = []
    for number_, arm in enumerate(arm for arm in run.arms[:MOST_RELIABILITY] if arm in arms):
        states = arms[arm]
        after = states["after"]["ece"]
        calibrated = run.in_use.get("method") != "none"
        state = "after calibration" if calibrated else "without calibration"
        alt = f"Reliability of {clean(arm)}: {clean(after['name'])} {number(after['value'])} {state}"
        before = states["before"] if calibrated else None
        illustrations.append(keep_figure(
            partial(reliability_figure, before, states["after"], title=clean(arm), rows=run.rows, stamp=run.stamp),
            folder / f"reliability-{number_ + 1}", alt=alt, caption="", narrow=True,
            data=reliability_data(before, states["after"]),
        ))  # fmt: skip
    return illustrations


def _benefit(run: RunRecord, folder: Path) -> list[Illustration]:
    curves = run.decision_curve.get("arms") or {}
    chosen = [(clean(arm), curves[arm]) for arm in run.arms if arm in curves]
    if not chosen:
        return []
    alt = f"Net benefit over the thresholds for {listed(arm for arm, _ in chosen)}, treating all, and treating nobody"
    draw = partial(net_benefit_figure, chosen, stamp=run.stamp)
    return [keep_figure(draw, folder / "net_benefit", alt=alt, caption="", data=benefit_data(chosen))]


def _arms_forest(run: RunRecord, folder: Path) -> list[Illustration]:
    metric, level = primary(run)
    scores = {arm: find_score(run.scores, arm, metric, level) for arm in run.arms}
    rows = [
        Row(arm, score["value"], score["low"], score["high"], tuple(v for v in score["per_seed"] if v is not None))
        for arm, score in scores.items()
        if score is not None
    ]
    if not rows:
        return []
    unit, of_rows = unit_words(run.scores["unit"], run.rows_are), run.rows_are if level == "image" else level
    title = f"{capital(metric_name(metric))} of each arm on the test part, {of_rows} level"

    def draw() -> Figure:
        measure = _measure(metric)
        return forest_figure(
            rows,
            title=capital(
                say("{measure} of each arm on the test part, {level} level", measure=measure, level=say(of_rows))
            ),
            axis_label=say("{measure} with {percent} interval", measure=measure, percent=scores_level(run)),
            stamp=run.stamp,
        )

    caption = (
        f"Points are means over the training seeds, bars their {scores_level(run)} intervals with the {unit} as the "
        "unit. Small ticks above them are single seeds."
    )
    if run.comparison.get("pairs"):
        caption += " Overlapping bars do not show that arms are equal: see the paired differences below."
    return [keep_figure(draw, folder / "arms", alt=title, caption=caption, data=forest_data(rows, "arm"))]


def _measure(metric: str) -> str:
    """The name of a measure in the language of the figures."""
    return measure_name(metric, current_style().language)


def _split(run: RunRecord, folder: Path) -> list[Illustration]:
    parts = run.split.get("parts", ())
    if len(parts) != 1 or len(run.scores["classes"]) > FEW_PARTS:
        return []
    counts = parts[0]["counts"]
    images = {
        name: {klass: of_class["images"] for klass, of_class in counts[name]["per_class"].items()}
        for name in part_order(list(counts))
    }
    title = f"{capital(run.rows)} of each part of the split, by class"

    def draw() -> Figure:
        title = capital(say("{rows} of each part of the split, by class", rows=say(run.rows)))
        return split_figure(images, run.scores["classes"], title=title, rows=run.rows, stamp=run.stamp)

    return [keep_figure(draw, folder / "split", alt=title, caption="", data=split_data(images))]


def _histories(run: RunRecord, folder: Path) -> list[Illustration]:
    # A probe has one fit and no epochs: its curve would be an empty frame.
    trainings = [training for training in run.trainings if training.has_epochs]
    if not trainings:
        return []
    every = [value for training in trainings for key in ("loss", "val_loss") for value in training.history[key]]
    lowest = min(
        value for training in trainings for key in ("accuracy", "val_accuracy") for value in training.history[key]
    )
    limits = (max(training.epochs for training in trainings), float(np.nanmax(every)), lowest)
    illustrations = []
    for arm in run.arms:
        runs = [training for training in trainings if training.arm == arm]
        if not runs:
            continue
        title = f"Training of {arm}: loss and accuracy over {plural(len(runs), 'run')}"
        data = history_data([(f"seed {t.seed}, fold {t.fold}", t.history, t.best_epoch) for t in runs])
        draw = partial(_history, arm, runs, limits, run.stamp)
        illustrations.append(keep_figure(draw, folder / f"history-{arm}", alt=title, caption="", data=data))
    return illustrations


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
    illustrations = []
    for arm in run.arms:
        matrices = run.scores["arms"][arm].get("confusion", {})
        if not matrices:
            continue
        total = np.sum([np.asarray(matrix) for matrix in matrices.values()], axis=0)
        illustrations += _confusion_pair(run, arm, total, len(matrices), folder)
    return illustrations


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
    illustrations = []
    for suffix, template, counts in kinds:
        title = template.format(arm=arm, seeds=seeds) if seeds > 1 else arm
        illustrations.append(keep_figure(
            partial(_confusion, counts, classes, arm, template if seeds > 1 else "", seeds, run.stamp),
            folder / f"confusion-{arm}{suffix}", alt=f"Confusion matrix of {title}. {rows}.", caption="",
            narrow=len(classes) <= 3, data=confusion_data(counts, classes),
        ))  # fmt: skip
    return illustrations


def _confusion(counts: Any, classes: Sequence[str], arm: str, template: str, seeds: int, stamp: str) -> Figure:
    title = say(template, arm=arm, seeds=seeds) if template else arm
    return confusion_figure(counts, classes, title=title, stamp=stamp)


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
    of_rows = run.rows_are if level == "image" else level
    title = f"Paired differences in {metric_name(metric)}, {of_rows} level"

    def draw() -> Figure:
        measure = _measure(metric)
        label = "difference in {measure}: right of 0, the first-named arm is higher"
        return forest_figure(
            rows,
            title=say("Paired differences in {measure}, {level} level", measure=measure, level=say(of_rows)),
            axis_label=say(label, measure=measure),
            reference=0.0,
            margin=margin,
            stamp=run.stamp,
        )

    percent = 100 * (1 - float(run.comparison.get("alpha", 0.05)))
    unit = unit_words(run.comparison.get("unit", "patient"), run.rows_are)
    caption = (
        f"Each bar is the {percent:g}\u00a0% interval of a difference between two arms on the same {unit}s, before "
        "correction for the number of pairs."
    )
    if margin is not None:
        caption += f" The grey band is the margin of ±{margin:g} within which a difference would not matter."
    if any(not pair["primary"] for pair in pairs):
        caption += " Grey rows are exploratory: they were not prespecified."
    return [keep_figure(draw, folder / "differences", alt=title, caption=caption, data=forest_data(rows, "pair"))]
