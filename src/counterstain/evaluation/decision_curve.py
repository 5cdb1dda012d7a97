"""Net benefit: is acting on the model better than treating everybody or nobody, at each price of a false alarm."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.intervals import variance_parts
from counterstain.evaluation.metrics import ratio
from counterstain.evaluation.near_ceiling import NOISE
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.record_types import DecisionCurve
from counterstain.evaluation.resampling import left_out_totals, unit_codes

__all__ = ["THRESHOLDS", "decision_curve"]

Floats = NDArray[np.float64]

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


def decision_curve(tables: Sequence[Predictions], *, thresholds: Sequence[float] = THRESHOLDS) -> DecisionCurve:
    """Net benefit of one arm at each threshold, mean over its seeds, with 95 % intervals over patients and seeds.

    Net benefit is TP/n - FP/n · t/(1 - t): true positives per image, less the false ones at the price that a
    threshold t puts on them. Treating nobody has 0.

    Args:
        tables: S tables of two classes and the same patients.
        thresholds: in (0, 1).

    Returns:
        JSON-ready: thresholds, model (lists value, low, high), treat_all (list), prevalence, unit, patients.

    Raises:
        InputError: If there are not two classes.

    Source: Vickers & Elkin 2006, Med. Decis. Making 26:565, doi:10.1177/0272989X06295361.
    """
    from scipy.special import stdtrit

    if len(tables[0].classes) != 2:
        raise InputError(f"net benefit is for two classes; there are {len(tables[0].classes)}")
    names, codes = unit_codes(tables)
    at = np.asarray(thresholds, dtype=np.float64)
    price = at / (1 - at)
    scored = np.stack([_benefit(table, code, len(names), at, price) for table, code in zip(tables, codes, strict=True)])
    value = scored[:, 0].mean(axis=0)
    low, high = np.full(len(at), np.nan), np.full(len(at), np.nan)
    df = max(len(names) - 1, 1)
    for place in range(len(at)):
        patient, seed = variance_parts(scored[:, 0, place], scored[:, 1:, place])
        if not patient + seed > NOISE**2:  # no patient changes it, which is no knowledge
            continue
        half = float(stdtrit(df, 0.975)) * np.sqrt(patient + seed)
        # All false alarms cost the price of the threshold, and no more than every image can be a true positive.
        low[place], high[place] = max(value[place] - half, -price[place]), min(value[place] + half, 1.0)
    share = float((tables[0].label == 1).mean())
    return {
        "thresholds": at.tolist(),
        "model": {"value": value.tolist(), "low": low.tolist(), "high": high.tolist()},
        "treat_all": (share - (1 - share) * price).tolist(),
        "prevalence": share,
        "unit": tables[0].unit,
        "patients": len(names),
    }


def _benefit(table: Predictions, code: NDArray[np.int64], units: int, at: Floats, price: Floats) -> Floats:
    """(1 + G, T) net benefit of all units, and without each unit or group of them."""
    gain = np.zeros((units, len(at)))
    positive = table.label == 1
    for place, threshold in enumerate(at):
        worth = np.where(positive, 1.0, -price[place]) * (table.prob[:, 1] >= threshold)
        gain[:, place] = np.bincount(code, weights=worth, minlength=units)
    images = left_out_totals(np.bincount(code, minlength=units).astype(np.float64))[:, None]
    return ratio(left_out_totals(gain), images)  # without the only patient there is no image left
