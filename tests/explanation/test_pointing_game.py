"""The pointing game: a quarter of one class in a tile of another."""

from types import SimpleNamespace

import numpy as np
import pytest

from counterstain.evaluation.predictions import Predictions
from counterstain.explanation.pointing_game import compose, in_quarter, plan_composites, play, point
from counterstain.explanation.saliency import make_explainer


def cohort_of(planted: SimpleNamespace, patients: int = 12, each: int = 3) -> tuple[Predictions, np.ndarray]:
    label = np.repeat(np.arange(patients) % 2, each)
    tiles = np.concatenate([
        planted.tiles(each, malignant=bool(number % 2), seed=number, where="everywhere") for number in range(patients)
    ])  # fmt: skip
    prob = planted.predictor("whole").probabilities(tiles)
    names = tuple(f"{row}.png" for row in range(len(label)))
    table = Predictions(
        image=names, patient=tuple(f"P{row // each}" for row in range(len(label))), slide=("",) * len(label),
        site=("",) * len(label), label=label, prob=prob, classes=planted.CLASSES,
    )  # fmt: skip
    return table, tiles


def test_the_right_map_points_and_the_control_is_chance(planted: SimpleNamespace) -> None:
    table, tiles = cohort_of(planted)
    plan = plan_composites(table, count=64, seed=0)
    assert plan is not None
    record = play(make_explainer(planted.predictor("whole"), "hirescam"), table, plan, dict(enumerate(tiles)))
    assert record["composites"] == 64 and record["chance"] == 0.25 and record["targets"] == ["malignant"]
    assert record["hits"]["value"] == 1 and record["by_quarter"] == [1, 1, 1, 1]
    assert record["mass_inside"]["value"] > 0.6
    assert record["control_hits"]["value"] < 0.5
    assert abs(record["control_mass_inside"]["value"] - 0.25) < 0.05


def test_a_network_that_looks_at_one_corner_hits_one_quarter_in_four(planted: SimpleNamespace) -> None:
    table, tiles = cohort_of(planted)
    plan = plan_composites(table, count=64, seed=0)
    assert plan is not None
    record = play(make_explainer(planted.predictor("masked"), "hirescam"), table, plan, dict(enumerate(tiles)))
    assert record["by_quarter"] == [1, 0, 0, 0] and record["hits"]["value"] == 0.25


def test_guests_and_stand_ins_are_of_other_patients_than_the_ground(planted: SimpleNamespace) -> None:
    table, _ = cohort_of(planted)
    plan = plan_composites(table, count=40, seed=1)
    assert plan is not None
    patient = np.array(table.patient)
    assert (patient[plan.ground] != patient[plan.guest]).all()
    assert (patient[plan.ground] != patient[plan.stand_in]).all()
    assert (table.label[plan.guest] == 1).all()
    assert (table.label[plan.ground] == 0).all() and (table.label[plan.stand_in] == 0).all()
    assert np.bincount(plan.quarter).tolist() == [10, 10, 10, 10]


def test_no_composite_is_of_one_patient_alone_where_patients_have_both_classes(planted: SimpleNamespace) -> None:
    count = 24
    label, prob = np.arange(count) % 2, np.tile([[0.9, 0.1], [0.1, 0.9]], (count // 2, 1))
    names = tuple(f"{row}.png" for row in range(count))
    table = Predictions(
        image=names, patient=tuple(f"P{row // 4 % 3}" for row in range(count)), slide=("",) * count,
        site=("",) * count, label=label, prob=prob, classes=planted.CLASSES,
    )  # fmt: skip
    plan = plan_composites(table, count=60, seed=0)
    assert plan is not None and len(plan.ground) == 60
    patient = np.array(table.patient)
    assert (patient[plan.ground] != patient[plan.guest]).all()
    assert (patient[plan.ground] != patient[plan.stand_in]).all()


def test_without_tiles_of_both_classes_predicted_right_there_is_no_game(planted: SimpleNamespace) -> None:
    table, _ = cohort_of(planted)
    wrong = Predictions(
        image=table.image, patient=table.patient, slide=table.slide, site=table.site, label=table.label,
        prob=table.prob[:, ::-1], classes=table.classes,
    )  # fmt: skip
    assert plan_composites(wrong, count=8, seed=0) is None


@pytest.mark.parametrize(("quarter", "corner"), [(0, (0, 0)), (1, (0, -1)), (2, (-1, 0)), (3, (-1, -1))])
def test_the_guests_quarter_keeps_its_place(quarter: int, corner: tuple[int, int]) -> None:
    ground, guest = np.zeros((1, 7, 7, 3), np.uint8), np.arange(147, dtype=np.uint8).reshape(1, 7, 7, 3) + 1
    made = compose(ground, guest, np.array([quarter]))[0]
    assert (made[corner] == guest[0][corner]).all()
    others = {(0, 0), (0, -1), (-1, 0), (-1, -1)} - {corner}
    assert all((made[place] == 0).all() for place in others)
    assert ((made == 0) | (made == guest[0])).all()
    assert not ground.any()  # the tile itself is left alone


def test_a_middle_cell_lies_in_every_quarter_that_has_half_of_it() -> None:
    assert in_quarter(8, 0).sum() == 16 and in_quarter(8, 3)[4:, 4:].all()
    assert in_quarter(5, 0).sum() == in_quarter(5, 3).sum() == 9
    assert sum(in_quarter(4, quarter).astype(int) for quarter in range(4)).tolist() == np.ones((4, 4)).tolist()


def test_equal_cells_share_the_hit_and_a_blank_map_has_none() -> None:
    inside = np.stack([in_quarter(4, 0)] * 3)
    maps = np.zeros((3, 4, 4))
    maps[0] = 1
    maps[1, 0, 0] = 2
    maps[1, 3, 3] = 1
    hit, share = point(maps, inside)
    assert hit.tolist() == [0.25, 1, 0] and share == pytest.approx([0.25, 2 / 3, 0])
