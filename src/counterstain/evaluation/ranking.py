"""How likely the ranking of two arms is false: a posterior under a stated sceptical prior; and the arms in order."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.degrees_of_freedom import combined_df
from counterstain.evaluation.intervals import Sample, estimate_of
from counterstain.evaluation.paired_difference import Difference
from counterstain.evaluation.record_types import PairRow, RankingRecord, RankingRow
from counterstain.evaluation.verdict import Question

__all__ = ["DEFAULT_PRIOR_SD", "chance_of_false_ranking", "lead", "pair_chance", "ranking_record"]

Floats = NDArray[np.float64]

# Of the true difference between two arms, on the measure's own scale: 95 % of true differences within ±0.10, half of
# them within ±0.034. Wider priors believe a lucky winner; docs/measures/false-claim-probability.md has the table.
DEFAULT_PRIOR_SD = 0.05
SCALES = 129  # places on the chi-square by which Student's t is a mixture of normals, evenly on its logarithm
# They begin far out: a lead that the prior finds unlikely is best explained by an error that is rarely so large.
RAREST = 1e-30, 1e-6
NO_ERROR = 1e-12


def lead(a: Sample, b: Sample, key: tuple[str, int | None]) -> tuple[float, float, float]:
    """How far arm a is ahead of b, the variance of the error, and its degrees of freedom.

    The verdict counts each patient's noise in each training twice, which keeps it cautious; a posterior that is to be
    calibrated may not. So what the seeds' spread owes to that noise (the jackknife variance of each seed's deviation)
    is taken off here, down to 0, and the jackknife's excess where patients are of uneven size, too.

    Args:
        a, b: scores of both arms on the same patients.
        key: (metric, class).
    """
    left_out = a.left_out[key].mean(axis=0) - b.left_out[key].mean(axis=0)
    df_patient = min(a.df[key], b.df[key])
    if key in a.carried:  # as in `difference`
        weight = 1 - a.carried[key]
    else:  # leaving out a patient who carries the share h moves a score by 1 / (1 - h) times too much
        weight = np.full(len(left_out), df_patient / (df_patient + 1))
    patient = float((weight * (left_out - left_out.mean()) ** 2).sum())
    seed, df_seed = _seeds_own((a, b), key)
    ahead = float(a.values[key].mean() - b.values[key].mean())
    return ahead, patient + seed, combined_df(patient, seed, df_patient, df_seed)


def _seeds_own(arms: Sequence[Sample], key: tuple[str, int | None]) -> tuple[float, float]:
    """Variance of the difference from the arms' seeds without the noise of single patients, and degrees of freedom.

    What is left is pooled over the arms. It is uncertain with few seeds, and cutting it off at 0 alone would add to it
    on average where seeds differ by noise only, so half a standard error of the noise is taken off before.
    """
    excess, noises, freedom = 0.0, 0.0, 0
    for arm in arms:
        values, left_out = arm.values[key], arm.left_out[key]
        seeds, groups = left_out.shape
        if seeds == 1:
            continue
        apart = left_out - left_out.mean(axis=0)
        noise = (groups - 1) / groups * float(((apart - apart.mean(axis=1, keepdims=True)) ** 2).sum())
        excess += float(values.var(ddof=1)) * (seeds - 1) - noise
        noises += noise
        freedom += seeds - 1
    pooled = max(excess - 0.5 * noises * float(np.sqrt(2 / max(freedom, 1))), 0.0) / max(freedom, 1)
    per_arm = [pooled / len(arm.values[key]) for arm in arms if len(arm.values[key]) > 1]
    return float(sum(per_arm)), float(freedom)


def chance_of_false_ranking(ahead: float, variance: float, *, df: float, prior_sd: float = DEFAULT_PRIOR_SD) -> float:
    """Posterior chance that the arm which is ahead is the worse one, in [0, 1].

    The prior of the true difference is N(0, prior_sd^2), the likelihood of the observed one is Student's t.

    Args:
        ahead: the observed lead.
        variance: of its error; df: degrees of freedom of that.
        prior_sd: of the true difference, on the measure's scale.

    Returns:
        The chance that the true lead is below 0; NaN if the error is undefined or 0.

    Examples:
        >>> round(chance_of_false_ranking(0.03, 0.015**2, df=29, prior_sd=0.05), 3)
        0.033
    """
    from scipy.special import gammainccinv, gammaincinv, ndtr

    if not (np.isfinite(ahead) and np.isfinite(variance) and df > 0 and variance > 0):
        return float("nan")
    scale = np.geomspace(gammaincinv(df / 2, RAREST[0]), gammainccinv(df / 2, RAREST[1]), SCALES) * 2 / df
    total = prior_sd**2 + variance / scale
    shrink = prior_sd**2 / total
    # An error that is nothing beside the prior leaves a spread that rounds to 0, or below.
    spread = np.maximum(prior_sd**2 * (1 - shrink), (1e-9 * prior_sd) ** 2)
    chance = ndtr(-shrink * ahead / np.sqrt(spread))
    logs = -0.5 * (np.log(total) + ahead**2 / total) + df / 2 * (np.log(scale) - scale)
    weight = np.exp(logs - logs.max())
    return float(np.clip((weight * chance).sum() / weight.sum(), 0, 1))


def pair_chance(
    a: Sample, b: Sample, effect: Difference, key: tuple[str, int | None], *, alpha: float, prior_sd: float
) -> float:
    """Posterior chance that the better-looking one of two arms is the worse one, under the sceptical prior.

    Where no patient changes the difference the printed interval's own width is the error: no error isn't certainty.

    Args:
        a, b: the arms' scores; found: their difference.
        key: (metric, class).
        alpha: of the difference's interval.
        prior_sd: of the true difference.
    """
    from scipy.special import stdtrit

    ahead, variance, df = lead(a, b, key)
    if variance <= NO_ERROR**2:
        width = (effect.high - effect.low) / 2 / float(stdtrit(max(effect.df, 1.0), 1 - alpha / 2))
        variance = max(variance, width**2)
    return chance_of_false_ranking(abs(ahead), variance, df=df, prior_sd=prior_sd)


def ranking_record(samples: Mapping[str, Sample], rows: Sequence[PairRow], question: Question) -> RankingRecord:
    """The arms from best to worst, each with its interval and what its pair with the best says.

    Args:
        samples: arm -> its scores.
        rows: the judged pairs.
        question: the question.

    Returns:
        "arms": in order, each with value, interval, and whether it can be told from the best.
    """
    key = (question.metric, None)
    scores = {arm: estimate_of(drawn, key, confidence=1 - question.alpha) for arm, drawn in samples.items()}
    # An undefined value stands last, and arms that tie keep the order in which they were given.
    order = sorted(scores, key=lambda arm: (np.isnan(scores[arm].value), -question.better_sign * scores[arm].value))
    best = order[0]
    against = {row["b"] if row["a"] == best else row["a"]: row for row in rows if best in (row["a"], row["b"])}
    arms: list[RankingRow] = []
    for arm in order:
        row = against.get(arm)
        differs = row is not None and (row["verdict"] in ("a_better", "b_better") or row["also"] is not None)
        arms.append(
            {
                "arm": arm,
                "value": scores[arm].value,
                "low": scores[arm].low,
                "high": scores[arm].high,
                "seeds": len(samples[arm].values[key]),
                "told_from_best": differs,
            }
        )
    return {"arms": arms}
