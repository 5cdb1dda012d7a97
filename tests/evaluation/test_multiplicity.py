"""Adjusted p-values by hand, and against statsmodels."""

import math

import numpy as np
import pytest
from published_tests import benjamini_hochberg, bonferroni, hommel

from counterstain.evaluation.multiplicity import holm


def test_by_hand() -> None:
    """Of 0.04, 0.01, 0.03: Holm 3 · 0.01, 2 · 0.03 and at least that; Benjamini-Hochberg all 0.04 · 3/3 or less."""
    p = [0.04, 0.01, 0.03]
    assert bonferroni(p) == pytest.approx([0.12, 0.03, 0.09])
    assert holm(p) == pytest.approx([0.06, 0.03, 0.06])
    assert benjamini_hochberg(p) == pytest.approx([0.04, 0.03, 0.04])
    assert hommel(p) == pytest.approx([0.04, 0.03, 0.04])
    assert bonferroni([0.5, 0.6]) == [1, 1] and holm([0.9, 0.8]) == [1, 1] and benjamini_hochberg([1.0]) == [1]


@pytest.mark.parametrize("seed", range(20))
def test_all_are_those_of_statsmodels(seed: int) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(seed)
    p = rng.random(rng.integers(1, 9)) ** 3
    for own, name in ((holm, "holm"), (benjamini_hochberg, "fdr_bh"), (bonferroni, "bonferroni"), (hommel, "hommel")):
        expected = multitest.multipletests(p, method=name)[1]
        assert own(p.tolist()) == pytest.approx(expected.tolist(), abs=1e-12), name


def test_a_pair_that_cant_be_tested_counts_and_stays() -> None:
    found = holm([0.02, float("nan"), 0.01])
    assert found[0] == pytest.approx(0.04) and math.isnan(found[1]) and found[2] == pytest.approx(0.03)
    assert holm([]) == []
