"""How likely a ranking is false: a posterior under a stated sceptical prior, with the number of arms in it."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.degrees_of_freedom import combined_df
from counterstain.evaluation.intervals import Sample, estimate_of
from counterstain.evaluation.paired_difference import Difference
from counterstain.evaluation.record_types import PairRow, RankingRecord, RankingRow
from counterstain.evaluation.verdict import Question

__all__ = ["DEFAULT_PRIOR_SD", "chance_not_best", "leads", "pair_chance", "ranking_record"]

Floats = NDArray[np.float64]

# Of the true difference between two arms, on the measure's own scale: 95 % of true differences within ±0.10, half of
# them within ±0.034. Wider priors believe a lucky winner; docs/measures/false-claim-probability.md has the table.
DEFAULT_PRIOR_SD = 0.05
SCALES = 129  # places on the chi-square by which Student's t is a mixture of normals, evenly on its logarithm
# They begin far out: a lead that the prior finds unlikely is best explained by an error that is rarely so large.
RAREST = 1e-30, 1e-6
POINTS = 1024  # of a Sobol sequence, for more than two arms: the chance is good to 0.001


def leads(best: Sample, others: Sequence[Sample], key: tuple[str, int | None]) -> tuple[Floats, Floats, float]:
    """How far one arm is ahead of K others, (K,), the (K, K) covariance of the error, and its degrees of freedom.

    The verdict counts each patient's noise in each training twice, which keeps it cautious; a posterior that is to be
    calibrated may not. So what the seeds' spread owes to that noise (the jackknife variance of each seed's deviation)
    is taken off here, down to 0.

    Args:
        best: the arm in question, and `others`: the K others, all on the same patients.
        key: (metric, class).
    """
    arms = [best, *others]
    value = np.array([one.values[key].mean() for one in arms])
    out = np.stack([one.left_out[key].mean(axis=0) for one in arms])
    groups = out.shape[1]
    centred = out - out.mean(axis=1, keepdims=True)
    if key in best.carried:  # as in `difference`
        weight = 1 - best.carried[key]
    else:
        single = all(len(one.values[key]) == 1 for one in arms)
        weight = np.full(groups, 1.0 if single else (groups - 1) / groups)
    patient = (weight * centred) @ centred.T
    seed, df_seed = _seeds_own(arms, key)
    contrast = np.hstack([np.ones((len(others), 1)), -np.eye(len(others))])
    error = contrast @ (patient + np.diag(seed)) @ contrast.T
    over_patients = float(np.diag(contrast @ patient @ contrast.T).mean())
    df = combined_df(over_patients, 2 * float(seed.mean()), min(one.df[key] for one in arms), df_seed)
    return contrast @ value, error, df


def _seeds_own(arms: Sequence[Sample], key: tuple[str, int | None]) -> tuple[Floats, float]:
    """(K,) variance of each arm's mean from its seeds without the noise of single patients, and degrees of freedom.

    What is left is pooled over the arms. It is uncertain with few seeds, and cutting it off at 0 alone would add to it
    on average where seeds differ by noise only, so half a standard error of the noise is taken off before.
    """
    excess, noises, freedom = 0.0, 0.0, 0
    for one in arms:
        values, left_out = one.values[key], one.left_out[key]
        seeds, groups = left_out.shape
        if seeds == 1:
            continue
        apart = left_out - left_out.mean(axis=0)
        noise = (groups - 1) / groups * float(((apart - apart.mean(axis=1, keepdims=True)) ** 2).sum())
        excess += float(values.var(ddof=1)) * (seeds - 1) - noise
        noises += noise
        freedom += seeds - 1
    pooled = max(excess - 0.5 * noises * float(np.sqrt(2 / max(freedom, 1))), 0.0) / max(freedom, 1)
    each = [pooled / len(one.values[key]) if len(one.values[key]) > 1 else 0.0 for one in arms]
    return np.array(each), float(freedom)


def chance_not_best(
    lead: Sequence[float] | Floats, covariance: Floats, *, df: float, prior_sd: float = DEFAULT_PRIOR_SD
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
    from scipy.special import gammainccinv, gammaincinv, ndtr

    ahead = np.asarray(lead, dtype=np.float64)
    error = np.asarray(covariance, dtype=np.float64)
    if not (np.isfinite(ahead).all() and np.isfinite(error).all() and df > 0) or (np.diag(error) <= 0).any():
        return float("nan")
    count = len(ahead)
    prior = prior_sd**2 / 2 * (np.eye(count) + 1)
    scale = np.geomspace(gammaincinv(df / 2, RAREST[0]), gammainccinv(df / 2, RAREST[1]), SCALES) * 2 / df
    normal = _normal_points(count) if count > 1 else None
    chance, logs = np.empty(SCALES), np.empty(SCALES)
    for at, one in enumerate(scale):
        whole = prior + error / one
        shrink = np.linalg.solve(whole, prior).T
        mean, spread = shrink @ ahead, prior - shrink @ prior
        logs[at] = -0.5 * (np.linalg.slogdet(whole)[1] + ahead @ np.linalg.solve(whole, ahead))
        logs[at] += df / 2 * (np.log(one) - one)
        if normal is None:
            # An error that is nothing beside the prior leaves a spread that rounds to 0, or below.
            chance[at] = ndtr(-mean[0] / np.sqrt(max(float(spread[0, 0]), (1e-9 * prior_sd) ** 2)))
        else:
            root = np.linalg.cholesky((spread + spread.T) / 2 + 1e-12 * prior_sd**2 * np.eye(count))
            chance[at] = 1 - (mean + normal @ root.T > 0).all(axis=1).mean()
    weight = np.exp(logs - logs.max())
    return float(np.clip((weight * chance).sum() / weight.sum(), 0, 1))


@functools.cache
def _normal_points(count: int) -> Floats:
    """(POINTS, count) points spread evenly under the standard normal distribution.

    4,000 random draws, the same for every ranking, shifted all chances of the best of six by 0.004.
    """
    from scipy.special import ndtri
    from scipy.stats import qmc

    uniform = qmc.Sobol(count, seed=0).random(POINTS)
    points: Floats = ndtri(np.clip(uniform, 1e-12, 1 - 1e-12))
    return points


def pair_chance(
    a: Sample, b: Sample, found: Difference, key: tuple[str, int | None], *, alpha: float, prior_sd: float
) -> float:
    """Posterior chance that the better-looking one of two arms is the worse one, under the sceptical prior.

    Where the interval comes from counting patients, or is widened by several training sets, its own width is the error:
    a jackknife error of 0 isn't certainty.

    Args:
        a, b: the arms' scores; found: their difference.
        key: (metric, class).
        alpha: of the difference's interval.
        prior_sd: of the true difference.
    """
    lead, error, df = leads(a, [b], key)
    wider = _widening(np.sqrt(np.maximum(np.diag(error), 0)), [(found.low, found.high, found.df)], alpha)
    return chance_not_best(np.abs(lead), wider(error), df=df, prior_sd=prior_sd)


def _widening(own: Floats, printed: Sequence[tuple[float, float, float]], alpha: float) -> Callable[[Floats], Floats]:
    """Makes a covariance as wide as the printed intervals where an error is 0: no error at all isn't certainty."""
    from scipy.special import stdtrit

    width = np.array([(high - low) / 2 / stdtrit(max(df, 1.0), 1 - alpha / 2) for low, high, df in printed])
    if (own > 1e-12).all():
        return lambda error: error
    return lambda error: np.diag(np.maximum(own, width) ** 2)


def ranking_record(
    samples: Mapping[str, Sample], rows: Sequence[PairRow], asked: Question, *, prior_sd: float
) -> RankingRecord:
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
    found = {arm: estimate_of(own, key, confidence=1 - asked.alpha) for arm, own in samples.items()}
    # An undefined value stands last, and arms that tie keep the order in which they were given.
    order = sorted(found, key=lambda arm: (np.isnan(found[arm].value), -asked.better_sign * found[arm].value))
    best = order[0]
    against = {row["b"] if row["a"] == best else row["a"]: row for row in rows if best in (row["a"], row["b"])}
    arms: list[RankingRow] = []
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
    against: Mapping[str, PairRow],
    asked: Question,
    prior_sd: float,
) -> float | None:
    """The chance that the arm on top isn't the best, with the correlation of its leads over the shared patients."""
    others = [arm for arm in order[1:] if arm in against]
    kinds = {row["verdict"] for row in against.values()}
    if not others or kinds & {"not_enough_runs", "undefined"}:
        return None
    lead, error, df = leads(samples[order[0]], [samples[arm] for arm in others], (asked.metric, None))
    printed = [(float(against[arm]["low"]), float(against[arm]["high"]), float(against[arm]["df"])) for arm in others]
    wider = _widening(np.sqrt(np.maximum(np.diag(error), 0)), printed, asked.alpha)
    found = chance_not_best(asked.better_sign * lead, wider(error), df=df, prior_sd=prior_sd)
    return None if np.isnan(found) else found
