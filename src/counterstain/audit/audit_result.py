"""An audit as an object: one verdict and every finding, over the record audit.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from counterstain.audit.findings import AuditRecord, Finding
from counterstain.records import html_of, json_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AuditReport"]


@dataclass(frozen=True, eq=False, repr=False)
class AuditReport:
    """What an audit found.

    record: audit.json; lines: the same as text, with the baselines without a network.
    """

    record: AuditRecord
    lines: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether no image, patient or slide leaks between the parts of the split."""
        return self.record["verdict"] == "clean"

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every finding, worst first."""
        return tuple(
            Finding(
                tier=row["tier"], severity=row["severity"], parts=tuple(row["parts"]), count=row["count"],
                examples=tuple(map(tuple, row["examples"])), words=row["words"],
            )
            for row in self.record["findings"]
        )  # fmt: skip

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """The findings that make a result untrue."""
        return tuple(finding for finding in self.findings if finding.severity == "leak")

    @property
    def images(self) -> int:
        """How many images were compared."""
        return self.record["images"]

    @property
    def copies(self) -> Mapping[str, int]:
        """Pairs of copies by kind: bytes, pixels, turned, near, rotated."""
        return dict(self.record["copies"])

    def to_frame(self) -> "pd.DataFrame":
        """One row per finding: severity, tier, parts, count, words."""
        import pandas as pd

        rows = [
            {"severity": finding.severity, "tier": finding.tier, "parts": " ".join(finding.parts),
             "count": finding.count, "words": finding.words}
            for finding in self.findings
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["severity", "tier", "parts", "count", "words"])

    def to_json(self, path: Path | str | None = None) -> str:
        """The record as JSON text; with a path it is also written there."""
        return json_text(self.record, path)

    def summary(self) -> str:
        """The verdict, and a line for each finding."""
        return "\n".join(self.lines) if self.lines else str(self.record["words"])

    def __repr__(self) -> str:
        verdict = "clean" if self.clean else f"{len(self.leaks)} leaks"
        return f"AuditReport({verdict}, {len(self.findings)} findings, {self.images} images)"

    def _repr_html_(self) -> str:
        rows = [(finding.severity, finding.tier, str(finding.count), finding.words) for finding in self.findings]
        return html_of(str(self.record["words"]), (), ("severity", "kind", "count", "finding"), rows)
