"""Predictions of several findings per image: their table, their scores with intervals by patient, their comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.arm_scores import cell_of
from counterstain.evaluation.intervals import Estimate, Sample, estimate_of, sample, units_of
from counterstain.evaluation.multiplicity import holm
from counterstain.evaluation.paired_difference import difference
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.record_types import FindingDifference, FindingScore, FindingsRecord
from counterstain.files import write_csv
from counterstain.own_tables import read_rows

__all__ = ["SCHEMA", "FindingPredictions", "finding_rows", "join", "read_findings", "score_findings", "write_findings"]

SCHEMA = "counterstain.findings/1"
OF_PROBABILITIES = ("auroc", "auprc", "brier")
OF_CALLS = ("recall", "specificity")
MEAN = "mean of all findings"
_IDS = ("image_path", "patient_id", "slide_id", "site")


@dataclass(frozen=True, eq=False, kw_only=True)
class FindingPredictions:
    """One model's output on one set of images, each of which may have several findings.

    image, patient, slide, site: N names, as in Predictions
    label: (N, K) 0 or 1; prob: (N, K) in [0, 1], of each finding by itself; called: (N, K) 0 or 1, or None
    findings: K names

    Raises:
        InputError: If sizes differ, a name is missing or there twice, a label is not 0 or 1, or a probability is none.
    """

    image: tuple[str, ...]
    patient: tuple[str, ...]
    slide: tuple[str, ...]
    site: tuple[str, ...]
    label: NDArray[np.int64]
    prob: NDArray[np.float64]
    findings: tuple[str, ...]
    called: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.image), len(self.findings))
        for name in ("label", "prob", "called"):
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise InputError(f"{name} has shape {array.shape}; {shape} was needed: images, findings")
        if not ((self.prob >= 0) & (self.prob <= 1)).all():
            raise InputError("a probability of a finding is not from 0 to 1; apply a sigmoid to logits first")
        for finding in self.findings:  # names, sizes and labels are checked as of a table of two classes
            self.of(finding)

    def of(self, finding: str, *, calls: bool = False) -> Predictions:
        """The table of one finding as of two classes, of which the finding is the positive one.

        Args:
            finding: its name.
            calls: the calls as probabilities 0 and 1, instead of the probabilities.
        """
        column = self.findings.index(finding)
        values = self.called if calls and self.called is not None else self.prob
        positive = values[:, column].astype(np.float64)
        return Predictions(
            image=self.image, patient=self.patient, slide=self.slide, site=self.site, label=self.label[:, column],
            prob=np.stack([1 - positive, positive], 1), classes=(f"no {finding}", finding), positive_from="given",
            hard=calls,
        )  # fmt: skip

    def in_order(self, image: Sequence[str], findings: Sequence[str]) -> "FindingPredictions":
        """The same with the images and findings in another order."""
        place = {name: row for row, name in enumerate(self.image)}
        rows = np.array([place[name] for name in image], dtype=np.int64)
        columns = np.array([self.findings.index(name) for name in findings], dtype=np.int64)
        ids = {name: tuple(getattr(self, name)[row] for row in rows) for name in ("image", "patient", "slide", "site")}
        return FindingPredictions(
            **ids, label=self.label[rows][:, columns], prob=self.prob[rows][:, columns], findings=tuple(findings),
            called=None if self.called is None else self.called[rows][:, columns],
        )  # fmt: skip


def write_findings(table: FindingPredictions, path: Path) -> None:
    """The one CSV form: ids, label_<finding>…, prob_<finding>…, and decision_<finding>… where there are calls."""
    columns = [*_IDS, *(f"label_{name}" for name in table.findings), *(f"prob_{name}" for name in table.findings)]
    blocks: list[NDArray[Any]] = [table.label, table.prob]
    if table.called is not None:
        columns += [f"decision_{name}" for name in table.findings]
        blocks.append(table.called)
    patients = ("",) * len(table.image) if table.patient == table.image else table.patient
    rows = zip(table.image, patients, table.slide, table.site, *(block.tolist() for block in blocks), strict=True)
    write_csv(path, columns, ((*row[:4], *(cell for block in row[4:] for cell in block)) for row in rows))


def read_findings(path: Path) -> FindingPredictions:
    """What write_findings wrote.

    Raises:
        InputError: If a column is missing or holds no numbers.
    """
    rows = read_rows(path)
    names = tuple(name.removeprefix("label_") for name in (rows[0] if rows else ()) if name.startswith("label_"))
    if not names:
        raise InputError(f"{path} is no table of findings: it has no rows, or no columns label_<finding>")

    def block(kind: str) -> NDArray[np.float64]:
        try:
            return np.array([[float(row[f"{kind}_{name}"]) for name in names] for row in rows], dtype=np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: a cell of {kind}_… is missing or no number ({error})") from None

    ids = {name: tuple(row[name] for row in rows) for name in _IDS}
    called = block("decision").astype(np.int64) if f"decision_{names[0]}" in rows[0] else None
    return FindingPredictions(
        image=ids["image_path"],
        patient=tuple(owner or image for owner, image in zip(ids["patient_id"], ids["image_path"], strict=True)),
        slide=ids["slide_id"], site=ids["site"], label=block("label").astype(np.int64), prob=block("prob"),
        findings=names, called=called,
    )  # fmt: skip


def join(tables: Sequence[FindingPredictions]) -> FindingPredictions:
    """One table of the rows of several, such as the folds of a cross-validation."""
    first = tables[0]
    if len(tables) == 1:
        return first
    called = None if first.called is None else np.concatenate([t.called for t in tables if t.called is not None])
    ids = {name: tuple(cell for t in tables for cell in getattr(t, name)) for name in
            ("image", "patient", "slide", "site")}  # fmt: skip
    label, prob = np.concatenate([t.label for t in tables]), np.concatenate([t.prob for t in tables])
    return replace(first, label=label, prob=prob, called=called, **ids)


def score_findings(arms: Mapping[str, Sequence[FindingPredictions]], *, alpha: float = 0.05) -> FindingsRecord:
    """The record findings.json: every finding's scores in every arm, their mean, and the differences of the arms.

    The mean of a score over all findings is left out with each patient in turn as a whole, so that its interval allows
    for findings that occur together. Differences of single findings are adjusted for their number (Holm); that of the
    mean is not, as it is one.

    Args:
        arms: arm -> its tables, one per seed, all of the same images in the same order.
        alpha: of the intervals.
    """
    first = next(iter(arms.values()))[0]
    for arm, tables in arms.items():
        if any(t.image != first.image or t.findings != first.findings for t in tables):
            raise InputError(f"arm '{arm}' has a table of other images or findings; tables of one test part are needed")
    names = units_of([first.of(first.findings[0])])
    samples = {arm: _samples(tables, names) for arm, tables in arms.items()}
    confidence = 1 - alpha
    scores = [
        _score(arm, finding, key[0], estimate_of(drawn, key, confidence=confidence))
        for arm, by_finding in samples.items()
        for finding, drawn in by_finding.items()
        for key in drawn.values
    ]
    positives = first.label.sum(0).tolist()
    owners = [len({patient for patient, has in zip(first.patient, first.label[:, k], strict=True) if has})
              for k in range(len(first.findings))]  # fmt: skip
    return {
        "schema": SCHEMA,
        "unit": first.of(first.findings[0]).unit,
        "confidence": confidence,
        "images": len(first.image),
        "units": len(names),
        "findings": [
            {"finding": name, "images": count, "units": units}
            for name, count, units in zip(first.findings, positives, owners, strict=True)
        ],
        "seeds": {arm: len(tables) for arm, tables in arms.items()},
        "scores": scores,
        "differences": _differences(samples, first.findings, alpha),
    }


def _samples(tables: Sequence[FindingPredictions], names: Sequence[str]) -> dict[str, Sample]:
    """The scores of each finding and of their mean, over all units and without each."""
    samples: dict[str, Sample] = {}
    for finding in tables[0].findings:
        drawn = sample([table.of(finding) for table in tables], names, level="image")
        keys = [(metric, None) for metric in OF_PROBABILITIES]
        parts = [(drawn, keys)]
        if tables[0].called is not None:
            calls = sample([table.of(finding, calls=True) for table in tables], names, level="image")
            parts.append((calls, [(metric, None) for metric in OF_CALLS]))
        samples[finding] = replace(
            drawn,
            values={key: part.values[key] for part, part_keys in parts for key in part_keys},
            left_out={key: part.left_out[key] for part, part_keys in parts for key in part_keys},
            df={key: part.df[key] for part, part_keys in parts for key in part_keys},
        )
    return samples | {MEAN: _mean(list(samples.values()))}


def _mean(samples: Sequence[Sample]) -> Sample:
    """The mean over findings of every score; as cautious as the finding with the fewest patients."""
    first = samples[0]
    keys = list(first.values)
    return replace(
        first,
        values={key: np.mean([single.values[key] for single in samples], axis=0) for key in keys},
        left_out={key: np.mean([single.left_out[key] for single in samples], axis=0) for key in keys},
        df={key: min(single.df[key] for single in samples) for key in keys},
        whole={
            key: min(single.whole[key] for single in samples)
            for key in keys if all(key in single.whole for single in samples)
        },
        carried={
            key: np.min([single.carried[key] for single in samples], axis=0)
            for key in keys if all(key in single.carried for single in samples)
        },
    )  # fmt: skip


def _score(arm: str, finding: str, metric: str, estimate: Estimate) -> FindingScore:
    return {
        "arm": arm, "finding": finding, "metric": metric, "value": estimate.value, "low": estimate.low,
        "high": estimate.high, "per_seed": list(estimate.per_seed),
    }  # fmt: skip


def _differences(
    samples: Mapping[str, Mapping[str, Sample]], findings: Sequence[str], alpha: float
) -> list[FindingDifference]:
    """AUROC of each pair of arms, finding by finding and in the mean."""
    key = ("auroc", None)
    rows: list[FindingDifference] = []
    for a, b in combinations(samples, 2):
        for finding in (*findings, MEAN):
            lead = difference(samples[a][finding], samples[b][finding], key, alpha=alpha)
            rows.append(
                {"a": a, "b": b, "finding": finding, "metric": key[0], "difference": lead.difference,
                 "low": lead.low, "high": lead.high, "p": lead.p}
            )  # fmt: skip
    single = [row for row in rows if row["finding"] != MEAN]
    for row, adjusted in zip(single, holm([row["p"] for row in single]), strict=True):
        row["p_adjusted"] = adjusted
    return rows


def finding_rows(record: FindingsRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Header and rows of findings.csv from the record; what is undefined is an empty cell."""
    header = ("arm", "finding", "metric", "value", "low", "high", "images", "units", "seeds", "unit")
    return header, [
        (row["arm"], row["finding"], row["metric"], *map(cell_of, (row["value"], row["low"], row["high"])),
         record["images"], record["units"], record["seeds"][row["arm"]], record["unit"])
        for row in record["scores"]
    ]  # fmt: skip
