"""Ways of training over folds, repeats and seeds: corrected t-test, its Bayesian twin, and variance by source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from counterstain.evaluation.format import p_words
from counterstain.evaluation.intervals import sample, units_of
from counterstain.evaluation.metric_names import measure_words
from counterstain.evaluation.paired_difference import LOWER_IS_BETTER, Difference
from counterstain.evaluation.predictions import Predictions, concatenate
from counterstain.evaluation.resampled_tests import CorrelatedT, bayesian_correlated_t, corrected_resampled_t
from counterstain.evaluation.variance_components import variance_record

__all__ = ["DEFAULT_ROPE", "PROCEDURES_SCHEMA", "FoldTests", "fold_tests", "procedures_record", "with_folds"]

PROCEDURES_SCHEMA = "counterstain.procedures/1"
DEFAULT_ROPE = 0.01
Place = tuple[int, int, int]  # seed, repeat, fold


# ------------------------------------------------------------------------------------------- what the verdict takes


@dataclass(frozen=True)
class FoldTests:
    """What several training sets say of each pair of arms.

    training_sets: how many there are (folds times repeats)
    tests: (metric, first arm, second arm) -> the corrected t-test over them, None where a fold can't be scored
    """

    training_sets: int
    tests: Mapping[tuple[str, str, str], CorrelatedT | None]

    def of(self, metric: str, a: str, b: str) -> CorrelatedT | None:
        """The test of a pair in the order asked; None where there is none."""
        test = self.tests.get((metric, a, b))
        if test is not None:
            return test
        mirrored = self.tests.get((metric, b, a))
        return None if mirrored is None else replace(
            mirrored, mean=-mirrored.mean, t=-mirrored.t, naive_t=-mirrored.naive_t, low=-mirrored.high,
            high=-mirrored.low,
        )  # fmt: skip


def fold_tests(
    tables: Mapping[str, Mapping[Place, Predictions]],
    sizes: Mapping[tuple[int, int], tuple[int, int]],
    *,
    metrics: Sequence[str],
    level: str = "image",
    alpha: float = 0.05,
) -> FoldTests | None:
    """The corrected t-tests over the training sets, for every pair of arms; None where there is one training set.

    Args:
        tables, sizes, level, alpha: as for `procedures_record`.
        metrics: the endpoints.

    Source: Nadeau & Bengio 2003, Machine Learning 52:239, doi:10.1023/A:1024068626366.
    """
    arms = list(tables)
    places = {place[1:] for place in next(iter(tables.values()))}
    if len(places) < 2:
        return None
    tests: dict[tuple[str, str, str], CorrelatedT | None] = {}
    for metric in metrics:
        values = {arm: _fold_values(arm_tables, metric, level) for arm, arm_tables in tables.items()}
        for k, a in enumerate(arms):
            for b in arms[k + 1 :]:
                delta = {place: values[a][place] - values[b][place] for place in values[a]}
                complete = bool(np.isfinite(list(delta.values())).all())
                tests[metric, a, b] = _corrected(delta, sizes, alpha) if complete else None
    return FoldTests(len(places), tests)


def _corrected(
    delta: Mapping[tuple[int, int], float], sizes: Mapping[tuple[int, int], tuple[int, int]], alpha: float
) -> CorrelatedT:
    """The test with the mean ratio of the parts' sizes, which says how much the training sets overlap."""
    return corrected_resampled_t(
        list(delta.values()), n_train=1, n_test=_test_to_train(delta, sizes), confidence=1 - alpha
    )


def _test_to_train(delta: Mapping[tuple[int, int], float], sizes: Mapping[tuple[int, int], tuple[int, int]]) -> float:
    return float(np.mean([sizes[place][1] / sizes[place][0] for place in delta]))


def with_folds(effect: Difference, test: CorrelatedT, metric: str, *, alpha: float, margin: float | None) -> Difference:
    """The difference as both tests allow it: the wider interval and the larger p of patients and training sets.

    A claim must hold for other patients and for other training sets; each test looks at one of them, so both must
    agree (Berger's intersection-union, which needs no correction).

    Args:
        effect: the difference with its error over patients and seeds.
        test: the corrected t-test over the training sets.
        metric: decides which direction is better.
        alpha, margin: as for `difference`.

    Source: Berger 1982, Technometrics 24:295, doi:10.1080/00401706.1982.10487790.
    """
    from scipy.special import stdtr, stdtrit

    sign = -1 if metric in LOWER_IS_BETTER else 1
    half, narrow = (float(stdtrit(test.df, 1 - tail)) * test.se for tail in (alpha / 2, alpha))
    low, high = min(effect.low, test.mean - half), max(effect.high, test.mean + half)
    widened = replace(
        effect, low=low, high=high, p=max(effect.p, test.p),
        low_margin=min(effect.low_margin, test.mean - narrow), high_margin=max(effect.high_margin, test.mean + narrow),
        low_one_sided=min(effect.low_one_sided, low), high_one_sided=max(effect.high_one_sided, high),
        method=f"{effect.method}; corrected t-test over training sets",
    )  # fmt: skip
    if margin is None or test.se <= 0:
        return widened

    def one_sided(distance: float) -> float:
        return float(stdtr(test.df, -distance / test.se))

    above, below = one_sided(sign * test.mean + margin), one_sided(margin - sign * test.mean)
    return replace(
        widened,
        p_equivalence=max(effect.p_equivalence, above, below),
        p_noninferior=max(effect.p_noninferior, above),
        p_inferior=max(effect.p_inferior, one_sided(-sign * test.mean - margin)),
    )


# ------------------------------------------------------------------------------------------------------ the record


def procedures_record(
    tables: Mapping[str, Mapping[Place, Predictions]],
    sizes: Mapping[tuple[int, int], tuple[int, int]],
    *,
    metric: str = "auroc",
    level: str = "image",
    margin: float | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
    alpha: float = 0.05,
) -> dict[str, object]:
    """The record procedures.json: what folds and seeds say of the arms as ways of training.

    Args:
        tables: arm -> (seed, repeat, fold) -> the test predictions of that training; the same places for every arm.
        sizes: (repeat, fold) -> independent units in its training and in its test part.
        metric, level: the primary endpoint.
        margin: half-width of the region of practical equivalence; None: ±0.01, and it is said.
        pairs: arms to compare, first less second; default: every pair.
        alpha: two-sided error of the interval.

    Returns:
        JSON-ready: pairs, each with the tests or why there are none; variance by arm; rope and where it is from.
    """
    arms = list(tables)
    compared = list(pairs) if pairs else [(a, b) for k, a in enumerate(arms) for b in arms[k + 1 :]]
    rope = DEFAULT_ROPE if margin is None else margin
    first = next(iter(next(iter(tables.values())).values()))
    values = {arm: _fold_values(arm_tables, metric, level) for arm, arm_tables in tables.items()}
    return {
        "schema": PROCEDURES_SCHEMA,
        "metric": metric,
        "positive": first.positive,
        "level": level,
        "rope": rope,
        "rope_from": "the margin of the study" if margin is not None else "no margin was stated, so ±0.01 was taken",
        "pairs": [_pair(a, b, values, sizes, metric, rope, alpha, first.positive) for a, b in compared],
        "variance": {
            arm: variance_record(_whole(arm_tables), metric=metric, level=level) for arm, arm_tables in tables.items()
        },
    }


def _whole(tables: Mapping[Place, Predictions]) -> dict[tuple[int, int], Predictions]:
    """One table for each seed and repeat: its folds together."""
    grouped: dict[tuple[int, int], list[Predictions]] = {}
    for (seed, repeat, _), table in sorted(tables.items(), key=lambda item: item[0]):
        grouped.setdefault((seed, repeat), []).append(table)
    return {key: concatenate(parts) for key, parts in grouped.items()}


def _fold_values(tables: Mapping[Place, Predictions], metric: str, level: str) -> dict[tuple[int, int], float]:
    """The score of each fold of each repeat, mean over the seeds; NaN where a fold cannot be scored."""
    by_fold: dict[tuple[int, int], list[float]] = {}
    for (_, repeat, fold), table in tables.items():
        value = float(sample([table], units_of([table]), level=level).values[metric, None][0])
        by_fold.setdefault((repeat, fold), []).append(value)
    return {place: float(np.mean(values)) for place, values in sorted(by_fold.items())}


def _pair(
    a: str,
    b: str,
    values: Mapping[str, Mapping[tuple[int, int], float]],
    sizes: Mapping[tuple[int, int], tuple[int, int]],
    metric: str,
    rope: float,
    alpha: float,
    positive: str | None,
) -> dict[str, Any]:
    delta = {place: values[a][place] - values[b][place] for place in values[a]}
    base: dict[str, Any] = {"a": a, "b": b, "folds": len(delta), "differences": list(delta.values())}
    reason, measure = "", measure_words(metric, positive)
    if len(delta) < 2:
        reason = (
            "there is one split, so the spread over training sets is not shown by this study; "
            "split.method: folds would show it"
        )
    elif not np.isfinite(base["differences"]).all():
        bad = next(place for place, value in delta.items() if not np.isfinite(value))
        reason = f"{measure} is undefined in repeat {bad[0]}, fold {bad[1]}, so there is no test over the folds"
    if reason:
        return base | {"test": None, "posterior": None, "words": f"{a} and {b}: {reason}."}
    ratio = _test_to_train(delta, sizes)
    test = _corrected(delta, sizes, alpha)
    low, within, high = bayesian_correlated_t(base["differences"], n_train=1, n_test=ratio, rope=rope)
    better, worse = (low, high) if metric in LOWER_IS_BETTER else (high, low)
    statistics = {"t": test.t, "df": test.df, "p": test.p, "mean": test.mean, "se": test.se}
    interval = {"low": test.low, "high": test.high, "naive_p": test.naive_p, "test_to_train": ratio}
    posterior = {"a_better": better, "within_rope": within, "b_better": worse}
    words = (
        f"{a} less {b} over {len(delta)} folds: {test.mean:+.3f} ({100 * (1 - alpha):.4g} % interval "
        f"[{test.low:+.3f}, {test.high:+.3f}]) in {measure}, corrected t-test {p_words(test.p)}; probabilities: {a} "
        f"better by more than {rope:g}: {better:.2f}, practically alike: {within:.2f}, {b} better by more: {worse:.2f}."
    )
    return base | {"test": statistics | interval, "posterior": posterior, "words": words}
