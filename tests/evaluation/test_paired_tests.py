"""Tests of two models on the same images, each against a sum by hand or a second way to the same number."""

from collections.abc import Callable

import numpy as np
import pytest
from published_tests import cochran_q, eliasziw_donner
from scipy.stats import binom, chi2, norm

from counterstain.evaluation.paired_tests import (
    clustered_auroc_difference,
    clustered_mcnemar,
    delong,
    mcnemar,
    sign_flip,
)
from counterstain.evaluation.predictions import Predictions

Make = Callable[..., Predictions]


# ------------------------------------------------------------------------------------------------ AUROCs


def scores(seed: int, images: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, and two models' scores that share the images' difficulty; rounded, so that there are ties."""
    rng = np.random.default_rng(seed)
    positive = np.arange(images) % 3 == 0
    shared = rng.normal(size=images) + positive
    return positive, np.round(shared + rng.normal(size=images), 1), np.round(shared - 2 * rng.normal(size=images), 1)


@pytest.mark.parametrize("seed", range(5))
def test_with_one_image_for_each_patient_clustering_changes_nothing(seed: int) -> None:
    """Obuchowski's variances are then DeLong's, term by term; so are z and p, with their sign."""
    positive, a, b = scores(seed)
    own, plain = clustered_auroc_difference(positive, a, b, np.arange(60)), delong(positive, a, b)
    for name in ("auc_a", "auc_b", "var_a", "var_b", "cov", "z", "p"):
        assert getattr(own, name) == pytest.approx(getattr(plain, name), rel=1e-12), name
    assert plain.z == pytest.approx(
        (plain.auc_a - plain.auc_b) / np.sqrt(plain.var_a + plain.var_b - 2 * plain.cov), rel=1e-12
    )
    assert plain.p == pytest.approx(2 * norm.sf(abs(plain.z)), rel=1e-9)
    turned = clustered_auroc_difference(positive, b, a, np.arange(60))
    assert (turned.z, turned.p) == pytest.approx((-own.z, own.p))
    assert abs(own.z) > 0.05


def test_clustered_auroc_by_hand() -> None:
    """Three patients with one positive and one negative each.

    A: positives 3, 1, 5; negatives 2, 0, 4. Negatives below each positive: 2, 1, 3 of 3, so 2/3, 1/3, 1; area 2/3.
    Positives above each negative: 2, 3, 1 of 3, so 2/3, 1, 1/3. Placements less 2/3: own 0, -1/3, 1/3; other
    0, 1/3, -1/3. S10 = 3/2 (2/9)/9 = 1/27, S01 the same, S11 = 3/2 · 2(-2/9)/9 = -2/27: the variance is 0, since a
    patient's good positive stands beside a bad negative.
    B: positives 1, 3, 5; negatives 2, 0, 4. Placements: own 1/3, 2/3, 1; other 2/3, 1, 1/3; area 2/3. Less 2/3: own
    -1/3, 0, 1/3; other 0, 1/3, -1/3. S10 = S01 = 1/27, S11 = 3/2 · 2(-1/9)/9 = -1/27; variance 1/27.
    Covariance: own·own 1/9, other·other 2/9, crossed (own A·other B -2/9, own B·other A -1/9):
    3/2 (1/9 + 2/9 - 2/9 - 1/9)/9 = 0.
    """
    positive = np.array([True, True, True, False, False, False])
    a, b = np.array([3.0, 1, 5, 2, 0, 4]), np.array([1.0, 3, 5, 2, 0, 4])
    found = clustered_auroc_difference(positive, a, b, np.array([0, 1, 2, 0, 1, 2]))
    assert (found.auc_a, found.auc_b) == pytest.approx((2 / 3, 2 / 3))
    assert (found.var_a, found.var_b, found.cov) == pytest.approx((0, 1 / 27, 0), abs=1e-15)
    assert (found.z, found.p) == pytest.approx((0, 1), abs=1e-12)


def test_copies_of_each_image_change_the_plain_error_and_not_the_clustered_one() -> None:
    positive, a, b = scores(1)
    patient = np.arange(60)
    once = clustered_auroc_difference(positive, a, b, patient)
    four = clustered_auroc_difference(*(np.tile(v, 4) for v in (positive, a, b, patient)))
    assert (four.var_a, four.cov, four.z) == pytest.approx((once.var_a, once.cov, once.z), rel=1e-12)
    assert delong(*(np.tile(v, 4) for v in (positive, a, b))).var_a < 0.27 * once.var_a


@pytest.mark.parametrize("class_of_one", [True, False])
def test_a_class_of_one_image_or_patient_has_no_variance(class_of_one: bool) -> None:
    positive = (np.arange(6) == 0) == class_of_one
    score = np.arange(6.0)
    plain = delong(positive, score, score[::-1])
    assert np.isnan([plain.var_a, plain.var_b, plain.cov, plain.z, plain.p]).all()
    assert plain.auc_a + plain.auc_b == pytest.approx(1)
    own = clustered_auroc_difference(positive, score, score[::-1], np.array([0, 1, 2, 3, 4, 5]))
    assert np.isnan([own.var_a, own.var_b, own.cov, own.z, own.p]).all()
    assert (own.auc_a, own.auc_b) == (plain.auc_a, plain.auc_b)
    two = np.arange(6) < 2
    assert np.isfinite(delong(two == class_of_one, score, score[::-1]).var_a)
    assert np.isfinite(clustered_auroc_difference(two == class_of_one, score, score[::-1], np.arange(6)).var_a)


def test_a_difference_without_variance_is_unknown_and_none_is_none() -> None:
    positive = np.array([True, True, False, False])
    perfect, wrong = np.array([3.0, 4, 1, 2]), np.array([1.0, 2, 3, 4])
    found = delong(positive, perfect, wrong)
    assert found.auc_a - found.auc_b == 1
    assert np.isnan([found.z, found.p]).all()
    assert (delong(positive, perfect, perfect * 2).z, delong(positive, perfect, perfect * 2).p) == (0.0, 1.0)


# ------------------------------------------------------------------------------------------------ McNemar


@pytest.mark.parametrize(("b", "c"), [(1, 0), (3, 9), (12, 12), (12, 13), (10, 14), (10, 15), (30, 5)])
def test_mcnemars_forms_from_the_binomial(b: int, c: int) -> None:
    found = mcnemar(b, c)
    n, low = b + c, min(b, c)
    assert found.exact == pytest.approx(min(1, 2 * binom.cdf(low, n, 0.5)))
    mid = 1 - binom.pmf(b, n, 0.5) / 2 if b == c else 2 * binom.cdf(low, n, 0.5) - binom.pmf(low, n, 0.5)
    assert found.mid_p == pytest.approx(mid)
    assert (found.chi2, found.chi2_corrected) == pytest.approx(((b - c) ** 2 / n, max(abs(b - c) - 1, 0) ** 2 / n))
    assert found.asymptotic == pytest.approx(chi2.sf(found.chi2, 1))
    assert found.corrected == pytest.approx(chi2.sf(found.chi2_corrected, 1))
    assert found.p == (found.mid_p if n < 25 else found.asymptotic)
    assert (found.b, found.c, found.note) == (b, c, "")


def test_mcnemar_without_discordant_pairs_is_no_evidence() -> None:
    found = mcnemar(0, 0)
    assert (found.b, found.c, found.exact, found.mid_p, found.p) == (0, 0, 1.0, 1.0, 1.0)
    assert (found.chi2, found.asymptotic, found.chi2_corrected, found.corrected) == (0.0, 1.0, 0.0, 1.0)
    assert found.note == "no image on which the models differ"


@pytest.mark.parametrize(("b", "c"), [(-1, 0), (0, -1)])
def test_negative_counts_are_refused(b: int, c: int) -> None:
    with pytest.raises(ValueError, match=f"^discordant counts are {b} and {c}; counts of at least 0 are needed$"):
        mcnemar(b, c)


def test_clustered_mcnemar_by_hand() -> None:
    """Two patients of 2 and 4 images, differences 2 - 0 = 2 and 1 - 2 = -1; k/(k-1) = 2, discordant 5.

    Unclustered: 1/5. Obuchowski: 1 / (2 · 5) = 1/10. Durkalski: shares 1 and -1/4: (3/4)² / (1 + 1/16) = 9/17.
    Yang: mean 1/6, centred 2 - 1/3 = 5/3 and -1 - 2/3 = -5/3: 50/9; 1 / (2 (50/9 + 5)/2) = 9/95.
    """
    found = clustered_mcnemar([2, 1], [0, 2], [2, 4])
    assert (found.unclustered, found.obuchowski, found.durkalski, found.yang) == pytest.approx(
        (1 / 5, 1 / 10, 9 / 17, 9 / 95)
    )
    for name in ("unclustered", "obuchowski", "durkalski", "yang"):
        assert getattr(found, f"p_{name}") == pytest.approx(chi2.sf(getattr(found, name), 1)), name


def test_clustered_mcnemar_at_its_edges() -> None:
    never = clustered_mcnemar([0, 0], [0, 0], [3, 4])
    assert (never.unclustered, never.obuchowski, never.durkalski, never.yang) == (0, 0, 0, 0)
    assert (never.p_unclustered, never.p_obuchowski, never.p_durkalski, never.p_yang) == (1, 1, 1, 1)
    one = clustered_mcnemar([2], [0], [3])  # of one patient no variance over patients is known
    assert np.isnan([one.obuchowski, one.yang, one.p_obuchowski, one.p_yang]).all()
    assert (one.unclustered, one.durkalski) == (2.0, 1.0)
    even = clustered_mcnemar([1, 2], [1, 2], [2, 4])  # each patient differs, and none more one way
    assert (even.obuchowski, even.durkalski, even.p_obuchowski) == (0, 0, 1)


def test_eliasziw_and_donner_with_clusters_of_one_image_is_mcnemar() -> None:
    found = eliasziw_donner([1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1], [0] * 6)
    assert found == pytest.approx(((3 - 1) ** 2 / 4, chi2.sf(1.0, 1)))


# ------------------------------------------------------------------------------------------------ permutations


@pytest.mark.parametrize("k", [1, 2, 16, 17])
def test_sign_flip_of_equal_differences_is_two_patterns_of_all(k: int) -> None:
    """All of one sign: the seen pattern and its mirror. 16 are enumerated, 17 drawn: 2 in 131,072."""
    p = sign_flip(np.full(k, 0.1))
    if k <= 16:
        assert p == 2.0 ** (1 - k)
    else:
        assert 1 / 100_001 <= p < 1e-4


def test_sign_flip_by_hand() -> None:
    """Differences 3, 1, -1: |sum| is 3. Of 8 patterns 5, 3, 3, 1, 1, 3, 3, 5: six reach 3."""
    assert sign_flip(np.array([3.0, 1, -1])) == 6 / 8
    assert sign_flip(np.array([3.0, 0, 1, 0, -1])) == 6 / 8
    assert sign_flip(np.zeros(4)) == 1.0
    assert sign_flip(np.array([1.0, -1.0])) == 1.0


def test_drawn_and_enumerated_sign_flips_agree() -> None:
    """17 patients are drawn; of a 17th that hardly differs the 16 others say it exactly."""
    delta = np.random.default_rng(3).normal(0.3, 1, size=16)
    exact = sign_flip(delta)
    drawn = sign_flip(np.append(delta, 1e-9))
    assert 0.02 < exact < 0.98
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 100_000))
    assert sign_flip(np.append(delta, 1e-9), draws=12_345) == pytest.approx(exact, abs=0.02)
    assert sign_flip(np.append(delta, 1e-9), seed=1) != drawn
    few = sign_flip(np.full(40, 1.0), draws=999)
    assert few == 1 / 1000  # the seen pattern counts among those drawn


# ------------------------------------------------------------------------------------------------ several models


def test_cochrans_q_by_hand_and_of_two_models_is_mcnemars() -> None:
    """Right by model 4, 2, 1 of 5; by image 3, 1, 1, 2, 0. Q = 2 (3 · 21 - 49) / (3 · 7 - 15) = 28/6."""
    right = np.array([[1, 1, 1], [1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]])
    q, df, p = cochran_q(right)
    assert (q, df, p) == pytest.approx((28 / 6, 2, chi2.sf(28 / 6, 2)))
    assert cochran_q(right[:, :2])[:2] == (mcnemar(2, 0).chi2, 1)
    assert cochran_q(np.ones((4, 3), dtype=np.int64)) == (0.0, 2, 1.0)
