"""progress.svg: every training's curves, drawn from their histories."""

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from counterstain.files import write_csv
from counterstain.study import training_curves
from counterstain.study.training_curves import PICTURE, draw_curves, read_history

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ["given/seed-0/fold-0-0", "given/seed-1/fold-0-0", "a&b/seed-0/fold-0-0"]


def history(run: Path, name: str, losses: list[float]) -> None:
    rows = [(n, loss, 0.5, loss + 0.1, 0.6) for n, loss in enumerate(losses, start=1)]
    write_csv(run / "arms" / name / "history.csv", ("epoch", "loss", "accuracy", "val_loss", "val_accuracy"), rows)


def texts(run: Path) -> list[str]:
    return [node.text or "" for node in ElementTree.parse(run / PICTURE).iter(f"{SVG}text")]


def curves(run: Path) -> list[list[tuple[float, float]]]:
    found = ElementTree.parse(run / PICTURE).iter(f"{SVG}polyline")
    return [[tuple(map(float, point.split(","))) for point in own.get("points", "").split()] for own in found]  # type: ignore[misc]


def test_each_training_has_four_curves_in_the_row_of_its_arm(tmp_path: Path) -> None:
    run = tmp_path / "demo"
    history(run, NAMES[0], [0.8, 0.4])
    history(run, NAMES[2], [0.6, 0.5, 0.4])
    (run / "arms" / NAMES[0] / "SHA256SUMS").write_text("")
    draw_curves(run, NAMES, {"given": 4, "a&b": 3})
    assert texts(run)[0] == "demo: 1 of 3 trainings done"
    assert {"given: loss", "given: accuracy", "a&b: loss"} <= set(texts(run))
    drawn = curves(run)
    assert [len(points) for points in drawn] == [2] * 4 + [3] * 4
    falling = drawn[0]
    assert falling[0][1] < falling[1][1]  # a lower loss lies lower: y grows downwards
    assert falling[1][0] - falling[0][0] == pytest.approx(training_curves.PANEL_W / 3, abs=0.1)  # epochs 1 to 4


def test_the_same_histories_give_the_same_bytes(tmp_path: Path) -> None:
    history(tmp_path, NAMES[0], [0.8, 0.4])
    draw_curves(tmp_path, NAMES, {"given": 4})
    first = (tmp_path / PICTURE).read_bytes()
    draw_curves(tmp_path, NAMES, {"given": 4})
    assert (tmp_path / PICTURE).read_bytes() == first


def test_what_is_not_finite_and_what_is_half_written_is_left_out(tmp_path: Path) -> None:
    history(tmp_path, NAMES[0], [0.8, math.nan, 900.0, 0.4])
    path = tmp_path / "arms" / NAMES[0] / "history.csv"
    path.write_text(path.read_text() + "5,0.3,0.")
    assert len(read_history(path)["loss"]) == 4
    draw_curves(tmp_path, NAMES, {})
    first = curves(tmp_path)[0]
    assert len(first) == 3 and all(0 <= y <= 500 for _, y in first)


def test_before_the_first_epoch_there_is_a_title_alone(tmp_path: Path) -> None:
    draw_curves(tmp_path, NAMES, {})
    assert texts(tmp_path)[0] == f"{tmp_path.name}: 0 of 3 trainings done" and curves(tmp_path) == []


def test_of_many_trainings_the_last_are_drawn(tmp_path: Path) -> None:
    names = [f"given/seed-{seed}/fold-0-0" for seed in range(training_curves.MOST + 5)]
    for name in names:
        history(tmp_path, name, [0.5, 0.4])
    draw_curves(tmp_path, names, {"given": 2})
    assert len(curves(tmp_path)) == 4 * training_curves.MOST
    assert f"the last {training_curves.MOST} are drawn" in texts(tmp_path)[0]
