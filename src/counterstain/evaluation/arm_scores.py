"""Scores of the arms of a study with their intervals: the record scores.json, and its flat table."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from counterstain.errors import InputError, suggest
from counterstain.evaluation.bootstrap import OPERATING_POINT, bootstrap_estimates, operating_point
from counterstain.evaluation.degrees_of_freedom import Key
from counterstain.evaluation.intervals import FEW_PATIENTS, Estimate, estimates, sample, units_of
from counterstain.evaluation.metrics import confusion, predicted_class
from counterstain.evaluation.pooled_predictions import pool_patients, pool_slides, slide_codes
from counterstain.evaluation.predictions import PROBABILITY_MEASURES, Predictions, align
from counterstain.evaluation.record_types import ArmRecord, ScoreRow, ScoresRecord
from counterstain.evaluation.resampling import GROUPS
from counterstain.evaluation.rows import level_words, unit_words
from counterstain.evaluation.size_and_difficulty import SizeAndDifficulty, tables_by_size

__all__ = ["SCORES_SCHEMA", "aligned_arms", "cell_of", "levels_of", "score_arms", "score_rows"]

SCORES_SCHEMA = "counterstain.scores/1"
INTERVALS = ("jackknife", "bootstrap")
SCORE_COLUMNS = (
    "arm", "level", "metric", "class", "value", "low", "high", "confidence", "images", "patients", "seeds", "unit",
)  # fmt: skip


def aligned_arms(arms: Mapping[str, Sequence[Predictions]]) -> dict[str, list[Predictions]]:
    """Every table of every arm with its rows in the order of the first: the same images, labels and patients.

    Raises:
        InputError: If an arm has no table, or two tables cannot be joined; the arm and seed are named.
    """
    if not arms:
        raise InputError("no arms were given; at least one arm with one prediction table is needed")
    first: Predictions | None = None
    aligned: dict[str, list[Predictions]] = {}
    for arm, tables in arms.items():
        if not tables:
            raise InputError(f"arm '{arm}' has no prediction tables; one for each seed is needed")
        aligned[arm] = []
        for number, table in enumerate(tables):
            if first is None:
                first = table
            _check_positive(first, table, f"table {number + 1} of arm '{arm}'")
            try:
                first, joined = align(first, table)
            except InputError as error:
                raise InputError(f"table {number + 1} of arm '{arm}': {error}") from None
            aligned[arm].append(joined)
    return {arm: [align(first, table)[1] for table in tables] for arm, tables in aligned.items() if first is not None}


def _check_positive(first: Predictions, table: Predictions, place: str) -> None:
    """Column order alone may not decide which class is the positive one where two tables disagree about it."""
    expected, actual = first.positive, table.positive
    if expected is None or actual is None or expected == actual or set(first.classes) != set(table.classes):
        return
    raise InputError(
        f"{place} has '{actual}' as the positive class and the first table '{expected}': they order their classes "
        f"differently; name the positive one with --positive {expected} or --positive {actual}"
    )


def levels_of(tables: Sequence[Predictions]) -> tuple[str, ...]:
    """The levels that can be scored: "image"; "slide" and "patient" where known, with one label each.

    Slides are a level of their own only where they are neither the images nor the patients again.
    """
    first = tables[0]
    if first.unit == "image":
        return ("image",)
    levels = ["image"]
    if "" not in first.slide:
        slides = int(slide_codes(first).max()) + 1
        if len(first.patient_codes[0]) < slides < len(first) and _pools(first, pool_slides):
            levels.append("slide")
    return (*levels, "patient") if _pools(first, pool_patients) else tuple(levels)


def _pools(table: Predictions, pool: Callable[[Predictions], Predictions]) -> bool:
    try:
        pool(table)
    except InputError:
        return False
    return True


def score_arms(
    arms: Mapping[str, Sequence[Predictions]],
    *,
    seeds: Mapping[str, Sequence[int]] | None = None,
    confidence: float = 0.95,
    interval: str = "jackknife",
    stamp: str = "",
    averaged: int = 0,
) -> ScoresRecord:
    """The record scores.json: every score of every arm with its interval, unit and n.

    Args:
        arms: arm -> its prediction tables, one per seed, all on the same images.
        seeds: arm -> the seeds' numbers; default 0, 1, 2, ...
        confidence: of the intervals.
        interval: "jackknife" (the default: it covers better), or "bootstrap" for those at image level.
        stamp: "" or the warning that every output of this study carries ("image-level", "LEAK: ...").
        averaged: of a model's answers to new images: how many trainings they are the mean of. 0: tables of a study.

    Raises:
        InputError: If the tables are not of the same images, labels, patients and classes.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence:g}; a share between 0 and 1 was needed, such as 0.95 for 95 %")
    if interval not in INTERVALS:
        raise InputError(f"interval is '{interval}'{suggest(interval, INTERVALS)}")
    tables = aligned_arms(arms)
    first = next(iter(tables.values()))[0]
    names = units_of([first])
    record: ScoresRecord = {
        "schema": SCORES_SCHEMA,
        "stamp": stamp,
        "unit": first.unit,
        "rows_are": first.rows_are,
        "classes": list(first.classes),
        "positive": first.positive,
        "confidence": confidence,
        "arms": {},
    }
    for arm, arm_tables in tables.items():
        numbers = list(seeds[arm]) if seeds is not None else list(range(len(arm_tables)))
        record["arms"][arm] = _arm_record(arm_tables, names, numbers, confidence, interval, averaged)
    if averaged:
        record["averaged"] = averaged
    return record


def _arm_record(
    tables: Sequence[Predictions],
    names: Sequence[str],
    numbers: list[int],
    confidence: float,
    interval: str,
    averaged: int,
) -> ArmRecord:
    """One arm's part of the record; numbers: of its seeds, names: of the units of the error."""
    first = tables[0]
    scores, lone = [], []
    by_size = tables_by_size(tables, names)
    for level in levels_of(tables):
        if interval == "bootstrap" and level == "image":
            estimated = bootstrap_estimates(tables, names, confidence=confidence)
        else:
            estimated = estimates(sample(tables, names, level=level), confidence=confidence)
        if name := _lone_class(tables, level):
            # With one class balanced accuracy is its recall alone, and would pass for a score of both.
            estimated = {key: value for key, value in estimated.items() if key[0] != "balanced_accuracy"}
            lone.append(_lone_words(name, level, len(first.classes), first.rows_are))
        if any(table.hard for table in tables):
            estimated = {key: value for key, value in estimated.items() if key[0] not in PROBABILITY_MEASURES}
        elif level == "image" and len(first.classes) == 2:
            estimated[OPERATING_POINT, None] = operating_point(tables, confidence=confidence)
        scores += [_score(key, value, level, first.classes) for key, value in estimated.items()]
    lone += _single_units(first)
    return {
        "seeds": numbers,
        "images": len(first),
        "patients": len(names) if first.unit == "patient" else None,
        "method": _method(first, len(names), len(tables), confidence, interval),
        "warnings": [
            *lone,
            *_wrong_way(scores),
            *_warnings(tables, len(names), averaged),
            *_size_notes(by_size, confidence, interval, first.rows_are),
        ],
        "size_and_difficulty": None if by_size is None else by_size.to_json(confidence),
        "scores": scores,
        "confusion": {
            str(number): confusion(table.label, predicted_class(table.prob), len(table.classes)).tolist()
            for number, table in zip(numbers, tables, strict=True)
        },
    }


def _lone_class(tables: Sequence[Predictions], level: str) -> str | None:
    """The class that all images (or slides, or patients) of a level are of; None where there are several."""
    pool = {"patient": pool_patients, "slide": pool_slides}.get(level)
    table = tables[0] if pool is None else pool(tables[0])
    present = set(table.label.tolist())
    return table.classes[present.pop()] if len(present) == 1 else None


def _lone_words(name: str, level: str, classes: int, rows_are: str) -> str:
    """That a level has one class only, and what is undefined there."""
    other = "the other class" if classes == 2 else "other classes"
    whose = f"all {rows_are}s are" if level == "image" else f"every {level} with {rows_are}s of one class only is"
    return (
        f"{level_words(level, rows_are)}: {whose} '{name}'; AUROC, MCC and balanced accuracy are undefined, "
        f"and accuracy says nothing about {other}"
    )


def _single_units(table: Predictions) -> list[str]:
    """Classes that hang on one patient, so that scores of them have no interval; [] where there is one patient."""
    code, unit = table.patient_codes[1], unit_words(table.unit, table.rows_are)
    holders = [np.unique(code[table.label == index]) for index in range(len(table.classes))]
    if len(table.patient_codes[0]) == 1:
        return []
    return [
        f"only one {unit} has '{name}': scores that need this class have no interval, or a meaningless one"
        for name, codes in zip(table.classes, holders, strict=True)
        if len(codes) == 1
    ]


def _score(key: Key, value: Estimate, level: str, classes: Sequence[str]) -> ScoreRow:
    metric, index = key
    return {
        "metric": metric,
        "level": level,
        "class": None if index is None else classes[index],
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "per_seed": list(value.per_seed),
    }


def _method(table: Predictions, units: int, seeds: int, confidence: float, interval: str) -> str:
    whose = "each of a different patient" if table.own_patients else "no patients are known"
    drawn = "patients" if table.unit == "patient" else f"{table.rows_are}s ({whose})"
    if interval == "bootstrap":
        level = level_words("image", table.rows_are)
        return f"{confidence:.0%} BCa interval at {level} from resampling {drawn} and seeds 10,000 times"
    how = "one by one" if units <= GROUPS else f"in {GROUPS} random groups"
    sentence = f"{confidence:.0%} interval from leaving out {drawn} {how} (jackknife, t-quantile, logit scale)"
    if seeds > 1:
        return (
            f"{sentence}, including the variance between the {seeds} training seeds; the value is the mean over seeds"
        )
    return f"{sentence}; one training run, so between-seed variance is not included"


def _warnings(tables: Sequence[Predictions], units: int, averaged: int) -> tuple[str, ...]:
    unit = tables[0].unit
    notes = [note for table in tables for note in table.notes]
    if unit == "patient":
        notes += pool_notes(tables[0])
        if units < FEW_PATIENTS:
            few = "1 patient" if units == 1 else f"{units} patients"
            notes.append(f"only {few} (fewer than {FEW_PATIENTS}): intervals are wide and only approximate")
    elif not tables[0].own_patients:
        rows = f"{tables[0].rows_are}s"
        notes.append(f"patients are unknown: intervals treat {rows} as independent and are too narrow if they are not")
    if averaged > 1:
        notes.append(f"the mean of {averaged} trainings is one model: how much such means vary is unknown")
    elif len(tables) == 1:
        notes.append("a single training run: the variance between seeds is unknown")
    return tuple(dict.fromkeys(notes))


def _wrong_way(scores: Sequence[ScoreRow]) -> tuple[str, ...]:
    """A note where the classes are ranked the wrong way round beyond doubt: most often two columns were exchanged."""
    rows = (row for row in scores if (row["metric"], row["level"], row["class"]) == ("auroc", "image", None))
    high = next((row["high"] for row in rows), None)
    if high is None or high >= 0.5:
        return ()
    return (
        "AUROC is below 0.5 with its whole interval: the classes are ranked the wrong way round; check that each "
        "probability stands in the column of its own class, and each label in its own row",
    )


def _size_notes(by_size: SizeAndDifficulty | None, confidence: float, interval: str, rows_are: str) -> tuple[str, ...]:
    """What to know where images per patient go with difficulty."""
    words = "" if by_size is None else by_size.words(confidence, rows_are)
    if not words:
        return ()
    few = "because few patients contribute most of the variance"
    widened = f"; intervals at {level_words('image', rows_are)} are widened, {few}"
    return (words + (widened if interval == "jackknife" else ""),)


def pool_notes(table: Predictions) -> tuple[str, ...]:
    """What pooling a table by patient leaves out, in words."""
    try:
        return pool_patients(table).notes
    except InputError as error:
        return (str(error),)


def score_rows(record: ScoresRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Header and rows of scores.csv from the record scores.json; None is an empty cell."""
    rows: list[tuple[object, ...]] = []
    for arm, arm_record in record["arms"].items():
        for score in arm_record["scores"]:
            values = map(cell_of, (score["value"], score["low"], score["high"]))
            ids = (arm, score["level"], score["metric"], score["class"])
            rows.append((*ids, *values, *counts_of(record, arm)))
    return SCORE_COLUMNS, rows


def counts_of(record: ScoresRecord, arm: str) -> tuple[object, ...]:
    """The last cells of an arm's rows in scores.csv: confidence, images, patients, seeds and the unit."""
    arm_record = record["arms"][arm]
    return (
        record["confidence"], arm_record["images"], arm_record["patients"], len(arm_record["seeds"]), record["unit"],
    )  # fmt: skip


def cell_of(value: float | None) -> float | None:
    """A number as a cell of a table: None, an empty cell, where it is undefined."""
    return None if value is None or value != value else value
