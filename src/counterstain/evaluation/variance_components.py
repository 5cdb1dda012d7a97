"""Where a score's uncertainty comes from: the patients it was tested on, the split, or the training seed."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.intervals import sample, units_of, variance_parts
from counterstain.evaluation.predictions import Predictions

__all__ = ["two_way_components", "variance_record"]

Floats = NDArray[np.float64]


def two_way_components(values: Floats) -> tuple[float, float, float]:
    """Variance of single values from rows, from columns, and from what is left, by the method of moments.

    Args:
        values: (S, R) a score of each seed in each repeat of the split, S, R >= 1.

    Returns:
        Components of seeds, of splits, and the rest, none below 0; NaN where there is one row or column only.

    Source: Searle, Casella & McCulloch 1992, Variance Components, chapter 4.
    """
    seeds, splits = values.shape
    nan = float("nan")
    if seeds == 1 and splits == 1:
        return nan, nan, nan
    if splits == 1:
        return float(values.var(ddof=1)), nan, nan
    if seeds == 1:
        return nan, float(values.var(ddof=1)), nan
    by_seed, by_split = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    rest = float(((values - by_seed - by_split + values.mean()) ** 2).sum()) / (seeds - 1) / (splits - 1)
    seed = max((float(by_seed.var(ddof=1)) * splits - rest) / splits, 0.0)
    split = max((float(by_split.var(ddof=1)) * seeds - rest) / seeds, 0.0)
    return seed, split, rest


def variance_record(
    tables: Mapping[tuple[int, int], Predictions], *, metric: str, level: str = "image"
) -> dict[str, object]:
    """The variance of one arm's score, as a single training shows it, split into patients, split and seed.

    Args:
        tables: (seed, repeat) -> table, every seed with every repeat, all of the same images.
        metric: of two classes, or the macro mean.
        level: "image", "slide" or "patient".

    Returns:
        JSON-ready: value; sd of each source: patient (jackknife), seed, split, rest; null where one seed or one split
        cannot show it; largest: the source with the largest; words.
    """
    keys = sorted(tables)
    seed_tables = [tables[key] for key in keys]
    drawn = sample(seed_tables, units_of(seed_tables[:1]), level=level)
    scored, left_out = drawn.values[metric, None], drawn.left_out[metric, None]
    seeds, repeats = sorted({seed for seed, _ in keys}), sorted({repeat for _, repeat in keys})
    grid = np.full((len(seeds), len(repeats)), np.nan)
    for (seed, repeat), value in zip(keys, scored, strict=True):
        grid[seeds.index(seed), repeats.index(repeat)] = value
    by_seed, by_split, rest = two_way_components(grid)
    sd = {
        "patient": float(np.sqrt(variance_parts(scored, left_out)[0])),
        "seed": float(np.sqrt(by_seed)),
        "split": float(np.sqrt(by_split)),
        "rest": float(np.sqrt(rest)),
    }
    finite = {name: value for name, value in sd.items() if np.isfinite(value)}
    largest = max(finite, key=lambda name: finite[name]) if finite else None
    return {
        "metric": metric,
        "value": float(scored.mean()),
        "sd": {name: value if np.isfinite(value) else None for name, value in sd.items()},
        "largest": largest,
        "words": _words(sd, largest),
    }


def _words(sd: Mapping[str, float], largest: str | None) -> str:
    if largest is None:
        return "too few patients to say where the uncertainty comes from"
    names = {
        "patient": "other patients",
        "seed": "another seed",
        "split": "another split",
        "rest": "seed and split at once",
    }
    sources = [f"{names[name]} ±{value:.3f}" for name, value in sd.items() if np.isfinite(value)]
    missing = [names[name] for name in ("seed", "split") if not np.isfinite(sd[name])]
    unknown = f"; {' and '.join(missing)}: not shown by this study" if missing else ""
    return f"one standard deviation: {', '.join(sources)}; most comes from {names[largest]}{unknown}"
