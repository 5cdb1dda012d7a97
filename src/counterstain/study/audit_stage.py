"""The audit of a study before anything is trained: its record, baselines without a network, and the gate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Unpack

import numpy as np

from counterstain.audit.decisions import (
    DECISIONS,
    PAIRS,
    Decision,
    append_decision,
    apply_decisions,
    decision_finding,
    read_decisions,
    undecided_copies,
    write_pairs,
)
from counterstain.audit.duplicates import Duplicate, find_duplicates
from counterstain.audit.findings import AuditRecord
from counterstain.audit.proposal import propose_split
from counterstain.audit.report import audit_lines, audit_record, feature_record
from counterstain.audit.shortcuts import bag_baselines, baselines, colour_features, file_features
from counterstain.audit.tables_only import split_to_audit
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.layouts import read_images
from counterstain.cohort.manifest import write_cohort
from counterstain.cohort.reading_options import ReadingOptions
from counterstain.cohort.splitters import Split, write_split
from counterstain.errors import GateError, InputError
from counterstain.evaluation.arm_scores import score_arms
from counterstain.evaluation.format import levelled, metric_name, number
from counterstain.evaluation.predictions import Predictions, concatenate
from counterstain.evaluation.predictions_csv import write_predictions
from counterstain.evaluation.record_types import ScoresRecord
from counterstain.files import StrPath, hash_json, read_json, write_json
from counterstain.images.store import Store, build_store
from counterstain.learning.bag_dataset import BagStore, is_feature_file, open_bags
from counterstain.progress import Progress
from counterstain.run_folder import as_written, record_path
from counterstain.study.completion import is_done, mark_done
from counterstain.study.prepare import PreparedStudy
from counterstain.study.study_sections import IMAGE_STAMP

__all__ = ["audit_bags", "audit_images", "audit_stage", "audit_tiles", "baseline_lines", "score_baselines"]

RECORD = "audit.json"
BASELINES = "baselines.json"
PROPOSAL = "audit/splits.csv"


def audit_tiles(
    cohort: Cohort,
    split: Split | None,
    store: Store,
    *,
    fit: str = "stretch",
    rotated: bool = True,
    distinct_ids: bool = False,
    decisions: Sequence[Decision] = (),
    step: Callable[[str, int, int], None] | None = None,
) -> tuple[AuditRecord, tuple[Duplicate, ...]]:
    """The audit's record of a cohort and its split, and the copies found among its tiles; `step` is told how far.

    What was decided by eye is a note of the record, and pairs that were decided to be no copies are left out.
    """
    duplicates = find_duplicates(store, fit=fit, rotated=rotated, step=step)
    copies = undecided_copies(store.image, duplicates, decisions)
    record = audit_record(cohort, split, store, copies, distinct_ids=distinct_ids)
    note = decision_finding(decisions)
    return record if note is None else {**record, "findings": [*record["findings"], note.to_record()]}, copies


def audit_images(
    images: Cohort | StrPath,
    splits: Split | StrPath | None,
    out: Path,
    *,
    unit: str = "patient",
    tile_px: int = 128,
    rotated: bool = True,
    distinct_ids: bool = False,
    apply: Path | None = None,
    talk: Progress | None = None,
    **reading: Unpack[ReadingOptions],
) -> tuple[AuditRecord, list[str]]:
    """Audit a cohort, and its split where one is given; write audit.json and what follows from it to `out`.

    Args:
        images: a Cohort, a folder or a manifest.
        splits: the split or its splits.csv; without it the cohort's own split column, and without that only the cohort
            is audited.
        out: gets audit.json; with a split also baselines.json and, where there are leaks, a splits.csv without.
        unit: that the splits.csv kept together.
        tile_px: side in px at which images are looked at; the store is made beside `out`.
        rotated: also look for turned crops.
        distinct_ids: patient ids that nearly agree are of different patients.
        apply: a decisions.csv of the Audit page; `out` also gets cohort.csv, decisions.csv and splits.csv that follow.
        **reading: see read_images.

    Returns:
        The record, and its lines of text.
    """
    talk = talk or Progress()
    full = read_images(images, **reading)
    columns = reading.get("columns")
    decisions = _decisions_to_apply(apply)
    if decisions:
        full = apply_decisions(full, decisions)
    if all(is_feature_file(name) for name in full.image):
        return _audit_feature_files(full, splits, out, unit=unit, distinct_ids=distinct_ids, talk=talk, columns=columns)
    store = build_store(full, out.parent / "store", tile_px=tile_px, max_bad=1.0, progress=talk.stored)
    readable = set(store.image)
    cohort = full.subset(np.array([name in readable for name in full.image]))
    aside = [
        *(name for name, _ in store.set_aside),
        *(decision.image for decision in decisions if decision.decision == "drop"),
    ]
    split = split_to_audit(splits, cohort, unit, aside, columns)
    record, copies = audit_tiles(
        cohort, split, store, rotated=rotated, distinct_ids=distinct_ids, decisions=decisions, step=talk.step
    )
    lines = audit_lines(record)
    lines += _baselines_to(out, lambda parts: _baseline_tables(cohort, store, parts), cohort, split)
    write_pairs(out / Path(PAIRS).name, store.image, copies)
    final = split
    if split is not None and record["verdict"] == "leaks":
        try:
            final = propose_split(cohort, store.image, copies, split, distinct_ids=distinct_ids)
            write_split(final, out / "splits.csv")
            lines += ["", f"a split that keeps copies together: {out / 'splits.csv'}"]
        except InputError as error:
            lines += ["", f"no split without leaks can be proposed: {error}"]
    if decisions:
        lines += _write_decided(out, cohort, final, decisions)
    write_json(out / "audit.json", record)
    return record, lines


def _decisions_to_apply(apply: Path | None) -> tuple[Decision, ...]:
    if apply is None:
        return ()
    if not apply.is_file():
        raise InputError(f"{apply} is not there; name the decisions.csv that the Audit page wrote, in the run's folder")
    return read_decisions(apply)


def _write_decided(out: Path, cohort: Cohort, split: Split | None, decisions: tuple[Decision, ...]) -> list[str]:
    """The manifest that follows from decisions, its split, and the decisions themselves for the studies of it."""
    write_cohort(cohort, out / "cohort.csv")
    (out / DECISIONS).unlink(missing_ok=True)
    for decision in decisions:
        append_decision(out / DECISIONS, decision)
    lines = ["", f"the cohort as decided: {out / 'cohort.csv'}"]
    if split is not None:  # with the names that the new manifest gives, counted from its own folder
        write_split(Split(read_images(out / "cohort.csv").image, split.parts, split.unit), out / "splits.csv")
        lines.append(f"its split: {out / 'splits.csv'}")
    return lines


def _audit_feature_files(
    full: Cohort,
    splits: Split | StrPath | None,
    out: Path,
    *,
    unit: str,
    distinct_ids: bool,
    talk: Progress,
    columns: Mapping[str, str] | None = None,
) -> tuple[AuditRecord, list[str]]:
    """The same for a cohort of feature files: ids and identical files are compared, and what tile counts tell."""
    bags = open_bags(full, out.parent / "store", max_bad=1.0, progress=talk.stored)
    readable = set(bags.image)
    cohort = full.subset(np.array([name in readable for name in full.image]))
    split = split_to_audit(splits, cohort, unit, [name for name, _ in bags.set_aside], columns)
    record, _ = audit_bags(cohort, split, bags, distinct_ids=distinct_ids)
    lines = audit_lines(record)
    lines += _baselines_to(out, lambda parts: _bag_baseline_tables(cohort, bags, parts), cohort, split)
    write_json(out / "audit.json", record)
    return record, lines


def _baselines_to(
    out: Path, tables_of: Callable[[Split], dict[str, Predictions]], cohort: Cohort, split: Split | None
) -> list[str]:
    """Write baselines.json of a split, and give its lines; the reason where there can be none."""
    if split is None:
        return []
    labels = np.array(cohort.table["label"], dtype=object)
    for part in split.parts:
        tested = any(name.startswith("test") for name in part.names)
        if len(set(labels[part.rows("train")])) < 2 or not tested:
            lack = "test part" if not tested else "second class in train"
            return ["", f"baselines were not computed: the split has no {lack}"]
    scored = score_baselines(tables_of(split), IMAGE_STAMP if split.unit == "image" else "")
    write_json(out / "baselines.json", scored)
    return ["", "baselines without a network on the test part", *baseline_lines(scored)]


def baseline_lines(record: ScoresRecord) -> list[str]:
    """Accuracy and AUROC of each baseline, with intervals, as lines of text."""
    lines = []
    for name, arm in record["arms"].items():
        scores = {score["metric"]: score for score in arm["scores"] if score["level"] == "image" and not score["class"]}
        values = ", ".join(
            f"{metric_name(metric)} {number(scores[metric]['value'])}"
            f"{levelled(scores[metric]['low'], scores[metric]['high'], confidence=record['confidence'])}"
            for metric in ("accuracy", "auroc")
            if metric in scores
        )
        lines.append(f"  {name:18} {values}")
    return lines


def audit_stage(run: Path, prepared: PreparedStudy, talk: Progress, *, manifest: Path | None = None) -> None:
    """Audit a study's cohort and split, score its baselines, and stop it where the gate fails.

    Writes to records/: audit.json, audit/pairs.csv, baselines.json, baselines/<name>.csv and, where there are leaks,
    audit/splits.csv. A decisions.csv beside the study's manifest (`audit --apply` puts it there) is obeyed and listed.

    Raises:
        GateError: If there are leaks and the study's gate stops at them; what was found is written before.
    """
    study, material = prepared.study, prepared.material
    if study.audit.gate == "off":
        for name in (RECORD, BASELINES):
            record_path(run, name).unlink(missing_ok=True)
        return
    inputs = {
        "audit": study.resolved()["audit"],
        "data": material.store.data_hash,
        "tiles": study.resolved()["tiles"],
        "cohort": hash_json({"": material.cohort.table.drop(columns="split").to_csv()}),
        "split": [hash_json({"": list(part.assignment)}) for part in prepared.split.parts],
        "unit": prepared.split.unit,
    }
    decisions = read_decisions(manifest.parent / DECISIONS) if manifest is not None and manifest.is_file() else ()
    if decisions:
        inputs["decisions"] = [asdict(decision) for decision in decisions]
    if not is_done(run, "audit", inputs):
        with talk.working_on("audit: copies, leaks, labels and shortcuts"):
            record, copies = _audit(prepared, talk, decisions)
            baselines_written = _write_baselines(run, prepared) if study.audit.baselines else []
        written = [record_path(run, RECORD), record_path(run, PAIRS)]
        write_pairs(record_path(run, PAIRS), prepared.material.store.image, copies)
        if record["verdict"] == "leaks":
            written += _propose(run, prepared, copies, talk)
        written += baselines_written
        write_json(record_path(run, RECORD), record)
        mark_done(run, "audit", inputs, written)
        for line in audit_lines(record):
            talk.say(line)
    _gate(run, prepared)


def _audit(
    prepared: PreparedStudy, talk: Progress, decisions: tuple[Decision, ...]
) -> tuple[AuditRecord, tuple[Duplicate, ...]]:
    material, section = prepared.material, prepared.study.audit
    if isinstance(material.store, BagStore):
        return audit_bags(material.cohort, prepared.split, material.store, distinct_ids=section.distinct_ids)
    return audit_tiles(
        material.cohort, prepared.split, material.tiles, fit=material.fit, rotated=section.rotated,
        distinct_ids=section.distinct_ids, decisions=decisions, step=talk.step,
    )  # fmt: skip


def audit_bags(
    cohort: Cohort, split: Split | None, store: BagStore, *, distinct_ids: bool = False
) -> tuple[AuditRecord, tuple[Duplicate, ...]]:
    """The audit's record of a cohort of feature files, and the pairs that are the same file.

    Nothing of a slide's look can be seen in its features: the record says so in a note.
    """
    first: dict[str, int] = {}
    copies = tuple(
        Duplicate(first[content], row, "bytes", 1.0, "as it is")
        for row, content in enumerate(store.content)
        if first.setdefault(content, row) != row
    )
    return feature_record(
        cohort, split, images=store.image, data=store.data_hash, copies=copies, distinct_ids=distinct_ids,
        set_aside=store.set_aside,
    ), copies  # fmt: skip


def _propose(run: Path, prepared: PreparedStudy, copies: tuple[Duplicate, ...], talk: Progress) -> list[Path]:
    """The split that keeps copies together, as a file that the study can name; [] where none is possible."""
    section = prepared.study.split
    try:
        proposed = propose_split(
            prepared.material.cohort,
            prepared.material.store.image,
            copies,
            prepared.split,
            test=section.test,
            val=section.val,
            seed=section.seed,
            distinct_ids=prepared.study.audit.distinct_ids,
        )
    except InputError as error:
        talk.say(f"audit: no split without leaks can be proposed: {error}")
        return []
    write_split(proposed, record_path(run, PROPOSAL))
    return [record_path(run, PROPOSAL)]


def _gate(run: Path, prepared: PreparedStudy) -> None:
    record = read_json(as_written(record_path(run, RECORD)))
    # The old protocol leaks on purpose, and says so on every page.
    if record["verdict"] != "leaks" or prepared.study.audit.gate != "stop" or prepared.study.stamp.startswith("LEAK"):
        return
    proposal = record_path(run, PROPOSAL)
    way = f"take the split proposed in {proposal} (split.file), " if proposal.is_file() else ""
    raise GateError(
        f"{record['words']} Nothing was trained. Correct the data, {way}or write audit.gate: warn; all findings are "
        f"in {record_path(run, RECORD)}"
    )


def _write_baselines(run: Path, prepared: PreparedStudy) -> list[Path]:
    """What the majority, mean colour, a colour histogram and the files themselves would score on the test images."""
    material, split = prepared.material, prepared.split
    if isinstance(material.store, BagStore):
        tables = _bag_baseline_tables(material.cohort, material.store, split)
    else:
        tables = _baseline_tables(material.cohort, material.tiles, split)
    written = []
    for name, table in tables.items():
        path = record_path(run, f"baselines/{name}.csv")
        write_predictions(table, path)
        written.append(path)
    write_json(record_path(run, BASELINES), score_baselines(tables, prepared.study.stamp))
    return [*written, record_path(run, BASELINES)]


def _baseline_tables(cohort: Cohort, store: Store, split: Split) -> dict[str, Predictions]:
    """The test predictions of every baseline; the folds of the first repeat together make one table."""
    folds = [part for part in split.parts if part.repeat == split.parts[0].repeat]
    colours, files = colour_features(cohort, store), file_features(cohort)
    per_fold = [
        baselines(cohort, store, part.assignment, unit=split.unit, colours=colours, files=files) for part in folds
    ]
    return _join(per_fold)


def _bag_baseline_tables(cohort: Cohort, store: BagStore, split: Split) -> dict[str, Predictions]:
    """The same for bags: the majority, and the number of tiles alone."""
    folds = [part for part in split.parts if part.repeat == split.parts[0].repeat]
    count = store.count[store.rows(cohort.image)]
    return _join([bag_baselines(cohort, count, part.assignment, unit=split.unit) for part in folds])


def _join(per_fold: list[dict[str, Predictions]]) -> dict[str, Predictions]:
    """The tables of several folds as one, of the baselines that all have."""
    names = [name for name in per_fold[0] if all(name in tables for tables in per_fold)]
    return {name: concatenate([tables[name] for tables in per_fold]) for name in names}


def score_baselines(tables: dict[str, Predictions], stamp: str = "") -> ScoresRecord:
    """The record of what the baselines score, of the same shape as scores.json."""
    return score_arms({name: [table] for name, table in tables.items()}, stamp=stamp)
