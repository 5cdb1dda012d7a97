"""What a call means for a patient: predictive values, at the table's prevalence or a stated one, likelihood ratios."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.degrees_of_freedom import effective_units, score_df
from counterstain.evaluation.intervals import Estimate, estimate
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.proportions import wilson
from counterstain.evaluation.resampling import jackknife_weights, unit_codes
from counterstain.evaluation.unbounded_intervals import open_interval

__all__ = ["predictive_values", "value_at_prevalence"]

Floats = NDArray[np.float64]

# name -> (numerator, denominator) in the table of true class (0 negative, 1 positive) by call.
SHARES = {
    "recall": ((1, 1), ((1, 0), (1, 1))),
    "specificity": ((0, 0), ((0, 0), (0, 1))),
    "precision": ((1, 1), ((0, 1), (1, 1))),
    "npv": ((0, 0), ((0, 0), (1, 0))),
}


def value_at_prevalence(likelihood_ratio: float, prevalence: float) -> float:
    """Chance of the positive class after a call, from the call's likelihood ratio and the chance before it.

    The PPV for LR+; 1 - NPV for LR-. It takes sensitivity and specificity to be the same at that prevalence.

    Examples:
        >>> round(value_at_prevalence(9.0, 0.05), 3)  # sensitivity 0.90, specificity 0.90
        0.321

    Source: Altman & Bland 1994, BMJ 309:102, doi:10.1136/bmj.309.6947.102.
    """
    if np.isinf(likelihood_ratio):
        return 1.0
    odds = likelihood_ratio * prevalence / (1 - prevalence)
    return odds / (1 + odds)


def predictive_values(
    tables: Sequence[Predictions],
    called: Sequence[NDArray[np.bool_]],
    *,
    prevalence: float | None = None,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Sensitivity, specificity, PPV, NPV and both likelihood ratios of calls, with intervals over patients and seeds.

    Args:
        tables: S tables of two classes and the same images, one per seed.
        called: for each the (N,) images that are called positive.
        prevalence: of the positive class where the model is to be used, in (0, 1); adds PPV and NPV there.
        confidence: of the intervals.

    Returns:
        JSON-ready: recall, specificity, precision (PPV), npv, lr_positive, lr_negative: {value, low, high}; prevalence
        (share of positive images in the tables); at_prevalence: {prevalence, ppv, npv} or None; counts: (2, 2) summed
        over seeds, rows true, columns called. An infinite ratio is null and "infinite" is true beside it.

    Raises:
        InputError: If there are not two classes, or the prevalence is no share.

    Source: Altman & Bland 1994, BMJ 309:102 and 309:188; Simel, Samsa & Matchar 1991, J. Clin. Epidemiol. 44:763
        (log scale of the ratios).
    """
    if len(tables[0].classes) != 2:
        raise InputError(f"predictive values are for two classes; there are {len(tables[0].classes)}")
    if prevalence is not None and not 0 < prevalence < 1:
        raise InputError(f"prevalence is {prevalence:g}; a share between 0 and 1 was needed, such as 0.05 for 5 %")
    names, codes = unit_codes(tables)
    counts = np.stack([_counts(*seed, len(names)) for seed in zip(tables, called, codes, strict=True)])
    lone = len(tables) == 1 and len(tables[0]) == len(names)
    shares = {name: _share(counts, name, confidence, lone) for name in SHARES}
    wide = {name: _share(counts, name, (1 + confidence) / 2, lone) for name in ("recall", "specificity")}
    ratios = {positive: _ratio(counts, wide, positive, confidence) for positive in (True, False)}
    at = None
    if prevalence is not None:
        after = {key: [value_at_prevalence(v, prevalence) for v in ratio] for key, ratio in ratios.items()}
        # The NPV falls as the ratio grows, so its limits change places.
        value, low, high = after[False]
        at = {
            "prevalence": prevalence,
            "ppv": _shown(*after[True]),
            "npv": _shown(1 - value, 1 - high, 1 - low),
        }
    return {
        **{name: _shown(score.value, score.low, score.high) for name, score in shares.items()},
        "lr_positive": _shown(*ratios[True]),
        "lr_negative": _shown(*ratios[False]),
        "prevalence": float((tables[0].label == 1).mean()),
        "at_prevalence": at,
        "counts": counts.sum(axis=(0, 1)).astype(int).tolist(),
    }


def _counts(table: Predictions, called: NDArray[np.bool_], code: NDArray[np.int64], units: int) -> Floats:
    """(U, 2, 2) true class by call, for each unit."""
    cell = code * 4 + table.label * 2 + called
    return np.bincount(cell, minlength=units * 4).reshape(units, 2, 2).astype(np.float64)


def _parts(counts: Floats, name: str) -> tuple[Floats, Floats]:
    """Numerator and denominator of a share, from (…, 2, 2)."""
    above, below = SHARES[name]
    return counts[..., above[0], above[1]], sum((counts[..., i, j] for i, j in below), np.zeros(counts.shape[:-2]))


def _left_out(counts: Floats, name: str) -> tuple[Floats, Floats, float]:
    """(S,) values, (S, G) values without each group of units, and degrees of freedom of a share."""
    above, below = _parts(counts, name)
    weights = jackknife_weights(counts.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        values, left_out = above.sum(axis=1) / below.sum(axis=1), (above @ weights.T) / (below @ weights.T)
    most = effective_units(counts[0].sum(axis=(1, 2))) - 1
    return values, left_out, max(min(effective_units(below.mean(axis=0)) - 1, most), 1.0)


def _share(counts: Floats, name: str, confidence: float, lone: bool) -> Estimate:
    values, left_out, df = _left_out(counts, name)
    interval = estimate(values, left_out, df, metric=name, confidence=confidence)
    if lone and np.isfinite(interval.low):
        # One row per unit: Wilson's interval, as for every other share.
        low, high = wilson(interval.value * (df + 1), df + 1, confidence=confidence)
        return Estimate(
            interval.value, low, high, interval.per_seed, interval.se_patient, interval.se_seed, interval.df
        )
    return interval


def _ratio(counts: Floats, wide: dict[str, Estimate], positive: bool, confidence: float) -> tuple[float, float, float]:
    """LR+ or LR- with its limits; infinite where its denominator is 0, NaN where it is 0 / 0.

    On the log scale where it can be; at a wall (nothing missed, no false alarm) from the limits of sensitivity and
    specificity, each at half the error, which errs on the side of caution.
    """
    sens, sens_out, _ = _left_out(counts, "recall")
    spec, spec_out, _ = _left_out(counts, "specificity")
    with np.errstate(invalid="ignore", divide="ignore"):
        values = sens / (1 - spec) if positive else (1 - sens) / spec
        left_out = sens_out / (1 - spec_out) if positive else (1 - sens_out) / spec_out
    df = score_df(counts.mean(axis=0), [None])["balanced_accuracy", None]
    interval = open_interval(values, left_out, df, scale="log", confidence=confidence)
    if np.isfinite(interval.low):
        return interval.value, interval.low, interval.high
    a, b = wide["recall"], wide["specificity"]
    with np.errstate(invalid="ignore", divide="ignore"):
        if positive:
            low, high = np.float64(a.low) / (1 - b.low), np.float64(a.high) / (1 - b.high)
        else:
            low, high = (1 - np.float64(a.high)) / b.high, (1 - np.float64(a.low)) / b.low
    return interval.value, float(low), float(high)


def _shown(value: float, low: float, high: float) -> dict[str, Any]:
    """As JSON has it: what is undefined or infinite is null, and the infinite says so."""
    finite = [None if not np.isfinite(v) else float(v) for v in (value, low, high)]
    cells: dict[str, Any] = dict(zip(("value", "low", "high"), finite, strict=True))
    return cells | ({"infinite": True} if np.isinf(value) else {})
