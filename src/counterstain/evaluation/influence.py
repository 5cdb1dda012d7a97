"""How much hangs on single patients: the difference of two arms, and the verdict, without each of them."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from counterstain.errors import InputError
from counterstain.evaluation.intervals import sample, units_of
from counterstain.evaluation.predictions import Predictions, take_rows
from counterstain.evaluation.record_types import ComparisonRecord, PairRow

__all__ = ["influence_record", "left_out_differences", "without_patient"]

EXAMINED = 3  # patients of a pair without whom the verdict is computed again
MOST_PAIRS = 3


def without_patient(table: Predictions, patient: str) -> Predictions:
    """The table without the images of one patient.

    Raises:
        InputError: If no image is left.
    """
    rows = np.flatnonzero([name != patient for name in table.patient])
    if not len(rows):
        raise InputError(f"without patient '{patient}' no image is left")
    return take_rows(table, rows)


def left_out_differences(
    a: Sequence[Predictions], b: Sequence[Predictions], *, metric: str, level: str
) -> tuple[float, dict[str, float]]:
    """The difference a - b of a measure, mean over seeds, and the same without each patient in turn.

    Args:
        a, b: the arms' tables, one per seed, of the same images.
        metric: of the whole table, such as "auroc"; level: "image" or "patient".

    Returns:
        The difference, and patient -> difference without this patient; NaN where it is undefined.
    """
    names = units_of([a[0]])
    first, second = (sample(tables, names, level=level) for tables in (a, b))
    key = (metric, None)
    full = float(first.values[key].mean() - second.values[key].mean())
    without = first.left_out[key].mean(axis=0) - second.left_out[key].mean(axis=0)
    if len(without) != len(names):  # so many patients that groups of them were left out together
        return full, {}
    return full, dict(zip(names, without.tolist(), strict=True))


def influence_record(
    arms: Mapping[str, Sequence[Predictions]],
    comparison: ComparisonRecord,
    compare_without: Callable[[str], ComparisonRecord],
) -> list[dict[str, object]]:
    """For each primary pair, the patients who move its difference most, and the verdict without each of them.

    Args:
        arms: arm -> its tables, one per seed; of patients, not of images alone.
        comparison: the record comparison.json.
        compare_without: makes the same record without the images of one patient.

    Returns:
        For each of the first three primary pairs: a, b, metric, difference, verdict, and patients: patient, difference,
        verdict ("" where the rest can't be compared) and changes, whether that is another verdict. At most three
        patients each; those that move the difference less were not looked at.
    """
    records: list[dict[str, object]] = []
    again: dict[str, Sequence[PairRow]] = {}
    for pair in [pair for pair in comparison["pairs"] if pair["primary"]][:MOST_PAIRS]:
        full, without = left_out_differences(
            arms[pair["a"]], arms[pair["b"]], metric=pair["metric"], level=pair["level"]
        )
        moved = sorted(without, key=lambda name: (-abs(np.nan_to_num(without[name] - full, nan=np.inf)), name))
        patients = []
        for patient in moved[:EXAMINED]:
            if patient not in again:
                again[patient] = _compared(compare_without, patient)
            verdict = _verdict_of(again[patient], pair["a"], pair["b"])
            patients.append({"patient": patient, "difference": without[patient], "verdict": verdict,
                             "changes": verdict != pair["verdict"]})  # fmt: skip
        records.append({"a": pair["a"], "b": pair["b"], "metric": pair["metric"], "difference": full,
                      "verdict": pair["verdict"], "patients": patients})  # fmt: skip
    return records


def _compared(compare_without: Callable[[str], ComparisonRecord], patient: str) -> Sequence[PairRow]:
    """The pairs without a patient; none where a class or the last patient of a fold goes with this one."""
    try:
        return compare_without(patient)["pairs"]
    except InputError:
        return ()


def _verdict_of(pairs: Sequence[PairRow], a: str, b: str) -> str:
    return next((row["verdict"] for row in pairs if (row["a"], row["b"]) == (a, b)), "")
