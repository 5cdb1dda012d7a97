"""Ways of training over folds, repeats and seeds: corrected t-test, its Bayesian twin, and variance by source."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from counterstain.judging.intervals import sample, units_of
from counterstain.judging.predictions import Predictions, concatenate
from counterstain.judging.procedures import bayesian_correlated_t, corrected_resampled_t
from counterstain.judging.variance import variance_record
from counterstain.judging.verdict import LOWER_IS_BETTER

__all__ = ["DEFAULT_ROPE", "PROCEDURES_SCHEMA", "procedures_record"]

PROCEDURES_SCHEMA = "counterstain.procedures/1"
DEFAULT_ROPE = 0.01
Place = tuple[int, int, int]  # seed, repeat, fold


def procedures_record(
    tables: Mapping[str, Mapping[Place, Predictions]],
    sizes: Mapping[tuple[int, int], tuple[int, int]],
    *,
    metric: str = "auroc",
    level: str = "image",
    margin: float | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
    alpha: float = 0.05,
) -> dict[str, Any]:
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
    wanted = list(pairs) if pairs else [(a, b) for k, a in enumerate(arms) for b in arms[k + 1 :]]
    rope = DEFAULT_ROPE if margin is None else margin
    values = {arm: _fold_values(own, metric, level) for arm, own in tables.items()}
    return {
        "schema": PROCEDURES_SCHEMA,
        "metric": metric,
        "level": level,
        "rope": rope,
        "rope_from": "the margin of the study" if margin is not None else "no margin was stated, so ±0.01 was taken",
        "pairs": [_pair(a, b, values, sizes, metric, rope, alpha) for a, b in wanted],
        "variance": {arm: variance_record(_whole(own), metric=metric, level=level) for arm, own in tables.items()},
    }


def _whole(tables: Mapping[Place, Predictions]) -> dict[tuple[int, int], Predictions]:
    """One table for each seed and repeat: its folds together."""
    grouped: dict[tuple[int, int], list[Predictions]] = {}
    for (seed, repeat, _), table in sorted(tables.items(), key=lambda item: item[0]):
        grouped.setdefault((seed, repeat), []).append(table)
    return {key: concatenate(parts) if len(parts) > 1 else parts[0] for key, parts in grouped.items()}


def _fold_values(tables: Mapping[Place, Predictions], metric: str, level: str) -> dict[tuple[int, int], float]:
    """The score of each fold of each repeat, mean over the seeds; NaN where a fold cannot be scored."""
    found: dict[tuple[int, int], list[float]] = {}
    for (_, repeat, fold), table in tables.items():
        value = float(sample([table], units_of([table]), level=level).values[metric, None][0])
        found.setdefault((repeat, fold), []).append(value)
    return {place: float(np.mean(values)) for place, values in sorted(found.items())}


def _pair(
    a: str,
    b: str,
    values: Mapping[str, Mapping[tuple[int, int], float]],
    sizes: Mapping[tuple[int, int], tuple[int, int]],
    metric: str,
    rope: float,
    alpha: float,
) -> dict[str, Any]:
    delta = {place: values[a][place] - values[b][place] for place in values[a]}
    base: dict[str, Any] = {"a": a, "b": b, "folds": len(delta), "differences": list(delta.values())}
    reason = ""
    if len(delta) < 2:
        reason = (
            "there is one split, so the spread over training sets is not shown by this study; "
            "split.method: folds would show it"
        )
    elif not np.isfinite(base["differences"]).all():
        bad = next(place for place, value in delta.items() if not np.isfinite(value))
        reason = f"{metric} is undefined in repeat {bad[0]}, fold {bad[1]}, so no test over the folds can be made"
    if reason:
        return base | {"test": None, "posterior": None, "words": f"{a} and {b}: {reason}."}
    # The ratio of the sizes decides how much the training sets overlap; its mean over the folds is taken.
    ratio = float(np.mean([sizes[place][1] / sizes[place][0] for place in delta]))
    found = corrected_resampled_t(base["differences"], n_train=1, n_test=ratio, confidence=1 - alpha)
    low, within, high = bayesian_correlated_t(base["differences"], n_train=1, n_test=ratio, rope=rope)
    better, worse = (low, high) if metric in LOWER_IS_BETTER else (high, low)
    shown = {"t": found.t, "df": found.df, "p": found.p, "mean": found.mean, "se": found.se}
    interval = {"low": found.low, "high": found.high, "naive_p": found.naive_p, "test_to_train": ratio}
    posterior = {"a_better": better, "within_rope": within, "b_better": worse}
    p = "< 0.001" if found.p < 0.001 else f"= {found.p:.3f}"
    words = (
        f"{a} less {b} over {len(delta)} folds: {found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}] in {metric}, "
        f"corrected t-test p {p}; chances: {a} better by more than {rope:g}: {better:.2f}, practically alike: "
        f"{within:.2f}, {b} better by more: {worse:.2f}."
    )
    return base | {"test": shown | interval, "posterior": posterior, "words": words}
