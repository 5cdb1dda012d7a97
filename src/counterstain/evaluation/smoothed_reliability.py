"""The smoothed reliability curve with a band over patients, and how far it lies from the diagonal (ICI)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.near_ceiling import NOISE
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.record_types import Smoothed
from counterstain.evaluation.resampling import bootstrap_weights, unit_codes

__all__ = ["local_quadratic", "smoothed_reliability"]

Floats = NDArray[np.float64]

SPAN = 0.75  # share of the images that one point of the curve looks at: R's default for loess
RESAMPLES = 500
MOST_POINTS = 1000  # different probabilities that are kept apart; above, neighbours share their mean
MOST_UNITS = 2000  # above so many patients, random groups of them are drawn: the same error, less work
GRID = 60
RIDGE = 1e-8


def smoothed_reliability(
    tables: Sequence[Predictions],
    *,
    span: float = SPAN,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Smoothed:
    """The share of positive images over the probability, smoothed, and its mean distance from the diagonal.

    Images of all seeds are smoothed together; a resample draws patients, each with their images of all seeds.

    Args:
        tables: S tables of two classes and the same patients.
        span: see `local_quadratic`.
        resamples: of patients.
        confidence: of band and intervals.
        seed: of the resampling.

    Returns:
        JSON-ready: prob, share, low, high: lists of one length, the curve and its pointwise band; ici: {value, low,
        high}, the mean over images of |probability - smoothed share|; e90: its 90th percentile; span. None in low and
        high where there are too few patients. The interval of the ICI is moved back by what resampling adds to it, its
        lower end twice.

    Raises:
        InputError: If there are not two classes.

    Source: Austin & Steyerberg 2019, Stat. Med. 38:4051, doi:10.1002/sim.8281 (ICI, E90); Cleveland & Devlin 1988, JASA
        83:596 (loess).
    """
    if len(tables[0].classes) != 2:
        raise InputError(f"the smoothed reliability curve is for two classes; there are {len(tables[0].classes)}")
    names, codes = unit_codes(tables)
    code, units = _grouped(np.concatenate(codes), len(names))
    p = np.concatenate([table.prob[:, 1] for table in tables])
    positive = np.concatenate([table.label == 1 for table in tables])
    points, place = _points(p)
    cell = code * len(points) + place

    def by_unit(weight: Floats | None) -> Floats:
        return np.bincount(cell, weights=weight, minlength=units * len(points)).reshape(units, -1).astype(np.float64)

    n, hits = by_unit(None), by_unit(positive.astype(np.float64))
    at = _grid(points, n.sum(axis=0))
    kernel = _kernel(points, n.sum(axis=0), at, span)
    curve = _curve(n.sum(axis=0)[None], hits.sum(axis=0)[None], *kernel)[0]
    away, ici = _distance(points, n.sum(axis=0), at, curve)
    order = np.argsort(away)
    reached = np.cumsum(n.sum(axis=0)[order]) >= 0.9 * n.sum() - 1e-9
    e90 = float(away[order][np.argmax(reached)])
    low = high = [None] * len(at)
    limits: tuple[float | None, float | None] = (None, None)
    if units > 2:
        weights = bootstrap_weights(units, resamples, seed=seed)
        drawn_n = weights @ n
        curves = _curve(drawn_n, weights @ hits, *kernel)
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        low, high = (edge.tolist() for edge in np.quantile(curves, tails, axis=0))
        resampled_ici = np.array(
            [_distance(points, *arguments)[1] for arguments in zip(drawn_n, [at] * len(curves), curves, strict=True)]
        )
        moved = float(resampled_ici.mean()) - ici
        # What resampling adds to an ICI, the patients have added once already: the lower limit allows for both.
        ends = np.quantile(resampled_ici, tails) - np.array([2 * moved, moved])
        if np.ptp(resampled_ici) > NOISE:  # patients all alike show no spread over patients
            limits = (max(float(ends[0]), 0.0), max(float(ends[1]), 0.0))
    return {
        "prob": at.tolist(), "share": curve.tolist(), "low": low, "high": high,
        "ici": {"value": ici, "low": limits[0], "high": limits[1]}, "e90": e90, "span": span,
    }  # fmt: skip


def local_quadratic(x: Floats, y: Floats, at: Floats, *, span: float = SPAN) -> Floats:
    """Loess of degree 2: at each point the weighted least-squares parabola through its neighbours, kept in [0, 1].

    The neighbours are the share `span` of the rows that lie nearest; they weigh (1 - (distance / farthest)³)³.

    Args:
        x, y: (N,) of one row each.
        at: (G,) where the curve is wanted.
        span: in (0, 1].
    """
    points, place = np.unique(x, return_inverse=True)
    n = np.bincount(place).astype(np.float64)
    hits = np.bincount(place, weights=y).astype(np.float64)
    curve: Floats = _curve(n[None], hits[None], *_kernel(points, n, at, span))[0]
    return curve


def _grouped(code: NDArray[np.int64], units: int) -> tuple[NDArray[np.int64], int]:
    if units <= MOST_UNITS:
        return code, units
    return (np.random.default_rng(0).permutation(units) % MOST_UNITS)[code], MOST_UNITS


def _points(p: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The probabilities that are kept apart, rising, and the place of each row among them."""
    distinct, place = np.unique(p, return_inverse=True)
    if len(distinct) <= MOST_POINTS:
        return distinct, place
    edges = np.unique(np.quantile(p, np.linspace(0, 1, MOST_POINTS + 1)[1:-1]))
    place = np.searchsorted(edges, p, side="right")
    present, place = np.unique(place, return_inverse=True)
    count = np.bincount(place, minlength=len(present))
    return np.bincount(place, weights=p, minlength=len(present)) / count, place


def _grid(points: Floats, n: Floats) -> Floats:
    """Where the curve is drawn: at all points if they are few, else evenly over the range and over the images."""
    if len(points) <= GRID:
        return points
    ranks = np.searchsorted(np.cumsum(n), np.linspace(0, n.sum(), GRID // 2), side="left").clip(max=len(points) - 1)
    return np.unique(np.concatenate([points[ranks], np.linspace(points[0], points[-1], GRID // 2)]))


def _kernel(points: Floats, n: Floats, at: Floats, span: float) -> tuple[Floats, Floats]:
    """(G, P) weight of each point for each place of the curve, and its distance in bandwidths."""
    apart = points[None, :] - at[:, None]
    distance = np.abs(apart)
    order = np.argsort(distance, axis=1)
    reached = np.cumsum(n[order], axis=1) >= max(np.floor(span * n.sum() + 1e-5), 1.0)
    farthest = np.take_along_axis(distance, order, axis=1)[np.arange(len(at)), reached.argmax(axis=1)]
    width = np.maximum(farthest, 1e-9)[:, None]
    weight = np.where(distance < width, (1 - np.minimum(distance / width, 1) ** 3) ** 3, 0.0)
    # Where most images share one probability, the curve there is their share.
    weight[distance <= 1e-9] = 1.0
    return weight, np.where(weight > 0, apart / width, 0.0)


def _curve(n: Floats, hits: Floats, weight: Floats, u: Floats) -> Floats:
    """(R, G) the curve of each resample, from (R, P) images and hits at each point."""
    moments = [n @ (weight * u**power).T for power in range(5)]
    hit_moments = [hits @ (weight * u**power).T for power in range(3)]
    scale = np.maximum(moments[0], 1e-300)
    left = np.stack([np.stack([moments[i + j] / scale for j in range(3)], -1) for i in range(3)], -2)
    # Too few different probabilities bear no parabola: there it bends, and tilts, no more than it must.
    left[..., 1, 1] += RIDGE
    left[..., 2, 2] += RIDGE
    empty = moments[0] <= 0
    left[empty] = np.eye(3)
    right = np.stack([value / scale for value in hit_moments], -1)
    curve: Floats = np.linalg.solve(left, right[..., None])[..., 0, 0].astype(np.float64)
    curve[empty] = np.nan
    return np.clip(_filled(curve) if empty.any() else curve, 0, 1)


def _filled(curves: Floats) -> Floats:
    """A resample without any image near a place has the mean of the others there."""
    mean = np.nanmean(curves, axis=0)
    return np.where(np.isfinite(curves), curves, mean)


def _distance(points: Floats, n: Floats, at: Floats, curve: Floats) -> tuple[Floats, float]:
    """(P,) distance of the curve from the diagonal at each point, and its mean over the images."""
    away = np.abs(np.interp(points, at, curve) - points)
    return away, float((n * away).sum() / n.sum())
