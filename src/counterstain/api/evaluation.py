"""Scores and comparisons of anyone's predictions: arrays, data frames, files or Predictions in, objects out."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast, overload

from counterstain.api.sources import Arrays, Sources, listed_sources, order_texts, refuse_options, shown_names
from counterstain.errors import InputError, says_arguments
from counterstain.evaluation.comparison_notes import check_copies
from counterstain.evaluation.from_arrays import Names, Probabilities, Source, as_predictions, from_source, is_frame
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import columns_of, read_columns
from counterstain.evaluation.record_types import ScoresRecord, SeenRecord
from counterstain.evaluation.scores_result import Scores
from counterstain.evaluation.subgroups import GROUPINGS
from counterstain.evaluation.table_evaluation import ARM, columns_wanted, evaluate_tables, evaluation_rows
from counterstain.files import StrPath, write_csv, write_json
from counterstain.tables import table_of_frame

if TYPE_CHECKING:
    from counterstain.evaluation.deployed import Deployed

__all__ = ["evaluate"]

By = Sequence[str] | Mapping[str, Names]
PAGES = (".html", ".htm")
NOTHING_STATED = (
    "the model states nothing that it could be held to: it was never calibrated, so it has no prediction sets and no "
    "frozen threshold"
)
NOT_A_FOLDER = (".csv", ".json", ".pdf", ".txt", ".md", ".xlsx", ".png", ".svg", ".parquet")


@overload
def evaluate(
    predictions: Sources, /, *, positive: str | None = None, columns: Mapping[str, str] | None = None,
    order: Sequence[str] | None = None, threshold: float | str | None = None,
    threshold_from: Sources | None = None, by: By = (),
    prevalence: float | None = None, interval: str = "jackknife", confidence: float = 0.95,
    model: StrPath | None = None, arm: str | None = None, seed: int | None = None, fold: str | None = None,
    ledger: Path | str | None = None, out: Path | str | None = None,
) -> Scores: ...  # fmt: skip
@overload
def evaluate(
    y_true: Names, y_prob: Probabilities, /, *, groups: Names | None = None, slide: Names | None = None,
    site: Names | None = None, image: Names | None = None, classes: Sequence[str] | None = None,
    positive: str | int | bool | None = None, order: Sequence[str] | None = None,
    threshold: float | str | None = None, threshold_from: Sources | None = None, by: By = (),
    prevalence: float | None = None,
    interval: str = "jackknife", confidence: float = 0.95, model: StrPath | None = None, arm: str | None = None,
    seed: int | None = None, fold: str | None = None, out: Path | str | None = None,
) -> Scores: ...  # fmt: skip
@says_arguments
def evaluate(
    y_true: Names | Sources,
    y_prob: Probabilities | None = None,
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
    model: StrPath | None = None,
    arm: str | None = None,
    seed: int | None = None,
    fold: str | None = None,
    ledger: Path | str | None = None,
    out: Path | str | None = None,
) -> Scores:
    """Scores, calibration, net benefit and subgroups of one model's predictions, with intervals over patients.

    Args:
        y_true: (N,) true classes, beside `y_prob`; or alone the predictions: a path, a data frame, Predictions, what
            `predict` returned, or a list of them, one for each seed of one model.
        y_prob: (N,) probability of the positive class, or (N, C) of every class; or what `model.predict` returned.
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
        model: the model, run or export, or its folder, that made the predictions: which images it was trained on, and
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
    arrays: Arrays = {"groups": groups, "slide": slide, "site": site, "image": image, "classes": classes}
    if y_prob is not None:
        refuse_options("of a table; the data are arrays", columns=columns, ledger=ledger)
        sources: list[Source] = [as_predictions(cast(Names, y_true), y_prob, positive=positive, **arrays)]
        named = None
    else:
        refuse_options("for arrays (y_true, y_prob); the data are tables, which contain it", **arrays)
        sources = listed_sources(cast(Sources, y_true))
        named = None if positive is None else str(positive)
    tables = [from_source(source, positive=named, columns=columns, order=order_texts(order)) for source in sources]
    check_copies({ARM: tables}, {ARM: shown_names(sources, "the model")})
    by = _listed_groups(by)
    groups_of, cells = _groups(by, sources[0], tables[0], columns_wanted(tuple(by)))
    deployed = None if folder is None else _deployed(folder)
    record = evaluate_tables(
        tables, interval=interval, confidence=confidence, prevalence=prevalence, by=groups_of, columns=cells,
        threshold=None if threshold is None else str(threshold),
        validation=[] if threshold_from is None else _validation(threshold_from, tables[0], columns),
        deployed=deployed,
    )  # fmt: skip
    if folder is not None:
        record["arms"][ARM]["warnings"] += [] if deployed is not None else [NOTHING_STATED]
        record["seen"] = _seen(folder, tables[0])
    if ledger is not None:
        from counterstain.evaluation.test_set_log import note_tables

        record["looks"] = note_tables(Path(ledger), _files(sources, "ledger"), tables[0])
    if out is not None:
        _write(Path(out), record, tables, ", ".join(map(_name, sources)))
    return Scores(record)


def _validation(sources: Sources, table: Predictions, columns: Mapping[str, str] | None) -> list[Predictions]:
    """The validation predictions that a threshold is chosen on, with the classes of the table."""
    return [from_source(source, classes=table.classes, columns=columns) for source in listed_sources(sources)]


def _check_place(out: Path) -> None:
    # A name with the ending of another file was meant as that file, not as a folder.
    if out.suffix.lower() in NOT_A_FOLDER:
        raise InputError(
            f"--out is {out}; name a page that ends in .html, or a folder, which gets scores.json and scores.csv"
        )


def _name(source: Source) -> str:
    return Path(source).name if isinstance(source, (str, Path)) else "predictions"


def _files(sources: Sequence[Source], option: str) -> list[Path]:
    if not all(isinstance(source, (str, Path)) for source in sources):
        raise InputError(f"{option} is for predictions in files; write them with counterstain.write_predictions first")
    return [Path(cast(str, source)) for source in sources]


def _listed_groups(by: By) -> By:
    """The names as a list, of an iterator, too; what is none is refused. One name alone comes here as a list of one."""
    if isinstance(by, Mapping):
        return by
    if not isinstance(by, Iterable):
        raise InputError(f"by is {by}; a list of names is needed, such as by=['site']")
    return tuple(map(str, by))


def _groups(
    by: By, source: Source, table: Predictions, wanted: Sequence[str]
) -> tuple[dict[str, tuple[str, ...] | None], dict[str, tuple[str, ...]]]:
    """The groups of each grouping (None where every table knows them), and the columns that the source has."""
    if isinstance(by, Mapping):
        groups_of = {name: tuple(map(str, values)) for name, values in by.items()}
        wrong = next((name for name, values in groups_of.items() if len(values) != len(table)), None)
        if wrong is not None:
            raise InputError(
                f"by['{wrong}'] has {len(groups_of[wrong])} values for {len(table)} images; one each is needed"
            )
        return dict(groups_of), {}
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


def _model_folder(model: StrPath | None, *, arm: str | None, seed: int | None, fold: str | None) -> Path | None:
    """The folder of the one model that is meant."""
    if model is None:
        refuse_options("of a model's run; name it as model", arm=arm, seed=seed, fold=fold)
        return None
    from counterstain.learning.model_choice import choose_model

    return choose_model(Path(model), arm=arm, seed=seed, fold=fold).folder


def _deployed(model: Path) -> "Deployed | None":
    from counterstain.evaluation.deployed import read_deployed

    return read_deployed(model)


def _seen(model: Path, table: Predictions) -> SeenRecord:
    """Which images and patients of a table the model was trained on."""
    from counterstain.audit.training_set import MEMBERS, overlap, read_members

    if not (model / MEMBERS).is_file():
        return {"counts": {}, "words": [f"unknown, since {model} does not list what its model was trained on"]}
    met = overlap(read_members(model), patient=table.patient, image=table.image)
    return {"counts": dict(met.seen), "words": list(met.words)}


def _write(out: Path, record: ScoresRecord, tables: Sequence[Predictions], name: str) -> None:
    """The page where `out` ends in .html, else scores.json and scores.csv in that folder."""
    if out.suffix.lower() in PAGES:
        from counterstain.reports.table_report import write_table_report

        write_table_report(record, tables, out, name=name)
        return
    write_json(out / "scores.json", record)
    write_csv(out / "scores.csv", *evaluation_rows(record))
