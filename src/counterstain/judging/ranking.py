"""How likely a ranking is false: a posterior under a stated sceptical prior, with the number of arms in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.judging.intervals import Sample, estimate, variance_parts
from counterstain.judging.paired_difference import Difference
from counterstain.judging.verdict import Question

__all__ = ["DEFAULT_PRIOR_SD", "chance_not_best", "mean_and_covariance", "pair_chance", "ranking_record"]

Floats = NDArray[np.float64]

# Of the true difference between two arms, on the measure's own scale: 95 % of true differences within ±0.10, half of
# them within ±0.034. Wider priors believe a lucky winner; docs/measures/false-claim-probability.md has the table.
DEFAULT_PRIOR_SD = 0.05
SCALES = 65  # quantiles of the chi-square by which Student's t is a mixture of normals
DRAWS = 4_000  # for more than two arms: the chance is good to 0.008


def mean_and_covariance(samples: Sequence[Sample], key: tuple[str, int | None]) -> tuple[Floats, Floats]:
    """(K,) value of each arm, and (K, K) covariance of its error from shared patients and own seeds.

    Args:
        samples: one for each of K arms, on the same patients.
        key: (metric, class).

    Returns:
        The means over seeds and the jackknife covariance over patients; the seeds' variance is added on the diagonal.
    """
    value = np.array([one.values[key].mean() for one in samples])
    out = np.stack([one.left_out[key].mean(axis=0) for one in samples])
    groups = out.shape[1]
    centred = out - out.mean(axis=1, keepdims=True)
    share = 1.0 if all(len(one.values[key]) == 1 for one in samples) else (groups - 1) / groups
    covariance = share * (centred @ centred.T)
    seeds = [variance_parts(one.values[key], one.left_out[key])[1] for one in samples]
    return value, covariance + np.diag(seeds)


def chance_not_best(
    lead: Sequence[float], covariance: Floats, *, df: float, prior_sd: float = DEFAULT_PRIOR_SD
) -> float:
    """Posterior chance that the leading arm isn't the best of K + 1 arms, in [0, 1].

    The arms' true values are independent draws from one normal distribution, such that the difference between two of
    them has the standard deviation `prior_sd`; the likelihood of the observed leads is multivariate Student's t.

    Args:
        lead: (K,) how far the leading arm is ahead of each other arm; negative where it is behind.
        covariance: (K, K) of the error of these leads.
        df: degrees of freedom of the errors.
        prior_sd: of the true difference between two arms, on the measure's scale.

    Returns:
        The chance that at least one true lead is below 0; NaN if an error is undefined or 0.

    Examples:
        >>> round(chance_not_best([0.03], np.array([[0.015**2]]), df=29, prior_sd=0.05), 3)
        0.033
    """
    from scipy.special import gammaincinv, ndtr

    ahead = np.asarray(lead, dtype=np.float64)
    error = np.asarray(covariance, dtype=np.float64)
    if not (np.isfinite(ahead).all() and np.isfinite(error).all() and df > 0) or (np.diag(error) <= 0).any():
        return float("nan")
    count = len(ahead)
    prior = prior_sd**2 / 2 * (np.eye(count) + 1)
    scale = gammaincinv(df / 2, (np.arange(SCALES) + 0.5) / SCALES) * 2 / df
    normal = np.random.default_rng(0).standard_normal((DRAWS, count)) if count > 1 else None
    chance, logs = np.empty(SCALES), np.empty(SCALES)
    for at, one in enumerate(scale):
        whole = prior + error / one
        shrink = np.linalg.solve(whole, prior).T
        mean, spread = shrink @ ahead, prior - shrink @ prior
        logs[at] = -0.5 * (np.linalg.slogdet(whole)[1] + ahead @ np.linalg.solve(whole, ahead))
        if normal is None:
            chance[at] = ndtr(-mean[0] / np.sqrt(spread[0, 0]))
        else:
            root = np.linalg.cholesky((spread + spread.T) / 2 + 1e-12 * prior_sd**2 * np.eye(count))
            chance[at] = 1 - (mean + normal @ root.T > 0).all(axis=1).mean()
    weight = np.exp(logs - logs.max())
    return float(np.clip((weight * chance).sum() / weight.sum(), 0, 1))


def pair_chance(found: Difference, *, alpha: float = 0.05, prior_sd: float = DEFAULT_PRIOR_SD) -> float:
    """Posterior chance that the better-looking one of two arms is the worse one, under the sceptical prior.

    The error is the one that the printed interval has, so that near the ceiling, where patients are counted, a jackknife
    error of 0 isn't taken for certainty.

    Args:
        found: the difference.
        alpha: of its interval.
        prior_sd: of the true difference.
    """
    se = _error_of(found, alpha)
    return chance_not_best([abs(found.difference)], np.array([[se**2]]), df=found.df, prior_sd=prior_sd)


def _error_of(found: Difference, alpha: float) -> float:
    """The standard error, or where the interval is wider than it says, the one that the interval stands for."""
    from scipy.special import stdtrit

    se = float(np.hypot(found.se_patient, found.se_seed))
    if not np.isfinite(se) or not found.df > 0:
        return float("nan")
    return max(se, (found.high - found.low) / 2 / float(stdtrit(found.df, 1 - alpha / 2)))


def ranking_record(
    samples: Mapping[str, Sample], rows: Sequence[Mapping[str, Any]], asked: Question, *, prior_sd: float
) -> dict[str, Any]:
    """The arms from best to worst, each with its interval and what its pair with the best says.

    Args:
        samples: arm -> its scores.
        rows: the judged pairs.
        asked: the question.
        prior_sd: of the sceptical prior.

    Returns:
        "arms": in order, each with value, interval, and whether it can't be told from the best; "chance_not_best":
        posterior chance that the one on top isn't the best of them; "prior_sd".
    """
    key = (asked.metric, None)
    found = {
        arm: estimate(own.values[key], own.left_out[key], own.df[key], metric=asked.metric, confidence=1 - asked.alpha)
        for arm, own in samples.items()
    }
    # An undefined value stands last, and arms that tie keep the order in which they were given.
    order = sorted(found, key=lambda arm: (np.isnan(found[arm].value), -asked.better_sign * found[arm].value))
    best = order[0]
    against = {row["b"] if row["a"] == best else row["a"]: row for row in rows if best in (row["a"], row["b"])}
    arms = []
    for arm in order:
        row = against.get(arm)
        told = row is not None and (row["verdict"] in ("a_better", "b_better") or row["also"] is not None)
        arms.append(
            {
                "arm": arm,
                "value": found[arm].value,
                "low": found[arm].low,
                "high": found[arm].high,
                "seeds": len(samples[arm].values[key]),
                "told_from_best": told,
            }
        )
    return {"arms": arms, "chance_not_best": _chance_of(order, samples, against, asked, prior_sd), "prior_sd": prior_sd}


def _chance_of(
    order: Sequence[str],
    samples: Mapping[str, Sample],
    against: Mapping[str, Mapping[str, Any]],
    asked: Question,
    prior_sd: float,
) -> float | None:
    """The chance that the arm on top isn't the best, from the pairs' own errors and the correlation of the leads."""
    from scipy.special import stdtrit

    others = [arm for arm in order[1:] if arm in against]
    kinds = {row["verdict"] for row in against.values()}
    if not others or kinds & {"not_enough_runs", "undefined"}:
        return None
    value, covariance = mean_and_covariance([samples[arm] for arm in (order[0], *others)], (asked.metric, None))
    contrast = np.hstack([np.ones((len(others), 1)), -np.eye(len(others))])
    error = contrast @ covariance @ contrast.T
    df = min(float(against[arm]["df"]) for arm in others)
    half = np.array([(against[arm]["high"] - against[arm]["low"]) / 2 for arm in others])
    freedom = np.array([max(float(against[arm]["df"]), 1.0) for arm in others])
    printed = half / stdtrit(freedom, 1 - asked.alpha / 2)
    own = np.sqrt(np.diag(error))
    if not (own > 0).all():  # nothing is known of how the leads go together
        error = np.diag(printed**2)
    else:
        wider = np.maximum(printed / own, 1.0)
        error = error * np.outer(wider, wider)
    found = chance_not_best(asked.better_sign * (contrast @ value), error, df=df, prior_sd=prior_sd)
    return None if np.isnan(found) else found
