"""The run of a study: strings the stages together, skips what is done, resumes where it was stopped."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from counterstain.cohort.image_files import NOT_AN_IMAGE
from counterstain.cohort.image_paths import LOCATION, write_location
from counterstain.cohort.manifest import write_cohort
from counterstain.cohort.split import SplitRecord
from counterstain.cohort.splitters import count_parts, write_split
from counterstain.cohort.summary import describe
from counterstain.engine import check_engine
from counterstain.evaluation.rows import unit_words
from counterstain.files import hash_json, read_json, write_bytes, write_csv, write_json
from counterstain.images.augment import expanded_count
from counterstain.images.augmentation import Augmentation
from counterstain.progress import Progress
from counterstain.reports.figure_settings import style_of
from counterstain.reports.run_report import write_figures, write_report
from counterstain.run_folder import LOG, MANIFEST, RECORDS, append_log, as_written, listed_hashes, record_path
from counterstain.study.audit_stage import audit_stage
from counterstain.study.completion import file_hashes, lock
from counterstain.study.contact_sheets import sheet_of
from counterstain.study.environment import environment
from counterstain.study.evaluate_run import judge
from counterstain.study.executors import sender, settle_threads
from counterstain.study.figures_config import FiguresSection
from counterstain.study.planning import check_settings, plan_study
from counterstain.study.prepare import PreparedStudy, prepare
from counterstain.study.publish import check_tracker, publish, tracked
from counterstain.study.run_readme import write_readme
from counterstain.study.study_config import read_study
from counterstain.study.test_set_uses import ledger_folder, write_test_set_uses
from counterstain.study.trainings import train_all
from counterstain.system import keep_pages
from counterstain.version import __version__

__all__ = ["plan_study", "run_study"]

# What may differ between two runs that are otherwise the same: when and how fast, and where the images are.
UNTRACKED = (LOG, LOCATION, MANIFEST)
SHEET, SLIDE = "augmentation.png", "slide.png"
# What a new run does not take over from the one before it.
OWN = (LOG, LOCATION, MANIFEST, ".lock", "report.html", "slide.json", "old_protocol.json", SLIDE)


def run_study(
    path: Path | str,
    *,
    overrides: dict[str, str] | None = None,
    folder: Path | None = None,
    talk: Progress | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    before_report: Callable[[Path], None] | None = None,
    track: Sequence[str] = (),
) -> Path:
    """Do everything that a study asks for and is not done yet.

    A run that was stopped resumes from its last finished epoch and ends in the same bytes. A finished run is never
    changed: where its study has changed, the new run gets the next free name and takes over what still holds.

    Args:
        path: of the study's YAML file; `runs/` and `store/` are made beside it.
        overrides: see read_study.
        folder: where `runs/` and `store/` are made instead.
        talk: where progress is told.
        jobs: how many trainings run at once, each in a process of its own with a fixed number of threads.
        scheduler: address of a dask scheduler whose workers do the trainings, such as tcp://host:8786; they see the
            study, the images, `runs/` and `store/` under the same paths as this machine.
        track: trackers that the run is written for, epoch by epoch, see publish.tracked.
        before_report: called with the run's folder once all is judged, to put more there for the report to show.

    Returns:
        The run's folder, with report.html in it.

    Raises:
        InputError: For whatever the user must mend.
    """
    path = Path(path)
    talk = talk or Progress()
    keep_pages()
    check_engine(jobs=jobs, scheduler=scheduler)
    for name in track:
        check_tracker(name)
    if jobs > 1 or scheduler is not None:
        overrides = settle_threads(path, overrides, jobs=jobs, scheduler=scheduler)
    study = read_study(path, overrides)
    check_settings(study, path.parent)
    home = folder or path.parent
    prepared = prepare(study, path.parent, store=home / "store", talk=talk)
    run = _choose_folder(home / "runs", study.name, prepared, talk)
    with lock(run):
        if record_path(run, MANIFEST).is_file():
            _check_records(run)
            talk.say(f"{run} is finished; nothing to do")
            for name in track:
                talk.say(f"{name}: written to {publish(run, name)}")
            return run
        talk = _logged(run, talk)
        with tracked(run, track) as places:
            _write_protocol(run, path, prepared, talk)
            audit_stage(run, prepared, talk, manifest=path.parent / study.cohort.path)
            send = sender(jobs=jobs, scheduler=scheduler, base=path.parent, store=home / "store", overrides=overrides)
            train_all(run, prepared, talk, send)
            judge(run, prepared, talk)
            write_test_set_uses(run, prepared, ledger_folder(study, path.parent), talk)
            if before_report is not None:
                before_report(run)
            _report(run, study.figures, talk)
            write_readme(run)
            _write_manifest(run, prepared)
        for name, place in places.items():
            talk.say(f"{name}: written to {place}")
    return run


def _check_records(run: Path) -> None:
    """Refuse a finished run of which a record has changed or is missing: it is not as finished as it says."""
    for name in listed_hashes(run):
        if name.startswith(f"{RECORDS}/"):
            as_written(run / name)


def _logged(run: Path, talk: Progress) -> Progress:
    """The same, with every line also in the run's log; epochs are logged where they are trained."""

    def say(line: str) -> None:
        append_log(run, line)
        talk.say(line)

    @contextmanager
    def busy(label: str) -> Iterator[None]:
        append_log(run, label)
        with talk.working_on(label):
            yield

    return replace(talk, say=say, busy=busy)


def _choose_folder(runs: Path, name: str, prepared: PreparedStudy, talk: Progress) -> Path:
    """The folder of this run: a finished one only if it is of this very study and data."""
    key = hash_json(prepared.key())
    previous: Path | None = None
    for number in range(1, 10_000):
        run = runs / (name if number == 1 else f"{name}-{number}")
        if not record_path(run, MANIFEST).is_file():
            break
        if read_json(as_written(record_path(run, MANIFEST)))["key"] == key:
            return run
        previous = run
    if previous is not None and not run.exists():
        talk.say(f"{previous} is finished, and the study or its data has changed since: this run is written to {run}")
        shutil.copytree(previous, run, ignore=shutil.ignore_patterns(*OWN))
    return run


def _write_protocol(run: Path, source: Path, prepared: PreparedStudy, talk: Progress) -> None:
    """Everything that is known before training: protocol, cohort, set-aside images, split, augmentation, machine."""
    study, cohort, store = prepared.study, prepared.material.cohort, prepared.material.store
    write_bytes(run / "study.yaml", source.read_bytes())
    write_json(record_path(run, "resolved.json"), study.resolved())
    write_cohort(cohort, record_path(run, "cohort.csv"), as_named=True)
    write_location(run / RECORDS, cohort.root)
    colour = None if study.of_bags else prepared.material.tiles.colour[store.rows(cohort.image)]
    write_json(record_path(run, "cohort.json"), describe(cohort, colour))
    # A table or a text beside the images was never one of them; cohort.json lists it among what was skipped.
    left_out = [(path, reason) for path, reason in prepared.full.skipped if reason != NOT_AN_IMAGE]
    write_csv(record_path(run, "set_aside.csv"), ("image_path", "reason"), (*left_out, *store.set_aside))
    write_split(prepared.split, record_path(run, "splits.csv"))
    counts = count_parts(prepared.split, cohort)
    write_json(record_path(run, "split.json"), counts | {"stamp": study.stamp})
    augmentation = _augmentation_record(prepared)
    write_json(record_path(run, "augmentation.json"), augmentation)
    for line in _protocol_lines(counts, augmentation, prepared.rows_are):
        talk.say(line)
    write_json(record_path(run, "environment.json"), environment())
    if not _augments(prepared):
        (run / "figures" / SHEET).unlink(missing_ok=True)
        return
    first = np.array(prepared.split.parts[0].assignment, dtype=object)
    sheet_of(
        prepared.material,
        np.flatnonzero(first == "train"),
        run / "figures" / SHEET,
        settings=study.augmentation,
    )


def _protocol_lines(counts: SplitRecord, augmentation: dict[str, Any], rows_are: str) -> list[str]:
    """The split and the augmentation of the first fold, as the terminal shows them."""
    parts = counts["parts"][0]["counts"]
    patients = "" if counts["unit"] == "image" or rows_are == "patient" else " of {} patients"
    sizes = [f"{name} {part['images']} {rows_are}s{patients.format(part['patients'])}" for name, part in parts.items()]
    more = f" (fold 1 of {len(counts['parts'])})" if len(counts["parts"]) > 1 else ""
    before, after = augmentation["training_images"][0], augmentation["images_an_epoch"][0]
    names = ", ".join(augmentation["transformations"]) or "none"
    grown = f"; the training part grows from {before} to {after} images" if after > before else ""
    return [
        f"split by {unit_words(counts['unit'], rows_are)}{more}: {', '.join(sizes)}",
        f"augmentation: {names}{grown}",
    ]


def _augmentation_record(prepared: PreparedStudy) -> dict[str, Any]:
    study = prepared.study
    settings: Augmentation = study.augmentation if _augments(prepared) else Augmentation(mode="none")
    training = [sum(name == "train" for name in part.assignment) for part in prepared.split.parts]
    expands = _augments(prepared) and prepared.material.augmentation.mode == "expand"
    copies = expanded_count(settings) if expands else 1
    return {
        "schema": "counterstain.augmentation/1",
        "settings": asdict(settings),
        "transformations": list(settings.transformations()),
        "training_images": training,
        "images_an_epoch": [count * copies for count in training],
        "stamp": prepared.study.stamp,
    }


def _augments(prepared: PreparedStudy) -> bool:
    """Whether any arm learns from altered images: neither bags nor frozen arms do; the legacy protocol's all do."""
    study = prepared.study
    if study.of_bags:
        return False
    return bool(study.stamp.startswith("LEAK")) or any(study.arm(arm).tune != "frozen" for arm in study.arms)


def _report(run: Path, section: FiguresSection, talk: Progress) -> None:
    """The page, and the figures for a document that the study asks for."""
    with talk.working_on("report: figures and report.html"):
        for path in (run / "figures").glob("*"):
            if path.name not in (SHEET, SLIDE):
                path.unlink()
        write_report(run, tiles=section.tiles)
        for path in run.glob("figures-*"):  # of the run before this one
            shutil.rmtree(path)
        style = style_of(section.format, width=section.width, font=section.font, language=section.language)
        if style is not None:
            write_figures(run, style)


def _write_manifest(run: Path, prepared: PreparedStudy) -> None:
    """The list of everything the run made, written last: where it stands, the run is finished."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in UNTRACKED]
    files = [path for path in files if not path.name.startswith(".")]
    record = {
        "schema": "counterstain.run/1",
        "counterstain": __version__,
        "command": "counterstain run study.yaml",
        "name": prepared.study.name,
        "stamp": prepared.study.stamp,
        "key": hash_json(prepared.key()),
        "data": prepared.material.store.data_hash,
        "files": file_hashes(run, files),
    }
    write_json(record_path(run, MANIFEST), record)
