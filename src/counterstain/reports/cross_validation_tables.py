"""The arms as ways of training: the tests over folds, and where each arm's uncertainty comes from."""

from typing import Any

from counterstain.evaluation.format import clean, interval, metric_name, number, p_value, signed
from counterstain.evaluation.rows import level_words, unit_words
from counterstain.reports.page_table import Cell, Table
from counterstain.reports.run_record import RunRecord

__all__ = ["procedures_table", "procedures_words", "support_table", "variance_table"]

SOURCES = ("patient", "seed", "split", "rest")
NOT_SHOWN = "not shown"


def procedures_table(run: RunRecord) -> Table | None:
    """One row per pair that could be tested over folds; None where none could."""
    tested = [pair for pair in run.procedures.get("pairs", ()) if pair["test"]]
    if not tested:
        return None
    rope = run.procedures["rope"]
    rows = []
    for pair in tested:
        test, chance = pair["test"], pair["posterior"]
        rows.append(
            (
                Cell(f"{clean(pair['a'])} − {clean(pair['b'])}"),
                Cell(str(pair["folds"])),
                Cell(signed(test["mean"]), interval(test["low"], test["high"], sign=True)),
                Cell(p_value(test["p"])),
                *(Cell(number(chance[name], 2)) for name in ("a_better", "within_rope", "b_better")),
            )
        )
    level = f"{100 * run.comparison.get('confidence', 0.95):.4g}\u00a0%"
    head = ("arms", "folds", "difference", "p, corrected", "first better", "practically alike", "second better")
    caption = (
        f"Differences over the folds in {metric_name(run.procedures['metric'])}, with {level} intervals; the last "
        f"three columns are chances, practically alike within ±{rope:g} ({clean(run.procedures['rope_from'])})"
    )
    return Table(caption, head, tuple(rows))


def support_table(run: RunRecord) -> Table | None:
    """One row per pair and published test beside the verdict (sign-flip, McNemar, DeLong, …); None without any."""
    rows = [
        (
            Cell(f"{clean(pair['a'])} − {clean(pair['b'])}"),
            Cell(clean(test.get("test") or "")),
            Cell(clean(test.get("about") or "")),
            Cell(p_value(test.get("p"))),
        )
        for pair in run.comparison.get("pairs", ())
        for test in pair.get("tests") or ()
    ]
    if not rows:
        return None
    caption = "Published tests beside the verdict; p is not corrected for the number of pairs or tests"
    return Table(caption, ("arms", "test", "of", "p"), tuple(rows), frozenset({0, 1, 2}))


def procedures_words(run: RunRecord) -> list[str]:
    """Why a pair could not be tested over folds, once for each reason."""
    return list(dict.fromkeys(pair["words"] for pair in run.procedures.get("pairs", ()) if not pair["test"]))


def variance_table(run: RunRecord) -> Table | None:
    """One row per arm: one standard deviation from each source, and the largest."""
    arms = run.procedures.get("variance") or {}
    if not arms:
        return None
    rows = []
    for arm in (arm for arm in run.arms if arm in arms):
        variance = arms[arm]
        sources = (_sd(variance["sd"].get(name), strong=name == variance["largest"]) for name in SOURCES)
        rows.append((Cell(clean(arm)), Cell(number(variance["value"])), *sources))
    named, level = metric_name(run.procedures["metric"]), level_words(run.procedures["level"], run.rows_are)
    head = (
        "arm",
        named,
        f"other {unit_words(run.scores['unit'], run.rows_are)}s",
        "another seed",
        "another split",
        "seed and split at once",
    )
    return Table(f"Standard deviation of {named} by source, {level}", head, tuple(rows))


def _sd(value: Any, *, strong: bool) -> Cell:
    return Cell(NOT_SHOWN) if value is None else Cell(f"±{number(value)}", strong=strong)
