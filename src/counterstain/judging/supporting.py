"""Published tests of two arms beside the verdict: clustered where patients have several images, exact where not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.judging.paired import (
    clustered_auroc_difference,
    clustered_mcnemar,
    delong,
    mcnemar,
    sign_flip,
)
from counterstain.judging.predictions import Predictions
from counterstain.judging.resampling import unit_codes
from counterstain.judging.scores import predicted_class

__all__ = ["supporting_tests"]

DRAWS = 20_000  # of sign patterns: p is good to 0.003 near 0.05


def supporting_tests(a: Sequence[Predictions], b: Sequence[Predictions]) -> list[dict[str, Any]]:
    """What published tests say of two arms on the same images; they do not decide the verdict.

    Sign-flip over patients takes the accuracy of each patient, averaged over the seeds. McNemar's and the AUROC tests
    are for two fitted models, so they are given for one table each only.

    Args:
        a, b: the arms' tables, one a seed, all with the same rows in the same order.

    Returns:
        Records of "test", "p", and "about": what is compared with what as the unit.
    """
    code = unit_codes([a[0]])[1][0]
    units = int(code.max()) + 1
    right = [np.mean([predicted_class(t.prob) == t.label for t in arm], axis=0) for arm in (a, b)]
    delta = np.bincount(code, weights=right[0] - right[1], minlength=units).astype(np.float64)
    delta[np.abs(delta) < 1e-9] = 0.0
    unit = a[0].unit
    out = [_row("sign-flip permutation", sign_flip(delta, draws=DRAWS), f"accuracy, mean over seeds, by {unit}")]
    if len(a) == len(b) == 1:
        out += _fitted_models(a[0], b[0], code, alone=units == len(a[0]))
    return out


def _fitted_models(a: Predictions, b: Predictions, code: NDArray[np.int64], *, alone: bool) -> list[dict[str, Any]]:
    """Tests of two fitted models: for one image a unit (`alone`) or for clusters."""
    right_a, right_b = (predicted_class(t.prob) == t.label for t in (a, b))
    only_a, only_b = right_a & ~right_b, right_b & ~right_a
    positive, two = a.label == 1, len(a.classes) == 2
    if alone:
        out = [_row("McNemar", mcnemar(int(only_a.sum()), int(only_b.sum())).p, "accuracy, one image a unit")]
        if two and not (a.hard or b.hard):
            out.append(_row("DeLong", delong(positive, a.prob[:, 1], b.prob[:, 1]).p, "AUROC, one image a unit"))
        return out
    b_count, c_count = (np.bincount(code, weights=which).astype(int).tolist() for which in (only_a, only_b))
    found = clustered_mcnemar(b_count, c_count, np.bincount(code).tolist())
    out = [
        _row("clustered McNemar, Obuchowski", found.p_obuchowski, "accuracy, by patient"),
        _row("clustered McNemar, Durkalski", found.p_durkalski, "accuracy, by patient"),
    ]
    if two and not (a.hard or b.hard):
        area = clustered_auroc_difference(positive, a.prob[:, 1], b.prob[:, 1], code)
        out.append(_row("clustered AUROC difference, Obuchowski", area.p, "AUROC, by patient"))
    return out


def _row(test: str, p: float, about: str) -> dict[str, Any]:
    return {"test": test, "p": p, "about": about}
