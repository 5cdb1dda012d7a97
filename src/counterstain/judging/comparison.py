"""Comparison of arms: the paired difference, its interval and test by patient and seed, one verdict from one rule."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from counterstain.errors import InputError, suggest
from counterstain.judging.evaluation import aligned_arms, levels_of
from counterstain.judging.intervals import FEW_PATIENTS, Sample, sample, units_of
from counterstain.judging.multiplicity import holm
from counterstain.judging.paired_difference import Difference, difference
from counterstain.judging.predictions import Predictions
from counterstain.judging.supporting import supporting_tests
from counterstain.judging.verdict import (
    CLAIMS,
    HYPOTHESES,
    MIN_SEEDS,
    Question,
    margin_p,
    rule_in_words,
    verdict,
    verdict_words,
)

__all__ = ["COMPARISON_SCHEMA", "compare_arms"]

COMPARISON_SCHEMA = "counterstain.comparison/1"


# --------------------------------------------------------------------------------------------------------- the record


def compare_arms(
    arms: Mapping[str, Sequence[Predictions]],
    *,
    primary: str = "auroc",
    level: str = "image",
    margin: float | None = None,
    alpha: float = 0.05,
    pairs: Sequence[tuple[str, str]] | None = None,
    hypothesis: str = "difference",
    claim: str = "procedures",
    stamp: str = "",
) -> dict[str, Any]:
    """The record comparison.json: every pair of arms, compared on the primary endpoint, with one verdict each.

    Args:
        arms: arm -> its prediction tables, one a seed, all on the same images.
        primary: the one endpoint, a metric's name.
        level: "image" or "patient": what is scored. The unit that is resampled is the patient at either level.
        margin: the difference that would not matter, stated beforehand; needed for a claim of equivalence.
        hypothesis: "difference"; "equivalence"; "noninferiority" of a pair's first arm to its second.
        claim: "procedures" (ways of training, several seeds); "models" (these fitted ones alone, one table an arm).
        alpha: two-sided error.
        pairs: the primary pairs; the rest is exploratory and marked so. Default: all pairs are primary.
        stamp: carried through to the record.

    Raises:
        InputError: If there are fewer than two arms, a name is unknown, or the tables cannot be joined.
    """
    if len(arms) < 2:
        raise InputError(f"{len(arms)} arm was given; a comparison needs two. Give another prediction table.")
    _check_settings(margin, alpha, pairs, arms)
    _check_question(arms, margin, hypothesis, claim)
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
    asked = Question(
        metric=primary, level=level, unit=first.unit, alpha=alpha, margin=margin, hypothesis=hypothesis, claim=claim
    )
    found = {pair: difference(samples[pair[0]], samples[pair[1]], (primary, None), alpha=alpha) for pair in every}
    rows = _judged(found, wanted or every, samples, asked, len(names))
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
        "hypothesis": hypothesis,
        "claim": claim,
        "rule": rule_in_words(asked),
        "pairs": rows,
        "exploratory": _exploratory(every, samples, known, primary, level, alpha),
        "words": " ".join(row["words"] for row in rows if row["primary"]),
        "warnings": _warnings(first, len(names), samples, claim),
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


def _check_question(
    arms: Mapping[str, Sequence[Predictions]], margin: float | None, hypothesis: str, claim: str
) -> None:
    if hypothesis not in HYPOTHESES:
        raise InputError(f"hypothesis is '{hypothesis}'{suggest(hypothesis, HYPOTHESES)}")
    if claim not in CLAIMS:
        raise InputError(f"claim is '{claim}'{suggest(claim, CLAIMS)}")
    if hypothesis != "difference" and margin is None:
        raise InputError(f"{hypothesis} was asked without a margin; state the difference that would not matter, margin")
    several = next((arm for arm, own in arms.items() if claim == "models" and len(own) != 1), None)
    if several is not None:
        raise InputError(
            f"arm '{several}' has {len(arms[several])} tables; a claim about fitted models needs one an arm. "
            "Give one, or ask about the way of training instead"
        )


def _judged(
    found: Mapping[tuple[str, str], Difference],
    primary_pairs: Sequence[tuple[str, str]],
    samples: Mapping[str, Sample],
    asked: Question,
    units: int,
) -> list[dict[str, Any]]:
    """One row a pair, with Holm's correction over the primary pairs, and over all pairs for the others."""
    adjusted = _adjusted({pair: own.p for pair, own in found.items()}, primary_pairs)
    margins = {pair: margin_p(own, asked) for pair, own in found.items()}
    margins_adjusted = _adjusted(margins, primary_pairs)
    rows = []
    for (a, b), own in found.items():
        seeds = min(len(samples[arm].values[asked.metric, None]) for arm in (a, b))
        is_primary = (a, b) in primary_pairs
        p, p_margin = adjusted[a, b], margins_adjusted[a, b]
        kind = verdict(own, asked, seeds=seeds, p_adjusted=p, p_margin_adjusted=p_margin)
        images = samples[a].rows
        words = verdict_words(kind, own, asked, a=a, b=b, seeds=seeds, units=units, images=images, p=p)
        spread = "" if asked.claim == "models" else " and spread over seeds"
        rows.append(
            {
                "a": a,
                "b": b,
                "primary": is_primary,
                "metric": asked.metric,
                "level": asked.level,
                **asdict(own),
                "p_adjusted": p,
                "p_margin": margins[a, b],
                "p_margin_adjusted": p_margin,
                "test": f"paired difference, jackknife over {asked.unit}s{spread}, t with {own.df:.1f} df",
                "seeds": seeds,
                "patients": units if asked.unit == "patient" else None,
                "images": images,
                "verdict": kind,
                "words": words if is_primary else f"Exploratory: {words}",
            }
        )
    return rows


def _adjusted(
    p: Mapping[tuple[str, str], float], primary_pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], float]:
    """Holm over the primary pairs among themselves, and over all pairs for the others."""
    everyone = dict(zip(p, holm(list(p.values())), strict=True))
    return everyone | dict(zip(primary_pairs, holm([p[pair] for pair in primary_pairs]), strict=True))


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


def _warnings(table: Predictions, units: int, samples: Mapping[str, Sample], claim: str) -> list[str]:
    out = list(table.notes)
    if table.unit == "image" and not table.own_patients:
        out.append(
            "patients are unknown: every image is taken as independent, which finds differences that are not there"
        )
    elif units < FEW_PATIENTS:
        out.append(f"only {units} patients (fewer than {FEW_PATIENTS}): only a large difference can be found")
    few = [arm for arm, own in samples.items() if len(next(iter(own.values.values()))) < MIN_SEEDS]
    if claim == "models":
        out.append("the verdict is about these fitted models only; another training of either may rank otherwise")
    elif few:
        out.append(f"fewer than {MIN_SEEDS} seeds: {', '.join(few)}; a single run is not a result")
    return out
