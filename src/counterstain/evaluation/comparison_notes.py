"""What a reader of a comparison must know besides its verdict: how few cases, copies, and which class is positive."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from counterstain.errors import InputError
from counterstain.evaluation.format import listed, plural
from counterstain.evaluation.intervals import FEW_PATIENTS, Sample
from counterstain.evaluation.metric_names import is_class_bound, measure_words, width
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.record_types import PairRow
from counterstain.evaluation.rows import unit_words
from counterstain.evaluation.table_notes import positive_notes
from counterstain.evaluation.verdict import MIN_SEEDS, Question

__all__ = ["check_copies", "check_detect", "comparison_notes", "detect_notes", "patient_notes", "size_notes"]

_WHY_NO_NUMBER = {
    "not_enough_runs": "too few runs to know the spread over seeds",
    "undefined": "the pilot has no interval",
    "no_evidence": "no patient of the pilot changes the difference",
    "equivalence_not_shown": "no patient of the pilot changes the difference",
    "noninferiority_not_shown": "no patient of the pilot changes the difference",
}


def check_copies(arms: Mapping[str, Sequence[Predictions]], files: Mapping[str, Sequence[str]] | None) -> list[str]:
    """Notes on equal tables; copies of one table aren't seeds.

    Args:
        arms: arm -> its tables, all with the same rows in the same order.
        files: arm -> their names; given, equal tables within an arm are refused. Without (a study, which trained them
            itself) they are noted: a training that has no randomness gives the same model for every seed.

    Raises:
        InputError: Naming the equal tables of an arm.
    """
    notes = []
    for arm, arm_tables in arms.items():
        for (i, first), (j, second) in itertools.combinations(enumerate(arm_tables), 2):
            if not np.array_equal(first.prob, second.prob):
                continue
            if files is not None and not _is_hard(first):
                models = ", or one table and --fixed-models" if len(arms) > 1 else ""
                names = " and ".join(dict.fromkeys(files[arm][k] for k in (i, j)))
                raise InputError(
                    f"tables {i + 1} and {j + 1} of '{arm}' ({names}) hold equal probabilities: copies are not seeds. "
                    f"Give one table for each training of '{arm}'{models}"
                )
            notes.append(f"several seeds of {arm} gave equal predictions; its training does not depend on the seed")
            break
    for (a, tables_a), (b, tables_b) in itertools.combinations(arms.items(), 2):
        equal = [np.array_equal(first.prob, second.prob) for first in tables_a for second in tables_b]
        if any(equal):
            meaning = "this is the same model under two names" if all(equal) else "one model counts for both"
            notes.append(f"{a} and {b} hold a table with equal probabilities: {meaning}")
    return list(dict.fromkeys(notes))


def _is_hard(table: Predictions) -> bool:
    """Whether the probabilities are calls, which good models share without being copies."""
    return bool(((table.prob == 0) | (table.prob == 1)).all())


def comparison_notes(
    question: Question,
    first: Predictions,
    tables: Mapping[str, Sequence[Predictions]],
    *,
    units: int,
    notes: Sequence[str] = (),
) -> list[str]:
    """What limits a comparison, one line each.

    Args:
        question: the question.
        first: the table whose rows the others follow.
        tables: arm -> its tables.
        units: patients, or images where patients are unknown.
        notes: what was found before, put first.
    """
    lines = [*notes, *first.notes, *_positive_notes(question, first)]
    if first.unit == "image" and not first.own_patients:
        lines.append(
            f"patients are unknown: every {first.rows_are} is treated as independent, which finds spurious differences"
        )
    elif units < FEW_PATIENTS:
        lines.append(
            f"only {plural(units, 'patient')} (fewer than {FEW_PATIENTS}): only a large difference can be found"
        )
    else:
        lines += _few_of_class_notes(question, first)
    few_seeds = [arm for arm, arm_tables in tables.items() if len(arm_tables) < MIN_SEEDS]
    if question.claim == "models":
        either = "either" if len(tables) == 2 else "any of them"
        lines.append(f"the verdict is about these fitted models only; another training of {either} may rank otherwise")
    elif few_seeds:
        lines.append(f"fewer than {MIN_SEEDS} seeds: {', '.join(few_seeds)}; a single run is not a result")
    return list(dict.fromkeys(lines))


def check_detect(detect: float | None, metrics: Sequence[str]) -> None:
    """Whether a difference can be had at all.

    Raises:
        InputError: If it isn't above 0, or is as wide as one of the measures.
    """
    if detect is None:
        return
    if not 0 < detect < float("inf"):
        raise InputError(f"detect is {detect:g}; a difference above 0 was needed, such as 0.02 (2 points)")
    for metric in metrics:
        if detect >= width(metric):
            raise InputError(
                f"detect is {detect:g}; {measure_words(metric)} differs by at most {width(metric):g}. Name "
                "the difference that would matter, such as 0.02 (2 points)"
            )


def detect_notes(detect: float | None, rows: Sequence[PairRow], unit: str = "patient") -> list[str]:
    """Why no number of patients (or other units) stands beside a pair, where one was asked for."""
    if detect is None:
        return []
    parts = [(row, endpoint) for row in rows for endpoint in row.get("endpoints") or [row]]
    silent = [(row, endpoint) for row, endpoint in parts if endpoint["needed"] is None]
    why: dict[str, list[str]] = {}
    for row, endpoint in silent:
        why.setdefault(_WHY_NO_NUMBER.get(endpoint["verdict"], "settled"), []).append(f"{row['a']} and {row['b']}")
    if len(silent) == len(parts) and set(why) == {"settled"}:
        return [f"no number of {unit}s for a difference of {detect:g}: the question is settled"]
    return [
        f"no number of {unit}s for a difference of {detect:g} between {'; '.join(dict.fromkeys(pairs))}: {words}"
        for words, pairs in why.items()
        if words != "settled"
    ]


def patient_notes(arms: Mapping[str, Sequence[Predictions]]) -> list[str]:
    """Whose patient ids were used for whom, where only some tables name patients.

    Args:
        arms: arm -> its tables as they were given, before they were aligned.
    """
    with_ids = [arm for arm, arm_tables in arms.items() if any(table.unit == "patient" for table in arm_tables)]
    without = [arm for arm, arm_tables in arms.items() if any(table.unit == "image" for table in arm_tables)]
    if not with_ids or not without:
        return []
    return [
        f"not every table of {listed(without)} names patients; the patient ids of {listed(with_ids)} were used for the "
        f"same {next(iter(arms.values()))[0].rows_are}s"
    ]


def _few_of_class_notes(question: Question, first: Predictions) -> list[str]:
    """Where a rate of one class rests on few patients of that class, however many there are of the other one."""
    if first.positive is None:
        return []
    notes = []
    for metric, index in (("recall", 1), ("specificity", 0)):
        patients = len(np.unique(first.patient_codes[1][first.label == index]))
        if metric in (question.co_primary or (question.metric,)) and 0 < patients < FEW_PATIENTS:
            with_it = f"{plural(patients, unit_words(first.unit, first.rows_are))} with '{first.classes[index]}'"
            notes.append(
                f"{measure_words(metric, first.positive)} rests on {with_it} (fewer than {FEW_PATIENTS}): only a large "
                "difference can be found"
            )
    return notes


def _positive_notes(question: Question, first: Predictions) -> list[str]:
    """Where a measure is bound to a class: which class, if only the order of the columns chose it."""
    bound = [name for name in question.co_primary or (question.metric,) if is_class_bound(name)]
    return positive_notes(first, f"{measure_words(bound[0], first.positive)}: it") if bound else []


def size_notes(samples: Mapping[str, Sample], question: Question) -> list[str]:
    """One line for each arm whose share of right predictions goes with a patient's number of images.

    Args:
        samples: arm -> its scores at the level that is compared.
        question: the question, whose error is that of the intervals.
    """
    trends = {arm: drawn.by_size for arm, drawn in samples.items() if drawn.by_size is not None}
    sentences = {arm: by_size.words(1 - question.alpha, question.rows_are) for arm, by_size in trends.items()}
    return [f"{arm}: {sentence}" for arm, sentence in sentences.items() if sentence]
