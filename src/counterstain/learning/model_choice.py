"""Which trained model is meant: a bundle, an export, or a run, of which the best arm on validation data is taken."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from counterstain.errors import InputError, suggest
from counterstain.evaluation.beyond_chance import chance_of
from counterstain.evaluation.calibration import Calibration, fit_calibration
from counterstain.evaluation.intervals import estimate_of, sample, units_of
from counterstain.evaluation.metric_names import measure_words
from counterstain.evaluation.metrics import confusion, image_loss, predicted_class, quadratic_kappa, score_table
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.learning.bundle import SUMS
from counterstain.run_folder import optional_record, record_path

__all__ = ["ModelChoice", "choose_model", "ensemble_calibration", "names_of", "run_of", "title_of"]

VALIDATION = "raw_val.csv"


@dataclass(frozen=True)
class ModelChoice:
    """The bundles that answer together, and why these.

    folders: of one bundle, or of several whose probabilities are averaged.
    run:     the run that they are of; None where a bundle was named.
    words:   what was chosen among what, in one line; "" where there was nothing to choose.
    """

    folders: tuple[Path, ...]
    run: Path | None = None
    words: str = ""

    @property
    def folder(self) -> Path:
        """The one bundle, or the first of several."""
        return self.folders[0]

    @property
    def graded(self) -> bool:
        """Whether its run says that the classes are grades."""
        return self.run is not None and bool(_grade_order(self.run))

    def seeds(self) -> tuple[Path, ...]:
        """All trainings of this arm and fold, to be averaged; () where no run was named, or there is one."""
        if self.run is None or not self.words:
            return ()
        arm, _, fold = self.folder.parts[-3:]
        folders = tuple(sorted((self.run / "arms" / arm).glob(f"seed-*/{fold}")))
        return folders if len(folders) > 1 else ()


def choose_model(
    source: Path, *, arm: str | None = None, seed: int | None = None, fold: str | None = None, ensemble: bool = False
) -> ModelChoice:
    """The model in a folder: a bundle or an export is itself; of a run, the training that did best on validation data.

    The arms of a run are compared by the study's primary measure on the validation part, averaged over seeds and folds,
    and by log loss where that is equal. Of the arm the best seed is taken, in the fold that is named or the first one:
    folds have different validation images, so they can't be compared. The test part plays no role.

    Args:
        source: folder of a bundle, an export or a run.
        arm, seed, fold: of a run, instead of the best ones; fold as "0-0".
        ensemble: all seeds of the arm and fold together.

    Raises:
        InputError: If it is none of these, there is no such training, or an ensemble is asked of one bundle.

    Example:
        >>> choose_model(Path("nowhere"))
        Traceback (most recent call last):
            ...
        counterstain.errors.InputError: nowhere does not exist; name a run, a bundle or an export
    """
    if not source.exists():
        raise InputError(f"{source} does not exist; name a run, a bundle or an export")
    if (source / SUMS).is_file():
        return _one_bundle(source, ensemble=ensemble, named=(arm, seed, fold) != (None, None, None))
    trainings = sorted(path.parent for path in (source / "arms").glob(f"*/seed-*/fold-*/{SUMS}"))
    if not trainings:
        raise InputError(f"{source} is neither a run with finished trainings nor a bundle; name one of them")
    _check_names(source, trainings, arm, seed, fold)
    scores = {folder: _validation_score(_validation_table(source, folder), _primary(source)) for folder in trainings}
    of_arm = {name: [path for path in trainings if names_of(path)[0] == name] for name in _arm_order(source, trainings)}
    mean = {name: tuple(np.mean([scores[path] for path in paths], axis=0)) for name, paths in of_arm.items()}
    chosen = arm or max(mean, key=lambda name: mean[name])
    place = fold or _first_fold(of_arm[chosen])
    trained = [path for path in of_arm[chosen] if names_of(path)[2] == place and seed in (None, _seed(path))]
    if not trained:
        raise InputError(f"{source} has no training of arm {chosen} with seed {seed} and fold {place}")
    if ensemble:
        folders = tuple(sorted(trained, key=_seed))
        if len(folders) < 2:
            raise InputError(f"an ensemble needs two seeds or more; arm {chosen}, fold {place} has {len(folders)}")
    else:
        folders = (max(trained, key=lambda path: scores[path]),)
    return ModelChoice(
        folders, source, _choice_sentence(source, trainings, mean, chosen, folders, named=arm is not None)
    )


def _one_bundle(source: Path, *, ensemble: bool, named: bool) -> ModelChoice:
    if named:
        raise InputError(f"{source} is one model; --arm, --seed and --fold are for a run")
    if ensemble:
        raise InputError(f"{source} is one model; --ensemble is for a run, whose seeds it averages")
    return ModelChoice((source,), run_of(source))


def run_of(folder: Path) -> Path | None:
    """The run that a training's folder lies in, or None."""
    if len(folder.resolve().parts) < 5:
        return None
    run = folder.resolve().parents[3]
    return run if record_path(run, "splits.csv").is_file() and record_path(run, "cohort.csv").is_file() else None


def title_of(folder: Path) -> str:
    """What a model is called: run, arm, seed and fold of a training in a run; else its folder's name."""
    run = run_of(folder)
    if run is None:
        return folder.resolve().name
    arm, seed, fold = names_of(folder.resolve())
    return f"{run.name} (arm {arm}, seed {seed}, fold {fold})"


def _check_names(source: Path, trainings: Sequence[Path], arm: str | None, seed: int | None, fold: str | None) -> None:
    """Refuse an arm, seed or fold that the run does not have, with those that it has."""
    for column, (option, value) in enumerate((("--arm", arm), ("--seed", seed), ("--fold", fold))):
        known = list(dict.fromkeys(names_of(path)[column] for path in trainings))
        if value is not None and str(value) not in known:
            raise InputError(f"{source} has no such training: {option} {value}{suggest(str(value), known)}")


def names_of(training: Path) -> tuple[str, str, str]:
    """Arm, seed and fold ("repeat-fold") of a training's folder."""
    arm, seed, fold = training.parts[-3:]
    return arm, seed.removeprefix("seed-"), fold.removeprefix("fold-")


def _seed(training: Path) -> int:
    return int(names_of(training)[1])


def _first_fold(paths: Sequence[Path]) -> str:
    return min((names_of(path)[2] for path in paths), key=lambda fold: tuple(map(int, fold.split("-"))))


def _resolved(run: Path) -> dict[str, Any]:
    return optional_record(run, "resolved.json")


def _arm_order(run: Path, trainings: Sequence[Path]) -> list[str]:
    """The arms with trainings, as the study lists them."""
    trained = {names_of(path)[0] for path in trainings}
    listed = [name for name in _resolved(run).get("arms", {}) if name in trained]
    return [*listed, *sorted(trained - set(listed))]


def _primary(run: Path) -> str:
    return str(_resolved(run).get("comparison", {}).get("primary", "auroc"))


def _validation_table(run: Path, folder: Path) -> Predictions:
    """A training's predictions of its validation part; grades are in their order, which no table of them says."""
    order = _grade_order(run)
    return replace(read_predictions(folder / VALIDATION, classes=order or None), ordered=bool(order))


def _grade_order(run: Path) -> tuple[str, ...]:
    """The classes of a study of grades, from the lowest to the highest; () of any other."""
    return tuple(map(str, _resolved(run).get("cohort", {}).get("order") or ()))


def _validation_score(table: Predictions, metric: str) -> tuple[float, float]:
    """The primary measure and the negative log loss of a validation part; higher is better."""
    value = score_table(table.label, table.prob).get((metric, None), np.nan)
    if table.ordered and metric == "quadratic_kappa":
        counts = confusion(table.label, predicted_class(table.prob), len(table.classes))
        value = float(quadratic_kappa(counts.astype(np.float64)))
    return (float(value) if np.isfinite(value) else -np.inf, -float(image_loss(table.label, table.prob).mean()))


def _choice_sentence(
    run: Path,
    trainings: Sequence[Path],
    mean: dict[str, tuple[float, ...]],
    arm: str,
    folders: Sequence[Path],
    *,
    named: bool,
) -> str:
    """What was taken, and against what."""
    if len(trainings) == 1:
        return f"model: arm {arm}, seed {names_of(folders[0])[1]}, the one training of {run}"
    _, seed, fold = names_of(folders[0])
    chosen = f"seed {seed}" if len(folders) == 1 else f"the mean of {len(folders)} seeds"
    folds = "" if len({names_of(path)[2] for path in trainings}) == 1 else f", fold {fold}"
    metric = measure_words(_primary(run), None)
    scores = ", ".join(
        f"{name} {value[0]:.3f}" if np.isfinite(value[0]) else f"{name} undefined" for name, value in mean.items()
    )
    reason = "as named" if named else f"best on the validation part by {metric}"
    doubt = _chance_warning(run, [path for path in trainings if names_of(path)[::2] == (arm, fold)], _primary(run))
    return f"model: arm {arm}, {chosen}{folds}, {reason} ({scores}{doubt}); --arm, --seed and --fold name another"


def _chance_warning(run: Path, trained: Sequence[Path], metric: str) -> str:
    """That the best arm isn't shown to know anything, where guessing reaches its interval on the validation part."""
    tables = [_validation_table(run, folder) for folder in trained]
    chance = chance_of(metric, len(tables[0].classes))
    if chance is None:
        return ""
    estimate = estimate_of(sample(tables, units_of(tables[:1]), level="image"), (metric, None))
    if estimate.low > chance:
        return ""
    if not np.isfinite(estimate.low):
        return f"; whether {names_of(trained[0])[0]} is better than chance, {chance:.3g}, so few patients don't tell"
    ends = f"[{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"; {names_of(trained[0])[0]} is not shown to be better than chance: {ends} contains {chance:.3g}"


def ensemble_calibration(choice: ModelChoice) -> Calibration | None:
    """What is fitted on the validation predictions of all members averaged, as the study fits each member by itself.

    The members have one split, so no validation image was trained on by any of them.

    Returns:
        None for a single bundle: it has its own calibration.
    """
    if len(choice.folders) < 2 or choice.run is None:
        return None
    tables = [read_predictions(folder / VALIDATION) for folder in choice.folders]
    section = dict(_resolved(choice.run).get("calibration", {}))
    return fit_calibration(mean_table(tables), **section)


def mean_table(tables: Sequence[Predictions]) -> Predictions:
    """The tables' images with the mean of their probabilities.

    Raises:
        InputError: If they are not of the same images in the same order.
    """
    first = tables[0]
    if any(table.image != first.image or table.classes != first.classes for table in tables):
        raise InputError("the members of the ensemble were not validated on the same images; run the study again")
    return replace(first, prob=np.mean([table.prob for table in tables], axis=0))
