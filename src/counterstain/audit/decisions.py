"""What a person decided on pairs that look alike: one appended line per decision, and what follows for the cohort."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from counterstain.audit.duplicates import Duplicate
from counterstain.audit.findings import Finding, first_examples
from counterstain.cohort.cohort import Cohort
from counterstain.errors import InputError, suggest
from counterstain.files import append_row, write_csv
from counterstain.own_tables import read_rows

__all__ = [
    "DECISIONS", "KINDS", "PAIRS", "Decision", "Pair", "append_decision", "apply_decisions", "decision_finding",
    "in_force", "read_decisions", "read_pairs", "undecided_copies", "write_pairs",
]  # fmt: skip

PAIRS = "audit/pairs.csv"
DECISIONS = "decisions.csv"
COLUMNS = ("when", "who", "image", "other", "decision", "label", "reason")
PAIR_COLUMNS = ("image", "other", "tier", "similarity", "turn")
KINDS = ("keep", "drop", "same", "relabel", "undo")
LONGEST = 2000  # characters of a reason


@dataclass(frozen=True)
class Pair:
    """Two images that an audit found alike: names, tier, correlation of fine structure, and what turns one into the
    other."""

    image: str
    other: str
    tier: str
    similarity: float
    turn: str


@dataclass(frozen=True)
class Decision:
    """One decision of one person.

    when: UTC, as 2026-11-29T13:40:00Z; who: a name; image: that it is about; other: its partner in the pair.
    decision: "keep" both, they are not copies; "drop" the image; "same" tissue, both stay and stand on one side;
        "relabel" the image to `label`; "undo" the last one on this pair.
    reason: free text.
    """

    when: str
    who: str
    image: str
    other: str
    decision: str
    label: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if self.decision not in KINDS:
            raise InputError(f"decision is '{self.decision}'{suggest(self.decision, KINDS)}")
        if not self.image:
            raise InputError("a decision names no image; say which image it is about")
        if (self.decision == "relabel") != bool(self.label):
            raise InputError(f"'{self.decision}' has the label '{self.label}'; relabel needs one, nothing else has one")
        if max(map(len, (self.who, self.reason, self.label))) > LONGEST:
            raise InputError(f"a name or reason is longer than {LONGEST} characters; shorten it")

    @property
    def pair(self) -> tuple[str, str]:
        """Both images in one order, whichever the decision is about."""
        return min(self.image, self.other), max(self.image, self.other)


def append_decision(path: Path, decision: Decision) -> None:
    """Add one line to decisions.csv, whole or not at all, and on the disk before this returns."""
    append_row(path, COLUMNS, [getattr(decision, name) for name in COLUMNS])


def read_decisions(path: Path) -> tuple[Decision, ...]:
    """Every line of a decisions.csv, in the order in which they were decided; () where there is no such file.

    Raises:
        InputError: If a line is no decision.
    """
    if not path.is_file():
        return ()
    decisions = []
    for number, row in enumerate(read_rows(path, COLUMNS), start=2):
        try:
            decisions.append(Decision(**{name: row[name] for name in COLUMNS}))
        except InputError as error:
            raise InputError(f"{path} line {number}: {error}") from None
    return tuple(decisions)


def in_force(decisions: Sequence[Decision]) -> tuple[Decision, ...]:
    """The last decision on each pair that was not taken back, in the order of the pairs' first decisions."""
    stacks: dict[tuple[str, str], list[Decision]] = {}
    for decision in decisions:
        stack = stacks.setdefault(decision.pair, [])
        if decision.decision == "undo":
            if stack:
                stack.pop()
        else:
            stack.append(decision)
    return tuple(stack[-1] for stack in stacks.values() if stack)


def apply_decisions(cohort: Cohort, decisions: Sequence[Decision]) -> Cohort:
    """The cohort without what was dropped, with the labels that were given.

    Raises:
        InputError: If an image or class is not of this cohort, an image is given two labels, or a class loses all.
    """
    valid = in_force(decisions)
    known = set(cohort.image)
    for decision in valid:
        if decision.image not in known:
            raise InputError(
                f"a decision is about {decision.image}, which is not in this cohort; apply it to the audited one"
            )
        if decision.label and decision.label not in cohort.classes:
            raise InputError(
                f"{decision.image} is relabelled '{decision.label}'{suggest(decision.label, cohort.classes)}"
            )
    labels: dict[str, str] = {}
    for decision in valid:
        if decision.label and labels.setdefault(decision.image, decision.label) != decision.label:
            raise InputError(
                f"{decision.image} is relabelled both '{labels[decision.image]}' and '{decision.label}'; "
                "undo one of them"
            )
    table = cohort.table.copy()
    table["label"] = [labels.get(name, label) for name, label in zip(cohort.image, table["label"], strict=True)]
    dropped = {decision.image for decision in valid if decision.decision == "drop"}
    kept = np.array([name not in dropped for name in cohort.image])
    remaining = set(table["label"][kept])
    lost = next((name for name in cohort.classes if name not in remaining), None)
    if lost is not None:
        raise InputError(f"the decisions leave no image of class '{lost}'; undo one of them")
    return replace(cohort, table=table).subset(kept)


def undecided_copies(
    images: Sequence[str], copies: Sequence[Duplicate], decisions: Sequence[Decision]
) -> tuple[Duplicate, ...]:
    """The copies without the pairs of which somebody decided that they are none."""
    apart = {decision.pair for decision in in_force(decisions) if decision.decision == "keep"}
    return tuple(
        copy
        for copy in copies
        if (min(images[copy.a], images[copy.b]), max(images[copy.a], images[copy.b])) not in apart
    )


def decision_finding(decisions: Sequence[Decision]) -> Finding | None:
    """The decisions as one note of an audit, with its examples; None where nothing was decided."""
    valid = in_force(decisions)
    if not valid:
        return None
    phrases = {"drop": "images dropped", "relabel": "images relabelled", "same": "pairs said to be of the same tissue",
             "keep": "pairs said to be no copies"}  # fmt: skip
    counts = [f"{n} {phrases[kind]}" for kind in phrases if (n := sum(decision.decision == kind for decision in valid))]
    people = sorted({decision.who for decision in valid if decision.who})
    by = f" by {', '.join(people)}" if people else ""
    return Finding(
        tier="decision", severity="note", parts=(), count=len(valid),
        examples=first_examples([decision.pair for decision in valid]),
        words=f"Decided by eye{by}: {', '.join(counts)}.",
    )  # fmt: skip


def write_pairs(path: Path, images: Sequence[str], copies: Sequence[Duplicate]) -> None:
    """Every pair that was found, for the page on which they are looked at."""
    rows = [(images[copy.a], images[copy.b], copy.tier, f"{copy.similarity:.4f}", copy.turn) for copy in copies]
    write_csv(path, PAIR_COLUMNS, rows)


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """The pairs of an audit; () where it wrote none.

    Raises:
        InputError: If the file is not one of `write_pairs`.
    """
    if not path.is_file():
        return ()
    rows = [{name: row[name] for name in PAIR_COLUMNS} for row in read_rows(path, PAIR_COLUMNS)]
    try:
        return tuple(Pair(**{**row, "similarity": float(row["similarity"])}) for row in rows)  # type: ignore[arg-type]
    except ValueError:
        raise InputError(f"{path} has a similarity that is no number; audit again") from None
