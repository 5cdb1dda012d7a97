"""The checks of an explanation in words: what was found, what was asked for, and whether that is enough."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from counterstain.evaluation.format import interval, listed, number, signed

__all__ = ["Check", "checks_of", "summary"]

AGREES = 0.9  # correlation from which on turned maps count as the same map


@dataclass(frozen=True)
class Check:
    """One line of the table; passed is None where nothing was asked for."""

    name: str
    measure: str
    value: str
    interval: str
    bar: str
    passed: bool | None


def checks_of(validity: Mapping[str, Any]) -> list[Check]:
    """The checks of a record's validity, the ones that decide first."""
    checks = []
    for stage in reversed(validity["random_weights"]["stages"]):
        last = stage["layers"] == "all layers"
        measure = "rank correlation with the maps of a network that has learnt nothing" if last else "the same"
        checks.append(_check(
            f"Weights of {stage['layers']} randomised", measure, stage["similarity"],
            f"interval below {validity['random_weights']['most']:g}" if last else "", stage["passed"] if last else None,
        ))  # fmt: skip
    for curve in validity["curves"]["kinds"]:
        for name, gain in sorted(curve["gain"].items(), key=lambda item: item[0] != "random"):
            decides = name == "random"
            order = "random order" if decides else f"the order of {name}"
            checks.append(_check(
                f"{curve['kind'].capitalize()} against {order}", "gain in area under the curve", gain,
                "interval above 0" if decides else "", curve["passed"] if decides else None, sign=True,
            ))  # fmt: skip
    turns = validity["turns"]["correlation"]
    checks.append(_check(
        "Quarter turns", "correlation of the maps, turned back", turns, f"{AGREES:g} or more", turns["value"] >= AGREES
    ))  # fmt: skip
    game = validity["pointing"]
    if game is not None:
        targets = " or ".join(game["targets"])
        hits = game["hits"]
        checks.append(_check(
            "Pointing game", f"share of {game['composites']} tiles with a quarter of {targets} whose highest cell lies "
            "in it", hits, f"interval above chance, {number(game['chance'], 2)}",
            hits["low"] is not None and hits["low"] > game["chance"],
        ))  # fmt: skip
        checks.append(_check(
            "Pointing game, control", "the same with a quarter of the tile's own class", game["control_hits"],
            f"near chance, {number(game['chance'], 2)}", None,
        ))  # fmt: skip
    return checks


def _check(
    name: str, measure: str, mean: Mapping[str, Any], bar: str, passed: bool | None, *, sign: bool = False
) -> Check:
    digits = 3 if sign else 2
    value = (signed if sign else number)(mean["value"], digits)
    return Check(name, measure, value, interval(mean["low"], mean["high"], digits, sign=sign), bar, passed)


def summary(validity: Mapping[str, Any]) -> str:
    """One or two sentences over all checks."""
    deciding = [check for check in checks_of(validity) if check.passed is not None]
    failed = [check.name for check in deciding if not check.passed]
    blank = validity["blank_maps"]
    sentences = (
        "Every check that asks for something was passed: the maps depend on what the network has learnt, and mark "
        "cells that its score depends on."
        if not failed
        else f"{len(deciding) - len(failed)} of {len(deciding)} checks passed, but not {listed(failed)}. Interpret the "
        "maps accordingly, or use another method."
    )
    if blank:
        sentences += f" {blank} of {validity['tiles']} maps are 0 everywhere: nothing raises the score of their class."
    reach = validity["reach"]
    if reach["share"] < 1:
        left, top, right, bottom = reach["box_px"]
        sentences += (
            f" The network looks at {100 * reach['share']:.0f}\u00a0% of its tile only, {left} to {right} px across "
            f"and {top} to {bottom} px down: nothing beyond can change its answer."
        )
    return sentences
