"""Comparison of arms: the paired difference, its interval and test by patient and seed, one verdict from one rule."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError, suggest
from counterstain.judging.evaluation import aligned_arms, levels_of, score_arms, score_rows
from counterstain.judging.freedom import combined_df
from counterstain.judging.intervals import FEW_PATIENTS, Sample, sample, units_of, variance_parts
from counterstain.judging.multiplicity import holm
from counterstain.judging.predictions import Predictions
from counterstain.judging.supporting import supporting_tests

__all__ = ["COMPARISON_SCHEMA", "Difference", "compare_arms", "difference", "score_arms", "score_rows"]

Floats = NDArray[np.float64]

COMPARISON_SCHEMA = "counterstain.comparison/1"
MIN_SEEDS = 3
POWER = 0.8
LOWER_IS_BETTER = ("loss", "brier")


@dataclass(frozen=True)
class Difference:
    """The paired difference a - b of one score, each the mean over its arm's seeds.

    low, high: interval of the difference; p: two-sided, against no difference
    low_margin, high_margin: the interval of twice the error, which TOST holds against the margin
    se_patient, se_seed: standard errors from patients and from seeds; df: of the t-quantile
    probability_false: chance that the better-looking arm is not the better one, as the data stand (half of p)
    patients_needed: patients for 80 % power at this difference and these seeds; None where seeds alone forbid it
    """

    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    p: float
    low_margin: float
    high_margin: float
    se_patient: float
    se_seed: float
    df: float
    probability_false: float
    patients_needed: int | None


def difference(a: Sample, b: Sample, key: tuple[str, int | None], *, alpha: float = 0.05) -> Difference:
    """The paired difference of one score between two arms on the same patients.

    Each patient is left out of both arms at once, so what is hard about a patient for both cancels. Seeds of the two
    arms are independent trainings; their spread is added for each arm.
    """
    from scipy.special import stdtr, stdtrit

    value_a, value_b = float(a.values[key].mean()), float(b.values[key].mean())
    delta = value_a - value_b
    patient, seed, df = _difference_variance(a, b, key)
    se = float(np.sqrt(patient + seed))
    nan = float("nan")
    if not np.isfinite(se):
        return Difference(value_a, value_b, delta, nan, nan, nan, nan, nan, nan, nan, nan, nan, None)
    if se == 0:  # the same predictions (or nothing that any patient changes): no evidence either way
        p = 1.0
        half = half_margin = 0.0
    else:
        p = float(2 * stdtr(df, -abs(delta) / se))
        half, half_margin = (float(stdtrit(df, 1 - tail)) * se for tail in (alpha / 2, alpha))
    return Difference(
        value_a=value_a,
        value_b=value_b,
        difference=delta,
        low=delta - half,
        high=delta + half,
        p=p,
        low_margin=delta - half_margin,
        high_margin=delta + half_margin,
        se_patient=float(np.sqrt(patient)),
        se_seed=float(np.sqrt(seed)),
        df=df,
        probability_false=p / 2,
        patients_needed=_patients_needed(delta, patient, seed, a.units, alpha),
    )


def _difference_variance(a: Sample, b: Sample, key: tuple[str, int | None]) -> tuple[float, float, float]:
    """Variance of the difference from patients and from seeds, and its degrees of freedom; NaN where undefined."""
    out_a, out_b = a.left_out[key], b.left_out[key]
    if not (np.isfinite(out_a).all() and np.isfinite(out_b).all()):
        return float("nan"), float("nan"), float("nan")
    paired = (out_a.mean(axis=0) - out_b.mean(axis=0))[None, :]
    patient, _ = variance_parts(paired[:, 0], paired)
    df_patient = min(a.df[key], b.df[key])
    parts = [(variance_parts(s.values[key], s.left_out[key])[1], len(s.values[key]) - 1) for s in (a, b)]
    seed = sum(variance for variance, _ in parts)
    below = sum(variance**2 / df for variance, df in parts if df > 0)
    df_seed = seed**2 / below if below > 0 else 0.0
    return patient, seed, combined_df(patient, seed, df_patient, df_seed)


def _patients_needed(delta: float, patient: float, seed: float, units: int, alpha: float) -> int | None:
    """Patients at which a difference of this size would be found with 80 % power, seeds staying as they are."""
    from scipy.special import ndtri

    reach = (delta / (float(ndtri(1 - alpha / 2)) + float(ndtri(POWER)))) ** 2
    if delta == 0 or reach <= seed:
        return None
    return int(np.ceil(units * patient / (reach - seed)))


# ------------------------------------------------------------------------------------------------------ the verdict


def rule_in_words(metric: str, level: str, unit: str, alpha: float, margin: float | None) -> str:
    """The one rule that every verdict of a comparison follows from."""
    text = (
        f"An arm is called better only if each arm has at least {MIN_SEEDS} training seeds, the two-sided test of the "
        f"paired difference in {level}-level {metric} with the {unit} as the unit and the spread over seeds in its "
        f"error gives p < {alpha:g} after Holm's correction over the pairs, and the {1 - alpha:.0%} interval of the "
        "difference excludes 0. "
    )
    if margin is None:
        return text + "No margin was stated beforehand, so no two arms are called equivalent."
    return text + (
        f"Two arms are called equivalent only if the {1 - 2 * alpha:.0%} interval of the difference lies within "
        f"±{margin:g}, the margin stated beforehand (two one-sided tests)."
    )


def verdict(
    found: Difference, *, metric: str, seeds: int, p_adjusted: float, alpha: float, margin: float | None
) -> str:
    """One of "not_enough_runs", "a_better", "b_better", "equivalent", "no_evidence", by the rule."""
    if seeds < MIN_SEEDS:
        return "not_enough_runs"
    excludes_zero = found.low > 0 or found.high < 0
    inside = margin is not None and -margin < found.low_margin and found.high_margin < margin
    if inside:  # a difference too small to matter is not a win, whatever its p
        return "equivalent"
    if p_adjusted < alpha and excludes_zero:
        better = found.difference > 0
        if metric in LOWER_IS_BETTER:
            better = not better
        return "a_better" if better else "b_better"
    return "no_evidence"


def verdict_words(
    kind: str,
    found: Difference,
    *,
    a: str,
    b: str,
    metric: str,
    seeds: int,
    units: int,
    unit: str,
    margin: float | None,
) -> str:
    """The verdict as one sentence with what it rests on."""
    shown = f"difference {found.difference:+.3f}"
    if np.isfinite(found.low):
        shown += f" [{found.low:+.3f}, {found.high:+.3f}]"
    rests = f"{shown} in {metric}, {units} {unit}s, {seeds} {'seed' if seeds == 1 else 'seeds'}"
    if kind == "not_enough_runs":
        return f"Not enough runs to claim anything of {a} and {b}: {rests}; train each with at least {MIN_SEEDS} seeds."
    if kind in ("a_better", "b_better"):
        winner, loser = (a, b) if kind == "a_better" else (b, a)
        false = max(found.probability_false, 0.001)
        sign = "<" if found.probability_false < 0.001 else "≈"
        return f"{winner} is better than {loser}: {rests}; chance that this ranking is false {sign} {false:.3f}."
    if kind == "equivalent":
        return f"{a} and {b} are equivalent within the margin of ±{margin:g} stated beforehand: {rests}."
    return f"No evidence of a difference between {a} and {b}: {rests}; {_needed_words(found, unit)}."


def _needed_words(found: Difference, unit: str) -> str:
    if not np.isfinite(found.low):
        return f"a class has too few {unit}s for an interval, so nothing can be claimed; test on more of its {unit}s"
    if found.patients_needed is not None:
        return f"about {found.patients_needed:,} {unit}s would be needed to settle a difference of this size"
    if found.difference == 0:
        return "there is no difference to settle"
    return "the spread over seeds alone hides a difference of this size, so more seeds would be needed"


# --------------------------------------------------------------------------------------------------------- the record


def compare_arms(
    arms: Mapping[str, Sequence[Predictions]],
    *,
    primary: str = "auroc",
    level: str = "image",
    margin: float | None = None,
    alpha: float = 0.05,
    pairs: Sequence[tuple[str, str]] | None = None,
    stamp: str = "",
) -> dict[str, Any]:
    """The record comparison.json: every pair of arms, compared on the primary endpoint, with one verdict each.

    Args:
        arms: arm -> its prediction tables, one a seed, all on the same images.
        primary: the one endpoint, a metric's name.
        level: "image" or "patient": what is scored. The unit that is resampled is the patient at either level.
        margin: the difference that would not matter, stated beforehand; needed for a claim of equivalence.
        alpha: two-sided error.
        pairs: the primary pairs; the rest is exploratory and marked so. Default: all pairs are primary.
        stamp: carried through to the record.

    Raises:
        InputError: If there are fewer than two arms, a name is unknown, or the tables cannot be joined.
    """
    if len(arms) < 2:
        raise InputError(f"{len(arms)} arm was given; a comparison needs two. Give another prediction table.")
    _check_settings(margin, alpha, pairs, arms)
    tables = aligned_arms(arms)
    first = next(iter(tables.values()))[0]
    if level not in levels_of([first]):
        raise InputError(f"level is '{level}'; these tables can be compared at {' or '.join(levels_of([first]))} level")
    names = units_of([first])
    samples = {arm: sample(own, names, level=level) for arm, own in tables.items()}
    known = [metric for metric, index in next(iter(samples.values())).values if index is None]
    if primary not in known:
        raise InputError(f"primary endpoint is '{primary}'{suggest(primary, known)}")
    wanted = list(pairs) if pairs is not None else []
    every = wanted + [p for p in itertools.combinations(arms, 2) if p not in wanted and p[::-1] not in wanted]
    found = {pair: difference(samples[pair[0]], samples[pair[1]], (primary, None), alpha=alpha) for pair in every}
    rows = _judged(found, wanted or every, samples, primary, level, first.unit, len(names), alpha, margin)
    for row in rows:
        row["tests"] = supporting_tests(tables[row["a"]], tables[row["b"]])
    return {
        "schema": COMPARISON_SCHEMA,
        "stamp": stamp,
        "primary": primary,
        "level": level,
        "unit": first.unit,
        "alpha": alpha,
        "margin": margin,
        "rule": rule_in_words(primary, level, first.unit, alpha, margin),
        "pairs": rows,
        "exploratory": _exploratory(every, samples, known, primary, level, alpha),
        "words": " ".join(row["words"] for row in rows if row["primary"]),
        "warnings": _warnings(first, len(names), samples),
    }


def _check_settings(
    margin: float | None, alpha: float, pairs: Sequence[tuple[str, str]] | None, arms: Mapping[str, object]
) -> None:
    if margin is not None and not margin > 0:
        raise InputError(f"margin is {margin}; a difference above 0 that would not matter was needed")
    if not 0 < alpha < 0.5:
        raise InputError(f"alpha is {alpha}; an error rate between 0 and 0.5 was needed, say 0.05")
    for pair in pairs or ():
        for arm in pair:
            if arm not in arms:
                raise InputError(f"a pair names arm '{arm}'{suggest(arm, arms)}")
        if pair[0] == pair[1]:
            raise InputError(f"a pair names arm '{pair[0]}' twice; two different arms are needed")


def _judged(
    found: Mapping[tuple[str, str], Difference],
    primary_pairs: Sequence[tuple[str, str]],
    samples: Mapping[str, Sample],
    metric: str,
    level: str,
    unit: str,
    units: int,
    alpha: float,
    margin: float | None,
) -> list[dict[str, Any]]:
    """One row a pair, with Holm's correction over the primary pairs, and over all pairs for the others."""
    everyone = dict(zip(found, holm([d.p for d in found.values()]), strict=True))
    main = dict(zip(primary_pairs, holm([found[pair].p for pair in primary_pairs]), strict=True))
    rows = []
    for (a, b), own in found.items():
        seeds = min(len(samples[arm].values[metric, None]) for arm in (a, b))
        is_primary = (a, b) in main
        p = main.get((a, b), everyone[a, b])
        kind = verdict(own, metric=metric, seeds=seeds, p_adjusted=p, alpha=alpha, margin=margin)
        words = verdict_words(
            kind, own, a=a, b=b, metric=metric, seeds=seeds, units=units, unit=unit, margin=margin
        )  # fmt: skip
        rows.append(
            {
                "a": a,
                "b": b,
                "primary": is_primary,
                "metric": metric,
                "level": level,
                **asdict(own),
                "p_adjusted": p,
                "test": f"paired difference, jackknife over {unit}s and spread over seeds, t with {own.df:.1f} df",
                "seeds": seeds,
                "patients": units if unit == "patient" else None,
                "images": samples[a].rows,
                "verdict": kind,
                "words": words if is_primary else f"Exploratory: {words}",
            }
        )
    return rows


def _exploratory(
    pairs: Sequence[tuple[str, str]],
    samples: Mapping[str, Sample],
    known: Sequence[str],
    primary: str,
    level: str,
    alpha: float,
) -> list[dict[str, Any]]:
    """Differences in all other scores: described, not judged."""
    kept = ("value_a", "value_b", "difference", "low", "high", "p")
    rows = []
    for a, b in pairs:
        for metric in (name for name in known if name != primary):
            found = asdict(difference(samples[a], samples[b], (metric, None), alpha=alpha))
            rows.append({"a": a, "b": b, "metric": metric, "level": level} | {name: found[name] for name in kept})
    return rows


def _warnings(table: Predictions, units: int, samples: Mapping[str, Sample]) -> list[str]:
    out = list(table.notes)
    if table.unit == "image":
        out.append(
            "patients are unknown: every image is taken as independent, which finds differences that are not there"
        )
    elif units < FEW_PATIENTS:
        out.append(f"only {units} patients (fewer than {FEW_PATIENTS}): only a large difference can be found")
    few = [arm for arm, own in samples.items() if len(next(iter(own.values.values()))) < MIN_SEEDS]
    if few:
        out.append(f"fewer than {MIN_SEEDS} seeds: {', '.join(few)}; a single run is not a result")
    return out
