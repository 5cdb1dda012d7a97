"""How likely a ranking is false: a posterior under a stated sceptical prior, with the number of arms in it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from counterstain.judging.intervals import Sample, variance_parts

__all__ = ["DEFAULT_PRIOR_SD", "chance_not_best", "mean_and_covariance"]

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
