"""Losses against an independent way to them, by hand where they are small, and intervals that know patients."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.calibration import fit_calibration
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.predictions import Predictions
from counterstain.robustness.losses import judge_of, rotation_record, site_record, step_record

Floats = NDArray[np.float64]


def table(
    patients: int = 20, each: int = 5, *, classes: tuple[str, ...] = ("a", "b"), seed: int = 0, sites: int = 0
) -> Predictions:
    """Made-up predictions that are right more often than not; patients differ."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), each)
    label = patient % len(classes)
    logits = (
        random.normal(0, 1, (len(patient), len(classes))) + random.normal(0, 0.7, (patients, len(classes)))[patient]
    )
    logits[np.arange(len(patient)), label] += 1.2
    prob = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = tuple(f"P{p}" for p in patient)
    return Predictions(
        image=tuple(f"{k}.png" for k in range(len(patient))), patient=names, slide=("",) * len(patient),
        site=tuple(f"S{(p // 2) % sites}" if sites else "" for p in patient), label=label, prob=prob, classes=classes,
    )  # fmt: skip


def worse(own: Predictions, by: float = 0.8, seed: int = 1) -> Floats:
    logits = np.log(own.prob) + np.random.default_rng(seed).normal(0, by, own.prob.shape)
    prob: Floats = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return prob


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c")])
def test_differences_are_those_of_compare(classes: tuple[str, ...]) -> None:
    own = table(classes=classes)
    other = worse(own)
    judge = judge_of(own, None, 0.5)
    record = step_record(judge, judge.judged(own.prob), judge.judged(other))
    arms = {"degraded": [replace(own, prob=other)], "clean": [own]}
    known = {"auroc": "auroc", "balanced_accuracy": "balanced_accuracy"}
    known |= {"sensitivity": "recall", "specificity": "specificity"} if len(classes) == 2 else {"accuracy": "accuracy"}
    assert set(record["scores"]) == set(known)
    for name, metric in known.items():
        pair = compare_arms(arms, primary=metric, claim="models")["pairs"][0]
        found = record["scores"][name]
        for ours, theirs in (("value", "value_a"), ("difference", "difference"), ("low", "low"), ("high", "high")):
            assert found[ours] == pytest.approx(pair[theirs], abs=1e-9), (name, ours)


def test_decisions_are_made_at_the_bundle_s_threshold_on_calibrated_probabilities() -> None:
    own = table()
    fitted = fit_calibration(own, method="platt", threshold="sensitivity>=0.95")
    assert fitted.threshold is not None
    judge = judge_of(own, fitted, fitted.threshold)
    clean = judge.judged(own.prob)
    assert clean.scores()["sensitivity"]["value"] >= 0.95
    positive = clean.table.prob[:, 1] >= fitted.threshold
    assert clean.scores()["specificity"]["value"] == pytest.approx((~positive)[own.label == 0].mean())
    assert judge_of(own, None, 0.5).judged(own.prob).scores()["sensitivity"]["value"] < 0.95


def test_turned_decisions_and_moved_probabilities_by_hand() -> None:
    # Two patients of each class with two images; one image of P0 crosses 0.5, one of P3 moves by 0.2 without crossing.
    prob = np.array([0.2, 0.2, 0.9, 0.9, 0.2, 0.2, 0.9, 0.9])
    after = np.array([0.6, 0.2, 0.9, 0.9, 0.2, 0.2, 0.7, 0.9])
    own = Predictions(
        image=tuple("abcdefgh"), patient=tuple("00112233"), slide=("",) * 8, site=("",) * 8,
        label=np.array([0, 0, 1, 1, 0, 0, 1, 1]), prob=np.column_stack([1 - prob, prob]), classes=("a", "b"),
    )  # fmt: skip
    judge = judge_of(own, None, 0.5)
    record = step_record(judge, judge.judged(own.prob), judge.judged(np.column_stack([1 - after, after])))
    assert record["flipped"]["value"] == pytest.approx(1 / 8)
    assert record["moved"]["value"] == pytest.approx((0.4 + 0.2) / 8)
    assert record["scores"]["specificity"]["difference"] == pytest.approx(-1 / 4)
    assert record["scores"]["sensitivity"]["difference"] == 0
    assert record["flipped"]["low"] < 1 / 8 < record["flipped"]["high"]


def test_nothing_moved_is_no_loss_and_nothing_turned_is_not_proof_of_none() -> None:
    own = table()
    judge = judge_of(own, None, 0.5)
    clean = judge.judged(own.prob)
    same = step_record(judge, clean, judge.judged(own.prob))
    for found in (same["flipped"], same["moved"], same["scores"]["sensitivity"]):
        assert found["low"] == 0
    assert same["flipped"]["high"] == same["scores"]["sensitivity"]["high"] == 0
    sure = np.where(own.prob > 0.5, 0.9, 0.1)
    judge = judge_of(replace(own, prob=sure), None, 0.5)
    clean = judge.judged(sure)
    # Each image is moved by its own amount: worth about as many as there are. By patient: worth the patients.
    random = np.random.default_rng(2)
    for moved, least, most in (
        (random.uniform(0, 0.3, 100), 60, 100),
        (np.repeat(random.uniform(0, 0.3, 20), 5), 20, 25),
    ):
        other = judge.judged(np.abs(sure - moved[:, None] * np.sign(sure - 0.5)))
        worth = judge.effective_images(moved)
        assert least <= worth <= most
        found = step_record(judge, clean, other)
        assert found["flipped"] == {"value": 0.0, "low": 0.0, "high": pytest.approx(1 - 0.025 ** (1 / worth))}
        half = 1 - 0.025 ** (1 / (worth / 2))
        assert found["scores"]["sensitivity"]["low"] == pytest.approx(-half)
        assert found["scores"]["sensitivity"]["high"] == pytest.approx(half)


def test_copies_of_a_patient_s_images_do_not_narrow_an_interval() -> None:
    own = table(12, 4, seed=3)
    rows = np.tile(np.arange(len(own)), 10)
    copies = Predictions(
        image=tuple(f"{k}" for k in range(len(rows))), patient=tuple(own.patient[k] for k in rows),
        slide=("",) * len(rows), site=("",) * len(rows), label=own.label[rows], prob=own.prob[rows],
        classes=own.classes,
    )  # fmt: skip
    # Patients are moved as a whole, a little (no decision turns) and a lot.
    tilt = np.repeat(np.random.default_rng(4).normal(0, 1, 12), 4)[:, None] * np.array([-0.5, 0.5])
    for by in (1e-3, 2.0):
        odds = own.prob * np.exp(by * tilt)
        other = odds / odds.sum(axis=1, keepdims=True)
        records = []
        for images, prob in ((own, other), (copies, other[rows])):
            judge = judge_of(images, None, 0.5)
            records.append(step_record(judge, judge.judged(images.prob), judge.judged(prob)))
        for name in ("auroc", "sensitivity", "specificity", "balanced_accuracy"):
            for end in ("low", "high"):
                assert records[1]["scores"][name][end] == pytest.approx(records[0]["scores"][name][end], abs=1e-9)
        assert records[1]["flipped"] == pytest.approx(records[0]["flipped"])


def test_one_patient_is_refused_and_one_of_a_class_has_no_interval() -> None:
    own = table(6, 4)
    with pytest.raises(InputError, match="24 images are of patient 'P0'"):
        judge_of(replace(own, patient=("P0",) * 24), None, 0.5)
    with pytest.raises(InputError, match="no image is of class 'b'"):
        judge_of(replace(own, label=np.zeros(24, dtype=np.int64)), None, 0.5)
    label = np.zeros(24, dtype=np.int64)
    label[:4] = 1  # those of P0
    alone = replace(own, label=label)
    judge = judge_of(alone, None, 0.5)
    found = step_record(judge, judge.judged(alone.prob), judge.judged(worse(alone)))["scores"]
    for name in ("auroc", "sensitivity", "balanced_accuracy"):
        assert np.isnan([found[name]["low"], found[name]["high"]]).all()
    assert np.isfinite(found["specificity"]["low"])


def test_rotation_is_counted_over_images_and_symmetries() -> None:
    own = table()
    judge = judge_of(own, None, 0.5)
    clean = judge.judged(own.prob)
    turned = [judge.judged(own.prob)] * 5 + [judge.judged(own.prob[:, ::-1])] * 2
    record = rotation_record(judge, clean, turned)
    changed = np.abs(2 * own.prob[:, 1] - 1)
    assert record["flipped"]["value"] == pytest.approx(2 / 7)
    assert record["any_flipped"]["value"] == 1
    assert record["any_flipped"]["low"] < 1
    assert record["moved"]["value"] == pytest.approx(changed.mean() * 2 / 7)
    assert record["largest_moved"]["value"] == pytest.approx(changed.mean())
    assert [row["flipped"] for row in record["symmetries"]] == [0, 0, 0, 0, 0, 1, 1]


def test_the_worst_site_is_the_one_with_the_lowest_value_and_small_sites_are_not_scored() -> None:
    own = table(44, 4, sites=2)
    prob = own.prob.copy()
    second = np.array(own.site) == "S1"
    prob[second] = prob[second][:, ::-1]
    judge = judge_of(own, None, 0.5)
    record = site_record(judge.judged(prob))
    assert record is not None
    assert [row["site"] for row in record["sites"]] == ["S0", "S1"]
    assert {worst["site"] for worst in record["worst"].values()} == {"S1"}
    assert record["worst"]["auroc"]["value"] < 0.5
    own_auroc = judge_of(
        replace(
            own, image=tuple(np.array(own.image)[second]), patient=tuple(np.array(own.patient)[second]),
            slide=("",) * int(second.sum()), site=tuple(np.array(own.site)[second]), label=own.label[second],
            prob=prob[second],
        ), None, 0.5,
    ).judged(prob[second]).scores()["auroc"]  # fmt: skip
    assert record["worst"]["auroc"]["value"] == pytest.approx(own_auroc["value"])
    assert record["worst"]["auroc"]["low"] == pytest.approx(own_auroc["low"])
    few = table(12, 4, sites=2)
    record = site_record(judge_of(few, None, 0.5).judged(few.prob))
    assert record is not None
    assert record["suppressed"] == 2
    assert record["worst"] == {}
    assert site_record(judge_of(table(), None, 0.5).judged(table().prob)) is None
