"""The report of a run: one self-contained page with its figures inside, made from the run folder's files alone."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from counterstain.evaluation.format import capital, clean, counted_rows, listed, metric_name, number, plural
from counterstain.evaluation.rows import level_words, shown_levels, unit_words
from counterstain.files import write_bytes
from counterstain.reports.cross_validation_tables import (
    procedures_table,
    procedures_words,
    support_table,
    variance_table,
)
from counterstain.reports.design_tables import arm_table, cohort_table, ranges_table, site_table, split_table
from counterstain.reports.error_section import error_sections, influence_words
from counterstain.reports.figure_settings import FigureStyle
from counterstain.reports.figure_style import styled
from counterstain.reports.figures import MOST_COUNTED, MOST_WRITTEN
from counterstain.reports.finding_tables import finding_tables, finding_words
from counterstain.reports.guidelines import guideline_table
from counterstain.reports.headline import evidence, headline
from counterstain.reports.illustration import photograph_uri
from counterstain.reports.methods import (
    audit_words,
    kept_words,
    methods_paragraph,
    patient_words,
    ran_words,
    split_unit,
    use_sentences,
)
from counterstain.reports.page import environment, template, typeset
from counterstain.reports.run_figures import illustrate
from counterstain.reports.run_record import RunRecord, find_score, primary, read_run
from counterstain.reports.run_tables import class_table, factorial, metric_tables, pair_table, primary_table
from counterstain.reports.supporting_tables import (
    audit_table,
    baseline_table,
    calibration_notes,
    calibration_table,
    decision_table,
    ledger_words,
    left_out_site_table,
    set_table,
    spread_table,
    subgroup_tables,
    worst_words,
)
from counterstain.reports.training_sentences import (
    augmentation_sentences,
    augmented_arms,
    choice_sentence,
    preparation_sentences,
    stain_sentences,
    training_sentences,
)
from counterstain.reports.training_tables import probe_table

__all__ = ["write_figures", "write_report"]

MOST_SET_ASIDE = 200
MOST_TILES = 400_000  # characters of all embedded tiles
MOST_SHEET = 150_000  # of them for the contact sheet
MOST_VERDICTS = 3


def write_report(run: Path, *, tiles: bool = True) -> Path:
    """Write a run's figures (figures/*.png and *.svg) and its report.html; the same run gives the same bytes.

    Only the files of the run folder are read. The page needs no other file, no script and no network.

    Args:
        run: the run folder, with resolved.json and scores.json at least.
        tiles: whether pictures of images are in the page; without them it can be shown where the images may not be.

    Returns:
        The path of report.html.

    Raises:
        InputError: If a record is missing, or is not what it should be.
    """
    record = read_run(run)
    page = (
        environment()
        .get_template("report.html")
        .render(_results_of(record) | _errors_of(record, tiles=tiles) | _protocol_of(record, tiles=tiles))
    )
    path = run / "report.html"
    write_bytes(path, page)
    return path


def write_figures(run: Path, style: FigureStyle) -> Path:
    """Draw a run's figures for a document of one's own: one file each in the style's format, with its numbers as CSV.

    Args:
        run: the run folder, as for write_report; the report's own figures stay as they are.
        style: with a format.

    Returns:
        The folder of the figures, figures-pdf (or -svg, -png) in the run's folder.

    Raises:
        InputError: If a record is missing, or is not what it should be.
    """
    folder = run / f"figures-{style.format}"
    with styled(style):
        illustrate(read_run(run), folder)
    return folder


def _results_of(record: RunRecord) -> dict[str, Any]:
    """What the page shows of the results: verdict, scores, calibration, comparison."""
    return {
        "name": clean(record.resolved.get("name") or "study"),
        "stamp": clean(record.stamp),
        "leak": record.stamp.startswith("LEAK"),
        "version": clean(record.environment.get("counterstain") or record.resolved.get("counterstain") or ""),
        "style": Markup(template("report.css")),
        "figures": illustrate(record),
        "headline": typeset(headline(record), record.arms),
        "evidence": typeset(evidence(record), record.arms),
        "verdicts": _verdicts(record),
        "facts": _facts(record),
        "warnings": _warnings(record),
        "rule": typeset(record.comparison.get("rule") or "", record.arms),
        "methods": list(dict.fromkeys(typeset(arm["method"], ()) for arm in record.scores["arms"].values())),
        "primary": primary_table(record),
        "baselines": baseline_table(record),
        "audit": audit_table(record),
        "audit_words": typeset(record.audit.get("words") or "", ()),
        "audit_looked": audit_words(record),
        "use_words": " ".join(use_sentences(record)),
        "calibration": calibration_table(record),
        "decisions": decision_table(record),
        "calibration_notes": calibration_notes(record),
        "sets": set_table(record),
        "left_out_sites": left_out_site_table(record),
        "subgroups": subgroup_tables(record),
        "findings": finding_tables(record),
        "findings_words": finding_words(record),
        "worst": worst_words(record),
        "spread": spread_table(record),
        "ledger": ledger_words(record),
        "paragraph": methods_paragraph(record),
        "guidelines": guideline_table(record),
        "levels": [table for level in shown_levels(record.rows_are) for table in metric_tables(record, level)],
        "classes": class_table(record),
        "pairs": pair_table(record),
        "factorial": factorial(record),
        "support": support_table(record),
        "procedures": procedures_table(record),
        "procedures_words": [typeset(line, record.arms) for line in procedures_words(record)],
        "variance": variance_table(record),
    }  # fmt: skip


def _errors_of(record: RunRecord, *, tiles: bool) -> dict[str, Any]:
    """What the page shows of single images and patients."""
    return {
        "errors": error_sections(record, tiles=tiles, budget=MOST_TILES - MOST_SHEET),
        "influence": [typeset(line, record.arms) for line in influence_words(record)],
    }


def _protocol_of(record: RunRecord, *, tiles: bool) -> dict[str, Any]:
    """What the page shows of how they came about: arms, cohort, split, augmentation, machine."""
    return {
        "arms": arm_table(record),
        "trained": [*preparation_sentences(record), *stain_sentences(record), *training_sentences(record)],
        "probes": probe_table(record),
        "cohort": cohort_table(record),
        "cohort_words": _cohort_words(record),
        "sites": site_table(record),
        "set_aside": [(clean(image), clean(reason)) for image, reason in record.set_aside[:MOST_SET_ASIDE]],
        "set_aside_count": len(record.set_aside),
        "split": split_table(record),
        "split_words": _split_words(record),
        "augmentation_words": _augmentation_words(record),
        "ranges": ranges_table(record) if _was_augmented(record) else None,
        "contact_sheet": (
            photograph_uri(record.contact_sheet, MOST_SHEET)
            if tiles and record.contact_sheet and _was_augmented(record)
            else ""
        ),
        "old_protocol": typeset(str(record.old_protocol.get("words") or ""), record.arms),
        "slide_words": _slide_words(record.slide) if record.slide_picture else "",
        "slide_picture": photograph_uri(record.slide_picture) if tiles and record.slide_picture else "",
        "cells_words": _cells_words(len(record.scores["classes"]), record.rows),
        "rows_are": record.rows_are,
        "unit": unit_words(record.scores["unit"], record.rows_are),
        "several_runs": len(record.trainings) > len(record.arms),
        "several_histories": _several_histories(record),
        "machine": _machine(record),
        "hashes": record.hashes,
    }  # fmt: skip


# -------------------------------------------------------------------------------------------------------- the verdict


def _verdicts(run: RunRecord) -> list[Markup]:
    """The sentences of the pairs, the primary ones first."""
    pairs = sorted(run.comparison.get("pairs", ()), key=lambda pair: not pair["primary"])
    if sum(pair["primary"] for pair in pairs) > MOST_VERDICTS:  # the table below holds each pair
        return [typeset(run.comparison["words"], run.arms)]
    return [typeset(pair["words"], run.arms) for pair in pairs]


def _warnings(run: RunRecord) -> list[Markup]:
    warnings: list[str] = [*run.comparison.get("warnings", ())]
    for arm in run.arms:
        warnings += run.scores["arms"][arm].get("warnings", ())
    metric, level = primary(run)
    unit = unit_words(run.scores["unit"], run.rows_are)
    scores = [find_score(run.scores, arm, metric, level) for arm in run.arms]
    if any(score is not None and score["value"] is not None and score["low"] is None for score in scores):
        warnings.append(
            f"no interval can be given for {metric_name(metric)}: the test part has too few {unit}s of a "
            "class, so its values are no evidence; see the split, and use folds to test every patient"
        )
    return list(dict.fromkeys(typeset(text, run.arms) for text in warnings))


# ------------------------------------------------------------------------------------------------------- what was done


def _facts(run: RunRecord) -> list[tuple[str, str]]:
    """The study at a glance."""
    first = run.scores["arms"][run.arms[0]]
    seeds = ran_words(run)
    tested = counted_rows(first["images"], run.rows_are, first["patients"])
    metric, level = primary(run)
    return [
        ("Compared", f"{plural(len(run.arms), 'arm')}, {seeds} each"),
        ("Tested on", tested),
        ("Primary measure", f"{metric_name(metric)}, {level_words(level, run.rows_are)}"),
        ("Unit of the statistics", unit_words(run.scores["unit"], run.rows_are)),
    ]


def _several_histories(run: RunRecord) -> bool:
    """Whether an arm with training curves was trained more than once."""
    arms = [training.arm for training in run.trainings if training.has_epochs]
    return len(arms) > len(set(arms))


def _cohort_words(run: RunRecord) -> str:
    cohort = run.cohort
    if not cohort:
        return ""
    noun = run.rows_are
    counts = [plural(cohort.get("images"), noun)]
    if cohort.get("colour_images") is not None:
        counts.append(f"{cohort['colour_images']:,} of them in colour")
    sentence = ", ".join(counts)
    patients, slides = cohort.get("patients") or {}, cohort.get("slides")
    if noun == "patient":
        pass  # each row is one
    elif patient_words(run) == "own":
        sentence += ", each of a different patient"
    elif patients:
        sentence += f", of {plural(patients['count'], 'patient')}"
        sentence += f" on {plural(slides, 'slide')}" if slides else ""
        each = patients.get("images_each") or {}
        if each:
            low, high, median = each["min"], each["max"], each["median"]
            sentence += (
                f"; {low:,} {noun}{'' if low == 1 else 's'} per patient"
                if low == high
                else f"; {low:,} to {high:,} {noun}s per patient (median {median:g})"
            )
    else:
        sentence += "; patients are unknown"
    mpp = cohort.get("mpp")
    if mpp:
        same = mpp["min"] == mpp["max"]
        sentence += f"; {mpp['min']:g} µm/px" if same else f"; {mpp['min']:g} to {mpp['max']:g} µm/px"
    sentence += "."
    several = (patients.get("with_several_classes") or {}).get("count")
    if several:
        sentence += f" {plural(several, 'patient')} with {run.rows} of more than one class."
    return " ".join([sentence, *(f"{capital(clean(note))}." for note in cohort.get("notes") or ())])


def _split_words(run: RunRecord) -> str:
    section = run.resolved.get("split") or {}
    method, unit = section.get("method"), split_unit(run)
    if method == "legacy_augment_first":
        return (
            "Images were augmented first, and the copies then split at random, so that copies of one image are in "
            "both training and test sets. This is the old protocol, kept to measure what it is worth."
        )
    if not method or not unit:
        return ""
    kept_apart = f"{capital(kept_words(run, str(unit)))}."
    division = {
        "holdout": f"One split into training, validation and test sets by {unit}.",
        "folds": f"Cross-validation by {unit}: {plural(section.get('folds'), 'fold')}, "
        f"{plural(section.get('repeats'), 'repeat')}; every {run.rows_are} is tested once in each repeat.",
        "official": f"The split that came with the {run.rows}.",
        "sites": f"Each site is tested once, by models trained without any {run.rows_are} of it.",
    }.get(str(method), "")
    seed = f"Seed of the split: {section.get('seed', 0)}."
    if section.get("file"):
        division, seed = "The split was read from a file.", ""
    use = choice_sentence(run)
    test = f"Test {run.rows} are used for reporting only."
    return " ".join(filter(None, (division, kept_apart, use, test, seed)))


def _was_augmented(run: RunRecord) -> bool:
    """Whether any arm learned from augmented images; with the leaking protocol all did."""
    return run.stamp.startswith("LEAK") or bool(augmented_arms(run))


def _augmentation_words(run: RunRecord) -> str:
    if run.stamp.startswith("LEAK"):
        return (
            "All images, before the split: this is what the stamp is about. The set grew to the originals plus one "
            "image for each transformation."
        )
    sentences = [*augmentation_sentences(run), *stain_sentences(run)]
    arms = augmented_arms(run)
    if any((arm.done.get("augmentation") or {}).get("mode") == "on_the_fly" for arm in arms):
        sentences.append("Random draws depend only on the seed, the epoch and the image.")
    training, grown = run.augmentation.get("training_images") or [], run.augmentation.get("images_an_epoch") or []
    if arms and training and grown:
        pairs = list(dict.fromkeys(zip(training, grown, strict=False)))
        counts = pairs[0] if len(pairs) == 1 else max(pairs)
        largest = "" if len(pairs) == 1 else " in the largest fold"
        sentences.append(f"{plural(counts[0], 'training image')}{largest}, {counts[1]:,} per epoch.")
    return " ".join(sentences)


def _slide_words(slide: Mapping[str, Any]) -> str:
    """What a synthetic slide of known truth, the demo's last step, says of a model."""
    if not slide:
        return ""
    width, height = slide["size_px"]
    return (
        f"After training, the model of {clean(slide['arm'])} read {clean(slide['slide'])}, a synthetic slide of "
        f"{width:,} × {height:,} px at {slide['mpp']:g} µm/px, of a patient not used for training. "
        f"AUROC of its {plural(slide['tiles'], 'tile')}, {slide['positive']:,} of them in tumour: "
        f"{number(slide['auroc'])}. Predicted tumour from {number(slide['threshold'])} on, the map and the "
        f"true tumours share {slide['iou']:.0%} of the area that either covers. One slide illustrates how a map "
        "compares with the truth; it is no evidence about other slides."
    )


def _cells_words(classes: int, rows: str) -> str:
    if classes <= MOST_COUNTED:
        return f"Each cell has its count of test {rows} and its share of the row."
    if classes <= MOST_WRITTEN:
        return "Each cell has its share of the row in per cent; the counts are in scores.json."
    return "The shade of a cell is its share of the row; the counts are in scores.json."


def _machine(run: RunRecord) -> list[tuple[str, str]]:
    """What is needed to get the same bytes again; what differs between trainings is listed."""
    machines = [training.record.get("machine") or {} for training in run.trainings]

    def every(name: str) -> str:
        return listed(dict.fromkeys(clean(machine[name]) for machine in machines if name in machine))

    data = _data_hashes(run)
    libraries: Mapping[str, Any] = run.environment.get("libraries") or {}
    seeds: Iterable[Any] = run.resolved.get("seeds") or run.scores["arms"][run.arms[0]]["seeds"]
    rows = [
        ("Run it again", "counterstain run study.yaml"),
        ("Training seeds", ", ".join(map(str, seeds))),
        ("Counterstain", clean(run.environment.get("counterstain") or run.resolved.get("counterstain") or "")),
        ("Python", clean(run.environment.get("python") or "")),
        ("Libraries", ", ".join(f"{clean(name)} {clean(libraries[name])}" for name in sorted(libraries))),
        ("Device", every("device")),
        ("Processor", every("processor")),
        ("Threads", every("threads")),
        ("Precision of training", every("precision")),
        ("Pooling of training", every("pooling")),
        ("Data (SHA-256)", data),
    ]
    return [(name, value) for name, value in rows if value]


def _data_hashes(run: RunRecord) -> str:
    return listed(dict.fromkeys(training.data_hash for training in run.trainings if training.data_hash))
