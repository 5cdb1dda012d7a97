"""A model reads a cohort of slides: all are planned, then each is read; what is there is kept, faults are skipped."""

import contextlib
import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from counterstain.engine import Engine, check_engine
from counterstain.errors import InputError
from counterstain.files import hash_file, read_json, write_csv, write_json
from counterstain.images import resize
from counterstain.learning.bundle import SUMS, Bundle, read_bundle
from counterstain.learning.runtimes import check_runtime
from counterstain.progress import SlideProgress, SlidesProgress
from counterstain.records import Record, short_repr
from counterstain.slides.geojson import ORIGINS
from counterstain.slides.infer_slide import InferenceOptions, Model, plan_slide, read_slide
from counterstain.slides.outputs import UNFINISHED, SlideJob, agree, find_jobs, finished, paths_of, write_metadata
from counterstain.slides.scale import check_scale, unused_rows
from counterstain.slides.score_files import write_scores
from counterstain.slides.slide_model import load_slide_model
from counterstain.slides.slide_scores import check_pooling, read_truth
from counterstain.slides.slide_workers import each_slide, threads_of
from counterstain.slides.tiling import check_grid

__all__ = ["SlidesResult", "run_slides"]

SETTINGS = "slides_run.json"
FAILURES = "failures.csv"
_MANY = 1000  # tiles of a slide, where each is planned by the process that reads it


@dataclass(frozen=True)
class _Order:
    """One slide to be planned and read.

    model: what reads it; None in another process, which loads it again from `bundle`
    bundle, job: their paths are absolute where a cluster's workers read, which start in folders of their own
    """

    model: Model | None
    bundle: Path
    job: SlideJob
    settings: InferenceOptions
    mpp: float


@dataclass
class _Done:
    """What a run has so far, by slide: records, (slide, file, reason) of what was skipped, seconds."""

    records: dict[str, dict[str, Any]]
    failures: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SlidesResult:
    """What a run made.

    out: its folder
    records: of each slide that is finished, by name
    failures: (slide, file, reason) of each that was skipped
    """

    out: Path
    records: Mapping[str, Record]
    failures: tuple[tuple[str, str, str], ...]

    def __fspath__(self) -> str:
        return str(self.out)

    def __repr__(self) -> str:
        return short_repr(self)


def run_slides(
    bundle_folder: Path,
    slides: Sequence[Path | str],
    out: Path,
    settings: InferenceOptions | None = None,
    *,
    truth: Path | None = None,
    pooling: str = "auto",
    recursive: bool | None = False,
    columns: Mapping[str, str] | None = None,
    engine: Engine | None = None,
    talk: SlidesProgress | None = None,
) -> SlidesResult:
    """Read slides with a model and write their tables, maps and scores; call it again to resume after it was stopped.

    Results of a slide appear under their final names only when complete. A slide that cannot be read is skipped with
    its reason, in failures.csv, and the others continue. A second call reads what is missing, to the same bytes.

    Args:
        bundle_folder: the model.
        slides: files, and folders of them.
        out: folder of the results.
        settings: how slides are read.
        truth: table of slides with slide_id, patient_id, label and split: slides are then scored for `evaluate`.
        pooling: how a slide is scored from its tiles, see slide_scores.POOLINGS; "auto" chooses on the val slides.
        recursive: whether subfolders are searched, too, see slide_files.find_slides.
        columns: {our column: that of `truth`}, where the names are not known ones.
        engine: who reads; this process where None.
        talk: where to tell what is done.

    Raises:
        InputError: Before any slide is read: for what is asked, or for a folder with results of other settings.
    """
    settings, talk, engine = settings or InferenceOptions(), talk or SlidesProgress(), engine or Engine()
    began = datetime.now(UTC)
    check_engine(**asdict(engine))
    bundle = read_bundle(bundle_folder)
    mpp = _check(settings, bundle, pooling, talk)
    depends = _dependencies(settings, bundle_folder, mpp)
    jobs = find_jobs(
        slides, out, depends, compress=settings.compress, recursive=recursive, time_limit_s=engine.time_limit_s,
        say=talk.say,
    )  # fmt: skip
    if settings.mpp_table and (note := unused_rows(settings.mpp_table, [job.path for job in jobs])):
        talk.say(note)
    names = {job.path.name: job.name for job in jobs}
    truth_of_slides = read_truth(truth, bundle.classes, names, columns=columns) if truth else None
    agree(out / SETTINGS, depends)
    done = _Done({job.name: record for job in jobs if (record := finished(job)) is not None})
    unread = [job for job in jobs if job.name not in done.records]
    if done.records:
        talk.say(f"{len(done.records)} of {len(jobs)} slides were read before")
    if unread and (engine.elsewhere or engine.time_limit_s is not None):
        _read_elsewhere(unread, settings, bundle_folder, bundle, mpp, out / SETTINGS, engine, done, talk)
    elif unread:
        tiles = _plan(unread, settings, mpp, bundle.tile_px, done.failures, talk)
        if tiles:
            model, _ = _load(bundle_folder, bundle, settings, sum(tiles.values()), out / SETTINGS, talk)
            _read([job for job in unread if job.name in tiles], settings, model, mpp, tiles, done, talk)
    # Left by one that was killed between its last two steps, or taken for dead while another read its slide.
    for name in done.records:
        paths_of(out, name, compress=settings.compress).partial.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty, or another process beside this one has removed it
        (out / UNFINISHED).rmdir()
    failures = tuple(done.failures[job.name] for job in jobs if job.name in done.failures)
    write_csv(out / FAILURES, ("slide", "path", "reason"), failures)
    records = {job.name: done.records[job.name] for job in jobs if job.name in done.records}
    notes = write_scores(out, records, bundle.classes, truth_of_slides, pooling)
    for note in notes:
        talk.say(note)
    result = SlidesResult(out, records, failures)
    write_metadata(
        out, began=began, bundle=bundle_folder, settings={**asdict(settings), "mpp": mpp, "pooling": pooling},
        slides={job.name: str(job.path) for job in jobs}, records=records, failures=failures, seconds=done.seconds,
    )  # fmt: skip
    return result


def _check(settings: InferenceOptions, bundle: Bundle, pooling: str, talk: SlidesProgress) -> float:
    """The µm/px to read at, after all that is asked was checked."""
    check_runtime(settings.runtime, settings.precision)
    check_pooling(pooling)
    check_grid(
        1.0 if settings.mpp is None else settings.mpp, bundle.tile_px, settings.overlap, settings.least_tissue or 0
    )
    if settings.origin not in ORIGINS:
        raise InputError(f"origin is '{settings.origin}'; take {' or '.join(ORIGINS)}")
    for name in ("batch", "workers"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; it must be 1 or more, or left out")
    mpp = settings.mpp or bundle.mpp
    if mpp is None:
        raise InputError("the model does not record the µm/px at which it was trained; give it with --mpp")
    if settings.allow_scale:
        return mpp
    try:
        note = check_scale(bundle.mpp, mpp, tolerance=0.05)
    except InputError as error:
        raise InputError(f"{error}; or insist with --allow-scale") from None
    if note:
        talk.say(note)
    return mpp


def _dependencies(settings: InferenceOptions, bundle_folder: Path, mpp: float) -> dict[str, Any]:
    """What results mean depends on these; on batches and threads only their last digits do."""
    names = (
        "overlap",
        "least_tissue",
        "precision",
        "assume_mpp",
        "mpp_table",
        "origin",
        "merged",
        "compress",
        "runtime",
    )
    return {
        "model": hash_file(bundle_folder / SUMS),
        "mpp": mpp,
        "resampling": resize.VERSION,  # tiles of two rules never mix in a folder
        "calibrated": settings.calibrated,
        **{name: getattr(settings, name) for name in names},
    }


def _plan(
    jobs: Sequence[SlideJob],
    settings: InferenceOptions,
    mpp: float,
    tile_px: int,
    failures: dict[str, tuple[str, str, str]],
    talk: SlidesProgress,
) -> dict[str, int]:
    """Tiles of each slide that can be read; the others go to `failures`."""
    tiles = {}
    for number, job in enumerate(jobs):
        talk.planned(number, len(jobs))
        try:
            tiles[job.name] = plan_slide(job, settings, mpp=mpp, tile_px=tile_px)
        except InputError as error:
            _set_aside(job, str(error), failures, talk)
    talk.planned(len(jobs), len(jobs))
    return tiles


def _set_aside(job: SlideJob, why: str, failures: dict[str, tuple[str, str, str]], talk: SlidesProgress) -> None:
    failures[job.name] = (job.name, str(job.path), why)
    talk.say(f"{job.name} is skipped: {why}")


def _load(
    folder: Path, bundle: Bundle, settings: InferenceOptions, images: int, agreed: Path, talk: SlidesProgress
) -> tuple[Model, str]:
    """The model and its runtime. What "auto" took the first time is taken again: another would give other bytes."""
    record = read_json(agreed)
    chosen = replace(settings, runtime=record.get("runtime", settings.runtime))
    model, runtime = load_slide_model(folder, bundle, chosen, images=images, say=talk.say)
    write_json(agreed, record | {"runtime": runtime})
    return model, runtime


def _read_elsewhere(
    unread: Sequence[SlideJob],
    settings: InferenceOptions,
    bundle_folder: Path,
    bundle: Bundle,
    mpp: float,
    agreed: Path,
    engine: Engine,
    done: _Done,
    talk: SlidesProgress,
) -> None:
    """Each slide is a task of its own: planned and read by another process, or within a time limit."""
    settings = replace(settings, threads=threads_of(settings.threads, engine))
    model, runtime = _load(bundle_folder, bundle, settings, _MANY * len(unread), agreed, talk)
    loaded = None if engine.elsewhere else model
    settings = replace(settings, runtime=runtime)
    jobs = {job.name: job for job in unread}
    far = engine.scheduler is not None
    orders = {
        name: _Order(loaded, bundle_folder.absolute(), job.absolute() if far else job, settings, mpp)
        for name, job in jobs.items()
    }
    for number, outcome in enumerate(each_slide(_read_order, orders, engine, say=talk.say), start=1):
        if outcome.result is None:
            _set_aside(jobs[outcome.name], outcome.refusal, done.failures, talk)
            continue
        done.records[outcome.name], done.seconds[outcome.name] = outcome.result, outcome.seconds
        tiles = outcome.result["tiles"]
        talk.say(f"{outcome.name} ({number} of {len(unread)}): {tiles:,} tiles in {outcome.seconds:.1f} s")
        _tell_unfamiliar(outcome.name, outcome.result, talk)


def _read_order(order: _Order) -> dict[str, Any]:
    """Plan and read one slide; returns its record."""
    model = order.model or _model(order.bundle, replace(order.settings, mpp_table=None))
    plan_slide(order.job, order.settings, mpp=order.mpp, tile_px=model.tile_px)
    return read_slide(order.job, order.settings, model, mpp=order.mpp)


@functools.lru_cache(maxsize=1)
def _model(folder: Path, settings: InferenceOptions) -> Model:
    """The model, loaded once for all slides of one process."""
    return load_slide_model(folder, read_bundle(folder), settings)[0]


def _read(
    jobs: Sequence[SlideJob],
    settings: InferenceOptions,
    model: Model,
    mpp: float,
    tiles: Mapping[str, int],
    done: _Done,
    talk: SlidesProgress,
) -> None:
    """Read each slide in turn."""
    total, before = sum(tiles.values()), 0
    for number, job in enumerate(jobs, start=1):
        started = time.perf_counter()

        def told(read: int, of: int, job: SlideJob = job, number: int = number, before: int = before) -> None:
            talk.progress(SlideProgress(job.name, number, len(jobs), read, of, before + read, total))

        try:
            done.records[job.name] = read_slide(job, settings, model, mpp=mpp, progress=told)
        except InputError as error:
            _set_aside(job, str(error), done.failures, talk)
        else:
            _tell_unfamiliar(job.name, done.records[job.name], talk)
        before += tiles[job.name]
        done.seconds[job.name] = time.perf_counter() - started


def _tell_unfamiliar(name: str, record: Mapping[str, Any], talk: SlidesProgress) -> None:
    if remark := (record.get("unfamiliar") or {}).get("words"):
        talk.say(f"{name}: {remark}")
