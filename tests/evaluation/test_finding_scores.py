"""Several findings per image: scores as of two classes, the mean's interval by patient, the file and back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from counterstain.errors import InputError
from counterstain.evaluation.arm_scores import score_arms
from counterstain.evaluation.finding_scores import (
    MEAN,
    FindingPredictions,
    finding_rows,
    join,
    read_findings,
    score_findings,
    write_findings,
)


def table(patients: int = 40, *, each: int = 2, signal: float = 1.5, seed: int = 0, of: int = 0) -> FindingPredictions:
    """Findings a, b and c; probabilities that know them more or less. `of` seeds the truth, `seed` the model."""
    truth, model = np.random.default_rng(of), np.random.default_rng((seed, 1))
    label = (truth.random((patients * each, 3)) < [0.5, 0.3, 0.4]).astype(np.int64)
    logits = signal * (label - 0.5) + model.normal(0, 1, label.shape)
    prob = 1 / (1 + np.exp(-logits))
    names = tuple(f"i{k}" for k in range(len(label)))
    blank = ("",) * len(label)
    return FindingPredictions(
        image=names, patient=tuple(f"p{k // each}" for k in range(len(label))), slide=blank, site=blank,
        label=label, prob=prob, findings=("a", "b", "c"), called=(prob >= 0.5).astype(np.int64),
    )  # fmt: skip


def score(record: dict, finding: str, metric: str = "auroc", arm: str = "m") -> dict:
    (row,) = [
        one for one in record["scores"]
        if (one["arm"], one["finding"], one["metric"]) == (arm, finding, metric)
    ]  # fmt: skip
    return row


def test_the_mean_is_that_of_scikit_learn_s_macro_average() -> None:
    one = table()
    record = score_findings({"m": [one]})
    assert score(record, MEAN)["value"] == pytest.approx(roc_auc_score(one.label, one.prob, average="macro"))
    assert score(record, "a")["value"] == pytest.approx(roc_auc_score(one.label[:, 0], one.prob[:, 0]))
    assert score(record, "b", "recall")["value"] == pytest.approx(one.called[one.label[:, 1] == 1, 1].mean())


def test_a_finding_by_itself_has_the_scores_of_two_classes() -> None:
    tables = [table(seed=seed) for seed in range(3)]
    record = score_findings({"m": tables})
    alone = score_arms({"m": [one.of("c") for one in tables]})
    (expected,) = [
        one for one in alone["arms"]["m"]["scores"] if one["metric"] == "auroc" and one["level"] == "image"
    ]  # fmt: skip
    found = score(record, "c")
    assert [found[name] for name in ("value", "low", "high")] == pytest.approx(
        [expected[name] for name in ("value", "low", "high")]
    )


def test_the_interval_of_the_mean_is_about_that_of_the_bootstrap_by_patient() -> None:
    """An independent way: patients drawn anew, the macro average by scikit-learn."""
    one = table(patients=80)
    random = np.random.default_rng(3)
    rows = np.arange(160).reshape(80, 2)
    drawn = []
    for _ in range(500):
        own = rows[random.integers(0, 80, 80)].ravel()
        drawn.append(roc_auc_score(one.label[own], one.prob[own], average="macro"))
    found = score(score_findings({"m": [one]}), MEAN)
    width = np.quantile(drawn, 0.975) - np.quantile(drawn, 0.025)
    assert found["high"] - found["low"] == pytest.approx(width, rel=0.25)


def test_copies_of_a_patient_s_images_do_not_shrink_an_interval() -> None:
    once, often = table(each=1), table(each=1)
    rows = np.repeat(np.arange(40), 4)
    often = replace(
        often, image=tuple(f"x{k}" for k in range(160)), patient=tuple(once.patient[k] for k in rows),
        slide=("",) * 160, site=("",) * 160, label=once.label[rows], prob=once.prob[rows], called=once.called[rows],
    )  # fmt: skip
    for finding in ("a", MEAN):
        one, other = (score(score_findings({"m": [t]}), finding) for t in (once, often))
        assert [one["low"], one["high"]] == pytest.approx([other["low"], other["high"]])


def test_findings_that_are_one_finding_have_its_interval() -> None:
    """Their mean is no more certain than one of them: a patient is left out of all at once."""
    one = table()
    same = replace(one, label=one.label[:, [0, 0, 0]], prob=one.prob[:, [0, 0, 0]], called=one.called[:, [0, 0, 0]])
    record = score_findings({"m": [same]})
    mean, single = score(record, MEAN), score(record, "a")
    assert [mean["low"], mean["high"]] == pytest.approx([single["low"], single["high"]])


def test_arms_are_compared_finding_by_finding_and_in_the_mean() -> None:
    good = [table(signal=4, seed=seed) for seed in range(3)]
    poor = [table(signal=0.3, seed=seed + 10) for seed in range(3)]
    rows = score_findings({"good": good, "poor": poor})["differences"]
    assert [row["finding"] for row in rows] == ["a", "b", "c", MEAN]
    assert all(row["difference"] > 0 and row["low"] > 0 for row in rows)
    assert all(row["p_adjusted"] >= row["p"] for row in rows[:3]) and "p_adjusted" not in rows[3]
    same = score_findings({"x": good, "y": good})["differences"][-1]
    assert same["difference"] == 0 and same["low"] <= 0 <= same["high"]


def test_file_and_back(tmp_path: Path) -> None:
    one = table()
    write_findings(one, tmp_path / "f.csv")
    back = read_findings(tmp_path / "f.csv")
    assert back.patient == one.patient and back.findings == one.findings
    assert np.array_equal(back.prob, one.prob) and np.array_equal(back.called, one.called)
    other = replace(back, image=tuple(f"other-{name}" for name in back.image))
    assert len(join([back, other]).image) == 160
    with pytest.raises(InputError, match="is there twice"):  # an image tested in two folds would count twice
        join([back, back])
    plain = replace(one, called=None, patient=one.image)
    write_findings(plain, tmp_path / "g.csv")
    again = read_findings(tmp_path / "g.csv")
    assert again.called is None and again.patient == again.image
    (tmp_path / "h.csv").write_text("image_path,label\na,b\n")
    with pytest.raises(InputError, match="no table of findings"):
        read_findings(tmp_path / "h.csv")
    header, rows = finding_rows(score_findings({"m": [one]}))
    assert len(rows) == 4 * 5 and header[:3] == ("arm", "finding", "metric")


def test_what_is_refused() -> None:
    one = table()
    with pytest.raises(InputError, match="apply a sigmoid to logits"):
        replace(one, prob=one.prob + 1)
    with pytest.raises(InputError, match=r"label has shape .*; \(80, 3\) was needed"):
        replace(one, label=one.label[:, :2])
    with pytest.raises(InputError, match="patient has 79 entries"):
        replace(one, patient=one.patient[1:])
    with pytest.raises(InputError, match=r"label of image .* is 2"):
        replace(one, label=one.label * 2)
    with pytest.raises(InputError, match="is there twice"):
        replace(one, image=(one.image[1], *one.image[1:]))
    with pytest.raises(InputError, match="other images or findings"):
        score_findings({"m": [one], "n": [replace(one, image=one.image[::-1])]})
