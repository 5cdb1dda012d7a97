"""From the trainings' predictions to the run's claims: scores, comparison, what is frozen, subgroups, net benefit."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from counterstain.cohort.split import count_by_unit
from counterstain.cohort.splitters import Fold
from counterstain.errors import InputError
from counterstain.evaluation.arm_scores import score_arms, score_rows
from counterstain.evaluation.calibration import read_calibration
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.conformal import coverage_record
from counterstain.evaluation.cross_validation import FoldTests, Place, fold_tests, procedures_record
from counterstain.evaluation.decision_curve import decision_curve
from counterstain.evaluation.influence import without_patient
from counterstain.evaluation.intervals import estimates, sample, units_of
from counterstain.evaluation.predictions import Predictions, concatenate
from counterstain.evaluation.predictions_csv import read_predictions, write_predictions
from counterstain.evaluation.record_types import ComparisonRecord
from counterstain.evaluation.reliability import reliability_record
from counterstain.evaluation.rows import level_of, unit_words
from counterstain.evaluation.subgroups import subgroup_scores
from counterstain.evaluation.thresholds import decided
from counterstain.files import write_csv, write_json
from counterstain.progress import Progress
from counterstain.run_folder import record_path
from counterstain.study.calibrate import called, sets_of
from counterstain.study.completion import file_hashes, is_done, mark_done
from counterstain.study.error_stage import write_beyond_chance, write_errors
from counterstain.study.finding_predictions import evaluate_findings
from counterstain.study.prepare import PreparedStudy
from counterstain.study.trainings import training_place

__all__ = ["judge"]

FROZEN = ("parameters", "threshold", "qhat", "qhat_by_class", "stated", "patients", "images", "notes")
DECIDED = ("accuracy", "recall", "specificity", "precision")


def judge(run: Path, prepared: PreparedStudy, talk: Progress) -> None:
    """Write everything that follows from the trainings' predictions: predictions/, scores, comparison, and the rest."""
    study = prepared.study
    arms = {arm: _replicates(run, prepared, arm, "predictions.csv") for arm in study.arms}
    for arm, tables in arms.items():
        for name, table in tables.items():
            write_predictions(table, run / "predictions" / arm / f"{name}.csv")
    inputs = {
        "predictions": file_hashes(run, (run / "predictions").rglob("*.csv")),
        "comparison": study.resolved()["comparison"],
        "calibration": study.resolved()["calibration"],
        "unit": study.split.unit,
        "stamp": study.stamp,
        "arms": list(study.arms),
    }
    if is_done(run, "judging", inputs):
        return
    with talk.working_on(
        f"evaluation: intervals and comparison, clustered by {unit_words(study.split.unit, prepared.rows_are)}"
    ):
        written = _write_claims(run, prepared, {arm: list(tables.values()) for arm, tables in arms.items()})
    mark_done(run, "judging", inputs, written)


def _write_claims(run: Path, prepared: PreparedStudy, replicates: Mapping[str, Sequence[Predictions]]) -> list[Path]:
    """Every record of the evaluation; returns the files."""
    written = [*_write_scores(run, prepared, replicates), *_write_comparison(run, prepared, replicates)]
    written += write_beyond_chance(run, prepared.study, replicates)
    written += write_errors(
        run, prepared, replicates, lambda patient: _compare(run, prepared, replicates, without=patient)
    )
    records = {
        "in_use": _in_use(run, prepared, replicates),
        "subgroups": _subgroups(replicates),
        "procedures": _procedures(run, prepared),
    }
    if len(prepared.material.cohort.classes) == 2:
        records["decision_curve"] = {"arms": {arm: decision_curve(tables) for arm, tables in replicates.items()}}
    for name, record in records.items():
        write_json(record_path(run, f"{name}.json"), record)
        written.append(record_path(run, f"{name}.json"))
    if prepared.material.cohort.findings:
        alpha = prepared.study.comparison.alpha
        written += evaluate_findings(run, _finding_folders(run, prepared), alpha=alpha)
    return written


def _replicate_folders(
    run: Path, prepared: PreparedStudy, arm: str
) -> Iterator[tuple[str, int, list[tuple[Path, Fold]]]]:
    """For each seed (and repeat): its name in predictions/, the seed, and the folder and division of each fold."""
    parts = prepared.split.parts
    repeats = sorted({part.repeat for part in parts})
    for seed in prepared.study.seeds:
        for repeat in repeats:
            name = f"seed-{seed}" if len(repeats) == 1 else f"seed-{seed}-repeat-{repeat}"
            folds = [(run / "arms" / training_place(arm, seed, part), part) for part in parts if part.repeat == repeat]
            yield name, seed, folds


def _finding_folders(run: Path, prepared: PreparedStudy) -> dict[str, dict[str, Sequence[Path]]]:
    """arm -> seed (and repeat) -> its trainings' folders, named as in predictions/."""
    return {
        arm: {name: [folder for folder, _ in folds] for name, _, folds in _replicate_folders(run, prepared, arm)}
        for arm in prepared.study.arms
    }


def _replicates(run: Path, prepared: PreparedStudy, arm: str, file: str) -> dict[str, Predictions]:
    """One arm's tables of this file name by seed (and repeat): the folds of a repeat together make one table."""
    return {
        name: concatenate([_read(prepared, folder / file) for folder, _ in folds])
        for name, _, folds in _replicate_folders(run, prepared, arm)
    }


def _read(prepared: PreparedStudy, path: Path) -> Predictions:
    """A table of this study: whether its classes are grades is not written in it, and its columns are our own."""
    table = read_predictions(path)
    notes = tuple(note for note in table.notes if "--columns" not in note)
    return replace(table, ordered=prepared.material.cohort.ordered, notes=notes)


def _write_scores(run: Path, prepared: PreparedStudy, replicates: Mapping[str, Sequence[Predictions]]) -> list[Path]:
    study = prepared.study
    # A repeat of a cross-validation is a replicate like a seed is; both are numbered as they come.
    numbers = study.seeds if len(next(iter(replicates.values()))) == len(study.seeds) else None
    seeds = None if numbers is None else dict.fromkeys(study.arms, numbers)
    scores = score_arms(replicates, seeds=seeds, stamp=study.stamp)
    write_json(record_path(run, "scores.json"), scores)
    write_csv(run / "scores.csv", *score_rows(scores))
    return [record_path(run, "scores.json"), run / "scores.csv"]


def _write_comparison(
    run: Path, prepared: PreparedStudy, replicates: Mapping[str, Sequence[Predictions]]
) -> list[Path]:
    if len(replicates) < 2:
        record_path(run, "comparison.json").unlink(missing_ok=True)
        return []
    write_json(record_path(run, "comparison.json"), _compare(run, prepared, replicates))
    return [record_path(run, "comparison.json")]


def _compare(
    run: Path, prepared: PreparedStudy, replicates: Mapping[str, Sequence[Predictions]], *, without: str = ""
) -> ComparisonRecord:
    """The comparison that the study asks for; without the images of one patient where one is named."""
    section = prepared.study.comparison
    frozen = section.thresholds == "frozen"

    def cut(table: Predictions) -> Predictions:
        return without_patient(table, without) if without else table

    calls = {arm: [cut(table) for table in _decided(run, prepared, arm)] for arm in replicates} if frozen else None
    # The cohort says which class is positive; that its column comes last in our own tables is no accident.
    tables_of = {
        arm: [replace(cut(table), positive_from="given") for table in tables] for arm, tables in replicates.items()
    }
    return compare_arms(
        tables_of,
        primary=section.primary,
        co_primary=section.co_primary,
        decided=calls,
        level=_level(prepared),
        alpha=section.alpha,
        margin=section.margin,
        pairs=section.pairs,
        reference=section.reference,
        hypothesis=section.hypothesis,
        detect=section.detect,
        prior_sd=section.prior_sd,
        over_folds=_over_folds(run, prepared, cut, frozen=frozen),
        stamp=prepared.study.stamp,
    )


def _level(prepared: PreparedStudy) -> str:
    """The level that the study compares at, as the records call it."""
    return level_of(prepared.study.comparison.level, prepared.rows_are)


def _decided(run: Path, prepared: PreparedStudy, arm: str) -> list[Predictions]:
    """One arm's tables with the calls at the threshold that each training froze on its validation patients."""
    return [
        concatenate([_called(folder) for folder, _ in folds]) for _, _, folds in _replicate_folders(run, prepared, arm)
    ]


def _called(folder: Path) -> Predictions:
    """The test predictions of one training as calls at its own frozen threshold."""
    fitted = read_calibration(folder)
    if fitted is None or fitted.threshold is None:
        raise InputError("comparison.thresholds is frozen, but no threshold was frozen: it needs two classes")
    return decided(read_predictions(folder / "predictions.csv", classes=fitted.classes), fitted.threshold)


def _over_folds(
    run: Path, prepared: PreparedStudy, cut: Callable[[Predictions], Predictions], *, frozen: bool
) -> FoldTests | None:
    """The tests over several training sets, which the verdict must pass too; None where there is one."""
    section = prepared.study.comparison
    if len(prepared.split.parts) < 2:
        return None
    read = _called if frozen else (lambda folder: _read(prepared, folder / "predictions.csv"))
    return fold_tests(
        _by_place(run, prepared, lambda folder: cut(read(folder))),
        _sizes(prepared),
        metrics=section.co_primary or [section.primary],
        level=_level(prepared),
        alpha=section.alpha,
    )


def _by_place(
    run: Path, prepared: PreparedStudy, read: Callable[[Path], Predictions]
) -> dict[str, dict[Place, Predictions]]:
    """arm -> (seed, repeat, fold) -> that training's table."""
    return {
        arm: {
            (seed, part.repeat, part.fold): read(run / "arms" / training_place(arm, seed, part))
            for seed in prepared.study.seeds
            for part in prepared.split.parts
        }
        for arm in prepared.study.arms
    }


def _sizes(prepared: PreparedStudy) -> dict[tuple[int, int], tuple[int, int]]:
    """(repeat, fold) -> independent units in its training and in its test part."""
    _, unit_row, _ = count_by_unit(prepared.material.cohort, prepared.study.split.unit)

    def units(part: Fold, names: Iterable[str]) -> int:
        return len({unit for name in names for unit in unit_row[part.rows(name)].tolist()})

    return {
        (part.repeat, part.fold): (
            units(part, ["train"]),
            units(part, [name for name in part.names if name.startswith("test")]),
        )
        for part in prepared.split.parts
    }


def _procedures(run: Path, prepared: PreparedStudy) -> dict[str, Any]:
    """The arms as ways of training: every fold's difference, and where each arm's variance comes from."""
    section = prepared.study.comparison
    pairs = section.pairs
    if section.reference is not None:
        pairs = [(arm, section.reference) for arm in prepared.study.arms if arm != section.reference]
    return procedures_record(
        _by_place(run, prepared, lambda folder: _read(prepared, folder / "predictions.csv")),
        _sizes(prepared),
        metric=section.co_primary[0] if section.co_primary else section.primary,
        level=_level(prepared),
        margin=section.margin,
        pairs=pairs,
        alpha=section.alpha,
    )


# ------------------------------------------------------------------------------- what was frozen on validation patients


def _in_use(run: Path, prepared: PreparedStudy, replicates: Mapping[str, Sequence[Predictions]]) -> dict[str, Any]:
    """What calibration, threshold and prediction sets do on the test part; none of them was chosen there."""
    section = prepared.study.calibration
    return {
        "schema": "counterstain.in_use/1",
        "method": section.method,
        "threshold_rule": section.threshold,
        "alpha": section.alpha,
        "conformal": section.conformal,
        "stamp": prepared.study.stamp,
        "arms": {arm: _arm_in_use(run, prepared, arm, list(tables)) for arm, tables in replicates.items()},
    }


def _arm_in_use(run: Path, prepared: PreparedStudy, arm: str, calibrated: list[Predictions]) -> dict[str, Any]:
    raw = list(_replicates(run, prepared, arm, "raw_test.csv").values())
    trainings, decided, sets = [], [], []
    for _, seed, folds in _replicate_folders(run, prepared, arm):
        fold_calls, fold_sets = [], []
        for folder, part in folds:
            fitted = read_calibration(folder)
            assert fitted is not None  # finish_training wrote it
            record = fitted.to_record()
            frozen = {key: record.get(key) for key in FROZEN}
            trainings.append({"seed": seed, "fold": f"{part.repeat}-{part.fold}", **frozen})
            table = read_predictions(folder / "predictions.csv", classes=fitted.classes)
            fold_sets.append(sets_of(fitted, table))
            decisions = called(fitted, table)
            if decisions is not None:
                fold_calls.append(replace(table, prob=np.eye(2)[decisions]))
        sets.append(np.concatenate(fold_sets))
        if fold_calls:
            decided.append(concatenate(fold_calls))
    return {
        "trainings": trainings,
        "before": reliability_record(raw),
        "after": reliability_record(calibrated),
        "decision": {"scores": _decision_scores(decided)} if decided else None,
        "conformal": coverage_record(calibrated, sets, alpha=prepared.study.calibration.alpha),
    }


def _decision_scores(decided: Sequence[Predictions]) -> list[dict[str, Any]]:
    """Accuracy, recall, specificity and precision at the frozen thresholds, with intervals by patient."""
    scores = estimates(sample(decided, units_of(decided[:1]), level="image"))
    return [{"metric": name, **scores[name, None].as_record()} for name in DECIDED]


def _subgroups(replicates: Mapping[str, Sequence[Predictions]]) -> dict[str, Any]:
    """Scores by site, slide and patient, each where it is known."""
    first = next(iter(replicates.values()))[0]
    known = {"site": any(first.site), "slide": any(first.slide), "patient": first.unit == "patient"}
    return {by: subgroup_scores(replicates, by=by) if has else None for by, has in known.items()}
