"""Searching settings of one arm: trials fit training patients and are judged on validation patients, never on test."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.metrics import image_loss
from counterstain.evaluation.predictions_csv import read_predictions, write_predictions
from counterstain.files import hash_json, write_bytes, write_csv, write_json
from counterstain.images.augmentation import Augmentation
from counterstain.learning.checkpoint import forget
from counterstain.learning.dataset import TileDataset, examples
from counterstain.progress import Progress, TrainingProgress
from counterstain.study.arms import fit_arm
from counterstain.study.completion import lock
from counterstain.study.planning import check_settings
from counterstain.study.prepare import PreparedStudy, prepare
from counterstain.study.results import SearchResult
from counterstain.study.study_config import read_study
from counterstain.study.study_sections import Range
from counterstain.yaml_files import read_yaml

if TYPE_CHECKING:
    import optuna


__all__ = ["optimism", "search_settings"]

RESAMPLES = 500
STORAGE, PREDICTIONS = "search.db", "val.csv"


def search_settings(
    path: Path,
    *,
    trials: int | None = None,
    overrides: dict[str, str] | None = None,
    folder: Path | None = None,
    talk: Progress | None = None,
) -> SearchResult:
    """Search the ranges that a study declares; resumes where an earlier search of the same study was stopped.

    Args:
        path: of the study's YAML file, with a section `search`.
        trials: how many in all; None for as many as the study says.
        overrides: see read_study.
        folder: where `runs/` and `store/` are made; None for beside the study.
        talk: where progress is told.

    Raises:
        InputError: If the study declares no ranges, optuna is not installed, or the search there is of another study.
    """
    optuna = _optuna()
    talk = talk or Progress()
    study = read_study(path, overrides)
    check_settings(study, path.parent)
    if study.search is None:
        raise InputError(f"{path} has no section `search`; name an arm and ranges there, see docs/search.md")
    home = folder or path.parent
    prepared = prepare(study, path.parent, store=home / "store", talk=talk)
    place = home / "runs" / f"{study.name}-search"
    place.mkdir(parents=True, exist_ok=True)
    total = trials or study.search.trials
    with lock(place):
        _check_same(place, prepared)
        storage = f"sqlite:///{(place / STORAGE).resolve()}"
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        session = optuna.create_study(
            study_name=study.name,
            storage=storage,
            direction="minimize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
        )
        _give_up_unfinished(session, optuna)
        done = len(_ended(session, optuna))
        if done >= total:
            talk.say(f"search: {done} trials done before")
        began = time.perf_counter()
        for number in range(done + 1, total + 1):
            session.sampler = _sampler(study.search.seed, number, optuna)
            session.optimize(partial(_try, number=number, prepared=prepared, place=place, talk=talk), n_trials=1)
            last = session.trials[-1]
            time_left = (time.perf_counter() - began) / (number - done) * (total - number)
            value = "stopped early" if last.value is None else f"validation loss {last.value:.4f}"
            talk.say(f"trial {number} of {total}: {_words(last.params)}: {value}, {time_left:.0f} s left")
        return _conclude(session, prepared, path, place, optuna, talk)


def optimism(losses: NDArray[np.float64], patient: NDArray[np.int64], *, seed: int = 0) -> float:
    """How much smaller the best trial's validation loss is than what its settings may expect of new patients.

    Patients are drawn with replacement; the trial that is best among the drawn is looked at on those not drawn. The
    mean over the draws, less the best loss of all, is the optimism.

    Args:
        losses: (trials, N) loss of each validation image in each trial.
        patient: (N,) number of its patient.
        seed: of the draws.

    Source:
        Tsamardinos et al. 2018, Machine Learning 107:1895 (bootstrap bias-corrected cross-validation), by patient.
    """
    rng = np.random.default_rng(seed)
    patients = int(patient.max()) + 1
    sums = np.stack([np.bincount(patient, weights=row, minlength=patients) for row in losses])
    counts = np.bincount(patient, minlength=patients)
    outside = []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(0, patients, patients), minlength=patients)
        not_drawn = times == 0
        if not counts[not_drawn].sum():
            continue
        best = int(np.argmin(sums @ times / (counts @ times)))
        outside.append(sums[best, not_drawn].sum() / counts[not_drawn].sum())
    return float(np.mean(outside) - losses.mean(1).min())


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError("a search needs optuna; pip install 'counterstain[search]'") from None
    return optuna


def _check_same(place: Path, prepared: PreparedStudy) -> None:
    """Trials of another study, split or data say nothing here."""
    study = {name: value for name, value in prepared.study.resolved().items() if name not in ("seeds", "comparison")}
    study["search"] = {**study["search"], "trials": 0}
    digest = hash_json({**prepared.key(), "study": study})
    path = place / "search.key"
    if path.is_file() and path.read_text(encoding="utf-8") != digest:
        raise InputError(f"{place} contains a search of another study or other data; give this study another name")
    write_bytes(path, digest)


def _ended(session: "optuna.Study", optuna: Any) -> list[Any]:
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return [trial for trial in session.trials if trial.state in states]


def _give_up_unfinished(session: "optuna.Study", optuna: Any) -> None:
    """Trials that a killed search left half-way count for nothing: they are made again, from their beginning."""
    for trial in session.trials:
        if trial.state in (optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.WAITING):
            session.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _sampler(seed: int, number: int, optuna: Any) -> Any:
    """What draws the settings of one trial: its draws follow from the seed, its number and the trials before it alone.

    A sampler that lived through the whole search would begin its draws again in a search that is resumed.
    """
    derived = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=derived)


def _words(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in parameters.items())  # fmt: skip


def _suggest(trial: Any, name: str, span: Range) -> Any:
    if span.choices is not None:
        return trial.suggest_categorical(name, span.choices)
    low, high = span.low, span.high
    assert low is not None and high is not None  # the protocol has seen to it
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=span.log)
    return trial.suggest_float(name, float(low), float(high), log=span.log)


def _try(trial: Any, *, number: int, prepared: PreparedStudy, place: Path, talk: Progress) -> float:
    """One trial: train, and the mean loss of the validation images; stopped where it falls behind the others."""
    optuna = _optuna()
    search = prepared.study.search
    assert search is not None
    drawn = {name: _suggest(trial, name, span) for name, span in search.ranges.items()}
    settings, material = _with(prepared, drawn)
    trained = talk.trained

    def progress(step: TrainingProgress) -> None:
        if trained is not None:
            trained(f"trial {number}", step)
        if step.val_loss is not None:
            trial.report(step.val_loss, step.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    parts = np.asarray(prepared.split.parts[0].assignment, dtype=object)
    training, validation = (examples(material, np.flatnonzero(parts == name)) for name in ("train", "val"))
    folder = _folder(place, number)
    folder.mkdir(exist_ok=True)
    forget(folder)  # of a trial that was killed: its first epochs would be missing where others are compared with it
    try:
        _, predict = fit_arm(
            material, training, validation, prepared.study.with_arm(search.arm, settings),
            seed=search.seed, folder=folder, progress=progress,
        )  # fmt: skip
    finally:
        forget(folder)
    table = predict(np.flatnonzero(parts == "val"))
    write_predictions(table, folder / PREDICTIONS)
    return float(image_loss(table.label, table.prob).mean())


def _folder(place: Path, number: int) -> Path:
    return place / f"trial-{number:04d}"


def _with(prepared: PreparedStudy, drawn: Mapping[str, Any]) -> tuple[dict[str, Any], TileDataset]:
    """The arm's settings and the material with what a trial drew."""
    settings = {name: value for name, value in drawn.items() if not name.startswith("augmentation.")}
    varied = {name.partition(".")[2]: value for name, value in drawn.items() if name.startswith("augmentation.")}
    material = prepared.material
    augmentation = Augmentation(**{**asdict(material.augmentation), **varied})
    return settings, TileDataset(
        material.cohort, material.store, augmentation, material.tile_px, material.fit, material.stamp, material.unit
    )


def _conclude(
    session: "optuna.Study", prepared: PreparedStudy, path: Path, place: Path, optuna: Any, talk: Progress
) -> SearchResult:
    """Write the table of trials, the study with the best settings, and what may be expected of them."""
    numbered = dict(enumerate(_ended(session, optuna), start=1))
    complete = {number: trial for number, trial in numbered.items() if trial.state == optuna.trial.TrialState.COMPLETE}
    if not complete:
        raise InputError("no trial was completed; ask for more trials")
    names = list(next(iter(complete.values())).params)
    write_csv(
        place / "trials.csv",
        ("trial", *names, "val_loss", "state"),
        [
            (
                number,
                *(trial.params.get(name, "") for name in names),
                "" if trial.value is None else trial.value,
                trial.state.name.lower(),
            )
            for number, trial in numbered.items()
        ],
    )
    tables = [read_predictions(_folder(place, number) / PREDICTIONS) for number in complete]
    expected = None
    if len(complete) > 1:
        losses = np.stack([image_loss(table.label, table.prob) for table in tables])
        expected = session.best_value + optimism(losses, tables[0].patient_codes[1])
    seconds = sum(trial.duration.total_seconds() for trial in session.trials if trial.duration is not None)
    result = SearchResult(
        best=dict(session.best_params), val_loss=session.best_value, expected=expected, trials=len(complete),
        pruned=len(numbered) - len(complete), seconds=seconds, study=place / "best.yaml",
    )  # fmt: skip
    _write_study(prepared, path, result)
    write_json(
        place / "search.json",
        {"schema": "counterstain.search/1", **asdict(result), "study": result.study.name, "best": result.best},
    )
    unit = "image" if prepared.split.unit == "image" else "patient"
    corrected = (
        "" if expected is None else f"; on new {unit}s expect {expected:.4f}, because it was selected for this one"
    )
    talk.say(
        f"search: best of {result.trials}: {_words(result.best)}: validation loss {session.best_value:.4f}{corrected}"
    )
    return result


def _write_study(prepared: PreparedStudy, path: Path, searched: SearchResult) -> None:
    """The user's own file with the best settings in place of the search; JSON is YAML, and exact for numbers."""
    record = read_yaml(path, what="a study")
    search = record.pop("search")
    record["name"] = f"{record['name']}-tuned"
    root = Path(record["cohort"]["path"])
    record["cohort"]["path"] = str(root if root.is_absolute() else (path.parent / root).resolve())
    for name, value in searched.best.items():
        if name.startswith("augmentation."):
            record.setdefault("augmentation", {})[name.partition(".")[2]] = value
        else:
            record["arms"][search["arm"]][name] = value
    note = f"# {search['arm']} with the best of {searched.trials + searched.pruned} trials; run it once.\n"
    text = yaml.safe_dump(json.loads(json.dumps(record)), sort_keys=False, allow_unicode=True)
    write_bytes(searched.study, note + text)
