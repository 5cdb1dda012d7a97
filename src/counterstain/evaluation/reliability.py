"""Do probabilities mean what they say: reliability by bins, named ECE, Brier and its parts, slope and intercept."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.calibration_measures import fit_logistic
from counterstain.evaluation.metrics import image_loss, log_odds
from counterstain.evaluation.near_ceiling import NOISE
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.record_types import Distribution, Reliability
from counterstain.evaluation.resampling import GROUPS, bootstrap_draws, bootstrap_weights, unit_codes

__all__ = [
    "bin_of",
    "brier_parts",
    "expected_calibration_error",
    "logistic_recalibration",
    "probability_distribution",
    "reliability_record",
]

Floats = NDArray[np.float64]

RESAMPLES = 1000


def bin_of(p: Floats, bins: int) -> NDArray[np.int64]:
    """(N,) bin 0 … bins-1 of each probability: equal widths, closed on the right, 0 in the first."""
    place: NDArray[np.int64] = np.clip(np.ceil(p * bins - 1e-9).astype(np.int64) - 1, 0, bins - 1)
    return place


def expected_calibration_error(p: Floats, hit: NDArray[np.bool_], *, bins: int) -> float:
    """Mean over images of |mean probability - share of hits| of their bin, in [0, 1].

    Two numbers go by this name: with `p` the probability of the positive class and `hit` whether the image is positive
    (ece_positive), or with `p` that of the most probable class and `hit` whether it is right (ece_confidence).

    Source: Naeini et al. 2015, AAAI, doi:10.1609/aaai.v29i1.9602; Guo et al. 2017, arXiv:1706.04599.
    """
    place = bin_of(p, bins)
    gap = np.bincount(place, weights=p - hit, minlength=bins)
    return float(np.abs(gap).sum() / len(p))


def brier_parts(p: Floats, positive: NDArray[np.bool_], *, bins: int) -> dict[str, float]:
    """The Brier score of two classes and its parts: score = reliability - resolution + uncertainty + within.

    within is what remains since images of one bin do not share one probability; with it the sum is exact.

    Source: Murphy 1973, J. Appl. Meteorol. 12:595; Stephenson et al. 2008, doi:10.1175/2007WAF2006116.1.
    """
    place = bin_of(p, bins)
    n = np.bincount(place, minlength=bins)
    used = n > 0
    mean_p = np.bincount(place, weights=p, minlength=bins)[used] / n[used]
    share = np.bincount(place, weights=positive, minlength=bins)[used] / n[used]
    weight = n[used] / len(p)
    base = float(positive.mean())
    score = float(((p - positive) ** 2).mean())
    reliability = float((weight * (mean_p - share) ** 2).sum())
    resolution = float((weight * (share - base) ** 2).sum())
    uncertainty = base * (1 - base)
    within = score - (reliability - resolution + uncertainty)
    return {
        "brier": score, "reliability": reliability, "resolution": resolution, "uncertainty": uncertainty,
        "within": within,
    }  # fmt: skip


def logistic_recalibration(p: Floats, positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept of the outcome on the log odds: 1 and 0 where probabilities are right.

    NaN for one class, and where probabilities tell the classes apart without a mistake: there no slope is the best.

    A slope below 1 says that probabilities are too extreme.

    Source: Cox 1958, Biometrika 45:562, doi:10.1093/biomet/45.3-4.562.
    """
    slope, intercept = fit_logistic(np.column_stack([log_odds(p), np.ones(len(p))]), positive)
    return float(slope), float(intercept)


def reliability_record(tables: Sequence[Predictions], *, bins: int = 10, seed: int = 0) -> Reliability:
    """Reliability of one arm's tables (seeds) together, with 95 % bands from resampling patients.

    Two classes: by the probability of the positive one; more: by that of the most probable class. Images of all seeds
    are binned together, a patient's in all seeds being drawn at once.

    Args:
        tables: S tables of the same patients.
        bins: of equal width.
        seed: of the resampling.

    Returns:
        JSON-ready: kind ("positive" or "confidence"), bins: [{low, high, n, mean_prob, share, share_low, share_high}],
        ece: {name, value, low, high}, ece_confidence (value), loss, brier (value, low, high; with more classes summed
        over them), brier_parts, slope, intercept, images, patients, unit.
    """
    binary = len(tables[0].classes) == 2
    prob = np.concatenate([table.prob for table in tables])
    label = np.concatenate([table.label for table in tables])
    names, codes = unit_codes(tables)
    code = np.concatenate(codes)
    top, right = prob.max(axis=1), prob.argmax(axis=1) == label
    p, hit = (prob[:, 1], label == 1) if binary else (top, right)
    squared = (p - hit) ** 2 if binary else ((prob - np.eye(prob.shape[1])[label]) ** 2).sum(axis=1)
    bands = _draw(p, hit, squared, code, len(names), bins, seed)
    slope, intercept = logistic_recalibration(p, hit) if binary else (None, None)
    name = f"ece_{'positive' if binary else 'confidence'}_{bins}"
    return {
        "kind": "positive" if binary else "confidence",
        "bins": bands["bins"],
        "ece": {"name": name, "value": expected_calibration_error(p, hit, bins=bins), **bands["ece"]},
        "ece_confidence": expected_calibration_error(top, right, bins=bins),
        "loss": float(image_loss(label, prob).mean()),
        "brier": {"value": float(squared.mean()), **bands["brier"]},
        "brier_parts": brier_parts(p, hit, bins=bins),
        "slope": slope,
        "intercept": intercept,
        "images": len(tables[0]),
        "patients": len(names),
        "unit": tables[0].unit,
    }


def _draw(
    p: Floats, hit: NDArray[np.bool_], squared: Floats, code: NDArray[np.int64], units: int, bins: int, seed: int
) -> dict[str, Any]:
    """Bins with bands, and intervals of ECE and Brier, over resamples of the units."""
    place = bin_of(p, bins)
    cell = code * bins + place

    def by_unit(weight: Floats | None) -> Floats:
        return np.bincount(cell, weights=weight, minlength=units * bins).reshape(units, bins).astype(np.float64)

    n, sum_p, sum_hit = by_unit(None), by_unit(p), by_unit(hit.astype(np.float64))
    by_code = np.bincount(code, weights=squared, minlength=units).astype(np.float64)
    drawn_n, drawn_hit, drawn_gap, drawn_squared = _resampled((n, sum_hit, sum_p - sum_hit, by_code), units, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = drawn_hit / drawn_n
    total = drawn_n.sum(axis=1)
    ece = np.abs(drawn_gap).sum(axis=1) / total
    brier = drawn_squared / total
    totals = n.sum(axis=0)
    rows = []
    for index in range(bins):
        finite = share[:, index][np.isfinite(share[:, index])]
        # A bin of one patient has no spread to show.
        bounded = len(finite) > RESAMPLES // 2 and int((n[:, index] > 0).sum()) > 1
        low, high = np.quantile(finite, [0.025, 0.975]) if bounded else (None, None)
        filled = totals[index] > 0
        rows.append(
            {
                "low": index / bins, "high": (index + 1) / bins, "n": int(totals[index]),
                "mean_prob": float(sum_p[:, index].sum() / totals[index]) if filled else None,
                "share": float(sum_hit[:, index].sum() / totals[index]) if filled else None,
                "share_low": None if low is None else float(low), "share_high": None if high is None else float(high),
            }
        )  # fmt: skip
    limits: dict[str, dict[str, float | None]] = {
        key: dict(zip(("low", "high"), map(float, np.quantile(value, [0.025, 0.975])), strict=True))
        for key, value in (("ece", ece), ("brier", brier))
    }
    # Resampling patients increases an ECE once more; its interval is moved back by as much, or may miss the value.
    moved = float(ece.mean()) - float(np.abs((sum_p - sum_hit).sum(axis=0)).sum() / totals.sum())
    limits["ece"] = {key: max(float(limit or 0.0) - moved, 0.0) for key, limit in limits["ece"].items()}
    for key, value in (("ece", ece), ("brier", brier)):
        if units < 2 or np.ptp(value) <= NOISE:  # one patient, or patients all alike, show no spread over patients
            limits[key] = {"low": None, "high": None}
    return {"bins": rows, **limits}


def _resampled(values: Sequence[Floats], units: int, seed: int) -> list[Floats]:
    """Each of `values` (K, ...) summed over the units of each resample, (R, ...); few draws at a time of many units."""
    all_weights = [bootstrap_weights(units, RESAMPLES, seed=seed)] if units <= GROUPS else None
    drawn = [
        [weights @ value for value in values] for weights in all_weights or bootstrap_draws(units, RESAMPLES, seed=seed)
    ]
    return [np.concatenate(parts) for parts in zip(*drawn, strict=True)]


def probability_distribution(tables: Sequence[Predictions], *, bins: int = 20) -> Distribution:
    """How the probabilities of the positive class are spread among the images of each class, over all seeds.

    Args:
        tables: S tables of two classes and the same images.
        bins: of equal width, as in `bin_of`.

    Returns:
        JSON-ready: bins; classes: {name: {images, shares (of each bin), quantiles {p5, p25, median, p75, p95}}}. A
        class without images has empty shares and no quantiles.
    """
    prob = np.concatenate([table.prob[:, 1] for table in tables])
    label = np.concatenate([table.label for table in tables])
    classes: dict[str, Any] = {}
    for index, name in enumerate(tables[0].classes):
        of_class = prob[label == index]
        shares = np.bincount(bin_of(of_class, bins), minlength=bins) / len(of_class) if len(of_class) else np.zeros(0)
        marks = np.quantile(of_class, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist() if len(of_class) else []
        classes[name] = {
            "images": len(of_class) // len(tables),
            "shares": shares.tolist(),
            "quantiles": dict(zip(("p5", "p25", "median", "p75", "p95"), marks, strict=False)),
        }
    return {"bins": bins, "classes": classes}
