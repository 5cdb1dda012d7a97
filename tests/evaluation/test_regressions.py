"""Every number and sentence of some records, held at what our own code once wrote: none moves but on purpose.

These values are not better than others; that they are right is shown elsewhere, by hand and against other programs.
Where a change means to move them, write them anew, look at what moved, and say it first in CHANGELOG.md:

    python tests/evaluation/test_regressions.py
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counterstain.evaluation.arm_scores import score_arms
from counterstain.evaluation.calibration import apply_calibration, fit_calibration
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.conformal import prediction_sets
from counterstain.evaluation.cross_validation import fold_tests, procedures_record
from counterstain.evaluation.deployed import Deployed
from counterstain.evaluation.paired_tests import clustered_mcnemar, mcnemar
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.proportions import clopper_pearson, wilson
from counterstain.evaluation.resampled_tests import corrected_resampled_t
from counterstain.evaluation.table_evaluation import evaluate_tables

Value = float | bool | str | None
PINNED = Path(__file__).with_name("regressions.json")
LONG = 12  # values; a longer curve is held by its length, first value, mean and spread
DIGITS = 9  # of each number; compared to 1e-6, which no processor's rounding reaches


def table(
    seed: int,
    *,
    strength: float = 1.0,
    patients: int = 24,
    classes: tuple[str, ...] = ("benign", "malignant"),
    world: int = 0,
    known: bool = True,
) -> Predictions:
    """One to nine images per patient and one class per patient, of `world`; the model's probabilities, of `seed`."""
    drawn = np.random.default_rng(world)
    code = np.repeat(np.arange(patients), drawn.integers(1, 10, size=patients))
    label = drawn.integers(len(classes), size=patients)
    label[: len(classes)] = np.arange(len(classes))
    hard = drawn.normal(0, 0.7, size=(patients, len(classes)))
    score = hard[code] + np.random.default_rng([world, seed]).normal(size=(len(code), len(classes)))
    score[np.arange(len(code)), label[code]] += strength
    prob = np.exp(score)
    image = tuple(f"i{world}-{k}" for k in range(len(code)))
    return Predictions(
        image=image, patient=tuple(f"p{world}-{k}" for k in code) if known else image, slide=("",) * len(code),
        site=tuple("ab"[k % 3 // 2] for k in code), label=label[code],
        prob=np.round(prob / prob.sum(axis=1, keepdims=True), 6), classes=classes,
    )  # fmt: skip


def arms(*strengths: float, seeds: int = 3, **world: Any) -> dict[str, list[Predictions]]:
    """Arm "a", "b", … -> its tables, one per seed."""
    return {
        "abcdef"[arm]: [table(100 * arm + seed, strength=strength, **world) for seed in range(seeds)]
        for arm, strength in enumerate(strengths)
    }


def compared(given: dict[str, list[Predictions]], **asked: Any) -> dict[str, Any]:
    """The record of a comparison with three of its exploratory rows: there are many, and they are alike."""
    record = compare_arms(given, **asked)
    return record | {"exploratory": record["exploratory"][:3]}


def constant(table: Predictions) -> Predictions:
    """The same images called positive one and all."""
    return replace(table, prob=np.tile([0.3, 0.7], (len(table), 1)))


THREE = ("x", "y", "z")
CASES: dict[str, Callable[[], Any]] = {
    "scores of two classes": lambda: score_arms(arms(1.2, 0.4)),
    "scores of three classes": lambda: score_arms(arms(1.2, classes=THREE), confidence=0.9),
    "scores of unknown patients": lambda: score_arms(arms(1.2, seeds=1, known=False)),
    "scores by bootstrap": lambda: score_arms(arms(1.2, seeds=2), interval="bootstrap"),
    "scores of many patients": lambda: score_arms(arms(1.2, seeds=1, patients=620)),
    "three arms": lambda: compared(arms(1.6, 0.9, 0.3), detect=0.03),
    "equivalence": lambda: compared(arms(1.2, 1.1), primary="accuracy", margin=0.1, hypothesis="equivalence"),
    "non-inferiority of patients": lambda: compared(
        arms(1.2, 1.1, patients=60), margin=0.1, hypothesis="noninferiority", level="patient"
    ),
    "a loss": lambda: compared(arms(1.2, 0.4), primary="loss", margin=0.1, hypothesis="noninferiority"),
    "fitted models": lambda: compared(arms(1.2, 0.4, seeds=1), claim="models", primary="mcc"),
    "fitted models of images": lambda: compared(arms(1.2, 0.4, seeds=1, known=False), claim="models"),
    "three classes": lambda: compared(arms(1.4, 0.4, classes=THREE), primary="balanced_accuracy"),
    "co-primary": lambda: compared(arms(1.6, 0.3, patients=60), co_primary=("sensitivity", "specificity")),
    "co-primary equivalence": lambda: compared(
        arms(1.2, 1.1), co_primary=("accuracy", "mcc", "auroc"), margin=0.2, hypothesis="equivalence"
    ),
    "co-primary non-inferiority": lambda: compared(
        arms(1.2, 1.1, 0.1, patients=60), co_primary=("recall", "precision"), margin=0.05, hypothesis="noninferiority"
    ),
    "few runs": lambda: compared(arms(1.2, 0.4, seeds=2), primary="f1"),
    "one reference": lambda: compared(arms(1.6, 0.9, 0.3, 0.2), reference="c", alpha=0.1, primary="brier"),
    "chosen pairs": lambda: compared(arms(1.6, 0.9, 0.3), pairs=[("a", "b")], prior_sd=0.08, detect=0.1),
    "one constant model": lambda: compared(
        {"net": arms(1.2, seeds=1)["a"], "flat": [constant(table(0))]}, claim="models", primary="mcc"
    ),
    "near the wall": lambda: compared(arms(7.0, 6.0), primary="accuracy", margin=0.05, hypothesis="equivalence"),
    "anyone's table": lambda: evaluate_tables(
        [table(1)], threshold="0.3", prevalence=0.05, by={"site": None, "patient": None}
    ),
    "anyone's tables": lambda: evaluate_tables([table(1), table(2)], confidence=0.8),
    "anyone's unknown patients": lambda: evaluate_tables([table(1, known=False)], prevalence=0.3),
    "a deployed model": lambda: deployed(),
    "anyone's three classes": lambda: evaluate_tables([table(1, classes=THREE)]),
    "folds": lambda: folded(),
    "formulas": lambda: formulas(),
    **{
        f"calibration by {method}": lambda method=method: calibrated(method)
        for method in ("temperature", "platt", "isotonic")
    },
}  # fmt: skip


def deployed() -> dict[str, Any]:
    """A model that was frozen on easier patients than those it meets."""
    fitted = fit_calibration(table(3, world=1, patients=40, strength=2.0))
    new = apply_calibration(fitted, table(3, world=2, patients=60, strength=0.6))
    assert fitted.threshold is not None
    called = [new.classes[int(p >= fitted.threshold)] for p in new.prob[:, 1]]
    sets = ["|".join(name for name, held in zip(new.classes, row, strict=True) if held)
            for row in prediction_sets(new.prob, fitted.quantiles)]  # fmt: skip
    model = Deployed(fitted, "image-level: patients are unknown", fitted.classes)
    return {
        "as it says": evaluate_tables([new], deployed=model, columns={"decision": called, "prediction_set": sets}),
        "without columns": evaluate_tables([new], deployed=model)["deployed"],
    }


def formulas() -> dict[str, Any]:
    """Tests and intervals on counts and differences, at their edges too."""
    cells = [([0, 4], [0, 1], [4, 5]), ([1, 0, 2, 0], [0, 3, 1, 1], [7, 6, 4, 3]), ([2], [1], [3]), ([0], [0], [3])]
    delta = [0.01, 0.02, -0.005, 0.015, 0.03, 0.0]
    return {
        "mcnemar": [asdict(mcnemar(b, c)) for b, c in ((9, 2), (0, 0), (3, 3), (30, 12))],
        "clustered": [asdict(clustered_mcnemar(*counts)) for counts in cells],
        "shares": [[wilson(k, 7, confidence=0.9), clopper_pearson(k, 7, confidence=0.9)] for k in (0, 0.5, 3, 7)],
        "corrected t": asdict(corrected_resampled_t(delta, n_train=9, n_test=2, confidence=0.9)),
    }  # fmt: skip


def half_of(whole: Predictions, step: int, fold: int) -> Predictions:
    """The images of every second patient, or of every second two."""
    rows = [k for k, name in enumerate(whole.patient) if int(name.split("-")[1]) // step % 2 == fold]
    texts = {name: tuple(getattr(whole, name)[k] for k in rows) for name in ("image", "patient", "slide", "site")}
    return replace(whole, label=whole.label[rows], prob=whole.prob[rows], **texts)


def folded() -> dict[str, Any]:
    """Two arms over two repeats of two folds with two seeds each."""
    tables = {
        arm: {
            (seed, repeat, fold): half_of(table(10 * seed + own, strength=1 - own / 2), 1 + repeat, fold)
            for seed in range(2) for repeat in range(2) for fold in range(2)
        }
        for own, arm in enumerate("ab")
    }  # fmt: skip
    sizes = {(repeat, fold): (20 + fold, 8 + repeat) for repeat in range(2) for fold in range(2)}
    tests = fold_tests(tables, sizes, metrics=["accuracy", "loss"])
    assert tests is not None
    of = {name: asdict(test) for name in ("accuracy", "loss") if (test := tests.of(name, "b", "a")) is not None}
    whole = {arm: [table(own, strength=1 - own / 2), table(10 + own, strength=1 - own / 2), table(20 + own)]
             for own, arm in enumerate("ab")}  # fmt: skip
    questions = [
        {"primary": "accuracy", "hypothesis": "equivalence"},
        {"primary": "loss", "hypothesis": "noninferiority"},
    ]
    records = [compared(whole, margin=0.1, over_folds=tests, **asked) for asked in questions]
    return {"record": procedures_record(tables, sizes, margin=0.02), "tests": of, "compared": records}


def calibrated(method: str) -> dict[str, Any]:
    """What is fitted on validation patients, and the first of the probabilities that it gives to others."""
    fitted = fit_calibration(table(3, world=1, patients=40), method=method, conformal="class")
    prob = apply_calibration(fitted, table(3)).prob[:20]
    return {"fitted": fitted.to_record(), "prob": prob.tolist()}


def values(found: Any, at: str = "") -> Iterator[tuple[str, Value]]:
    """Every value of a record with its place."""
    if isinstance(found, dict):
        for name, inner in found.items():
            yield from values(inner, f"{at}/{name}")
    elif isinstance(found, list) and len(found) > LONG and all(isinstance(value, float) for value in found):
        curve = np.array(found)
        yield from values({"of": len(curve), "first": found[0], "mean": curve.mean(), "spread": curve.std()}, at)
    elif isinstance(found, list | tuple):
        for place, inner in enumerate(found):
            yield from values(inner, f"{at}/{place}")
    elif found is None or isinstance(found, bool | str):
        yield at, found
    else:
        number = float(found)
        yield at, float(f"{number:.{DIGITS}g}") if math.isfinite(number) else str(number)


def alike(found: Value, pinned: Value) -> bool:
    """Equal, or numbers that differ by rounding alone."""
    if isinstance(found, float) and isinstance(pinned, float):
        return math.isclose(found, pinned, rel_tol=1e-6, abs_tol=1e-9)
    return found == pinned


@pytest.mark.parametrize("case", CASES)
def test_nothing_moves_unseen(case: str) -> None:
    pinned, found = json.loads(PINNED.read_text(encoding="utf-8"))[case], dict(values(CASES[case]()))
    assert list(found) == list(pinned)
    assert not {at: (pinned[at], value) for at, value in found.items() if not alike(value, pinned[at])}


def moved(before: dict[str, dict], after: dict[str, dict]) -> tuple[int, int]:
    """How many values were added and how many are gone, places in lists left out: one row more moves those below it."""

    def counted(records: dict[str, dict]) -> Counter:
        return Counter(
            (case, re.sub(r"/\d+(?=/|$)", "/*", at), value if isinstance(value, str) else f"{value!r:.12}")
            for case, record in records.items()
            for at, value in record.items()
        )

    old, new = counted(before), counted(after)
    return (new - old).total(), (old - new).total()


def test_a_value_more_and_a_value_that_changed_are_counted() -> None:
    before = {"case": {"/scores/0/value": 0.5, "/scores/1/value": 0.25}}
    assert moved(before, {"case": {"/scores/0/value": 0.75, "/scores/1/value": 0.5, "/scores/2/value": 0.25}}) == (1, 0)
    assert moved(before, {"case": {"/scores/0/value": 0.5, "/scores/1/value": 0.125}}) == (1, 1)


if __name__ == "__main__":
    records = {case: dict(values(make())) for case, make in CASES.items()}
    added, gone = moved(json.loads(PINNED.read_text(encoding="utf-8")), records)
    PINNED.write_text(json.dumps(records, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{added} values added; {gone} changed or gone")
