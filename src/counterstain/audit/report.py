"""The record of an audit: every finding, worst first, the counts behind it, and one verdict."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from counterstain.audit.findings import TIERS, AuditRecord, Duplicate, Finding, first_examples, worst_first
from counterstain.audit.ids import crossings, divided, last_digits, near_ids, overlapping, severity_between
from counterstain.audit.quality import (
    absent_classes,
    conflicts,
    look_at,
    poor_tiles,
    thin_classes,
    unplaced,
    unreadable,
)
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.splitters import Split
from counterstain.evaluation.format import agreeing, plural
from counterstain.files import hash_json

if TYPE_CHECKING:
    from counterstain.images.store import Store

__all__ = ["AUDIT_SCHEMA", "audit_lines", "audit_record", "feature_record", "table_record"]

AUDIT_SCHEMA = "counterstain.audit/1"
NAMED = 10  # images that could not be read, in the lines of text; audit.json has more
SHOWS = {
    "bytes": "are the same file",
    "pixels": "have the same pixels",
    "turned": "are flips or rotations by 90° of each other",
    "near": "are the same image re-compressed, brightened or slightly changed",
    "rotated": "are rotated crops of each other",
}


def audit_record(
    cohort: Cohort, split: Split | None, store: "Store", copies: Sequence[Duplicate], *, distinct_ids: bool = False
) -> AuditRecord:
    """The record audit.json.

    Args:
        cohort: the images that are in the store.
        split: the divisions to be audited; None: only the cohort is.
        store: the tiles.
        distinct_ids: patient ids that nearly agree are of different patients.
        copies: of `find_duplicates` on that store.

    Returns:
        schema; verdict "clean" or "leaks"; words; images; copies: pairs in each tier; findings, worst first.
    """
    assignments = [part.assignment for part in split.parts] if split is not None else []
    side = store.size_px[store.rows(cohort.image)].max(axis=1).astype(np.float64)
    findings = [
        *_of_ids_and_copies(cohort, store.image, copies, assignments, distinct_ids),
        *overlapping(cohort, side, assignments),
        *poor_tiles(cohort, store.image, look_at(store)),
        *unreadable(store.set_aside),
        *absent_classes(cohort, split),
        *unplaced(cohort, split),
    ]
    return _record(cohort, split, store.data_hash, copies, findings)


def feature_record(
    cohort: Cohort,
    split: Split | None,
    *,
    images: Sequence[str],
    data: str,
    copies: Sequence[Duplicate],
    distinct_ids: bool = False,
    set_aside: Sequence[tuple[str, str]] = (),
) -> AuditRecord:
    """The record of a cohort of feature files, in which no tile can be looked at; a note says what was not.

    Args:
        cohort, split, copies, distinct_ids: as in `audit_record`.
        images: names of the files that `copies` counts by.
        data: hash of the files.
        set_aside: (file, reason) of those that could not be read.
    """
    assignments = [part.assignment for part in split.parts] if split is not None else []
    unseen = (
        "of feature files only ids and identical files were compared: copies, overlaps and faults that show in pixels "
        "alone were not looked for"
    )
    findings = [
        *_of_ids_and_copies(cohort, images, copies, assignments, distinct_ids),
        Finding("features", "note", (), len(cohort), (), unseen),
        *unreadable(set_aside),
        *absent_classes(cohort, split),
        *unplaced(cohort, split),
    ]
    return _record(cohort, split, data, copies, findings)


def table_record(cohort: Cohort, split: Split | None, *, distinct_ids: bool = False) -> AuditRecord:
    """The record of a cohort whose images are not opened: ids, parts, labels and classes; a note says what was not.

    Args:
        cohort, split, distinct_ids: as in `audit_record`. Its `data` is the hash of the cohort's table.
    """
    assignments = [part.assignment for part in split.parts] if split is not None else []
    unseen = "only the tables were read: copies, overlaps, shortcuts and faults that show in images were not looked for"
    findings = [
        *_of_ids_and_copies(cohort, cohort.image, (), assignments, distinct_ids),
        Finding("tables-only", "note", (), len(cohort), (), unseen),
        *absent_classes(cohort, split),
        *unplaced(cohort, split),
    ]
    return _record(cohort, split, hash_json({"": cohort.table.drop(columns="split").to_csv()}), (), findings)


def _of_ids_and_copies(
    cohort: Cohort,
    images: Sequence[str],
    copies: Sequence[Duplicate],
    assignments: Sequence[Sequence[str]],
    distinct_ids: bool,
) -> list[Finding]:
    return [
        *_copies(cohort, images, copies, assignments),
        *divided(cohort, assignments),
        *([] if distinct_ids else (*near_ids(cohort, assignments), *last_digits(cohort))),
        *conflicts(cohort, images, copies),
        *thin_classes(cohort),
    ]


def _record(
    cohort: Cohort, split: Split | None, data: str, copies: Sequence[Duplicate], findings: Sequence[Finding]
) -> AuditRecord:
    ordered = worst_first(findings)
    leaks = [finding for finding in ordered if finding.severity == "leak"]
    return {
        "schema": AUDIT_SCHEMA,
        "verdict": "leaks" if leaks else "clean",
        "words": _words(ordered, split),
        "images": len(cohort),
        "data": data,
        "copies": {tier: sum(copy.tier == tier for copy in copies) for tier in TIERS},
        "findings": [finding.to_record() for finding in ordered],
    }


def _words(findings: Sequence[Finding], split: Split | None) -> str:
    leaks = [finding.words for finding in findings if finding.severity == "leak"]
    if leaks:
        more = f"; and {len(leaks) - 3} more" if len(leaks) > 3 else ""
        return f"The audit found leaks: {'; '.join(leaks[:3])}{more}."
    warned = sum(finding.severity == "warning" for finding in findings)
    caveat = f", {warned} warning{'s' * (warned > 1)}" if warned else ""
    return f"The audit found no leak{' between the parts of the split' if split is not None else ''}{caveat}."


def _copies(
    cohort: Cohort, images: Sequence[str], copies: Sequence[Duplicate], assignments: Sequence[Sequence[str]]
) -> list[Finding]:
    """A finding for each tier and two parts that copies stand in; one for those within parts, or without a split."""
    place = {name: row for row, name in enumerate(cohort.image)}
    across: dict[tuple[str, tuple[str, str]], set[tuple[str, str]]] = defaultdict(set)
    crossed: set[tuple[str, str]] = set()
    pairs = [
        (images[copy.a], images[copy.b], copy) for copy in copies if images[copy.a] in place and images[copy.b] in place
    ]
    for assignment in crossings(assignments):
        for a, b, copy in pairs:
            parts = {assignment[place[a]], assignment[place[b]]}
            if "" not in parts and len(parts) == 2:
                first, second = sorted(parts)
                across[copy.tier, (first, second)].add((a, b))
                crossed.add((a, b))
    findings = [
        Finding(
            tier, severity_between(*between), between, len(leaking), first_examples(sorted(leaking)),
            f"{plural(len(leaking), 'pair')} of images, one in {between[0]} and one in {between[1]}, "
            f"{agreeing(len(leaking), SHOWS[tier])}",
        )
        for (tier, between), leaking in across.items()
    ]  # fmt: skip
    where = "within one part" if assignments else "in the cohort"
    together: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for a, b, copy in pairs:
        if (a, b) not in crossed:
            together[copy.tier].append((a, b))
    for tier, alike in together.items():
        words = f"{plural(len(alike), 'pair')} of images {where} {agreeing(len(alike), SHOWS[tier])}"
        findings.append(Finding(tier, "note", (), len(alike), first_examples(alike), words))
    return findings


def audit_lines(record: AuditRecord) -> list[str]:
    """The record as lines of text: the verdict, then each finding with how bad it is."""
    lines = [record["words"]]
    for finding in record["findings"]:
        lines.append(f"  {finding['severity']:8} {finding['words']}")
        if (finding["severity"] == "leak" or finding["tier"] == "last-digit") and finding["examples"]:
            lines.append(f"           such as {' and '.join(finding['examples'][0])}")
        if finding["tier"] == "unreadable":
            lines += [f"           {': '.join(example)}" for example in finding["examples"][:NAMED]]
            lines += ["           …"] if finding["count"] > NAMED else []
    return lines
