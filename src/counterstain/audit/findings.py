"""What an audit finds: one finding per fault, with how bad it is, how many images it concerns, and examples."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TypedDict, cast

from counterstain.records import short_repr

__all__ = [
    "MOST_EXAMPLES",
    "SEVERITIES",
    "TIERS",
    "AuditRecord",
    "Duplicate",
    "Finding",
    "FindingRecord",
    "worst_first",
]

SEVERITIES = ("leak", "warning", "note")
MOST_EXAMPLES = 50
TIERS = ("bytes", "pixels", "turned", "near", "rotated")  # of copies, the surest first


class FindingRecord(TypedDict):
    """A `Finding` as JSON."""

    tier: str
    severity: str
    parts: Sequence[str]
    count: int
    examples: Sequence[Sequence[str]]
    words: str


class AuditRecord(TypedDict):
    """audit.json, see report.audit_record."""

    schema: str
    verdict: str
    words: str
    images: int
    data: str
    copies: dict[str, int]
    findings: list[FindingRecord]


@dataclass(frozen=True)
class Finding:
    """One fault.

    tier: what kind: bytes, pixels, turned, near, rotated, patient, slide, near-id, place, conflict, mixed-patient,
        lone-patient, lone-site, blank, blurred, unreadable, absent-class, unplaced, last-digit, decision
    severity: "leak" makes the result untrue, "warning" may, "note" is to be known
    parts: the parts of the split that it concerns, in order; () where it is about the cohort
    count: pairs, patients or images, as the words say
    examples: up to MOST_EXAMPLES, each a tuple of names
    words: one sentence
    """

    tier: str
    severity: str
    parts: tuple[str, ...]
    count: int
    examples: tuple[tuple[str, ...], ...]
    words: str

    def __repr__(self) -> str:
        return short_repr(self)

    def to_record(self) -> FindingRecord:
        """As JSON."""
        return cast(FindingRecord, asdict(self))


@dataclass(frozen=True)
class Duplicate:
    """Two tiles that show the same: rows a < b of one store (of `new` and `known`, where there are two).

    tier: of TIERS; similarity: correlation of their fine structure, 1 where the pixels are the same
    turn: what turns a into b, in words
    """

    a: int
    b: int
    tier: str
    similarity: float
    turn: str


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Leaks, then warnings, then notes; the most numerous first."""
    return sorted(
        findings, key=lambda finding: (SEVERITIES.index(finding.severity), -finding.count, finding.tier, finding.parts)
    )


def first_examples(pairs: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """The first of them."""
    return tuple(pairs[:MOST_EXAMPLES])
