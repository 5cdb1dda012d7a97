"""What hangs on one patient: the difference without each, and a verdict that one patient makes."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from counterstain.errors import InputError
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.influence import influence_record, left_out_differences, without_patient
from counterstain.evaluation.predictions import Predictions


def table(seed: int, *, strength: float, patients: int = 16, each: int = 5) -> Predictions:
    draw = np.random.default_rng(seed)
    label = np.repeat(np.arange(patients) % 2, each)
    positive = 1 / (1 + np.exp(-(draw.normal(0, 1, len(label)) + strength * (2 * label - 1))))
    return Predictions(
        image=tuple(f"i{k}" for k in range(len(label))), patient=tuple(f"p{k // each}" for k in range(len(label))),
        slide=("",) * len(label), site=("",) * len(label), label=label, prob=np.stack([1 - positive, positive], axis=1),
        classes=("benign", "malignant"),
    )  # fmt: skip


def test_without_a_patient_none_of_the_others_is_lost() -> None:
    cut = without_patient(table(0, strength=1), "p3")
    assert len(cut) == 75 and "p3" not in cut.patient and cut.image[15] == "i20"
    with pytest.raises(InputError, match="no image is left"):
        without_patient(table(0, strength=1, patients=1), "p0")


def test_differences_are_those_of_scikit_learn_without_the_patient() -> None:
    a, b = [table(k, strength=1.0) for k in (0, 1)], [table(k, strength=0.5) for k in (2, 3)]
    whole, without = left_out_differences(a, b, metric="auroc", level="image")

    def auroc(own: Predictions) -> float:
        return float(roc_auc_score(own.label, own.prob[:, 1]))

    assert whole == pytest.approx(np.mean([auroc(t) for t in a]) - np.mean([auroc(t) for t in b]))
    for patient in ("p0", "p9"):
        means = [np.mean([auroc(without_patient(own, patient)) for own in arm]) for arm in (a, b)]
        assert without[patient] == pytest.approx(means[0] - means[1])
    assert len(without) == 16


def test_a_verdict_that_one_patient_makes_is_told() -> None:
    """Arm b is arm a, but for patient p3: there it is wrong about every image."""
    a = [table(k, strength=2.5) for k in range(3)]
    own = np.array([name == "p3" for name in a[0].patient])
    b = [replace(t, prob=np.where(own[:, None], t.prob[:, ::-1], t.prob)) for t in a]
    arms = {"a": a, "b": b}
    comparison = compare_arms(arms)
    (pair,) = influence_record(
        arms, comparison,
        lambda patient: compare_arms({arm: [without_patient(t, patient) for t in ts] for arm, ts in arms.items()}),
    )  # fmt: skip
    assert (pair["a"], pair["b"]) == ("a", "b") and len(pair["patients"]) == 3
    first = pair["patients"][0]
    assert first["patient"] == "p3" and first["difference"] == pytest.approx(0.0, abs=1e-12)
    assert pair["difference"] > 0.02
    again = compare_arms({arm: [without_patient(t, "p3") for t in ts] for arm, ts in arms.items()})
    assert first["verdict"] == again["pairs"][0]["verdict"]
    assert first["changes"] == (first["verdict"] != comparison["pairs"][0]["verdict"])


def test_changes_follow_from_the_verdicts_of_the_rest() -> None:
    arms = {"a": [table(k, strength=1.0) for k in range(3)], "b": [table(k, strength=0.5) for k in (3, 4, 5)]}
    comparison = compare_arms(arms)

    def without(patient: str) -> dict[str, object]:
        if patient == "p0":
            raise InputError("nothing is left")
        return {"pairs": [{"a": "a", "b": "b", "verdict": "equivalent"}]}

    (pair,) = influence_record(arms, comparison, without)
    for row in pair["patients"]:
        assert row["changes"] and row["verdict"] == ("" if row["patient"] == "p0" else "equivalent")


def rows_of(*pairs: tuple[str, str, bool]) -> dict[str, object]:
    return {
        "pairs": [
            {"a": a, "b": b, "primary": primary, "metric": "accuracy", "level": "image", "verdict": "no_evidence"}
            for a, b, primary in pairs
        ]
    }


def test_the_first_three_primary_pairs_have_the_three_patients_who_move_them_most() -> None:
    """Accuracy of one table each: without a patient of five images, 5 / 75 of what that patient adds is gone."""
    arms = {name: [table(k, strength=0.3)] for k, name in enumerate("abcde")}
    asked: list[str] = []

    def without(patient: str) -> dict[str, object]:
        asked.append(patient)
        return rows_of(("a", "b", True), ("a", "c", True), ("b", "c", True))

    comparison = rows_of(("a", "e", False), ("a", "b", True), ("a", "c", True), ("b", "c", True), ("a", "d", True))
    found = influence_record(arms, comparison, without)
    assert [(pair["a"], pair["b"]) for pair in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    for pair in found:
        gain = np.zeros(16)
        for sign, name in ((1, pair["a"]), (-1, pair["b"])):
            (own,) = arms[name]
            right = own.prob.argmax(axis=1) == own.label
            gain += sign * right.reshape(16, 5).sum(axis=1)
        assert pair["difference"] == pytest.approx(gain.sum() / 80) and pair["metric"] == "accuracy"
        left = (gain.sum() - gain) / 75
        order = sorted(range(16), key=lambda k: (-round(abs(left[k] - gain.sum() / 80), 12), f"p{k}"))
        moved = [row["patient"] for row in pair["patients"]]
        distances = [abs(left[int(name[1:])] - gain.sum() / 80) for name in moved]
        assert distances == pytest.approx([abs(left[k] - gain.sum() / 80) for k in order[:3]])
        for row in pair["patients"]:
            assert row["difference"] == pytest.approx(left[int(row["patient"][1:])])
            assert (row["verdict"], row["changes"]) == ("no_evidence", False)
    assert len(asked) == len(set(asked))  # no patient is left out twice


def test_a_patient_without_whom_nothing_can_be_compared_moves_it_most() -> None:
    """The only malignant patient: without p1 there is no AUROC."""
    both = [table(k, strength=1.0, patients=6) for k in (0, 1)]
    label = (np.repeat(np.arange(6), 5) == 1).astype(np.int64)
    a, b = (replace(own, label=label) for own in both)
    comparison = rows_of(("a", "b", True))
    comparison["pairs"][0]["metric"] = "auroc"  # type: ignore[index]
    (pair,) = influence_record({"a": [a], "b": [b]}, comparison, lambda patient: {"pairs": ()})
    assert pair["patients"][0]["patient"] == "p1" and np.isnan(pair["patients"][0]["difference"])
    assert [row["verdict"] for row in pair["patients"]] == ["", "", ""]


def test_of_many_patients_none_is_left_out_alone() -> None:
    a, b = (table(k, strength=1.0, patients=501, each=1) for k in (0, 1))
    whole, without = left_out_differences([a], [b], metric="accuracy", level="image")
    assert without == {}
    assert whole == pytest.approx(np.mean(a.prob.argmax(axis=1) == a.label) - np.mean(b.prob.argmax(axis=1) == b.label))


def test_at_patient_level_each_patient_is_one_row() -> None:
    a, b = (table(k, strength=0.2) for k in (0, 1))
    whole, without = left_out_differences([a], [b], metric="accuracy", level="patient")
    right = [
        (own.prob[:, 1].reshape(16, 5).mean(axis=1) > 0.5) == (own.label.reshape(16, 5)[:, 0] == 1) for own in (a, b)
    ]
    gain = right[0].astype(float) - right[1]
    assert whole == pytest.approx(gain.mean())
    for k in range(16):
        assert without[f"p{k}"] == pytest.approx(np.delete(gain, k).mean())


def test_where_the_rest_can_not_be_compared_there_is_no_verdict() -> None:
    arms = {"a": [table(0, strength=1.0)], "b": [table(1, strength=0.5)]}

    def without(patient: str) -> dict[str, object]:
        raise InputError(f"nothing is left without {patient}")

    (pair,) = influence_record(arms, rows_of(("a", "b", True)), without)
    assert [(row["verdict"], row["changes"]) for row in pair["patients"]] == [("", True)] * 3
