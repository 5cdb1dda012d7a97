"""The top of a report: the verdict in one sentence, and in a second the numbers, chance and the colour baseline."""

from collections.abc import Mapping
from typing import Any

from counterstain.evaluation.format import capital, clean, levelled, listed, metric_name, number
from counterstain.evaluation.metric_names import is_class_bound
from counterstain.evaluation.verdict import MIN_SEEDS
from counterstain.reports.run_record import RunRecord, find_score, primary

__all__ = ["BASELINE_NAMES", "evidence", "headline"]

UNSETTLED = ("no_evidence", "not_enough_runs", "noninferiority_not_shown", "equivalence_not_shown", "undefined")
MOST_NAMED = 3  # arms whose numbers the sentence gives one by one
BASELINE_NAMES = {
    "majority": "the majority class",
    "mean-rgb": "mean colour",
    "tile-count": "the number of tiles",
    "colour-histogram": "a colour histogram",
    "file": "the files alone",
}
# On which side of a baseline an arm is, for one arm and for several.
SIDES = {
    "above": ("beats", "beat"),
    "below": ("is worse than", "are worse than"),
    "not told": ("can't be told from", "can't be told from"),
    "undefined": ("can't be compared with", "can't be compared with"),
}


def headline(run: RunRecord) -> str:
    """The verdict in one or two sentences; the pairs' own sentences stand below it."""
    metric, level = primary(run)
    pairs = [pair for pair in run.comparison.get("pairs", ()) if pair["primary"]]
    if not pairs:
        return _lone_headline(run, metric, level)
    kinds = {pair["verdict"] for pair in pairs}
    winners = [(p["a"], p["b"]) if p["verdict"] == "a_better" else (p["b"], p["a"])
               for p in pairs if p["verdict"] in ("a_better", "b_better")]  # fmt: skip
    equivalent = [f"{clean(p['a'])} and {clean(p['b'])}" for p in pairs if p["verdict"] == "equivalent"]
    named, inferior = _endpoint_name(run, metric), [p for p in pairs if p["verdict"] == "inferior"]
    spared = [f"{clean(p['a'])} is not inferior to {clean(p['b'])}" for p in pairs if p["verdict"] == "noninferior"]
    if kinds == {"not_enough_runs"}:
        return f"Not enough runs to claim a difference in {named}."
    if kinds == {"undefined"}:
        return f"The arms can't be compared in {named}: it is undefined here."
    if kinds <= {"noninferiority_not_shown", "equivalence_not_shown"}:
        aim = "Non-inferiority" if "noninferiority_not_shown" in kinds else "Equivalence"
        also = any(pair.get("also") for pair in pairs)
        return f"{aim} in {named} is not shown" + ("." if also else "; that does not show a difference either.")
    if not winners and not equivalent and not spared and not inferior:
        arms = list(dict.fromkeys(arm for pair in pairs for arm in (pair["a"], pair["b"])))
        between = listed(map(clean, arms)) if len(arms) <= 4 else f"the {len(arms)} arms"
        return f"No evidence of a difference in {named} between {between}."
    parts = []
    for winner in dict.fromkeys(winner for winner, _ in winners):
        losers = listed(clean(loser) for first, loser in winners if first == winner)
        parts.append(f"{clean(winner)} is better than {losers} in {named}.")
    if equivalent:
        parts.append(f"{listed(equivalent)} are equivalent in {named} within the margin.")
    if spared:
        parts.append(f"{listed(spared)} in {named} by the margin.")
    parts += [f"{clean(p['a'])} is inferior to {clean(p['b'])} in {named} by more than the margin." for p in inferior]
    unsettled = sum(pair["verdict"] in UNSETTLED for pair in pairs)
    if unsettled:
        parts.append(f"For the other {'pair' if unsettled == 1 else f'{unsettled} pairs'} nothing is shown either way.")
    return " ".join(parts)


def _endpoint_name(run: RunRecord, metric: str) -> str:
    """The endpoint, or all co-primary ones; with the class that it is about."""
    positive = run.comparison.get("positive")
    names = run.comparison.get("co_primary") or [metric]
    suffix = f" for {clean(positive)}" if positive and any(is_class_bound(name) for name in names) else ""
    return listed(metric_name(name) for name in names) + suffix


def _lone_headline(run: RunRecord, metric: str, level: str) -> str:
    arm = run.arms[0]
    score = find_score(run.scores, arm, metric, level)
    if not score:
        return f"{clean(arm)} was evaluated."
    ends = levelled(score["low"], score["high"], confidence=run.scores["confidence"])
    return f"{clean(arm)}: {metric_name(metric)} is {number(score['value'])}{ends}. It was compared with nothing."


# ------------------------------------------------------------------------------------------- what it is worth at all


def evidence(run: RunRecord) -> str:
    """The arms' numbers, held against chance and the strongest baseline without tissue; "" where nothing is known."""
    record = run.beyond_chance
    rows = {arm: record["arms"][arm] for arm in run.arms if arm in record.get("arms", {})}
    rows = {arm: row for arm, row in rows.items() if row["value"] is not None}
    if not rows:
        return ""
    standing = _against_chance_and_baseline(rows, record["chance"], record["baseline"])
    if len(run.arms) == 1:  # its number stands in the first sentence already
        return f"{standing}." if standing else ""
    numbers = _numbers(rows, metric_name(record["metric"]), record["confidence"])
    few = min(row["seeds"] for row in rows.values())
    limit = f" These are single fitted models: fewer than {MIN_SEEDS} trainings per arm." if few < MIN_SEEDS else ""
    return f"{standing}: {numbers}.{limit}" if standing else f"{capital(numbers)}.{limit}"


def _against_chance_and_baseline(
    rows: Mapping[str, Mapping[str, Any]], chance: float | None, baseline: Mapping[str, Any] | None
) -> str:
    """What all arms have in common against chance, and against the baseline; the exceptions are named."""
    at_chance = [arm for arm, row in rows.items() if row["above_chance"] is False]
    level = "" if chance is None else f" ({number(chance, 1 if chance in (0.5, 0.0) else 3)})"
    if len(at_chance) == len(rows):
        return _no_arm(rows, f"be told from chance{level}")
    clauses = [f"{listed(map(clean, at_chance))} can't be told from chance{level}"] if at_chance else []
    if baseline is None:
        if not clauses and chance is not None:
            return _all_arms(rows, "exceeds", "exceed") + f" chance{level}"
        return "; ".join(clauses)
    name = f"{BASELINE_NAMES.get(baseline['name'], clean(baseline['name']))} ({number(baseline['value'])})"
    sides: dict[str, list[str]] = {}
    for arm, row in rows.items():
        sides.setdefault(row["against_baseline"] or "undefined", []).append(arm)
    if len(sides.get("above", ())) == len(rows):
        return _all_arms(rows, "beats", "beat") + f" {name}"
    if len(sides.get("undefined", ())) == len(rows):  # too few patients of a class for any interval
        return "; ".join(clauses)
    if len(sides.get("not told", ())) == len(rows):
        none = _no_arm(rows, f"be told from {name}, which does not look at tissue")
        return f"{clauses[0]}, and {none[0].lower()}{none[1:]}" if clauses else none
    verdicts = [_side_words(side, sides[side]) for side in SIDES if side in sides]
    return "; ".join([*clauses, ", ".join(f"{clause} {'it' if k else name}" for k, clause in enumerate(verdicts))])


def _side_words(side: str, arms: list[str]) -> str:
    return f"{listed(map(clean, arms))} {SIDES[side][len(arms) > 1]}"


def _all_arms(rows: Mapping[str, object], singular: str, several: str) -> str:
    """ "Both beat", "All 4 arms beat", or the only arm's name with "beats"."""
    if len(rows) == 1:
        return f"{clean(next(iter(rows)))} {singular}"
    return f"{'Both' if len(rows) == 2 else f'All {len(rows)} arms'} {several}"


def _no_arm(rows: Mapping[str, object], can: str) -> str:
    if len(rows) == 1:
        return f"{clean(next(iter(rows)))} can't {can}"
    return f"{'Neither' if len(rows) == 2 else f'None of the {len(rows)} arms'} can {can}"


def _numbers(rows: Mapping[str, Mapping[str, Any]], measure: str, confidence: float) -> str:
    """Each arm's value with its interval; of many arms the best and the worst."""

    def shown(arm: str) -> str:
        row = rows[arm]
        return f"{clean(arm)} {number(row['value'])}{levelled(row['low'], row['high'], confidence=confidence)}"

    if len(rows) <= MOST_NAMED:
        return f"{measure} of {listed(map(shown, rows))}"
    order = sorted(rows, key=lambda arm: -float(rows[arm]["value"]))
    return f"{measure} from {shown(order[-1])} to {shown(order[0])}"
