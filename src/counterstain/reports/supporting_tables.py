"""What stands behind the numbers of a report: audit, baselines, calibration, subgroups, ledger; as tables and words."""

from collections.abc import Mapping
from typing import Any

from counterstain.evaluation.calibration import training_seen_words
from counterstain.evaluation.format import (
    UNDEFINED,
    capital,
    clean,
    interval,
    levelled,
    listed,
    metric_name,
    number,
    plural,
)
from counterstain.evaluation.rows import level_words, unit_words
from counterstain.evaluation.thresholds import is_stated
from counterstain.reports.headline import BASELINE_NAMES
from counterstain.reports.page_table import Cell, Table, count_heads, row_counts, score_cell
from counterstain.reports.run_record import RunRecord, primary
from counterstain.reports.run_tables import scores_level

__all__ = [
    "audit_table",
    "baseline_table",
    "calibration_notes",
    "calibration_table",
    "decision_table",
    "ledger_words",
    "left_out_site_table",
    "set_table",
    "spread_table",
    "subgroup_tables",
    "worst_words",
]

MOST_FINDINGS = 20
MOST_GROUPS = 30


def audit_table(run: RunRecord) -> Table | None:
    """The findings of the audit, worst first; names only of images, never of patients."""
    findings = run.audit.get("findings") or ()
    if not findings:
        return None
    rows = []
    for finding in findings[:MOST_FINDINGS]:
        pair = finding["examples"][0] if finding["examples"] else ()
        example = " and ".join(pair) if len(pair) == 2 else ""
        shown = (
            ""
            if finding["tier"] in ("patient", "slide", "near-id", "last-digit", "mixed-patient", "lone-patient")
            else example
        )
        rows.append(
            (
                Cell(clean(finding["severity"]), strong=finding["severity"] == "leak"),
                Cell(clean(finding["words"]), clean(shown)),
            )
        )
    more = len(findings) - len(rows)
    caption = "Findings of the audit, worst first" + (f"; {more} more are in audit.json" if more else "")
    return Table(caption, ("kind", "what was found"), tuple(rows), text_columns=frozenset({0, 1}))


def _over_units(run: RunRecord) -> str:
    """What stands behind the values of a table."""
    return f"{scores_level(run)} intervals, unit {unit_words(run.scores['unit'], run.rows_are)}"


def baseline_table(run: RunRecord) -> Table | None:
    """Baselines without a network on the same test images, beside the arms."""
    if not run.baselines.get("arms"):
        return None
    names = [name for name in BASELINE_NAMES if name in run.baselines["arms"]]
    metrics = ("accuracy", "balanced_accuracy", "auroc")
    rows = [
        (Cell(clean(label)), *(score_cell(_score(record, arm, metric)) for metric in metrics))
        for record, arm, label in [
            *((run.baselines, name, BASELINE_NAMES[name].removeprefix("a ")) for name in names),
            *((run.scores, arm, arm) for arm in run.arms),
        ]
    ]
    level = level_words("image", run.rows_are)
    caption = f"The same test {run.rows} without looking at tissue, and with; {level}; {_over_units(run)}"
    return Table(caption, ("scored by", *(metric_name(metric) for metric in metrics)), tuple(rows))


def _score(record: Mapping[str, Any], arm: str, metric: str) -> Mapping[str, Any] | None:
    scores = record["arms"][arm]["scores"]
    return next((s for s in scores if s["metric"] == metric and s["level"] == "image" and s["class"] is None), None)


# ------------------------------------------------------------------------------------------------------- probabilities


def calibration_table(run: RunRecord) -> Table | None:
    """For each arm what calibration did on the test part, and what the frozen threshold gives there."""
    arms = run.in_use.get("arms") or {}
    if not arms:
        return None
    rows, method = [], run.in_use.get("method")

    def shown(first: float, last: float) -> str:
        return number(last) if method == "none" else f"{number(first)} → {number(last)}"

    for arm in (arm for arm in run.arms if arm in arms):
        record = arms[arm]
        before, after = record["before"], record["after"]
        rows.append(
            (
                Cell(clean(arm)),
                *([Cell(_range_over(record["trainings"], "temperature"))] if method == "temperature" else []),
                Cell(shown(before["loss"], after["loss"])),
                Cell(shown(before["ece"]["value"], after["ece"]["value"]),
                     interval(after["ece"]["low"], after["ece"]["high"])),
                score_cell(after["brier"]),
            )
        )  # fmt: skip
    _, about, bins = clean(after["ece"]["name"]).split("_")
    temperature = ("temperature",) if method == "temperature" else ()
    head = ("arm", *temperature, "log loss", f"ECE ({about}, {bins} bins)", "Brier score")
    caption = f"Before → after calibration, test part; {scores_level(run)} intervals are of the state after"
    if method == "none":
        caption = f"Probabilities as the networks gave them, test part; {scores_level(run)} intervals"
    return Table(caption, head, tuple(rows))


def decision_table(run: RunRecord) -> Table | None:
    """What the frozen threshold of each arm gives on the test part; None with more than two classes."""
    arms = run.in_use.get("arms") or {}
    rows = []
    for arm in (arm for arm in run.arms if arm in arms and arms[arm]["decision"]):
        decided = {score["metric"]: score for score in arms[arm]["decision"]["scores"]}
        cells = (score_cell(decided.get(name)) for name in ("recall", "specificity", "precision", "accuracy"))
        rows.append((Cell(clean(arm)), Cell(_range_over(arms[arm]["trainings"], "threshold")), *cells))
    if not rows:
        return None
    rule, unit = clean(run.in_use.get("threshold_rule") or ""), unit_words(run.scores["unit"], run.rows_are)
    head = ("arm", "threshold", *(metric_name(name) for name in ("recall", "specificity", "precision", "accuracy")))
    at = f"{rule}, stated in the study" if is_stated(rule) else f"frozen on validation {unit}s (rule: {rule})"
    return Table(
        f"At the threshold {at}, test part; {scores_level(run)} intervals",
        head,
        tuple(rows),
    )


def _range_over(trainings: list[Mapping[str, Any]], name: str) -> str:
    """The range of a fitted number over the trainings."""
    values = [
        (training.get("parameters") or {}).get(name) if name == "temperature" else training.get(name)
        for training in trainings
    ]
    fitted = [float(value) for value in values if value is not None]
    if not fitted:
        return UNDEFINED
    low, high = min(fitted), max(fitted)
    return number(low, 2) if f"{low:.2f}" == f"{high:.2f}" else f"{number(low, 2)} to {number(high, 2)}"


def set_table(run: RunRecord) -> Table | None:
    """Coverage and abstention of the prediction sets of each arm."""
    arms = run.in_use.get("arms") or {}
    if not arms:
        return None
    rows = []
    for arm in (arm for arm in run.arms if arm in arms):
        sets = arms[arm]["conformal"]
        rows.append(
            (
                Cell(clean(arm)),
                Cell(f"{100 * sets['asked']:.0f}\u00a0%"),
                score_cell(sets["covered"]),
                Cell(f"{100 * sets['abstain']:.0f}\u00a0%"),
                Cell(UNDEFINED if sets["accuracy_single"] is None else number(sets["accuracy_single"])),
            )
        )
    head = (
        "arm",
        "asked for",
        f"covered, mean over {unit_words(run.scores['unit'], run.rows_are)}s",
        f"{run.rows} without an answer",
        "share right of the answered",
    )
    return Table(f"Prediction sets on the test part; {scores_level(run)} intervals", head, tuple(rows))


def calibration_notes(run: RunRecord) -> list[str]:
    """What is to be said of how little the calibration rests on, once each."""
    trainings = run.trainings_in_use
    notes = [note for training in trainings for note in training.get("notes") or ()]
    # What was chosen on slides that were trained on says so wherever it is shown.
    warned = training_seen_words(
        str(run.in_use.get("stamp") or ""), calibrated=run.in_use.get("method") != "none",
        chosen=any(training.get("threshold") is not None for training in trainings)
        and not is_stated(str(run.in_use.get("threshold_rule"))),
    )  # fmt: skip
    return [clean(note) for note in dict.fromkeys(filter(None, [warned, *notes]))]


# ----------------------------------------------------------------------------------------------------------- subgroups


def subgroup_tables(run: RunRecord) -> list[Table]:
    """A table an arm of its scores by site; sites of fewer than ten patients are counted and not scored."""
    arms = ((run.subgroups.get("site") or {}).get("arms")) or {}
    tables = []
    for arm in (arm for arm in run.arms if arm in arms):
        rows = []
        for group in arms[arm]["groups"][:MOST_GROUPS]:
            counts = map(Cell, row_counts(run.rows_are, group["images"], group["patients"]))
            scores = group["scores"] or {}
            cells = [score_cell(scores.get(name)) for name in ("accuracy", "recall", "specificity", "auroc")]
            if not scores:
                cells = [Cell("suppressed", "fewer than 10 patients")] + [Cell(UNDEFINED)] * 3
            rows.append((Cell(clean(group["group"])), *counts, *cells))
        head = (
            "site",
            *count_heads(run.rows_are),
            *(metric_name(m) for m in ("accuracy", "recall", "specificity", "auroc")),
        )
        tables.append(Table(f"{clean(arm)} by site; {_over_units(run)}", head, tuple(rows)))
    return tables


def left_out_site_table(run: RunRecord) -> Table | None:
    """One row per site, tested by models that saw none of it: each arm's primary measure there.

    None where the split leaves no site out. Of a measure that sites are not named in, AUROC is shown.
    """
    arms = ((run.subgroups.get("site") or {}).get("arms")) or {}
    named = [arm for arm in run.arms if arm in arms]
    if (run.resolved.get("split") or {}).get("method") != "sites" or not named:
        return None
    groups = arms[named[0]]["groups"][:MOST_GROUPS]
    metric = primary(run)[0]
    if not any(metric in (group["scores"] or {}) for group in groups):
        metric = "auroc"
    rows = []
    for place, group in enumerate(groups):
        scores = [arms[arm]["groups"][place]["scores"] for arm in named]
        cells = [
            Cell("suppressed", "fewer than 10 patients") if score is None else score_cell(score[metric])
            for score in scores
        ]
        counts = map(Cell, row_counts(run.rows_are, group["images"], group["patients"]))
        rows.append((Cell(clean(group["group"])), *counts, *cells))
    caption = f"{metric_name(metric)} at each site, by models trained on the other sites; {_over_units(run)}"
    return Table(caption, ("site", *count_heads(run.rows_are), *map(clean, named)), tuple(rows), inline=len(named) <= 2)


def worst_words(run: RunRecord) -> list[str]:
    """One sentence per arm on its worst site."""
    arms = ((run.subgroups.get("site") or {}).get("arms")) or {}
    return [
        f"{clean(arm)}: the worst site is {clean(groups['worst']['group'])}, {metric_name(groups['worst']['metric'])} "
        f"{number(groups['worst']['value'])}{levelled(groups['worst']['low'], groups['worst']['high'])}; "
        f"{groups['worst']['note']}."
        for arm, groups in arms.items()
        if groups.get("worst")
    ]


def spread_table(run: RunRecord) -> Table | None:
    """How the accuracy of single patients, and slides, is spread; no names. One that is a row is right or wrong."""
    rows, several = [], [by for by in ("patient", "slide") if by != run.rows_are and run.subgroups.get(by)]
    for by in several:
        for arm, spread in (((run.subgroups.get(by) or {}).get("arms")) or {}).items():
            q = spread["quantiles"]
            quantiles = (number(q[name], 2) for name in ("lowest", "p10", "p25", "median", "highest"))
            below = f"{spread['below_half']} of {spread['count']}"
            rows.append((Cell(f"{clean(arm)}, {by}s"), *(Cell(share) for share in quantiles), Cell(below)))
    if not rows:
        return None
    whose = listed(f"{by}'s" for by in several)
    head = ("accuracy of single", "lowest", "10th percentile", "25th", "median", "highest", "below one half")
    return Table(
        f"Each {whose} share of {run.rows} predicted right, mean over seeds",
        head,
        tuple(rows),
    )


def ledger_words(run: RunRecord) -> str:
    """What the ledger says of this test part."""
    lines = [clean(line) for line in run.looks.get("words") or ()]
    count = run.looks.get("count")
    if not lines:
        return ""
    sentences = ". ".join(capital(line) for line in lines) + "."
    return sentences if count is None else f"{sentences} On record: {plural(count, 'look')}."
