"""Verbs of a whole study: demo, run, search, lr_find and report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, overload

from counterstain.api.process import working, yaml_texts
from counterstain.errors import says_arguments
from counterstain.files import StrPath
from counterstain.study.results import FoundRate, SearchResult, StudyPlan, StudyRun

__all__ = ["demo", "lr_find", "report", "run", "search"]


@says_arguments
def demo(out: Path | str = "demo", *, seeds: int = 3, patients: int = 160, verbose: bool = False) -> StudyRun:
    """The whole main job on generated histology: two arms, a report.

    Args:
        out: folder of everything; what is there already is used again.
        seeds: how many times each arm is trained; patients: how many are generated.
        verbose: show progress on stderr.
    """
    from counterstain.study.demo import run_demo

    with working(verbose=verbose) as talk:
        return StudyRun(run_demo(Path(out), seeds=seeds, patients=patients, talk=talk))


@overload
def run(
    study: StrPath, *, settings: Mapping[str, object] | None = None, folder: Path | str | None = None,
    jobs: int = 1, scheduler: str | None = None, track: Sequence[str] = (), dry_run: Literal[False] = False,
    rehash: bool = False, verbose: bool = False,
) -> StudyRun: ...  # fmt: skip
@overload
def run(
    study: StrPath, *, settings: Mapping[str, object] | None = None, folder: Path | str | None = None,
    jobs: int = 1, scheduler: str | None = None, track: Sequence[str] = (), dry_run: Literal[True],
    rehash: bool = False, verbose: bool = False,
) -> StudyPlan: ...  # fmt: skip
@says_arguments
def run(
    study: StrPath,
    *,
    settings: Mapping[str, object] | None = None,
    folder: Path | str | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    track: Sequence[str] = (),
    dry_run: bool = False,
    rehash: bool = False,
    verbose: bool = False,
) -> StudyRun | StudyPlan:
    """Do everything that a study asks for and is not done yet; the same call resumes a run that was stopped.

    Args:
        study: the study's YAML file; or what `search` returned.
        settings: keys of the study to replace, such as {"training.epochs": 5}; the command line's --set.
        folder: where runs/ and store/ are made; by default beside the study.
        jobs: trainings at once, each with its share of the cores; scheduler: of a dask cluster, tcp://host:8786.
        track: trackers that the finished run is written for, see `publish`.
        dry_run: check everything and return what would be trained.
        rehash: read and hash every image again, though size and times of its file are as recorded.
        verbose: show progress on stderr.

    Raises:
        InputError: If the study, its images or its split must be corrected.
        GateError: If the audit found leaks, and the study stops at them.
    """
    from counterstain.study.run import plan_study, run_study

    overrides = yaml_texts(settings)
    home = None if folder is None else Path(folder)
    stores = (home or Path(study).parent) / "store"
    with working(verbose=verbose, rehash=stores if rehash else None) as talk:
        if dry_run:
            return StudyPlan(plan_study(Path(study), overrides=overrides, folder=home, talk=talk))
        return StudyRun(
            run_study(
                Path(study), overrides=overrides, folder=home, talk=talk, jobs=jobs, scheduler=scheduler, track=track
            )
        )


@says_arguments
def search(
    study: StrPath,
    *,
    trials: int | None = None,
    settings: Mapping[str, object] | None = None,
    folder: Path | str | None = None,
    verbose: bool = False,
) -> SearchResult:
    """Search settings of one arm on validation patients; writes the study with the best of them, to be run once.

    Args:
        study: the study's YAML file, with a section `search`.
        trials: how many in all; by default what the study says.
        settings, folder, verbose: see `run`.
    """
    from counterstain.study.search import search_settings

    home = None if folder is None else Path(folder)
    with working(verbose=verbose) as talk:
        return search_settings(Path(study), trials=trials, overrides=yaml_texts(settings), folder=home, talk=talk)


@says_arguments
def lr_find(
    study: StrPath,
    *,
    arm: str | None = None,
    out: Path | str = "lr_find",
    steps: int = 100,
    seed: int = 0,
    settings: Mapping[str, object] | None = None,
    folder: Path | str | None = None,
    verbose: bool = False,
) -> FoundRate:
    """The training loss of one arm while its learning rate rises, and a suggested rate; drawn in `out`.

    Args:
        study: the study's YAML file.
        arm: which of its arms; not needed where there is one.
        out: folder for lr_find.csv, lr_find.json, lr_find.png and lr_find.svg.
        steps: from the lowest rate to the highest; seed: of weights, order and augmentation.
        settings, folder, verbose: see `run`.
    """
    from counterstain.study.lr_find import find_rate

    home = None if folder is None else Path(folder)
    with working(verbose=verbose) as talk:
        return find_rate(
            Path(study), Path(out), arm=arm, steps=steps, seed=seed, overrides=yaml_texts(settings), folder=home,
            talk=talk,
        )  # fmt: skip


@says_arguments
def report(
    folder: StrPath,
    *,
    no_tiles: bool = False,
    figures: str | None = None,
    width: str | float | None = None,
    font: float | None = None,
    language: str | None = None,
) -> Path:
    """Draw the figures of a run again and write its report.html; returns the page.

    Args:
        folder: the run, or its folder.
        no_tiles: leave pictures of images out of the page, which can then be shown where the images may not be.
        figures: "pdf", "svg" or "png": draw them for a thesis or paper too, in figures-pdf/, each with its CSV.
        width: of these: 85, "85mm", "8.5cm" or "3.3in"; by default 175 mm, and 85 mm for those that stand in pairs.
        font: size of their letters in points, by default 9; language: "en" or "de".
    """
    from counterstain.reports.figure_settings import style_of
    from counterstain.reports.run_report import write_figures, write_report

    style = style_of(figures, width=width, font=font, language=language)
    page = write_report(Path(folder), tiles=not no_tiles)
    if style is not None:
        write_figures(Path(folder), style)
    return page
