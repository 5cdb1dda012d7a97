"""The page of anyone's prediction table: the core set first, then calls, promises, groups and every measure."""

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from counterstain.errors import InputError
from counterstain.evaluation.evaluation_tables import TextTable, evaluation_notes, evaluation_tables
from counterstain.evaluation.format import capital, clean, counted_rows, levelled, listed, number
from counterstain.evaluation.metric_names import measure_words
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.record_types import ScoresRecord
from counterstain.evaluation.rows import recorded_rows, recorded_unit, shown_levels, unit_words
from counterstain.evaluation.table_evaluation import ARM
from counterstain.files import write_bytes
from counterstain.reports.figures import Row, forest_figure
from counterstain.reports.illustration import Illustration, keep_figure
from counterstain.reports.page import environment, template
from counterstain.reports.page_table import Cell, Table
from counterstain.reports.run_figures import illustrate
from counterstain.reports.run_record import RunRecord, find_score
from counterstain.reports.run_tables import class_table, metric_tables
from counterstain.reports.table_figures import distribution_figure, narrow_benefit_figure, smoothed_figure
from counterstain.version import __version__

__all__ = ["write_table_report"]

MOST_FOREST = 30
INTERVAL = re.compile(r"^(.+?) (\[.*\])$")


def write_table_report(
    record: ScoresRecord, tables: Sequence[Predictions], path: Path, *, name: str = "predictions"
) -> Path:
    """Write the page of one model's prediction tables, whoever made them; it needs no other file and no network.

    Args:
        record: of evaluation.table_evaluation.evaluate_tables.
        tables: the same tables.
        path: of the page, such as report.html.
        name: what the page is called.

    Returns:
        The path of the page.

    Raises:
        InputError: If the tables have predicted classes alone, of which the page's figures can't be drawn.
    """
    if record["probabilities"] is None:
        raise InputError(
            f"{path.name} shows probabilities, and these tables have predicted classes alone; name a folder for their "
            "scores, such as --out scores"
        )
    run = _as_run(record, tables, path.parent)
    texts = {table.name: table for table in evaluation_tables(record)}
    with tempfile.TemporaryDirectory() as folder:
        figures = _figures(record, run, Path(folder))
    groups = [texts[by] for by in record["subgroups"] if by in texts]
    page = environment().get_template("table_report.html").render(
        name=clean(name),
        stamp=clean(record["stamp"]),
        version=__version__,
        style=Markup(template("report.css")),
        headline=_headline(record),
        facts=_facts(record),
        figures=figures,
        promises=_table(texts.get("promises")),
        missed=[_true_minus(note) for note in texts["promises"].notes] if "promises" in texts else [],
        calls=_table(texts.get("calls")),
        calibration=_table(texts.get("calibration")),
        benefit=_table(texts.get("benefit")),
        distribution=_table(texts.get("distribution")),
        groups=[_table(group) for group in groups],
        group_notes=[_capitalised(note) for group in groups for note in group.notes],
        levels=[table for level in shown_levels(run.rows_are) for table in metric_tables(run, level)],
        classes=class_table(run),
        warnings=_warnings(record),
        method=record["arms"][ARM]["method"],
        several=len(tables) > 1,
        rows_are=run.rows_are,
        unit=unit_words(record["unit"], run.rows_are),
    )  # fmt: skip
    write_bytes(path, page)
    return path


def _as_run(record: ScoresRecord, tables: Sequence[Predictions], folder: Path) -> RunRecord:
    """The table as a run of one arm that was trained elsewhere, so that a study's tables and figures can be used."""
    curve = (record["probabilities"] or {}).get("decision_curve")
    return RunRecord(
        folder=folder, resolved={}, cohort={}, set_aside=(), split={}, augmentation={}, environment={}, trainings=(),
        scores=record, comparison={}, predictions={ARM: tuple(tables)}, arms=(ARM,), hashes={}, contact_sheet=None,
        decision_curve={} if curve is None else {"arms": {ARM: curve}},
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- the words


def _headline(record: ScoresRecord) -> str:
    """The AUROC, of grades the kappa before it, on what they rest on; and the promises that were missed."""
    table = record["arms"][ARM]
    on = counted_rows(table["images"], recorded_rows(record), table["patients"])
    scores = {name: find_score(record, ARM, name, "image") for name in ("quadratic_kappa", "auroc")}
    estimates = [
        f"{measure_words(name)} {number(score['value'])}"
        f"{levelled(score['low'], score['high'], confidence=record['confidence']) or ' (no interval)'}"
        for name, score in scores.items()
        if score is not None and _is_defined(score)
    ]
    sentences = f"{capital(listed(estimates))} on {on}."
    if not _is_defined(scores["auroc"]):
        sentences = f"Evaluated on {on}; AUROC is undefined, because only one class is present."
    missed = [row["what"] for row in (record["deployed"] or {}).get("rows", ()) if row["word"] == "missed"]
    return f"{sentences} Missed what the model stated: {listed(missed)}." if missed else sentences


def _is_defined(score: Mapping[str, Any] | None) -> bool:
    return score is not None and score["value"] is not None and score["value"] == score["value"]


def _facts(record: ScoresRecord) -> list[tuple[str, str]]:
    table, decision = record["arms"][ARM], record["decision"]
    rows_are = recorded_rows(record)
    facts = [
        ("Tables", f"{len(table['seeds'])}"),
        ("Unit of the statistics", recorded_unit(record)),
    ]
    if decision is not None:
        share = f"{100 * decision['scores']['prevalence']:.1f}\u00a0%"
        facts.insert(0, ("Positive class", f"{clean(record['positive'])} ({share} of the {rows_are}s)"))
        chosen = decision["thresholds"]
        called = "most probable class" if chosen is None else listed(dict.fromkeys(number(v) for v in chosen))
        facts.append(("Called from" if chosen else "Called", called))
    else:
        facts.insert(0, ("Classes", str(len(record["classes"]))))
    return facts


def _warnings(record: ScoresRecord) -> list[str]:
    notes = [*record["arms"][ARM]["warnings"], *evaluation_notes(record)]
    notes += [f"seen before: {line}" for line in (record["seen"]["words"] if "seen" in record else ())]
    notes += record.get("looks") or ()
    return [_capitalised(clean(note)) for note in dict.fromkeys(notes)]


def _capitalised(text: str) -> str:
    return f"{capital(text)}."


def _true_minus(text: str) -> str:
    """True minus signs before numbers; a number and its % stay on one line."""
    return re.sub(r"(?<=\d) (?=%)", "\u00a0", re.sub(r"(?<![\w-])-(?=\d)", "−", clean(text)))


def _table(table: TextTable | None) -> Table | None:
    """A table of texts as the page's: an interval stands beside its value in smaller letters."""
    if table is None:
        return None
    rows = tuple(tuple(_cell(text) for text in row) for row in table.rows)
    text_columns = frozenset({0, 3}) if table.name == "promises" else frozenset({0})
    return Table(_true_minus(table.title), table.head, rows, text_columns=text_columns, inline=len(table.head) <= 4)


def _cell(text: str) -> Cell:
    match = INTERVAL.match(text)
    if match is None:
        return Cell(_true_minus(text), strong=text == "missed")
    return Cell(_true_minus(match[1]), "no interval" if match[2] == "[no interval]" else _true_minus(match[2]))


# --------------------------------------------------------------------------------------------------------- the figures


def _figures(record: ScoresRecord, run: RunRecord, folder: Path) -> dict[str, list[Illustration]]:
    """Those of a study's page that one table has, and the core set of page one."""
    illustrations = illustrate(run, folder)
    ranked = _is_defined(find_score(record, ARM, "auroc", "image"))  # of one class there is no curve
    core = [illustration for illustration in illustrations["curves"] if illustration.name == "roc" and ranked]
    probabilities, stamp, name = record.get("probabilities") or {}, record["stamp"], record["positive"] or ""
    positive = clean(name)
    if "smoothed" in probabilities:
        ici = f"ICI {number(probabilities['smoothed']['ici']['value'])}"
        core.append(_narrow(
            partial(smoothed_figure, probabilities["smoothed"], probabilities["reliability"], title="Calibration",
                    rows=run.rows, stamp=stamp),
            folder / "calibration", f"Smoothed share of {positive} over its probability, with a band; {ici}",
        ))  # fmt: skip
        core.append(_narrow(
            partial(narrow_benefit_figure, probabilities["decision_curve"], title="Net benefit", stamp=stamp),
            folder / "benefit", "Net benefit over the thresholds, of the model, of treating all and of treating nobody",
        ))  # fmt: skip
        chosen = (record.get("decision") or {}).get("thresholds")
        line = None if chosen is None or len(set(chosen)) > 1 else chosen[0]
        core.append(_narrow(
            partial(distribution_figure, probabilities["distribution"], positive=name, threshold=line, rows=run.rows,
                    stamp=stamp, title="Probabilities by true class"),
            folder / "distribution", f"Histograms of the probability of {positive} among the {run.rows} of each class",
        ))  # fmt: skip
    return {
        "core": core,
        "pr": [illustration for illustration in illustrations["curves"] if illustration.name == "pr" and ranked],
        "confusions": illustrations["confusions"],
        "groups": [_forest(record, by, folder) for by in record["subgroups"] if _groups_of(record, by)],
    }


def _narrow(draw: Callable[[], Figure], path: Path, alt: str) -> Illustration:
    return keep_figure(draw, path, alt=alt, caption="", narrow=True)


def _groups_of(record: ScoresRecord, by: str) -> list[Mapping[str, Any]]:
    groups = record["subgroups"][by]["arms"][ARM].get("groups", ())
    return [group for group in groups if group["scores"]][:MOST_FOREST]


def _forest(record: ScoresRecord, by: str, folder: Path) -> Illustration:
    """AUROC of each group where one has it, else accuracy."""
    groups = _groups_of(record, by)
    values = [group["scores"]["auroc"]["value"] for group in groups]
    metric = "auroc" if any(value is not None and value == value for value in values) else "accuracy"
    rows = [
        Row(clean(group["group"]), *(group["scores"][metric][key] for key in ("value", "low", "high")))
        for group in groups
    ]
    metric_words = "AUROC" if metric == "auroc" else "accuracy"
    title = f"{capital(metric_words)} by {clean(by)}"
    percent = f"{100 * record['confidence']:g}\u00a0%"
    label = f"{metric_words} with {percent} interval"
    draw = partial(forest_figure, rows, title=title, axis_label=label, stamp=record["stamp"])
    return keep_figure(draw, folder / f"groups-{len(list(folder.glob('groups-*')))}", alt=title, caption="")
