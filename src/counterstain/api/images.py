"""Verbs of images before a model: cohort, split, audit, augment, init, and phantoms whose truth is known."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from counterstain.api.process import working
from counterstain.audit.audit_result import AuditReport
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.layouts import read_images
from counterstain.cohort.manifest import write_cohort
from counterstain.cohort.reading_options import ReadingOptions, takes_reading
from counterstain.cohort.site_splitters import leave_one_site_out, site_preserved_folds
from counterstain.cohort.splitters import Split, holdout, write_split
from counterstain.cohort.splitters import folds as cross_validation
from counterstain.errors import InputError, says_arguments
from counterstain.extras import missing_package
from counterstain.files import StrPath

if TYPE_CHECKING:
    from counterstain.phantom.slide import SlideTruth

__all__ = ["audit", "augment", "cohort", "init", "phantom", "phantom_slides", "split"]

TEST_SHARE = 0.2


@says_arguments
@takes_reading
def cohort(
    images: Cohort | StrPath,
    *,
    out: Path | str | None = None,
    decode: bool = True,
    **reading: Unpack[ReadingOptions],
) -> Cohort:
    """The images of a study with their labels, patients and sites.

    Args:
        images: a folder of images, or a CSV or Parquet manifest; or a Cohort, to decode or write it.
        out: writes the table there, .csv or .parquet.
        decode: decode every image; those that cannot be read are named in the notes.
        layout: how names carry labels and ids: auto, folder, breakhis, idc, tcga, …; pattern: a regular expression with
            groups such as (?P<patient_id>…); task, magnification: of layouts with several.
        positive: the positive one of two classes.
        columns: {our column: the manifest's}.
        root: folder that image paths of a manifest count from; by default the manifest's own.
        follow_links: follow links inside the folder, or inside `root`.

    Raises:
        InputError: If there is no image, or labels or ids can't be told.
    """
    table = read_images(images, **reading)
    if out is not None:
        write_cohort(table, Path(out))
    if not decode:
        return table
    from counterstain.images.unreadable import find_unreadable

    damaged = (f"{name} cannot be read: {reason}" for name, reason in find_unreadable(table))
    return replace(table, notes=(*table.notes, *damaged))


@says_arguments
@takes_reading
def split(
    images: Cohort | StrPath,
    *,
    out: Path | str | None = None,
    test: float = TEST_SHARE,
    val: float = 0.2,
    folds: int = 1,
    repeats: int = 1,
    sites: bool = False,
    preserve_sites: bool = False,
    unit: str = "patient",
    seed: int = 0,
    **reading: Unpack[ReadingOptions],
) -> Split:
    """Divide a cohort into train, val and test, by patient, stratified by class.

    Args:
        images: a cohort, a folder of images or a manifest.
        out: writes splits.csv there.
        test: share of the images to report on; val: share of the rest to choose with.
        folds: of cross-validation, 1 for one division; repeats: how often to divide into folds.
        sites: one fold per site, each tested by models of the others; preserve_sites: with `folds`, every site whole
            in one fold, classes balanced.
        unit: "patient", or "image" where patients are unknown.
        seed: of the division.
        **reading: positive, layout, pattern, … of a folder or a manifest, see `cohort`; of a Cohort only positive.

    Returns:
        The split; `for train, test in split` gives row numbers of the cohort, as scikit-learn's splitters do.

    Raises:
        InputError: If patients are unknown, or a class has too few of them.
    """
    table = read_images(images, **reading)
    _check_folds(folds, repeats, test, sites=sites, preserve_sites=preserve_sites)
    if sites:
        division = leave_one_site_out(table, val=val, unit=unit, seed=seed)
    elif preserve_sites:
        division = site_preserved_folds(table, k=folds, val=val, unit=unit, seed=seed)
    elif folds > 1:
        division = cross_validation(table, k=folds, repeats=repeats, val=val, unit=unit, seed=seed)
    else:
        division = holdout(table, test=test, val=val, unit=unit, seed=seed)
    if out is not None:
        write_split(division, Path(out))
    return division


def _check_folds(folds: int, repeats: int, test: float, *, sites: bool, preserve_sites: bool) -> None:
    """Refuse what the division would pass over."""
    if folds < 1 or repeats < 1:
        name, value = ("folds", folds) if folds < 1 else ("repeats", repeats)
        raise InputError(f"--{name} is {value}; 1 or more is needed")
    if sites and (preserve_sites or folds > 1):
        other = "--preserve-sites" if preserve_sites else "--folds"
        raise InputError(f"--sites makes one fold per site, and {other} folds of its own; name one of the two")
    if repeats > 1 and (sites or preserve_sites or folds == 1):
        raise InputError("--repeats is of folds by patient; give --folds, without --sites and --preserve-sites")
    if test != TEST_SHARE and (sites or preserve_sites or folds > 1):
        raise InputError("--test is of a single split: with folds every image is in a test part once; leave it out")


@says_arguments
@takes_reading
def audit(
    images: Cohort | StrPath,
    splits: Split | StrPath | None = None,
    *,
    out: Path | str = "audit",
    unit: str = "patient",
    tile_px: int = 128,
    rotated: bool = True,
    distinct_ids: bool = False,
    tables_only: bool = False,
    apply: StrPath | None = None,
    rehash: bool = False,
    verbose: bool = False,
    **reading: Unpack[ReadingOptions],
) -> AuditReport:
    """Copies, leaks between parts, label conflicts, blank tiles and shortcuts.

    Args:
        images: a cohort, a folder or a manifest.
        splits: the split to audit, or its splits.csv; without it the cohort alone.
        out: folder for audit.json, baselines.json and, where there are leaks, a splits.csv without them.
        unit: that the splits.csv kept together; a Split knows its own.
        tile_px: side in px at which images are compared; rotated: also look for rotated and cropped copies.
        distinct_ids: ids that nearly agree (18842 and 18842D) are of different patients.
        tables_only: open no image: patients, ids, labels and parts alone, which needs neither PyTorch nor OpenCV.
        apply: the decisions.csv of the Audit page; `out` also gets the cohort.csv and splits.csv that follow.
        rehash: read and hash every image again, though size and times of its file are as recorded.
        **reading: positive, layout, pattern, … of a folder or a manifest, see `cohort`; of a Cohort only positive.
        verbose: show progress on stderr.

    Returns:
        The report; `report.clean` is False where there are leaks.
    """
    if tables_only:
        from counterstain.audit.tables_only import audit_tables

        record, lines = audit_tables(
            images, splits, Path(out), unit=unit, distinct_ids=distinct_ids, **reading
        )  # fmt: skip
        return AuditReport(record, tuple(lines))
    try:
        from counterstain.study.audit_stage import audit_images
    except ModuleNotFoundError as error:
        raise missing_package(error, "audit") from None

    with working(verbose=verbose, rehash=Path(out).parent / "store" if rehash else None) as talk:
        record, lines = audit_images(
            images, splits, Path(out), unit=unit, tile_px=tile_px,
            rotated=rotated, distinct_ids=distinct_ids, apply=None if apply is None else Path(apply),
            talk=talk, **reading,
        )  # fmt: skip
    return AuditReport(record, tuple(lines))


@says_arguments
@takes_reading
def augment(
    images: Cohort | StrPath,
    *,
    out: Path | str = "augmentation.png",
    tile_px: int = 257,
    count: int = 6,
    seed: int = 0,
    **reading: Unpack[ReadingOptions],
) -> Path:
    """A contact sheet: each transformation on `count` images of the cohort; returns the file written.

    Args:
        images: a cohort, a folder of images or a manifest.
        out: the picture to write.
        tile_px: side of the tiles, px; count: how many images to show; seed: for all randomness.
        **reading: positive, layout, pattern, … of a folder or a manifest, see `cohort`; of a Cohort only positive.
    """
    from counterstain.study.contact_sheets import write_sheet

    table = read_images(images, **reading)
    write_sheet(table, Path(out), tile_px=tile_px, count=count, seed=seed)
    return Path(out)


@says_arguments
@takes_reading
def init(
    images: StrPath,
    *,
    out: Path | str = "study.yaml",
    name: str | None = None,
    unit: str | None = None,
    all_keys: bool = False,
    **reading: Unpack[ReadingOptions],
) -> Cohort:
    """Look at a folder of images and write a commented study.yaml for it; returns the cohort.

    Args:
        images: a folder or a manifest, which the study will name; a Cohort is written first, `write_cohort`.
        out: the file to write; never over an existing one.
        name: of the study; by default the folder's. unit: "patient" or "image".
        all_keys: write every key that a study may have, not only those that newcomers need.
        **reading: positive, layout, pattern, … of a folder or a manifest, see `cohort`.
    """
    from counterstain.study.init import start_study

    return start_study(Path(images), Path(out), name=name, unit=unit, all_keys=all_keys, **reading)


@says_arguments
def phantom(
    out: Path | str = "phantom",
    *,
    patients: int = 40,
    tiles: int = 12,
    tile_px: int = 257,
    difficulty: float = 0.3,
    shortcut: float = 0.0,
    seed: int = 0,
    workers: int = 2,
) -> Cohort:
    """Generate a cohort of H&E-like tiles whose truth is known, in a folder with cohort.csv.

    Args:
        out: the folder.
        patients: how many; tiles: about so many per patient; tile_px: their side, px.
        difficulty: 0 easy to 1 hard; shortcut: 0 none to 1 the colour tells the class.
        seed: for all randomness; workers: processes that draw.
    """
    from counterstain.phantom.tiles import Phantom, write_phantom

    settings = Phantom(
        patients=patients, tiles_per_patient=tiles, tile_px=tile_px, difficulty=difficulty, shortcut=shortcut, seed=seed
    )
    return write_phantom(settings, Path(out), workers=workers)


@says_arguments
def phantom_slides(
    out: Path | str = "phantom-slides",
    *,
    slides: int = 4,
    size_px: int = 8192,
    height_px: int | None = None,
    patients: int = 40,
    mpp: float = 0.5,
    states_mpp: str = "right",
    vendor: str = "generic",
    step: int = 4,
    pieces: int = 1,
    tumours: int = 2,
    pen: int = 0,
    blur: int = 0,
    distinct_blocks: int = 64,
    difficulty: float = 0.3,
    seed: int = 0,
    workers: int = 2,
    verbose: bool = False,
) -> "tuple[SlideTruth, ...]":
    """Generate whole slides whose tumours are known as polygons, in the folder `out`.

    Args:
        out: the folder.
        slides: how many; size_px, height_px: at level 0 (height: by default three quarters of the width).
        patients: of the phantom that they belong to; mpp: true µm/px at level 0.
        states_mpp: what the file says of it: right, missing or wrong; vendor: generic (.tif) or aperio (.svs).
        step: from one pyramid level to the next, 2 or 4.
        pieces: of tissue per slide; tumours: per malignant slide; pen: strokes; blur: patches out of focus.
        distinct_blocks: different 512-px blocks per class.
        difficulty: 0 easy to 1 hard; seed: for all randomness; workers: processes that draw.
        verbose: say on stderr how many are done.
    """
    from counterstain.phantom.slide import PhantomSlide, write_slides
    from counterstain.phantom.tiles import Phantom

    settings = PhantomSlide(
        phantom=Phantom(patients=patients, mpp=mpp, difficulty=difficulty, seed=seed),
        size_px=(size_px, height_px or size_px * 3 // 4), vendor=vendor, states_mpp=states_mpp, step=step,
        pieces=pieces, tumours=tumours, pen=pen, blur=blur, distinct_blocks=distinct_blocks,
    )  # fmt: skip
    with working(verbose=verbose) as talk:
        return write_slides(
            Path(out), slides, settings=settings, workers=min(workers, slides),
            progress=lambda done, total: talk.say(f"slide {done} of {total}"),
        )  # fmt: skip
