"""Scores and comparisons of anyone's predictions: arrays, data frames, files or Predictions in, objects out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, overload

from counterstain.errors import GateError, InputError, says_arguments
from counterstain.evaluation.comparison import compare_arms, threshold_notes
from counterstain.evaluation.comparison_notes import check_copies
from counterstain.evaluation.comparison_result import Comparison
from counterstain.evaluation.from_arrays import Names, Probabilities, Source, as_predictions, from_source, is_frame
from counterstain.evaluation.grades import check_graded_measures
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import columns_of, read_columns
from counterstain.evaluation.ranking import DEFAULT_PRIOR_SD
from counterstain.evaluation.record_types import ScoresRecord
from counterstain.evaluation.scores_result import Scores
from counterstain.evaluation.subgroups import GROUPINGS
from counterstain.evaluation.table_evaluation import ARM, columns_wanted, evaluate_tables, evaluation_rows
from counterstain.evaluation.thresholds import decided_arms
from counterstain.files import write_csv, write_json
from counterstain.study.run_predictions import expand_runs
from counterstain.tables import table_of_frame

__all__ = ["compare", "evaluate"]

By = Sequence[str] | Mapping[str, Names]
Sources = Source | Sequence[Source]
Threshold = float | Mapping[str, float] | Sequence[str]
PAGES = (".html", ".htm")
NOT_A_FOLDER = (".csv", ".json", ".pdf", ".txt", ".md", ".xlsx", ".png", ".svg", ".parquet")


@overload
def evaluate(
    predictions: Sources, /, *, positive: str | None = None, columns: Mapping[str, str] | None = None,
    order: Sequence[str] | None = None, threshold: float | str | None = None,
    threshold_from: Sources | None = None, by: By = (),
    prevalence: float | None = None, interval: str = "jackknife", confidence: float = 0.95,
    model: Path | str | None = None, arm: str | None = None, seed: int | None = None, fold: str | None = None,
    ledger: Path | str | None = None, out: Path | str | None = None,
) -> Scores: ...  # fmt: skip
@overload
def evaluate(
    y_true: Names, y_prob: Probabilities, /, *, groups: Names | None = None, slide: Names | None = None,
    site: Names | None = None, image: Names | None = None, classes: Sequence[str] | None = None,
    positive: str | int | bool | None = None, order: Sequence[str] | None = None,
    threshold: float | str | None = None, threshold_from: Sources | None = None, by: By = (),
    prevalence: float | None = None,
    interval: str = "jackknife", confidence: float = 0.95, model: Path | str | None = None, arm: str | None = None,
    seed: int | None = None, fold: str | None = None, out: Path | str | None = None,
) -> Scores: ...  # fmt: skip
@says_arguments
def evaluate(
    y_true: Any,
    y_prob: Any = None,
    /,
    *,
    groups: Names | None = None,
    slide: Names | None = None,
    site: Names | None = None,
    image: Names | None = None,
    classes: Sequence[str] | None = None,
    positive: str | int | bool | None = None,
    columns: Mapping[str, str] | None = None,
    order: Sequence[str] | None = None,
    threshold: float | str | None = None,
    threshold_from: Sources | None = None,
    by: By = (),
    prevalence: float | None = None,
    interval: str = "jackknife",
    confidence: float = 0.95,
    model: Path | str | None = None,
    arm: str | None = None,
    seed: int | None = None,
    fold: str | None = None,
    ledger: Path | str | None = None,
    out: Path | str | None = None,
) -> Scores:
    """Scores, calibration, net benefit and subgroups of one model's predictions, with intervals over patients.

    Args:
        y_true: (N,) true classes, beside `y_prob`; or alone the predictions: a path, a data frame, Predictions, or a
            list of them, one for each seed of one model.
        y_prob: (N,) probability of the positive class, or (N, C) of every class.
        groups: (N,) the patient of each image; images of one patient are not independent. Without it the image is the
            unit, and a note says so.
        slide, site, image: (N,) names.
        classes: class names in the order of the columns of y_prob; by default sorted.
        positive: the positive one of two classes; by default the last.
        columns: {our column: the table's} of files and data frames; see docs/tables.md.
        order: three or more classes that are grades, from the lowest to the highest; adds the quadratic-weighted kappa.
        threshold: a number, or a rule (youden, sensitivity>=0.95, cost 5:1) chosen on `threshold_from`.
        threshold_from: predictions of validation patients.
        by: subgroups: names of columns (site, slide, patient, or any of a file), or {name: (N,) values}.
        prevalence: of the positive class where the model is to be used; adds PPV and NPV there.
        interval: "jackknife" or "bootstrap", both over patients; confidence: of the intervals.
        model: folder of the run, bundle or export that made the predictions: which images it was trained on, and
            whether its promises hold; arm, seed, fold: which model of a run, see `predict`.
        ledger: folder in which this use of the test set is recorded; for files.
        out: a folder for scores.json and scores.csv, or a page (report.html).

    Raises:
        InputError: If predictions can't be read or joined, or an option doesn't fit them.

    Examples:
        >>> import counterstain
        >>> patient = ["P1", "P1", "P2", "P3", "P3", "P4", "P5", "P6"]
        >>> scores = counterstain.evaluate([0, 0, 0, 1, 1, 1, 0, 1], [.1, .3, .2, .9, .4, .8, .6, .7], groups=patient)
        >>> scores.unit, scores.patients, scores["sensitivity"].value
        ('patient', 6, 0.75)
    """
    if out is not None:
        _check_place(Path(out))
    folder = _model_folder(model, arm=arm, seed=seed, fold=fold)
    arrays = {"groups": groups, "slide": slide, "site": site, "image": image, "classes": classes}
    if y_prob is not None:
        _refuse("of a table; the data are arrays", columns=columns, ledger=ledger)
        sources: list[Source] = [as_predictions(y_true, y_prob, positive=positive, **cast(Any, arrays))]
        named = None
    else:
        _refuse("for arrays (y_true, y_prob); the data are tables, which contain it", **arrays)
        sources = _listed(y_true)
        named = None if positive is None else str(positive)
    tables = [from_source(source, positive=named, columns=columns, order=_texts(order)) for source in sources]
    check_copies({ARM: tables}, {ARM: _shown(sources, "the model")})
    given, cells = _groups(by, sources[0], tables[0], columns_wanted(tuple(by)))
    record = evaluate_tables(
        tables,
        interval=interval,
        confidence=confidence,
        threshold=None if threshold is None else str(threshold),
        validation=[] if threshold_from is None else _validation(threshold_from, tables[0], columns),
        prevalence=prevalence,
        by=given,
        deployed=None if folder is None else _deployed(folder),
        columns=cells,
    )
    if folder is not None:
        record["seen"] = _seen(folder, tables[0])
    if ledger is not None:
        from counterstain.evaluation.test_set_log import note_tables

        record["looks"] = note_tables(Path(ledger), _files(sources, "ledger"), tables[0])
    if out is not None:
        _write(Path(out), record, tables, ", ".join(map(_name, sources)))
    return Scores(record)


def _validation(sources: Sources, table: Predictions, columns: Mapping[str, str] | None) -> list[Predictions]:
    """The validation predictions that a threshold is chosen on, with the classes of the table."""
    return [from_source(source, classes=table.classes, columns=columns) for source in _listed(sources)]


def _refuse(why: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None and not (isinstance(value, Mapping) and not value):
            raise InputError(f"{name} is {why}; leave it out")


def _check_place(out: Path) -> None:
    # A name with the ending of another file was meant as that file, not as a folder.
    if out.suffix.lower() in NOT_A_FOLDER:
        raise InputError(
            f"--out is {out}; name a page that ends in .html, or a folder, which gets scores.json and scores.csv"
        )


def _shown(sources: Sequence[Source], name: str) -> list[str]:
    """What messages call each source."""
    return [
        str(source) if isinstance(source, (str, Path)) else f"table {k} of {name}"
        for k, source in enumerate(sources, 1)
    ]


def _listed(sources: Any) -> list[Source]:
    """One source or several as a list."""
    several = isinstance(sources, Sequence) and not isinstance(sources, (str, Predictions))
    found = list(sources) if several else [sources]
    if not found:
        raise InputError("no predictions were given; name at least one table")
    return found


def _name(source: Source) -> str:
    return Path(source).name if isinstance(source, (str, Path)) else "predictions"


def _files(sources: Sequence[Source], option: str) -> list[Path]:
    if not all(isinstance(source, (str, Path)) for source in sources):
        raise InputError(f"{option} is for predictions in files; write them with counterstain.write_predictions first")
    return [Path(cast(str, source)) for source in sources]


def _groups(
    by: By, source: Source, table: Predictions, wanted: Sequence[str]
) -> tuple[dict[str, tuple[str, ...] | None], dict[str, tuple[str, ...]]]:
    """The groups of each grouping (None where every table knows them), and the columns that the source has."""
    if isinstance(by, Mapping):
        given = {name: tuple(map(str, values)) for name, values in by.items()}
        wrong = next((name for name, values in given.items() if len(values) != len(table)), None)
        if wrong is not None:
            raise InputError(
                f"by['{wrong}'] has {len(given[wrong])} values for {len(table)} images; one each is needed"
            )
        return dict(given), {}
    if isinstance(by, str):
        raise InputError(f"by is '{by}'; a list of names is needed, such as by=['{by}']")
    cells: dict[str, tuple[str, ...]] = {}
    if isinstance(source, (str, Path)):
        cells = read_columns(source, wanted)
    elif is_frame(source):
        cells = columns_of(table_of_frame(source), wanted)
    unknown = next((name for name in by if name not in GROUPINGS and name not in cells), None)
    if unknown is not None:
        place = str(source) if isinstance(source, (str, Path)) else "the data"
        raise InputError(f"--by {unknown}: {place} has no column '{unknown}'; name one of its columns, or site")
    return {name: cells.get(name) for name in by}, cells


def _model_folder(model: Path | str | None, *, arm: str | None, seed: int | None, fold: str | None) -> Path | None:
    """The folder of the one model that is meant."""
    if model is None:
        _refuse("of a model's run; name it as model", arm=arm, seed=seed, fold=fold)
        return None
    from counterstain.learning.model_choice import choose_model

    return choose_model(Path(model), arm=arm, seed=seed, fold=fold).folder


def _deployed(model: Path) -> Any:
    from counterstain.evaluation.deployed import read_deployed

    return read_deployed(model)


def _seen(model: Path, table: Predictions) -> dict[str, Any]:
    """Which images and patients of a table the model was trained on."""
    from counterstain.audit.training_set import MEMBERS, overlap, read_members

    if not (model / MEMBERS).is_file():
        return {"counts": {}, "words": [f"unknown, since {model} does not list what its model was trained on"]}
    found = overlap(read_members(model), patient=table.patient, image=table.image)
    return {"counts": dict(found.seen), "words": list(found.words)}


def _write(out: Path, record: ScoresRecord, tables: Sequence[Predictions], name: str) -> None:
    """The page where `out` ends in .html, else scores.json and scores.csv in that folder."""
    if out.suffix.lower() in PAGES:
        from counterstain.reports.table_report import write_table_report

        write_table_report(record, tables, out, name=name)
        return
    write_json(out / "scores.json", record)
    write_csv(out / "scores.csv", *evaluation_rows(record))


@overload
def compare(
    models: Mapping[str, Sources], /, *, primary: str | None = None, co_primary: Sequence[str] = (),
    level: str = "image",
    reference: str | None = None, margin: float | None = None, noninferiority: bool = False,
    equivalence: bool = False, gate: bool = False, fixed_models: bool = False,
    threshold: Threshold | None = None, detect: float | None = None,
    prior_sd: float = DEFAULT_PRIOR_SD, alpha: float = 0.05, positive: str | None = None,
    columns: Mapping[str, str] | None = None, order: Sequence[str] | None = None, out: Path | str | None = None,
) -> Comparison: ...  # fmt: skip
@overload
def compare(
    y_true: Names, y_probs: Mapping[str, Probabilities | Sequence[Probabilities]], /, *, groups: Names | None = None,
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
    models: Any,
    y_probs: Any = None,
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

    Several tables under one name judge the way of training. With one table each, `fixed_models` judges these models.

    Args:
        models: {name: predictions, or a list of them, one for each seed}, each a path, a data frame or Predictions;
            a finished run stands for its arms, by the study's own primary measure; or (N,) true classes, beside
            `y_probs`.
        y_probs: {name: (N,) or (N, C) probabilities, or a list of such arrays, one for each seed}.
        groups, slide, site, image, classes: of arrays, see `evaluate`.
        primary: the measure that the verdict is about, by default auroc; co_primary: several that must all pass.
        level: "image", "slide" or "patient".
        reference: compare the others with this one only.
        margin: a difference too small to matter; noninferiority, equivalence: what is asked of it.
        gate: raise GateError unless what was asked is shown.
        fixed_models: judge these fitted models alone, one table each.
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
    arrays = {"groups": groups, "slide": slide, "site": site, "image": image, "classes": classes}
    notes: tuple[str, ...] = ()
    grades = _texts(order)
    if y_probs is not None:
        _refuse("of a table; the data are arrays", columns=columns)
        arms, files = _arms_of_arrays(models, _named(y_probs), {"positive": positive, **arrays}, grades)
    else:
        _refuse("for arrays (y_true, {name: y_prob}); the data are tables, which contain it", **arrays)
        expanded = expand_runs(_named(models), primary=None if co_primary else primary)
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
    if gate and not record["shown"]:
        raise GateError(f"the gate fails: it is not shown {record['asked']}")
    return Comparison(record)


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
    y_true: Names, y_probs: Mapping[str, Any], options: Mapping[str, Any], order: Sequence[str] | None
) -> tuple[dict[str, list[Predictions]], dict[str, list[str]]]:
    """The tables of each arm, one for each array of probabilities, and what messages call them."""
    rows = tuple(map(str, range(len(y_true))))  # one y_true for all: row k is the same image in every array
    options = {**options, "image": rows if options["image"] is None else options["image"]}
    arms: dict[str, list[Predictions]] = {}
    for name, probs in y_probs.items():
        several = isinstance(probs, (list, tuple)) and len(probs) > 0 and getattr(probs[0], "shape", ()) != ()
        tables = [as_predictions(y_true, seed, **options) for seed in (probs if several else [probs])]
        arms[name] = [from_source(table, order=order) for table in tables]
    return arms, {name: [f"array {k} of '{name}'" for k in range(len(own))] for name, own in arms.items()}


def _arms_of_tables(
    models: Mapping[str, Any],
    positive: str | None,
    columns: Mapping[str, str] | None,
    order: Sequence[str] | None,
) -> tuple[dict[str, list[Predictions]], dict[str, list[str]]]:
    """The tables of each arm, one for each source, and what messages call them."""
    sources = {name: _listed(own) for name, own in models.items()}
    arms = {
        name: [from_source(source, positive=positive, columns=columns, order=order) for source in own]
        for name, own in sources.items()
    }
    return arms, {name: _shown(own, f"'{name}'") for name, own in sources.items()}


def _texts(order: Sequence[str] | None) -> tuple[str, ...] | None:
    """The grades as the tables name them: 3 is the class '3'."""
    if isinstance(order, str):
        raise InputError(f"order is '{order}'; a list of classes is needed, from the lowest to the highest")
    return None if order is None else tuple(map(str, order))


def _threshold_texts(threshold: Threshold) -> list[str]:
    """One text for each threshold, as the command line has them."""
    if isinstance(threshold, Mapping):
        return [f"{name}={value}" for name, value in threshold.items()]
    return [str(threshold)] if isinstance(threshold, (int, float, str)) else list(threshold)


def _named(models: Any) -> Mapping[str, Any]:
    if not isinstance(models, Mapping):
        raise InputError(
            f"a {type(models).__name__} was given; {{name: predictions}} is needed, with two names or more, or "
            "(y_true, {name: y_prob})"
        )
    return models
