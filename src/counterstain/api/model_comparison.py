"""Models compared on the same cases: arrays, data frames, files or Predictions in, a Comparison out."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast, overload

from counterstain.api.sources import Arrays, Sources, listed_sources, order_texts, refuse_options, shown_names
from counterstain.errors import GateError, InputError, says_arguments
from counterstain.evaluation.comparison import compare_arms, threshold_notes
from counterstain.evaluation.comparison_result import Comparison
from counterstain.evaluation.from_arrays import Names, Probabilities, as_predictions, from_source
from counterstain.evaluation.grades import check_graded_measures
from counterstain.evaluation.model_output import ModelOutput
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.ranking import DEFAULT_PRIOR_SD
from counterstain.evaluation.thresholds import decided_arms
from counterstain.files import write_json
from counterstain.study.run_predictions import expand_runs

__all__ = ["check_shown", "compare"]


Threshold = float | Mapping[str, float] | Sequence[str]
Models = Mapping[str, Sources]
Outputs = Mapping[str, Probabilities | Sequence[Probabilities]]


@overload
def compare(
    models: Models, /, *, primary: str | None = None, co_primary: Sequence[str] = (),
    level: str = "image",
    reference: str | None = None, margin: float | None = None, noninferiority: bool = False,
    equivalence: bool = False, gate: bool = False, fixed_models: bool = False,
    threshold: Threshold | None = None, detect: float | None = None,
    prior_sd: float = DEFAULT_PRIOR_SD, alpha: float = 0.05, positive: str | None = None,
    columns: Mapping[str, str] | None = None, order: Sequence[str] | None = None, out: Path | str | None = None,
) -> Comparison: ...  # fmt: skip


@overload
def compare(
    y_true: Names, y_probs: Outputs, /, *, groups: Names | None = None,
    slide: Names | None = None, site: Names | None = None, image: Names | None = None,
    classes: Sequence[str] | None = None, primary: str | None = None, co_primary: Sequence[str] = (),
    level: str = "image",
    reference: str | None = None, margin: float | None = None, noninferiority: bool = False,
    equivalence: bool = False, gate: bool = False, fixed_models: bool = False,
    threshold: Threshold | None = None, detect: float | None = None,
    prior_sd: float = DEFAULT_PRIOR_SD, alpha: float = 0.05, positive: str | int | bool | None = None,
    order: Sequence[str] | None = None, out: Path | str | None = None,
) -> Comparison: ...  # fmt: skip


@says_arguments
def compare(
    models: Names | Models,
    y_probs: Outputs | None = None,
    /,
    *,
    groups: Names | None = None,
    slide: Names | None = None,
    site: Names | None = None,
    image: Names | None = None,
    classes: Sequence[str] | None = None,
    primary: str | None = None,
    co_primary: Sequence[str] = (),
    level: str = "image",
    reference: str | None = None,
    margin: float | None = None,
    noninferiority: bool = False,
    equivalence: bool = False,
    gate: bool = False,
    fixed_models: bool = False,
    threshold: Threshold | None = None,
    detect: float | None = None,
    prior_sd: float = DEFAULT_PRIOR_SD,
    alpha: float = 0.05,
    positive: str | int | bool | None = None,
    columns: Mapping[str, str] | None = None,
    order: Sequence[str] | None = None,
    out: Path | str | None = None,
) -> Comparison:
    """Compare models on the same cases, with the patient as the unit, and say what may be claimed.

    Several tables under one name compare training procedures; `fixed_models` compares fitted models, one table each.

    Args:
        models: {name: predictions, or a list of them, one for each seed}, each a path, a data frame or Predictions;
            a finished run stands for its arms, by the study's own primary measure; or (N,) true classes, beside
            `y_probs`.
        y_probs: {name: (N,) or (N, C) probabilities, or a list of such arrays, one for each seed}; or outputs of
            `model.predict` in their place.
        groups, slide, site, image, classes: of arrays, see `evaluate`.
        primary: the measure that the verdict is about, by default auroc; co_primary: several that must all pass.
        level: "image", "slide" or "patient".
        reference: compare the others with this one only.
        margin: a difference too small to matter; noninferiority, equivalence: what is asked of it.
        gate: raise GateError unless what was asked is shown.
        fixed_models: compare these fitted models only, one table each.
        threshold: frozen, one for all or {name: threshold}, which the texts "0.3" and "NAME=0.3" say, too.
        detect: a difference for which the number of patients is wanted.
        prior_sd: of the sceptical prior on a true difference; alpha: how often a false winner may be named.
        positive, columns, order: see `evaluate`; the order of a run's grades is known.
        out: where comparison.json is written.

    Raises:
        InputError: If there are fewer than two models, or predictions can't be read or joined.
        GateError: With `gate`, if what was asked is not shown.

    Examples:
        >>> import counterstain
        >>> truth, patient = [0, 0, 1, 1] * 6, [f"P{k // 2}" for k in range(24)]
        >>> good, poor = [.1, .3, .7, .9] * 6, [.6, .3, .5, .4] * 6
        >>> found = counterstain.compare(truth, {"a": good, "b": poor}, groups=patient, fixed_models=True)
        >>> found.pair("a", "b").difference, found.unit
        (0.5, 'patient')
    """
    _check_one_question(primary, co_primary, noninferiority=noninferiority, equivalence=equivalence)
    arrays: Arrays = {"groups": groups, "slide": slide, "site": site, "image": image, "classes": classes}
    notes: tuple[str, ...] = ()
    grades = order_texts(order)
    _check_named(models if y_probs is None else y_probs)
    if y_probs is not None:
        refuse_options("of a table; the data are arrays", columns=columns)
        arms, files = _arms_of_arrays(cast(Names, models), y_probs, arrays, positive, grades)
    else:
        refuse_options("for arrays (y_true, {name: y_prob}); the data are tables, which contain it", **arrays)
        expanded = expand_runs(cast(Models, models), primary=None if co_primary else primary)
        primary, notes = primary if co_primary else expanded.primary or primary, expanded.notes
        grades = grades or expanded.order
        arms, files = _arms_of_tables(expanded.models, None if positive is None else str(positive), columns, grades)
    check_graded_measures([*([] if primary is None else [primary]), *co_primary], grades)
    if primary is None and not co_primary:
        _check_probabilities(arms)
    thresholds = [] if threshold is None else _threshold_texts(threshold)
    record = compare_arms(
        arms, primary=primary or "auroc", co_primary=co_primary, level=level, reference=reference, margin=margin,
        hypothesis="noninferiority" if noninferiority else "equivalence" if equivalence else "difference",
        claim="models" if fixed_models else "procedures", alpha=alpha, prior_sd=prior_sd, detect=detect, files=files,
        decided=decided_arms(arms, thresholds) if thresholds else None,
    )  # fmt: skip
    record["warnings"] = [*notes, *record["warnings"]]
    if thresholds:
        record["warnings"] = [*threshold_notes(thresholds, record), *record["warnings"]]
    if out is not None:
        write_json(Path(out), record)
    return check_shown(Comparison(record)) if gate else Comparison(record)


def check_shown(comparison: Comparison) -> Comparison:
    """The comparison, refused where it does not show what was asked.

    Raises:
        GateError: If it is not shown.
    """
    if not comparison.shown:
        raise GateError(f"the gate fails: it is not shown {comparison.record['asked']}")
    return comparison


def _check_one_question(
    primary: str | None, co_primary: Sequence[str], *, noninferiority: bool, equivalence: bool
) -> None:
    if noninferiority and equivalence:
        raise InputError("--noninferiority and --equivalence were both given; ask one question")
    if primary is not None and co_primary:
        raise InputError(
            f"--primary {primary} and --co-primary {','.join(co_primary)} were both given; name all endpoints in one"
        )


def _check_probabilities(arms: Mapping[str, Sequence[Predictions]]) -> None:
    """The default measure needs probabilities."""
    if any(table.hard for tables in arms.values() for table in tables):
        raise InputError(
            "a table has predicted classes alone, which have no AUROC; ask about --primary accuracy, f1, …, or, of "
            "grades, --primary quadratic_kappa with --order"
        )


def _arms_of_arrays(
    y_true: Names,
    y_probs: Outputs,
    arrays: Arrays,
    positive: str | int | bool | None,
    order: Sequence[str] | None,
) -> tuple[dict[str, list[Predictions]], dict[str, list[str]]]:
    """The tables of each arm, one for each array of probabilities, and what messages call them."""
    rows = tuple(map(str, range(len(y_true))))  # one y_true for all: row k is the same image in every array
    if arrays["image"] is None:
        arrays = {**arrays, "image": rows}
    arms: dict[str, list[Predictions]] = {}
    for name, probs in y_probs.items():
        several = isinstance(probs, (list, tuple)) and len(probs) > 0 and _is_output(probs[0])
        seeds = cast(Sequence[Probabilities], probs if several else [probs])
        tables = [as_predictions(y_true, seed, positive=positive, **arrays) for seed in seeds]
        arms[name] = [from_source(table, order=order) for table in tables]
    return arms, {name: [f"array {k} of '{name}'" for k in range(len(own))] for name, own in arms.items()}


def _is_output(value: object) -> bool:
    """Whether this is all that a model says, an array or its own object, and not one of its numbers."""
    return isinstance(value, ModelOutput) or getattr(value, "shape", ()) != ()


def _arms_of_tables(
    models: Models,
    positive: str | None,
    columns: Mapping[str, str] | None,
    order: Sequence[str] | None,
) -> tuple[dict[str, list[Predictions]], dict[str, list[str]]]:
    """The tables of each arm, one for each source, and what messages call them."""
    sources = {name: listed_sources(own) for name, own in models.items()}
    arms = {
        name: [from_source(source, positive=positive, columns=columns, order=order) for source in own]
        for name, own in sources.items()
    }
    return arms, {name: shown_names(own, f"'{name}'") for name, own in sources.items()}


def _threshold_texts(threshold: Threshold) -> list[str]:
    """One text for each threshold, as the command line has them."""
    if isinstance(threshold, Mapping):
        return [f"{name}={value}" for name, value in threshold.items()]
    if isinstance(threshold, str) or not isinstance(threshold, Iterable):
        return [str(threshold)]
    return [str(one) for one in threshold]


def _check_named(models: object) -> None:
    if not isinstance(models, Mapping):
        raise InputError(
            f"a {type(models).__name__} was given; {{name: predictions}} is needed, with two names or more, or "
            "(y_true, {name: y_prob})"
        )
