"""What `evaluate` shows beside the scores, as rows of text: calls, calibration, net benefit, groups, promises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from counterstain.evaluation.record_types import ScoresRecord
from counterstain.evaluation.rows import recorded_rows, recorded_unit
from counterstain.evaluation.subgroups import FEWEST
from counterstain.evaluation.text_tables import shown, shown_interval

__all__ = ["THE_CALLS", "TextTable", "evaluation_notes", "evaluation_tables"]

CALL_WORDS = {
    "recall": "sensitivity (recall)",
    "specificity": "specificity",
    "precision": "PPV (precision)",
    "npv": "NPV",
    "lr_positive": "LR+",
    "lr_negative": "LR−",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "mcc": "MCC",
}
THE_CALLS = "the table's own calls"
CURVE_AT = (0.05, 0.1, 0.2, 0.3, 0.5)
MOST_UNSCORED = 10  # groups that are named although they are too small to be scored
GROUP_METRICS = ("accuracy", "recall", "specificity", "auroc")


@dataclass(frozen=True)
class TextTable:
    """A table of texts: a title, one head per column, and rows whose first cell names them; notes stand below it."""

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def evaluation_tables(record: ScoresRecord) -> list[TextTable]:
    """The tables of an evaluated table's record beside its scores, those that it has."""
    tables = [
        _promises(record),
        _calls(record),
        _calibration(record),
        _benefit(record),
        _distribution(record),
        *(_groups(record, by, subgroup) for by, subgroup in (record.get("subgroups") or {}).items()),
    ]
    return [table for table in tables if table is not None]


def evaluation_notes(record: ScoresRecord) -> list[str]:
    """What a reader should be told beside the warnings of the scores, one line each."""
    notes = list((record.get("deployed") or {}).get("warnings", ()))
    notes += (record.get("decision") or {}).get("notes", ())
    notes += ((record.get("probabilities") or {}).get("measures") or {}).get("notes", ())
    return notes


def _level(record: Mapping[str, Any]) -> str:
    return f"{100 * record['confidence']:g} %"


def _value(score: Mapping[str, Any], digits: int = 3) -> str:
    """A value with its interval; an infinite one says so."""
    low, high = score.get("low"), score.get("high")
    if score["value"] is None and not score.get("infinite"):
        return "undefined"
    if score.get("infinite"):
        return "infinite" if low is None else f"infinite [{shown(low, digits)}, ∞]"
    if low is not None and high is None:
        return f"{shown(score['value'], digits)} [{shown(low, digits)}, ∞]"
    return shown_interval(score["value"], low, high, digits)


# ------------------------------------------------------------------------------------------------------------ the calls


def _calls(record: Mapping[str, Any]) -> TextTable | None:
    decision = record.get("decision")
    if decision is None:
        return None
    scores, positive = decision["scores"], record["positive"]
    chosen = decision["thresholds"] is not None
    names = [
        name for name in CALL_WORDS if name in scores and (chosen or name in ("npv", "lr_positive", "lr_negative"))
    ]
    prevalence = f"{100 * scores['prevalence']:.1f} %"
    labels = {name: CALL_WORDS[name] for name in names}
    for name in ("precision", "npv"):
        if name in labels:
            labels[name] += f", prevalence {prevalence} as in the table"
    rows = [(labels[name], _value(scores[name])) for name in names]
    at = scores["at_prevalence"]
    if at is not None:
        share = f"{100 * at['prevalence']:g} %"
        rows += [(f"{name.upper()} at a prevalence of {share}", _value(at[name])) for name in ("ppv", "npv")]
    title = f"Predicted '{positive}' {_rule_words(decision, full=True)}: value and {_level(record)} interval"
    return TextTable("calls", title, ("measure", "value"), tuple(rows))


def _rule_words(decision: Mapping[str, Any], *, full: bool = False) -> str:
    if decision["thresholds"] is None:
        return "by the table itself" if decision["rule"] == THE_CALLS else "where it is the most probable class"
    values = sorted({f"{value:.4g}" for value in decision["thresholds"]}, key=float)
    at = values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"
    chosen = f" ({decision['rule']}, chosen on {decision['chosen_on']})" if decision["chosen_on"] and full else ""
    return f"from a probability of {at} on{chosen}"


# ------------------------------------------------------------------------------------------------------- probabilities


def _calibration(record: Mapping[str, Any]) -> TextTable | None:
    probabilities = record.get("probabilities")
    if probabilities is None:
        return None
    ece = probabilities["reliability"]["ece"]
    _, about, bins = ece["name"].split("_")
    subject = f"probability of '{record['positive']}'" if about == "positive" else "the most probable class"
    rows: list[tuple[str, str, str]] = []
    if "measures" in probabilities:
        measures = probabilities["measures"]
        rows += [
            ("O/E (observed to expected)", _value(measures["oe"]), "1"),
            ("calibration in the large", _value(measures["in_the_large"]), "0"),
            ("calibration slope", _value(measures["slope"]), "1"),
            ("ICI (mean distance from the diagonal)", _value(probabilities["smoothed"]["ici"]), "0"),
        ]
    rows.append((f"ECE ({subject}, {bins} bins)", _value(ece), "0"))
    title = f"Calibration: value and {_level(record)} interval, unit {recorded_unit(record)}"
    return TextTable("calibration", title, ("measure", "value", "right is"), tuple(rows))


def _benefit(record: Mapping[str, Any]) -> TextTable | None:
    curve = (record.get("probabilities") or {}).get("decision_curve")
    if curve is None:
        return None
    rows = []
    for place, at in enumerate(curve["thresholds"]):
        if round(at, 2) in CURVE_AT:
            model = {key: curve["model"][key][place] for key in ("value", "low", "high")}
            rows.append((f"{at:g}", _value(model), shown(curve["treat_all"][place]), "0.000"))
    title = f"Net benefit of acting from a threshold on: value and 95 % interval, unit {recorded_unit(record)}"
    return TextTable("benefit", title, ("threshold", "model", "treat all", "treat nobody"), tuple(rows))


def _distribution(record: Mapping[str, Any]) -> TextTable | None:
    distribution = (record.get("probabilities") or {}).get("distribution")
    if distribution is None:
        return None
    marks = ("p5", "p25", "median", "p75", "p95")
    rows = [
        (name, f"{class_record['images']:,}", *(shown(class_record["quantiles"].get(mark), 2) for mark in marks))
        for name, class_record in distribution["classes"].items()
        if class_record["images"]
    ]
    rows_are = f"{recorded_rows(record)}s"
    title = f"Probability of '{record['positive']}' among the {rows_are} of each class"
    head = ("true class", rows_are, "5 %", "25 %", "median", "75 %", "95 %")
    return TextTable("distribution", title, head, tuple(rows))


# ------------------------------------------------------------------------------------------------- groups and promises


def _groups(record: Mapping[str, Any], by: str, subgroup: Mapping[str, Any]) -> TextTable:
    arm_groups = next(iter(subgroup["arms"].values()))
    if "groups" not in arm_groups:
        quantiles = arm_groups["quantiles"]
        names = ("lowest", "p10", "p25", "median", "p75", "highest")
        shares = (shown(quantiles[name], 2) for name in names)
        row = (f"{arm_groups['count']:,}", *shares, f"{arm_groups['below_half']:,}")
        head = (f"{by}s", "lowest", "10 %", "25 %", "median", "75 %", "highest", "below one half")
        return TextTable(by, f"Share predicted correctly in each {by}", head, (row,))
    rows, groups = [], arm_groups["groups"]
    unscored = [group for group in groups if not group["scores"]]
    # Many groups too small to be scored, as of a column of numbers, would bury the scored ones.
    listed = groups if len(unscored) <= MOST_UNSCORED else [group for group in groups if group["scores"]]
    for group in listed:
        patients = "unknown" if group["patients"] is None else f"{group['patients']:,}"
        scores = group["scores"]
        cells = [_value(scores[name]) if scores else "" for name in GROUP_METRICS]
        if not scores:
            cells[0] = "not scored"
        rows.append((group["group"], f"{group['images']:,}", patients, *cells))
    heads = ("accuracy", "sensitivity", "specificity", "AUROC")
    notes = []
    if arm_groups["suppressed"]:
        count = f"{arm_groups['suppressed']} of {len(groups)}"
        unnamed = ", and not shown" if len(unscored) > MOST_UNSCORED else ""
        notes.append(f"groups of fewer than {FEWEST} patients are not scored{unnamed} ({count})")
    if arm_groups["worst"] is not None:
        worst = arm_groups["worst"]
        notes.append(f"lowest {worst['metric']}: {worst['group']}; {worst['note']}")
    decision = record.get("decision") or {}
    at = f", called {_rule_words(decision)}" if decision.get("thresholds") else ""
    title = f"By {by}{at}: value and {_level(record)} interval, unit {recorded_unit(record)}"
    return TextTable(by, title, (by, f"{recorded_rows(record)}s", "patients", *heads), tuple(rows), tuple(notes))


def _promises(record: Mapping[str, Any]) -> TextTable | None:
    deployed = record.get("deployed")
    if deployed is None:
        return None
    rows = [
        (
            row["what"],
            "not recorded" if row["stated"] is None else shown(row["stated"]),
            _value(row),
            row["word"],
        )
        for row in deployed["rows"]
    ]
    validated = next((row["stated_from"] for row in deployed["rows"] if row["what"] == "sensitivity"), "")
    on = f" on {validated}" if validated else ""
    title = f"Performance stated{on}, and observed here: {_level(record)} interval, unit {recorded_unit(record)}"
    return TextTable(
        "promises", title, ("promise", "stated", "obtained", ""), tuple(rows), _promise_sentences(deployed["rows"])
    )


def _promise_sentences(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """One line for each promise that was missed."""
    return tuple(
        f"{row['what']}: stated {shown(row['stated'])}, obtained {_value(row)}: missed"
        for row in rows
        if row["word"] == "missed"
    )
