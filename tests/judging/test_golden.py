"""Every published reference value, to the digits given. What it rests on stands in golden.json beside it."""

from typing import Any

import numpy as np
import pytest

from counterstain.judging.multiplicity import benjamini_hochberg, bonferroni, holm, hommel
from counterstain.judging.paired import clustered_mcnemar, cochran_q, delong, mcnemar, sign_flip, sign_flip_means
from counterstain.judging.procedures import (
    bayesian_correlated_t,
    corrected_resampled_t,
    five_by_two_f,
    five_by_two_t,
    mcnemar_sample_size,
    probability_of_false_claim,
    tost_paired,
)
from counterstain.judging.proportions import (
    agresti_caffo,
    clopper_pearson,
    cohen_kappa,
    miettinen_nurminen,
    newcombe,
    permutation_p,
    wald_difference,
    wilson,
)
from counterstain.judging.ranks import friedman, wilcoxon_statistic
from counterstain.judging.scores import score_table

Golden = dict[str, Any]


def test_delong(golden: Golden) -> None:
    own = golden["delong_synthetic_commit_safe"]
    positive = np.array(own["y"]) == 1
    found = delong(positive, np.array(own["A"], dtype=float), np.array(own["B"], dtype=float))
    for name, key in (("auc_a", "auc_A"), ("auc_b", "auc_B"), ("var_a", "var_A"), ("var_b", "var_B")):
        assert getattr(found, name) == pytest.approx(own[key], abs=own["tol"])
    for name in ("cov", "z", "p"):
        assert getattr(found, name) == pytest.approx(own[name], abs=own["tol"])
    same = delong(positive, np.array(own["A"], dtype=float), np.array(own["A"], dtype=float))
    assert (same.z, same.p) == (0.0, 1.0)


@pytest.mark.parametrize("case", range(10))
def test_mcnemar(golden: Golden, case: int) -> None:
    own = golden["mcnemar"][case]
    found = mcnemar(own["b"], own["c"])
    names = {"exact": "exact", "midp": "mid_p", "chi2": "chi2", "p": "asymptotic", "chi2_cc": "chi2_corrected"}
    for key, name in (names | {"p_cc": "corrected"}).items():
        if key in own:
            assert getattr(found, name) == pytest.approx(own[key], rel=1e-6, abs=1e-9), key
    assert bool(found.note) == (own["b"] + own["c"] == 0)


@pytest.mark.parametrize("case", range(2))
def test_cochran_q(golden: Golden, case: int) -> None:
    own = golden["cochran_q"][case]
    q, df, _ = cochran_q(np.array(own["table"]))
    assert q == pytest.approx(own["q"], abs=5e-5)
    assert df == own["df"]


def test_clustered_mcnemar(golden: Golden) -> None:
    own = golden["clustered_mcnemar"]["thyroids"]
    tol = golden["clustered_mcnemar"]["tol"]
    found = clustered_mcnemar(own["b"], own["c"], own["n"])
    assert found.unclustered == pytest.approx(own["mcnemar"], abs=tol)
    for name in ("obuchowski", "durkalski", "yang"):  # Eliasziw's needs the concordant counts, which are not given
        assert getattr(found, name) == pytest.approx(own[name], abs=tol), name
    assert sign_flip(np.array(own["b"]) - np.array(own["c"])) == own["patient_signflip_exact_p"]


@pytest.mark.slow
def test_corrected_t_on_sklearns_example(golden: Golden) -> None:
    from sklearn.datasets import make_moons
    from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
    from sklearn.svm import SVC

    own = golden["nadeau_bengio_sklearn"]
    x, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    rbf, linear = (
        cross_val_score(SVC(kernel=kernel, random_state=0), x, y, scoring="roc_auc", cv=folds)
        for kernel in ("rbf", "linear")
    )
    found = corrected_resampled_t(rbf - linear, n_train=90, n_test=10)
    assert found.t == pytest.approx(own["corrected_t"], abs=1e-9)
    assert found.p / 2 == pytest.approx(own["one_sided_p"], abs=1e-9)
    assert found.naive_t == pytest.approx(own["uncorrected_t"], abs=1e-9)
    assert [found.low, found.high] == pytest.approx(own["ci95"], abs=1e-6)
    assert bayesian_correlated_t(rbf - linear, n_train=90, n_test=10)[2] == pytest.approx(own["posterior_P_better"])
    within = bayesian_correlated_t(rbf - linear, n_train=90, n_test=10, rope=0.01)[1]
    assert within == pytest.approx(own["P_rope_0.01"], abs=1e-9)


def test_corrected_t_on_ten_differences(golden: Golden) -> None:
    own = golden["nadeau_bengio_explicit"]
    found = corrected_resampled_t(own["d"], n_train=own["n_train"], n_test=own["n_test"])
    assert found.t == pytest.approx(own["t"], abs=own["tol"])
    assert found.p == pytest.approx(own["p_two"], abs=own["tol"])
    assert found.naive_t == pytest.approx(own["naive_t"], abs=own["tol"])
    assert found.naive_p == pytest.approx(own["naive_p"], abs=own["tol"])
    chances = bayesian_correlated_t(own["d"], n_train=90, n_test=10, rope=0.01)
    assert chances == pytest.approx(own["baycomp_rope_0.01"], abs=own["tol"])


def test_baycomps_mean_variance_and_freedom(golden: Golden) -> None:
    own = golden["baycomp"]  # its differences are y - x; one run of 3 folds: test to training part 1 to 2
    found = corrected_resampled_t(np.subtract(own["y"], own["x"]), n_train=2, n_test=1)
    assert [found.mean, found.se**2, found.df] == pytest.approx(own["stats"])
    runs = own["runs2"]  # two runs of 2 folds each: 1 to 1
    two = corrected_resampled_t(np.subtract(own["y2"], own["x2"]), n_train=runs - 1, n_test=1)
    assert [two.mean, two.df] == pytest.approx([own["stats2"][0], own["stats2"][2]])


def test_five_times_two_folds(golden: Golden) -> None:
    own = golden["dietterich_5x2"]
    assert five_by_two_t(own["D"]) == pytest.approx((own["t"], own["p_t"]), abs=1e-9)
    assert five_by_two_f(own["D"]) == pytest.approx((own["F"], own["p_F"]), abs=1e-9)


def test_friedman_and_nemenyi(golden: Golden) -> None:
    own = golden["friedman_nemenyi"]
    found = friedman(own["mean_ranks"], own["N"], alpha=0.1)
    assert found.chi2 == pytest.approx(own["chi2_F"], abs=own["tol"])
    assert found.f == pytest.approx(own["F_F"], abs=own["tol"])
    assert found.critical_difference == pytest.approx(own["CD_10"], abs=own["tol"])
    assert friedman(own["mean_ranks"], own["N"], alpha=0.05).f_critical == pytest.approx(own["F_crit_05"], abs=0.01)


def test_wilcoxon(golden: Golden) -> None:
    own = golden["wilcoxon_demsar"]
    assert wilcoxon_statistic(own["C4.5"], own["C4.5+m"]) == own["T_zsplit"]


def test_tost(golden: Golden) -> None:
    own = golden["tost_paired"]["var1_eps0.6"]  # 15 pairs of which mean and spread follow from the interval
    low, high = own["ci"]
    t95 = 1.7613101357748562  # Student's t, 14 df
    mean, se = (low + high) / 2, (high - low) / 2 / t95
    base = np.linspace(-1, 1, own["df"] + 1)
    delta = mean + base / base.std(ddof=1) * se * np.sqrt(15)
    found = tost_paired(delta.tolist(), margin=0.6)
    assert found.p == pytest.approx(own["p"], abs=1e-9)
    assert [found.low, found.high] == pytest.approx(own["ci"], abs=1e-9)
    assert found.df == own["df"]


def test_multiplicity(golden: Golden) -> None:
    own = golden["multiplicity"]
    for name, adjust in (("holm", holm), ("bh", benjamini_hochberg), ("bonferroni", bonferroni), ("hommel", hommel)):
        assert adjust(own["p"]) == pytest.approx(own[name], abs=1e-12), name
    assert holm(own["p10"]) == pytest.approx(own["holm10"])
    assert benjamini_hochberg(own["p10"]) == pytest.approx(own["bh10"])


@pytest.mark.parametrize(
    ("key", "hits", "n"),
    [("(18,20)", 18, 20), ("(4,20)", 4, 20), ("(190,200)", 190, 200), ("(19,38)", 19, 38), ("(7,50) scipy", 7, 50)],
)
def test_intervals_of_one_share(golden: Golden, key: str, hits: int, n: int) -> None:
    own, tol = golden["binom_ci_95"][key], golden["binom_ci_95"]["tol"]
    assert wilson(hits, n) == pytest.approx(own["wilson"], abs=tol)
    if "exact" in own:
        assert clopper_pearson(hits, n) == pytest.approx(own["exact"], abs=tol)


def test_intervals_of_a_difference(golden: Golden) -> None:
    own = golden["diff_props_56_70_vs_48_80"]
    for name, function in (("newcombe", newcombe), ("agresti_caffo", agresti_caffo), ("wald", wald_difference)):
        assert function(56, 70, 48, 80) == pytest.approx(own[name], abs=own["tol"]), name


def test_miettinen_nurminen_is_newcombes_published_one_and_not_that_of_statsmodels() -> None:
    """Newcombe 1998, table II, method 6: 0.0528 to 0.3382. golden.json holds 0.0526 to 0.3440, from statsmodels 0.15,
    whose cubic has the count where the formula has the group size; the maximum is found here by trying."""
    low, high = miettinen_nurminen(56, 70, 48, 80)
    assert (low, high) == pytest.approx((0.0528, 0.3382), abs=5e-5)
    for limit in (low, high):
        a = np.linspace(max(limit, 0) + 1e-6, min(1, 1 + limit) - 1e-6, 400_001)
        likelihood = 56 * np.log(a) + 14 * np.log(1 - a) + 48 * np.log(a - limit) + 32 * np.log(1 - a + limit)
        p = a[likelihood.argmax()]
        variance = (p * (1 - p) / 70 + (p - limit) * (1 - p + limit) / 80) * 150 / 149
        assert abs(0.8 - 0.6 - limit) / np.sqrt(variance) == pytest.approx(1.959964, abs=1e-4)


def test_kappa(golden: Golden) -> None:
    own = golden["kappa"]
    for weights, expected in (("none", own), ("linear", own["weighted_linear"])):
        found = cohen_kappa(np.array(own["table"], dtype=float), weights=weights)
        assert [found.kappa, found.se] == pytest.approx([expected["kappa"], expected["ase"]], abs=5e-5)
        assert [found.low, found.high] == pytest.approx(expected["ci"], abs=5e-5)


def test_scores_of_sklearns_docs(golden: Golden) -> None:
    own = golden["small_metrics_sklearn_docs"]
    found = score_table(np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]]))
    assert found["auroc", None] == pytest.approx(own["roc_auc"])
    assert found["auprc", None] == pytest.approx(own["average_precision"])
    spam = score_table(np.array([1, 0, 0, 1]), np.array([[0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.35, 0.65]]))
    assert spam["loss", None] == pytest.approx(own["log_loss"])
    assert score_table(np.array([1, 1, 1, 0]), np.eye(2)[[1, 0, 1, 1]])["mcc", None] == pytest.approx(own["mcc"])
    balanced = score_table(np.array([0, 1, 0, 0, 1, 0]), np.eye(2)[[0, 1, 0, 0, 0, 1]])
    assert balanced["balanced_accuracy", None] == pytest.approx(own["balanced_accuracy"])
    readers = np.array([[2.0, 0, 0], [0, 1, 0], [1, 0, 1]])  # the example of cohen_kappa_score
    assert cohen_kappa(readers).kappa == pytest.approx(own["cohen_kappa"])


def test_permutations(golden: Golden) -> None:
    own = golden["permutation"]
    assert permutation_p(np.array(own["treat"]), np.array(own["control"])) == pytest.approx(own["two_sided"])
    assert sign_flip_means(np.array(own["paired_a"]), np.array(own["paired_b"])) == own["paired_exact"]


@pytest.mark.parametrize("case", range(2))
def test_probability_of_a_false_claim(golden: Golden, case: int) -> None:
    own = golden["false_claim_probability"]["cases"][case]
    found = probability_of_false_claim(own["A"], own["B"], own["n"], own["p11"])
    assert found == pytest.approx(own["P"], abs=golden["false_claim_probability"]["tol"])


def test_sample_size(golden: Golden) -> None:
    own = golden["mcnemar_sample_size_80pct"]
    for shares in ((0.045, 0.035), (0.06, 0.04), (0.09, 0.04), (0.03, 0.02)):
        key = "(" + ",".join(f"{share:g}"[1:] for share in shares) + ")"
        assert mcnemar_sample_size(*shares) == own[key]


def test_calibration_points(golden: Golden) -> None:
    own = golden["calibration_small"]
    p = np.array(own["p"])
    found = score_table(np.array(own["y"]), np.column_stack([1 - p, p]))
    assert found["loss", None] == pytest.approx(own["nll"])
    assert found["auroc", None] == pytest.approx(own["auc"])
    assert found["auprc", None] == pytest.approx(own["ap"])
