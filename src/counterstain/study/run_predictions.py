"""The test predictions of runs, so that arms of several studies can be compared on their one test part."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from counterstain.errors import InputError
from counterstain.evaluation.format import listed, natural, plural
from counterstain.evaluation.from_arrays import Sources
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.run_folder import optional_record, record_path
from counterstain.study.run_list import is_run

__all__ = ["RunArms", "expand_runs"]


@dataclass(frozen=True)
class RunArms:
    """What is compared once runs are replaced by their arms.

    models:  name -> its tables, one per seed; a name without a run is as it was given.
    primary: the measure that all runs state; None where no run was named.
    notes:   what limits a comparison across studies.
    order:   the classes as grades, from the lowest to the highest; None where no run has grades.
    """

    models: Mapping[str, Sources]
    primary: str | None = None
    notes: tuple[str, ...] = field(default=())
    order: tuple[str, ...] | None = None


def expand_runs(models: Mapping[str, Sources], *, primary: str | None = None) -> RunArms:
    """Replace each run by its arms, and a folder of tables by the tables in it.

    An arm is called by its own name, and by "run/arm" where two runs have one of that name. With `NAME=run`, the only
    arm of a run is called NAME, and several are called "NAME/arm".

    Args:
        models: name -> a path, or several; anything else is left as it is.
        primary: the measure that was asked for; by default the one that every run states.

    Raises:
        InputError: If a run is not finished, the runs' test parts differ, or they state different measures or orders of
            grades.
    """
    runs: dict[str, Path] = {}
    for name, source in models.items():
        paths = source if isinstance(source, (list, tuple)) else [source]
        named_runs = [Path(path) for path in paths if isinstance(path, (str, os.PathLike)) and is_run(Path(path))]
        if named_runs and len(paths) > 1:
            raise InputError(f"{name} is {named_runs[0]} and more; a run has all its seeds: name it once")
        if named_runs:
            runs[name] = named_runs[0]
    expanded: dict[str, Sources] = {}
    arms = {name: _arms(run) for name, run in runs.items()}
    all_arms = [arm for tables_of in arms.values() for arm in tables_of]
    for name, source in models.items():
        if name not in runs:
            expanded[name] = _tables_of_folder(source)
            continue
        is_named = name != str(runs[name])
        for arm, tables in arms[name].items():
            label = f"{name if is_named else runs[name].name}/{arm}"
            if is_named and len(arms[name]) == 1:
                label = name
            elif not is_named and all_arms.count(arm) == 1 and arm not in models:
                label = arm
            if label in expanded:
                raise InputError(f"two arms are called {label}; name the runs: first=runs/a second=runs/b")
            expanded[label] = tables
    if not runs:
        return RunArms(expanded)
    folders = list(runs.values())
    _check_same_test(folders)
    return RunArms(expanded, primary or _stated(folders), _notes(folders), _order(folders))


def _arms(run: Path) -> dict[str, list[Path]]:
    """Arm -> the tables of its seeds, in the study's order."""
    names = optional_record(run, "resolved.json").get("arms") or {}
    tables = {arm: _listed_tables(run / "predictions" / arm) for arm in names}
    if not tables or not all(tables.values()) or not record_path(run, "scores.json").is_file():
        raise InputError(f"{run} has no predictions yet; finish it first: counterstain run")
    return tables


def _listed_tables(folder: Path) -> list[Path]:
    return [folder / name for name in natural(path.name for path in folder.glob("*.csv"))]


def _tables_of_folder(source: Sources) -> Sources:
    """The tables in a folder such as runs/demo/predictions/given-32; anything else as it is."""
    paths = source if isinstance(source, (list, tuple)) else [source]
    if len(paths) != 1 or not isinstance(paths[0], (str, os.PathLike)) or not Path(paths[0]).is_dir():
        return source
    tables = _listed_tables(Path(paths[0]))
    if not tables:
        raise InputError(f"{paths[0]} is neither a run nor a folder with prediction tables (.csv)")
    return tables


def _check_same_test(runs: Sequence[Path]) -> None:
    """Refuse runs whose test images differ, before tables that cannot be joined are read in full."""
    first, *others = ((run, _test_images(run)) for run in runs)
    for run, images in others:
        if images != first[1]:
            common = len(images & first[1])
            raise InputError(
                f"{first[0]} reports on {plural(len(first[1]), 'test image')} and {run} on {len(images)}, of which "
                f"{common} are the same; arms can be compared across studies only on one test part: give both studies "
                f"the same split.file"
            )


def _test_images(run: Path) -> frozenset[str]:
    return frozenset(read_predictions(next(iter(_arms(run).values()))[0]).image)


def _stated(runs: Sequence[Path]) -> str:
    """The primary measure that all runs state."""
    measures = {str((optional_record(run, "resolved.json").get("comparison") or {}).get("primary")) for run in runs}
    if len(measures) > 1:
        raise InputError(f"the runs state different primary measures ({listed(sorted(measures))}); name one: --primary")
    return measures.pop()


def _order(runs: Sequence[Path]) -> tuple[str, ...] | None:
    """The order of grades that all runs state; None without one."""
    stated = {tuple((optional_record(run, "resolved.json").get("cohort") or {}).get("order") or ()) for run in runs}
    orders = [order for order in stated if order]
    if len(orders) > 1:
        raise InputError(f"the runs order their grades differently ({' and '.join(map(', '.join, sorted(orders)))})")
    return orders[0] if orders else None


def _notes(runs: Sequence[Path]) -> tuple[str, ...]:
    stamps = [str(optional_record(run, "scores.json").get("stamp") or "") for run in runs]
    notes = tuple(dict.fromkeys(stamp for stamp in stamps if stamp))
    if len(runs) < 2:
        return notes
    return (
        *notes,
        f"the arms are of {len(runs)} studies, and none of them stated this comparison before its results were seen: "
        "its p-values are too small if the arms were chosen by their results",
    )
