"""Why a measure, or its interval, is undefined: in words that say which arm, which class and what to do."""

from collections.abc import Mapping, Sequence

import numpy as np

from counterstain.evaluation.intervals import Sample
from counterstain.evaluation.metric_names import measure_words
from counterstain.evaluation.metrics import predicted_class
from counterstain.evaluation.predictions import Predictions

__all__ = ["why_undefined"]


def why_undefined(
    pair: tuple[str, str],
    tables: Mapping[str, Sequence[Predictions]],
    samples: Mapping[str, Sample],
    key: tuple[str, int | None],
) -> str:
    """One clause on why two arms have no difference, or no interval of it, in a measure.

    Args:
        pair: the arms' names.
        tables: arm -> its tables, as they were scored.
        samples: arm -> its scores, on all units and without each of them.
        key: (metric, class).
    """
    first = tables[pair[0]][0]
    unit = first.unit
    measure = measure_words(key[0], first.positive)
    if len(first.patient_codes[0]) == 1:
        return f"there is one {unit} only, so there is no interval; test on more {unit}s"
    values = [samples[arm].values[key] for arm in pair]
    defined = all(np.isfinite(scores).all() for scores in values)
    for index, name in enumerate(first.classes):
        holders = set(first.patient_codes[1][first.label == index].tolist())
        if len(holders) == 0 and not defined:
            return f"no test image is '{name}', so {measure} is undefined; test on {unit}s of every class"
        if len(holders) == 1:
            return f"only one {unit} has '{name}', so there is no interval; test on more {unit}s of that class"
    for arm in pair:
        if not np.isfinite(samples[arm].values[key]).all():
            return f"{measure} is undefined for {arm}, which {_calls(tables[arm])}; take a measure that is defined"
    for arm in pair:
        if not np.isfinite(samples[arm].left_out[key]).all():
            return (
                f"{measure} of {arm} hangs on one {unit}, without whom it is undefined, so there is no interval; test "
                f"on more {unit}s, or take a measure that is defined"
            )
    return f"{measure} has no error here; test on more {unit}s"


def _calls(tables: Sequence[Predictions]) -> str:
    """What an arm predicts, where that is one class only."""
    for table in tables:
        called = np.unique(predicted_class(table.prob))
        if len(called) == 1:
            return f"calls every image '{table.classes[int(called[0])]}'"
    return "predicts none of some class"
