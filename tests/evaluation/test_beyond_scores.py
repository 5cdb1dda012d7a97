"""Bootstrap, operating point, net benefit, subgroups, slide level, variance parts and ledger."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from counterstain.errors import InputError
from counterstain.evaluation.arm_scores import levels_of, score_arms
from counterstain.evaluation.bootstrap import bootstrap_estimates, operating_point, roc_of, sensitivity_at_specificity
from counterstain.evaluation.decision_curve import decision_curve
from counterstain.evaluation.intervals import estimates, sample, units_of
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.subgroups import subgroup_scores
from counterstain.evaluation.test_set_log import LEDGER, LoggedUse, read_uses, record_use, uses_in_words
from counterstain.evaluation.variance_components import two_way_components, variance_record


def make(seed: int, *, patients: int = 40, each: int = 6, sites: int = 2, shift: float = 1.2) -> Predictions:
    """Patients of one class with three slides of two images each and a difficulty of their own."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(0)
    code = np.repeat(np.arange(patients), each)
    label = (code % 2).astype(np.int64)
    score = (2 * label - 1) * shift / 2 + fixed.normal(0, 0.5, patients)[code] + rng.normal(0, 1, len(code))
    p = 1 / (1 + np.exp(-score))
    return Predictions(
        image=tuple(f"i{k}" for k in range(len(code))),
        patient=tuple(f"p{k}" for k in code),
        slide=tuple(f"s{k // 2}" for k in range(len(code))),
        site=tuple(f"site {k % sites}" for k in code // 2),
        label=label,
        prob=np.column_stack([1 - p, p]),
        classes=("benign", "malignant"),
    )


def test_bootstrap_and_jackknife_agree_where_both_are_good() -> None:
    own = [make(seed, patients=150) for seed in (1, 2, 3, 4)]
    names = units_of(own)
    one, two = estimates(sample(own, names, level="image")), bootstrap_estimates(own, names, resamples=2000)
    for metric in ("accuracy", "recall", "auroc", "brier"):
        a, b = one[metric, None], two[metric, None]
        assert a.value == b.value
        assert (b.low, b.high) == pytest.approx((a.low, a.high), abs=0.02)


def test_the_operating_point_is_that_of_the_roc_curve() -> None:
    table = make(3)
    fpr, tpr, _ = roc_curve(table.label, table.prob[:, 1], drop_intermediate=False)
    code = np.arange(len(table))
    curve = roc_of(table, code, len(table))
    found = sensitivity_at_specificity(curve, np.ones((1, len(table))), 0.95)[0]
    assert found == pytest.approx(tpr[fpr <= 0.05 + 1e-12].max())
    twice = np.ones((1, len(table)))
    twice[0, :10] = 2
    doubled = np.concatenate([code, code[:10]])
    fpr, tpr, _ = roc_curve(table.label[doubled], table.prob[doubled, 1], drop_intermediate=False)
    assert sensitivity_at_specificity(curve, twice, 0.9)[0] == pytest.approx(tpr[fpr <= 0.1 + 1e-12].max())
    point = operating_point([table, make(4)])
    assert point.low < point.value < point.high
    one_class = replace(table, label=np.zeros(len(table), dtype=np.int64))
    assert np.isnan(operating_point([one_class]).value)


def test_brier_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss

    table = make(5)
    found = score_arms({"a": [table]})["arms"]["a"]["scores"]
    own = next(score for score in found if score["metric"] == "brier" and score["level"] == "image")
    assert own["value"] == pytest.approx(brier_score_loss(table.label, table.prob[:, 1]))
    assert own["low"] < own["value"] < own["high"]


def test_slides_are_a_level_where_they_are_neither_images_nor_patients() -> None:
    table = make(6)
    assert levels_of([table]) == ("image", "slide", "patient")
    record = score_arms({"a": [table]})
    by_slide = [score for score in record["arms"]["a"]["scores"] if score["level"] == "slide"]
    pooled = table.prob[:, 1].reshape(-1, 2).mean(axis=1)
    right = (pooled > 0.5) == (table.label.reshape(-1, 2)[:, 0] == 1)
    assert next(score for score in by_slide if score["metric"] == "accuracy")["value"] == pytest.approx(right.mean())
    assert levels_of([replace(table, slide=table.patient)]) == ("image", "patient")
    assert levels_of([replace(table, slide=table.image)]) == ("image", "patient")
    with pytest.raises(InputError, match="interval is 'exact'"):
        score_arms({"a": [table]}, interval="exact")


def test_net_benefit_by_hand() -> None:
    """Four images: at 0.5 one true and one false positive: 1/4 - 1/4 · 1 = 0; at 0.2 2/4 - 1/4 · 0.25."""
    table = Predictions(
        image=("a", "b", "c", "d"), patient=("a", "b", "c", "d"), slide=("",) * 4, site=("",) * 4,
        label=np.array([1, 1, 0, 0]), prob=np.array([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6], [0.9, 0.1]]),
        classes=("n", "y"),
    )  # fmt: skip
    found = decision_curve([table], thresholds=(0.5, 0.2))
    assert found["model"]["value"] == pytest.approx([0.0, 0.5 - 0.25 * 0.25])
    assert found["treat_all"] == pytest.approx([0.0, 0.5 - 0.5 * 0.25])
    with pytest.raises(InputError, match="two classes"):
        decision_curve([replace(table, prob=np.full((4, 3), 1 / 3), classes=("a", "b", "c"))])


def test_small_sites_are_suppressed_and_the_worst_is_named() -> None:
    own = [make(seed, sites=3) for seed in (1, 2, 3)]
    found = subgroup_scores({"a": own}, by="site")["arms"]["a"]
    assert [row["patients"] for row in found["groups"]] == [14, 14, 12]
    lowest = min(found["groups"], key=lambda row: row["scores"]["accuracy"]["value"])
    assert found["worst"]["group"] == lowest["group"]
    few = subgroup_scores({"a": [make(1, patients=27, sites=3)]}, by="site")["arms"]["a"]
    assert few["suppressed"] == sum(row["patients"] < 10 for row in few["groups"]) > 0
    assert all(row["scores"] is None for row in few["groups"] if row["patients"] < 10)
    with pytest.raises(InputError, match="did you mean 'site'"):
        subgroup_scores({"a": own}, by="sit")


def test_the_spread_over_patients_names_nobody() -> None:
    found = subgroup_scores({"a": [make(1), make(2)]}, by="patient")["arms"]["a"]
    assert found["count"] == sum(found["histogram"]) == 40
    assert found["quantiles"]["lowest"] <= found["quantiles"]["median"]
    assert "p1" not in str(found).replace("p10", "")
    assert subgroup_scores({"a": [make(1)]}, by="slide")["arms"]["a"]["count"] == 120


def test_variance_components_are_found_again() -> None:
    rng = np.random.default_rng(0)
    found = np.mean(
        [
            two_way_components(rng.normal(0, 2, (6, 1)) + rng.normal(0, 1, (1, 5)) + rng.normal(0, 0.5, (6, 5)))
            for _ in range(600)
        ],
        axis=0,
    )
    assert found == pytest.approx([4, 1, 0.25], rel=0.12)
    assert np.isnan(two_way_components(np.array([[1.0], [2.0]]))[1:]).all()


def test_the_variance_record_says_what_it_cannot_show() -> None:
    record = variance_record({(seed, 0): make(seed) for seed in (1, 2, 3)}, metric="auroc")
    assert record["sd"]["split"] is None
    assert record["sd"]["patient"] > 0
    assert record["largest"] == max(("patient", "seed"), key=lambda name: record["sd"][name])
    assert "another split: not shown" in record["words"]


def look(key: str, *, study: str = "s", data: str = "d") -> LoggedUse:
    return LoggedUse(study=study, run="r", model="=m", part="test", data_hash=data, images=9, purpose="report", key=key)


def test_the_ledger_counts_each_look_once(tmp_path: Path) -> None:
    assert read_uses(tmp_path) == ()
    assert record_use(tmp_path, look("1")) == 1
    assert record_use(tmp_path, look("1")) == 1
    assert record_use(tmp_path, look("2", study="t")) == 2
    assert record_use(tmp_path, look("3", data="e")) == 1
    assert (tmp_path / LEDGER).read_text().count("\n") == 4
    assert ",'=m," in (tmp_path / LEDGER).read_text()
    said = uses_in_words(read_uses(tmp_path), "d")
    assert said[0].startswith("this test part has been used twice: 2 models of 2 studies")
    assert "p-values are too small" in said[1]
    assert uses_in_words((), "d") == ("no use of this test part is on record",)


def test_a_line_that_was_cut_off_is_left_out_and_a_stranger_is_refused(tmp_path: Path) -> None:
    record_use(tmp_path, look("1"))
    with (tmp_path / LEDGER).open("a") as stream:
        stream.write("s,r,m")
    assert len(read_uses(tmp_path)) == 1
    (tmp_path / LEDGER).write_text("a,b\n")
    with pytest.raises(InputError, match="not a log of test-set uses"):
        record_use(tmp_path, look("1"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="ermission"):
        record_use(tmp_path, look("1"))
