"""A comparison as an object: the verdict of each pair and what it rests on, over the record comparison.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterstain.errors import InputError, as_arguments
from counterstain.evaluation.metric_names import measure_words
from counterstain.evaluation.record_types import ComparisonRecord, PairRow
from counterstain.evaluation.text_tables import levelled_interval, shown_interval
from counterstain.records import html_of, json_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "PairComparison", "Verdict"]


class Verdict(StrEnum):
    """What may be said of a pair of arms; the first is `a`, the second `b`."""

    A_BETTER = "a_better"
    B_BETTER = "b_better"
    NO_EVIDENCE = "no_evidence"
    EQUIVALENT = "equivalent"
    EQUIVALENCE_NOT_SHOWN = "equivalence_not_shown"
    NONINFERIOR = "noninferior"
    INFERIOR = "inferior"
    NONINFERIORITY_NOT_SHOWN = "noninferiority_not_shown"
    NOT_ENOUGH_RUNS = "not_enough_runs"
    UNDEFINED = "undefined"

    def of(self, a: str, b: str) -> str:
        """In words, of two arms by name.

        >>> Verdict.A_BETTER.of("given", "modified")
        'given is better'
        """
        better = {Verdict.A_BETTER: a, Verdict.B_BETTER: b}.get(self)
        return f"{better} is better" if better is not None else self.value.replace("_", " ")


@dataclass(frozen=True)
class PairComparison:
    """Two arms on the same cases.

    a, b: their names; primary: whether the verdict is confirmatory; metric, level: what is compared.
    verdict: by the rule of the comparison; words: the same as a sentence with its evidence.
    value_a, value_b, difference (a - b), low, high: with the interval of the difference; NaN where undefined.
    confidence: of that interval.
    p, p_adjusted: against no difference, before and after Holm's correction over the pairs.
    seeds, patients, images: what it rests on; patients is None where they are unknown.
    endpoints: of co-primary endpoints, one entry for each with its own answer; the numbers here are the first one's,
        but p_adjusted is the largest.
    """

    a: str
    b: str
    primary: bool
    metric: str
    level: str
    verdict: Verdict
    words: str
    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    confidence: float
    p: float
    p_adjusted: float
    seeds: int
    patients: int | None
    images: int
    endpoints: "tuple[PairComparison, ...]" = ()

    @property
    def better(self) -> str | None:
        """Name of the arm that is shown to be better; None where neither is."""
        return {Verdict.A_BETTER: self.a, Verdict.B_BETTER: self.b}.get(self.verdict)

    def __repr__(self) -> str:
        difference = levelled_interval(self.difference, self.low, self.high, self.confidence, sign=True)
        return f"PairComparison({self.a[:40]} - {self.b[:40]}, {self.metric} {difference}, {self.verdict})"


_NUMBERS = ("value_a", "value_b", "difference", "low", "high", "confidence", "p", "p_adjusted")


def _pair(row: PairRow) -> PairComparison:
    cells: Mapping[str, Any] = row
    numbers = {name: float("nan") if cells[name] is None else float(cells[name]) for name in _NUMBERS}
    return PairComparison(
        a=row["a"], b=row["b"], primary=row["primary"], metric=row["metric"], level=row["level"],
        verdict=Verdict(row["verdict"]), words=row["words"], seeds=row["seeds"], patients=row["patients"],
        images=row["images"], endpoints=tuple(map(_pair, row.get("endpoints") or ())), **numbers,
    )  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Arms on the same cases, with one verdict for each pair.

    record: comparison.json.
    """

    record: ComparisonRecord

    @property
    def pairs(self) -> tuple[PairComparison, ...]:
        """Every pair of arms, the primary ones first."""
        return tuple(map(_pair, self.record["pairs"]))

    def pair(self, a: str, b: str) -> PairComparison:
        """The comparison of these two arms, in the order of the record.

        Raises:
            InputError: If there is no such pair.
        """
        comparison = next((pair for pair in self.pairs if {pair.a, pair.b} == {a, b}), None)
        if comparison is None:
            names = ", ".join(f"{pair.a} and {pair.b}" for pair in self.pairs)
            raise InputError(f"no pair of '{a}' and '{b}' was compared; these were: {names}")
        return comparison

    @property
    def verdict(self) -> Verdict:
        """The verdict of the one primary pair.

        Raises:
            InputError: If there are several; `pairs` has each one's.
        """
        primary = [pair for pair in self.pairs if pair.primary]
        if len(primary) != 1:
            raise InputError(f"{len(primary)} pairs are primary, each with its verdict; see pairs, or name one: pair()")
        return primary[0].verdict

    @property
    def shown(self) -> bool:
        """Whether what was asked is shown of every primary pair: the first better, equivalent, or not inferior."""
        return self.record["shown"]

    @property
    def asked(self) -> str:
        """What was asked, as the end of a sentence: "that a is better than b"."""
        return self.record["asked"]

    @property
    def primary(self) -> str:
        """The measure that the verdict is about."""
        return self.record["primary"]

    @property
    def unit(self) -> str:
        """What is taken as independent: "patient" or "image"."""
        return self.record["unit"]

    @property
    def rule(self) -> str:
        """The rule that every verdict follows from."""
        return self.record["rule"]

    @property
    def ranking(self) -> tuple[str, ...]:
        """Names of the arms, the best value first; a ranking is no verdict."""
        return tuple(row["arm"] for row in self.record["ranking"]["arms"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must be told, one line each."""
        stamp = self.record["stamp"]
        return tuple(map(as_arguments, dict.fromkeys([*([stamp] if stamp else []), *self.record["warnings"]])))

    def to_frame(self) -> "pd.DataFrame":
        """One row per pair, of co-primary endpoints one for each of them, with the attributes of `PairComparison`."""
        from dataclasses import asdict

        import pandas as pd

        comparisons = [comparison for pair in self.pairs for comparison in pair.endpoints or (pair,)]
        rows = pd.DataFrame([asdict(comparison) | {"verdict": str(comparison.verdict)} for comparison in comparisons])
        return rows.drop(columns="endpoints")

    def to_json(self, path: Path | str | None = None) -> str:
        """The record as JSON text; with a path it is also written there."""
        return json_text(self.record, path)

    def summary(self) -> str:
        """The verdict in words, with its evidence."""
        return as_arguments(self.record["words"])

    def __repr__(self) -> str:
        first = self.pairs[0]
        more = f", {len(self.pairs)} pairs" if len(self.pairs) > 1 else ""
        return f"Comparison({first.a[:40]} - {first.b[:40]}, {first.metric}: {first.verdict}{more}, unit {self.unit})"

    def _repr_html_(self) -> str:
        rows = []
        for pair in self.pairs:
            name = f"{pair.a} − {pair.b}"
            if pair.endpoints:
                rows.append((f"{name}, all of:", "", pair.verdict.of(pair.a, pair.b)))
            for endpoint in pair.endpoints or (pair,):
                interval = shown_interval(endpoint.difference, endpoint.low, endpoint.high, sign=True)
                rows.append(
                    (
                        measure_words(endpoint.metric) if pair.endpoints else name,
                        interval,
                        endpoint.verdict.of(pair.a, pair.b),
                    )
                )
        level = 100 * self.record["confidence"]
        noun = "difference" if self.record.get("co_primary") else f"difference in {measure_words(self.primary)}"
        head = ("pair", f"{noun} ({level:g} % interval)", "verdict")
        return html_of(self.summary(), self.notes, head, rows)
