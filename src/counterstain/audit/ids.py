"""Leaks that ids and coordinates tell: patients and slides on two sides, ids that nearly agree, overlapping tiles."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from counterstain.audit.findings import Finding, first_examples
from counterstain.cohort.cohort import Cohort
from counterstain.evaluation.format import agreeing, plural

__all__ = ["crossings", "divided", "last_digits", "near_ids", "overlapping", "plain_id"]

LEAST_OVERLAP = 0.05  # of a tile's area; less is the seam of a grid
MOST_PAIRS = 100_000
# A stem, then letters or a separator that mark what follows as a part of it, then one digit.
_LAST_DIGIT = re.compile(r"(?P<stem>.*\d)(?P<mark>[\s_.\-]+[A-Za-z]{1,3}|[A-Za-z]{1,3}|[\s_.\-]+)[\s_.\-]?\d")


def crossings(assignments: Sequence[Sequence[str]]) -> list[NDArray[np.object_]]:
    """Each division as an array, so that it can be compared: the part of each image, "" for one that is in none."""
    return [np.array(list(assignment), dtype=object) for assignment in assignments]


def severity_between(*parts: str) -> str:
    """A leak where a test part is concerned; between train and val it only spoils the choice of the epoch."""
    return "leak" if any(part.startswith("test") for part in parts) else "warning"


def divided(cohort: Cohort, assignments: Sequence[Sequence[str]]) -> list[Finding]:
    """Patients, and slides, that are in more than one part of a division."""
    findings = []
    for tier, column in (("patient", "patient_id"), ("slide", "slide_id")):
        names = cohort.table[column].to_numpy(dtype=object)
        across: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for assignment in crossings(assignments):
            parts_of: dict[str, set[str]] = defaultdict(set)
            for name, part in zip(names, assignment, strict=True):
                if name and part:
                    parts_of[name].add(part)
            for name, parts in parts_of.items():
                if len(parts) > 1:
                    across[tuple(sorted(parts))].add(name)
        for between, divided_names in across.items():
            findings.append(
                Finding(
                    tier, severity_between(*between), between, len(divided_names),
                    first_examples([(name,) for name in sorted(divided_names)]),
                    f"{len(divided_names)} {tier}s have images in {' and in '.join(between)}",
                )
            )  # fmt: skip
    return findings


def near_ids(cohort: Cohort, assignments: Sequence[Sequence[str]] = ()) -> list[Finding]:
    """Patient ids that may mean one patient: the same but for case, separators, leading zeros, letters at the end.

    A leak where such ids stand on two sides of a test part, else a warning.
    """
    ids = cohort.table["patient_id"].to_numpy(dtype=object)
    groups: dict[str, set[str]] = defaultdict(set)
    for name in sorted(set(ids) - {""}):
        groups[plain_id(name)].add(name)
    alike = {name: tuple(sorted(spellings)) for name, spellings in sorted(groups.items()) if len(spellings) > 1}
    plain = np.array([plain_id(name) if name else "" for name in ids], dtype=object)
    across: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for assignment in crossings(assignments):
        for name in alike:
            parts = sorted({part for part in assignment[plain == name] if part})
            if len(parts) > 1:
                across[tuple(parts)].add(name)
    differ = "differ only in case, separators, leading zeros or letters at the end"
    way = "are they one patient? If not, confirm it: --distinct-ids (in a study, audit.distinct_ids)"
    findings = [
        Finding(
            "near-id", severity_between(*between), between, len(names),
            first_examples([alike[name] for name in sorted(names)]),
            f"{plural(len(names), 'group')} of patient ids with images in {' and in '.join(between)} "
            f"{agreeing(len(names), differ)}; {way}",
        )
        for between, names in across.items()
    ]  # fmt: skip
    elsewhere = [spellings for name, spellings in alike.items() if not any(name in names for names in across.values())]
    if elsewhere:
        words = f"{plural(len(elsewhere), 'group')} of patient ids {agreeing(len(elsewhere), differ)}; {way}"
        findings.append(Finding("near-id", "warning", (), len(elsewhere), first_examples(elsewhere), words))
    return findings


def last_digits(cohort: Cohort) -> list[Finding]:
    """Patient ids that differ only in a last digit after a mark, as …-R3 and …-R4, which may be samples of one patient.

    Only asked, never a leak: hospitals number patients in this way, too.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for name in sorted(set(cohort.table["patient_id"]) - {""}):
        match = _LAST_DIGIT.fullmatch(name.strip())
        if match and not name.upper().startswith("TCGA-"):  # whose barcodes are known to be of patients
            groups[f"{match['stem']}\0{match['mark'].lower()}"].add(name)
    alike = [tuple(sorted(names)) for _, names in sorted(groups.items()) if len(names) > 1]
    if not alike:
        return []
    words = (
        f"{len(alike)} group{'s' * (len(alike) > 1)} of patient ids differ only in a last digit; are they samples of "
        "one patient? If so, give them one id; if not, confirm it: --distinct-ids (in a study, audit.distinct_ids)"
    )
    return [Finding("last-digit", "warning", (), len(alike), first_examples(alike), words)]


def plain_id(name: str) -> str:
    """18842D and 18842 are 18842; P-01, p_1 and P01 are p1; P1, P2 and P10 stay apart."""
    plain = re.sub(r"[\s_\-./]+", "-", name.strip().lower())
    plain = re.sub(r"(?<=\d\d)[a-z]{1,3}$", "", plain)  # letters that tell blocks of one case
    plain = re.sub(r"(?<!\d)0+(?=\d)", "", plain)
    # A separator between two numbers means something (14-2523); between letters and numbers it does not.
    return re.sub(r"(?<=[a-z])-|-(?=[a-z])", "", plain)


def overlapping(cohort: Cohort, side_px: NDArray[np.float64], assignments: Sequence[Sequence[str]]) -> list[Finding]:
    """Tiles of one slide whose places overlap although they are in different parts.

    Args:
        cohort: with slide_id, x and y (level-0 px) where known.
        side_px: (N,) side of each image in level-0 px, NaN where unknown.
        assignments: the divisions.
    """
    table = cohort.table
    x, y = table["x"].to_numpy(), table["y"].to_numpy()
    known = np.isfinite(x) & np.isfinite(y) & np.isfinite(side_px) & (table["slide_id"] != "").to_numpy()
    by_slide: dict[str, list[int]] = defaultdict(list)
    for row in np.flatnonzero(known):
        by_slide[table["slide_id"].iloc[row]].append(int(row))
    pairs = [pair for rows in by_slide.values() for pair in _overlaps(np.array(rows), x, y, side_px)][:MOST_PAIRS]
    crossing: dict[tuple[str, str], set[tuple[int, int]]] = defaultdict(set)
    for assignment in crossings(assignments):
        for a, b in pairs:
            if assignment[a] and assignment[b] and assignment[a] != assignment[b]:
                first, second = sorted((assignment[a], assignment[b]))
                crossing[first, second].add((a, b))
    names = cohort.image
    return [
        Finding(
            "place", severity_between(*between), between, len(rows),
            first_examples([(names[a], names[b]) for a, b in sorted(rows)]),
            f"{plural(len(rows), 'pair')} of tiles {agreeing(len(rows), 'overlap')} on their slide, one in "
            f"{between[0]}, the other in {between[1]}",
        )
        for between, rows in crossing.items()
    ]  # fmt: skip


def _overlaps(
    rows: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64], side: NDArray[np.float64]
) -> Iterable[tuple[int, int]]:
    """Pairs of rows whose squares share more than LEAST_OVERLAP of the smaller; swept from left to right."""
    order = rows[np.argsort(x[rows], kind="stable")]
    widest = side[order].max()
    for place, a in enumerate(order):
        for b in order[place + 1 :]:
            if x[b] >= x[a] + widest:
                break
            wide = min(x[a] + side[a], x[b] + side[b]) - max(x[a], x[b])
            high = min(y[a] + side[a], y[b] + side[b]) - max(y[a], y[b])
            if wide > 0 and high > 0 and wide * high > LEAST_OVERLAP * min(side[a], side[b]) ** 2:
                yield (int(min(a, b)), int(max(a, b)))
