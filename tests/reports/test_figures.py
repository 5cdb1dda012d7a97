"""Figures: what they draw, for any number of classes and any names; nothing global changes; the same bytes twice."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from sklearn.metrics import average_precision_score, roc_curve

from counterstain.evaluation.predictions import Predictions
from counterstain.reports.figure_style import STYLES
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
from counterstain.reports.run_curves import GRID, mean_curve


def _texts(figure: Any) -> list[str]:
    every = [*figure.texts, *(text for axis in figure.axes for text in axis.texts)]
    return [text.get_text() for text in every]


def _history(epochs: int) -> dict[str, list[float]]:
    falling = [1 / (epoch + 1) for epoch in range(epochs)]
    rising = [1 - value for value in falling]
    return {"loss": falling, "accuracy": rising, "val_loss": falling, "val_accuracy": rising}


def test_confusion_has_counts_and_row_percentages() -> None:
    texts = _texts(confusion_figure([[30, 10], [5, 15]], ("benign", "malignant"), title="t"))
    # Rows are true: 30 / 40, 10 / 40, 5 / 20, 15 / 20.
    assert texts[1:] == ["30", "75 %", "10", "25 %", "5", "25 %", "15", "75 %"]


def test_confusion_of_a_class_without_images_has_no_percentage() -> None:
    assert _texts(confusion_figure([[4, 0], [0, 0]], ("a", "b"), title="t"))[1:] == [
        "4",
        "100 %",
        "0",
        "0 %",
        "0",
        "",
        "0",
        "",
    ]


@pytest.mark.parametrize("classes", [2, 3, 11, 40])
def test_confusion_of_any_number_of_classes(classes: int, tmp_path: Path) -> None:
    counts = np.arange(classes * classes).reshape(classes, classes)
    figure = confusion_figure(counts, [f"class {index}" for index in range(classes)], title="t", stamp="image-level")
    written = [text for text in _texts(figure) if text.isdigit()]
    assert len(written) == {2: 4, 3: 9, 11: 121, 40: 0}[classes]
    figure.draw_without_rendering()


def test_history_marks_the_best_epoch_and_stops_the_mean_with_the_shortest_run() -> None:
    figure = history_figure([_history(9), _history(5)], [4, 5], title="t")
    loss = figure.axes[0]
    lengths = [len(line.get_xdata()) for line in loss.lines]
    assert lengths == [9, 5, 5, 9, 5, 5, 1, 1]  # two runs and their mean, twice; two rings
    assert [float(line.get_xdata()[0]) for line in loss.lines[-2:]] == [4.0, 5.0]
    assert float(loss.lines[-2].get_ydata()[0]) == pytest.approx(1 / 4)


def test_forest_writes_each_value_with_its_interval_and_its_sign() -> None:
    rows = [Row("a − b", 0.021, -0.03, 0.072), Row("undefined", None, None, None)]
    texts = _texts(forest_figure(rows, title="t", axis_label="difference", reference=0.0, margin=0.05))
    assert texts[1:] == ["+0.021  [−0.030, +0.072]", "–"]


def test_no_letter_is_below_9_points() -> None:
    curve = Curve("arm", "AUROC 0.8 [0.7, 0.9]", GRID, GRID, GRID, GRID)
    figures = [
        confusion_figure(np.eye(9) * 5, [f"c{i}" for i in range(9)], title="t", stamp="LEAK: x"),
        history_figure([_history(3)], [2], title="t"),
        forest_figure([Row("a", 0.5, 0.4, 0.6)], title="t", axis_label="x"),
        roc_figure([curve], title="t"),
        split_figure({"train": {"a": 3}}, ["a"], title="t"),
    ]
    for figure in figures:
        sizes = [text.get_fontsize() for text in figure.findobj(mpl.text.Text) if text.get_text()]
        assert min(sizes) >= 9


def test_hostile_and_foreign_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    names = ['"><img src=x onerror=alert(1)>', "$\\frac{1}{0}$ 良性 \x07\n_x"]
    figure = split_figure({"train": {names[0]: 2, names[1]: 3}}, names, title=names[1], stamp=names[0])
    _, svg = save_figure(figure, tmp_path / "split")
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(svg).iter()}
    assert "img" not in tags and "script" not in tags
    save_figure(confusion_figure(np.eye(2), names, title="t"), tmp_path / "confusion")


def test_nothing_global_changes_and_bytes_repeat(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    curve = Curve("arm", "note", GRID, GRID, GRID, GRID)
    for name in ("one", "two"):
        save_figure(pr_figure([curve], prevalence=0.3, title="t", stamp="image-level"), tmp_path / name)
    assert dict(mpl.rcParams) == before
    for suffix in ("png", "svg"):
        first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
        assert first == second
        assert b"Software" not in first and b"<dc:date" not in first and b"matplotlib.org" not in first


def test_a_dot_in_a_name_is_kept(tmp_path: Path) -> None:
    png, svg = save_figure(forest_figure([Row("a", 1, 0, 2)], title="t", axis_label="x"), tmp_path / "lr-0.1")
    assert (png.name, svg.name) == ("lr-0.1.png", "lr-0.1.svg")


def test_neighbouring_arms_differ_for_colour_blind_eyes_and_in_grey() -> None:
    # Viénot, Brettel & Mollon 1999: what a deuteranope sees, in linear RGB.
    deutan = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    colours = [np.array(to_rgb(colour)) ** 2.2 for colour, _, _ in STYLES]
    for first, second in pairwise(colours):
        assert np.linalg.norm(deutan @ first - deutan @ second) > 0.15
    assert len({str(style) for _, style, _ in STYLES}) == len(STYLES)
    assert len({marker for _, _, marker in STYLES}) == len(STYLES)


def _predictions(label: np.ndarray[Any, Any], prob: np.ndarray[Any, Any]) -> Predictions:
    names = tuple(str(index) for index in range(len(label)))
    blank = ("",) * len(label)
    classes = tuple(f"c{index}" for index in range(prob.shape[1]))
    return Predictions(image=names, patient=names, slide=blank, site=blank, label=label, prob=prob, classes=classes)


def test_curves_against_scikit_learn() -> None:
    draw = np.random.default_rng(3)
    label = draw.integers(0, 2, 300)
    score = np.round(np.clip(0.5 + 0.2 * (label - 0.5) + draw.normal(0, 0.2, 300), 0, 1), 2)  # with ties
    table = _predictions(label, np.column_stack([1 - score, score]))
    fpr, tpr, _ = roc_curve(label, score, drop_intermediate=False)
    ours = mean_curve(table, "auroc")
    assert abs(np.trapezoid(ours, GRID) - np.trapezoid(tpr, fpr)) < 0.002
    inside = [np.interp(x, fpr, tpr) for x in (0.1234, 0.5, 0.9)]
    assert np.interp([0.1234, 0.5, 0.9], GRID, ours) == pytest.approx(inside, abs=0.02)
    assert mean_curve(table, "auprc")[1:].mean() == pytest.approx(average_precision_score(label, score), abs=0.005)


def test_roc_grid_by_hand() -> None:
    # Scores 0.9 (+), 0.8 (−), 0.7 (+), 0.1 (−): up to 1/2 at once, then right to 1/2, up to 1, right to 1.
    score = np.array([0.9, 0.8, 0.7, 0.1])
    table = _predictions(np.array([1, 0, 1, 0]), np.column_stack([1 - score, score]))
    curve = mean_curve(table, "auroc")
    assert curve[GRID < 0.5].tolist() == [0.5] * 200 and curve[GRID >= 0.5].tolist() == [1.0] * 201
