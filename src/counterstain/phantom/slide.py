"""Phantom slides: whole slides of synthetic tissue, pyramidal TIFFs, with their tumours known as polygons.

A slide belongs to a patient of a phantom: staining, scanner, site and texture are theirs, and tumours hold tissue of a
malignant patient's grade, the rest of a benign one's. A network that learned on the phantom's tiles can read it.
"""

import json
import multiprocessing
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from counterstain.errors import InputError
from counterstain.files import write_bytes, write_csv, write_with
from counterstain.phantom.optics import draw_budget
from counterstain.phantom.slide_layout import Layout, Ring, draw_layout
from counterstain.phantom.slide_painter import BLOCK_PX, Painter, paint_strips
from counterstain.phantom.slide_pyramid import write_pyramid
from counterstain.phantom.tiles import CLASSES, Patient, Phantom, draw_grade, draw_patient
from counterstain.records import short_repr

__all__ = ["PhantomSlide", "SlideTruth", "truth_geojson", "truth_path", "write_slide", "write_slides"]

_SLIDE = 7  # first word of a slide's seeds; phantom.py has those before
_COLUMNS = ("slide_path", "slide_id", "patient_id", "site", "label", "mpp")
_COLOURS = {"tumour": (200, 0, 0), "tissue": (0, 130, 60), "pen": (90, 90, 200), "blur": (150, 150, 150)}


@dataclass(frozen=True, kw_only=True)
class PhantomSlide:
    """What a phantom slide is made of; its bytes are a pure function of these settings.

    phantom:   the cohort whose patient it is; its mpp is the slide's true µm per px at level 0
    patient:   number of the patient, from 0
    number:    which of the patient's slides, from 1
    size_px:   width and height of level 0
    vendor:    "generic": a plain tiled TIFF, µm/px in its resolution; "aperio": an .svs with objective and MPP
    states_mpp: "right", "missing", or "wrong" (half of what it is); an .svs keeps the right objective
    step:      2 or 4, from one level of the pyramid to the next
    pieces:    pieces of tissue, side by side
    tumours:   tumours on the slide of a malignant patient; a benign patient has none
    pen:       pen strokes, by turns around a tumour and on bare glass
    blur:      patches out of focus
    distinct_blocks: how many different blocks of 512 px are drawn of each class; a slide of no more places than these
               has tissue of its own at each
    """

    phantom: Phantom = field(default_factory=Phantom)
    patient: int = 0
    number: int = 1
    size_px: tuple[int, int] = (8192, 8192)
    vendor: str = "generic"
    states_mpp: str = "right"
    step: int = 4
    pieces: int = 1
    tumours: int = 2
    pen: int = 0
    blur: int = 0
    distinct_blocks: int = 64

    def __post_init__(self) -> None:
        for name, allowed in _ALLOWED.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"phantom slide: {name} is {getattr(self, name)!r}; it needs to be {_any_of(allowed)}")
        for name, low, high in _LIMITS:
            values = getattr(self, name) if name == "size_px" else (getattr(self, name),)
            if any(isinstance(value, bool) or not isinstance(value, int) for value in values):
                raise InputError(f"phantom slide: {name} is {getattr(self, name)!r}; it needs whole numbers")
            if not all(low <= value <= high for value in values):
                raise InputError(f"phantom slide: {name} is {getattr(self, name)}; it needs to be from {low} to {high}")
        if max(self.size_px) > 10 * min(self.size_px):
            raise InputError(f"phantom slide: size_px is {self.size_px}; one side may be 10 times the other at most")
        draw_patient(self.phantom, self.patient)  # refuses a patient that is not there


_ALLOWED: dict[str, tuple[object, ...]] = {
    "vendor": ("generic", "aperio"),
    "states_mpp": ("right", "missing", "wrong"),
    "step": (2, 4),
}
_LIMITS = (
    ("size_px", 256, 200_000), ("number", 1, 1000), ("pieces", 1, 8), ("tumours", 0, 20), ("pen", 0, 20),
    ("blur", 0, 20), ("distinct_blocks", 1, 10_000),
)  # fmt: skip


def _any_of(allowed: tuple[object, ...]) -> str:
    return ", ".join(str(value) for value in allowed[:-1]) + f" or {allowed[-1]}"


@dataclass(frozen=True)
class SlideTruth:
    """What is known of a phantom slide.

    tumour, tissue, pen, blur: rings (N, 2) of x, y in level-0 px, not closed; tumours lie within tissue
    mpp:        the true µm per px, whatever the file states
    stated_mpp: what the file states; None: nothing
    size_px:    width and height
    label:      "benign" or "malignant": whether there is a tumour
    """

    slide_id: str
    patient_id: str
    site: str
    label: str
    mpp: float
    stated_mpp: float | None
    size_px: tuple[int, int]
    tumour: tuple[Ring, ...]
    tissue: tuple[Ring, ...]
    pen: tuple[Ring, ...]
    blur: tuple[Ring, ...]

    def __repr__(self) -> str:
        return short_repr(self)


def write_slide(settings: PhantomSlide, path: Path, progress: Callable[[int, int], None] | None = None) -> SlideTruth:
    """Draw a slide to `path`, and its truth beside it as GeoJSON (see `truth_path`).

    Memory does not grow with the slide's height, and by some bytes per px with its width.

    Args:
        settings: What to draw.
        path: The TIFF to write; replaced if it is there.
        progress: Called with (blocks done, blocks in all) now and then.

    Raises:
        InputError: If the slide has no room for its tumours.
    """
    painter, truth = _prepare(settings)
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        write_with(path, lambda temporary: _write(settings, painter, truth, temporary, progress))
    finally:
        cv2.setNumThreads(before)
    write_bytes(truth_path(path), json.dumps(truth_geojson(truth), indent=1) + "\n")
    return truth


def _prepare(settings: PhantomSlide) -> tuple[Painter, SlideTruth]:
    phantom = settings.phantom
    who = draw_patient(phantom, settings.patient)
    key = (_SLIDE, phantom.seed, settings.patient, settings.number)
    rng, layout_rng = (np.random.default_rng([*key, word]) for word in (3, 4))
    other_grade = draw_grade(phantom, 1 - who.label, rng)
    tumours = settings.tumours if who.label == 1 else 0
    layout = draw_layout(
        layout_rng, settings.size_px, phantom.mpp,
        pieces=settings.pieces, tumours=tumours, pen=settings.pen, blur=settings.blur,
    )  # fmt: skip
    places = int(np.prod([-(-side // BLOCK_PX) for side in settings.size_px]))
    painter = Painter(
        phantom=phantom,
        who=who,
        grades=(other_grade, who.grade) if who.label == 1 else (who.grade, other_grade),
        budget=draw_budget(rng, who.staining),
        layout=layout,
        key=key,
        stock=settings.distinct_blocks if places > settings.distinct_blocks else 0,
    )
    return painter, _truth(settings, who, layout)


def _truth(settings: PhantomSlide, who: Patient, layout: Layout) -> SlideTruth:
    mpp = settings.phantom.mpp
    return SlideTruth(
        slide_id=f"{who.patient_id}-S{settings.number}",
        patient_id=who.patient_id,
        site=who.site,
        label=CLASSES[int(bool(layout.tumour))],
        mpp=mpp,
        stated_mpp={"right": mpp, "missing": None, "wrong": mpp / 2}[settings.states_mpp],
        size_px=settings.size_px,
        tumour=layout.tumour,
        tissue=layout.tissue,
        pen=layout.pen,
        blur=layout.blur,
    )


def _write(
    settings: PhantomSlide,
    painter: Painter,
    truth: SlideTruth,
    path: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    quality = painter.who.scanner.jpeg_quality
    write_pyramid(
        path,
        paint_strips(painter, settings.size_px, progress),
        settings.size_px,
        step=settings.step,
        quality=quality,
        description=_aperio(truth, quality) if settings.vendor == "aperio" else None,
        resolution_mpp=truth.stated_mpp,
        as_svs=settings.vendor == "aperio",
    )


def _aperio(truth: SlideTruth, quality: int) -> str:
    """The text by which a reader knows an .svs, with the objective that goes with the true µm per px."""
    width, height = truth.size_px
    objective = f"AppMag = {10 / truth.mpp:g}"
    fields = [f"{width}x{height} [0,0 {width}x{height}] (256x256) JPEG/RGB Q={quality}", objective]
    if truth.stated_mpp is not None:
        fields.append(f"MPP = {truth.stated_mpp:g}")
    return "Aperio Image Library (Counterstain phantom)\r\n" + "|".join(fields)


def truth_path(slide: Path) -> Path:
    """Where a slide's truth lies: `<slide>.truth.geojson`, the slide's ending left out."""
    return slide.with_name(f"{slide.stem}.truth.geojson")


def truth_geojson(truth: SlideTruth) -> dict[str, object]:
    """The truth as QuPath reads it: an annotation for each region, in level-0 px, rings closed."""
    features = [
        _feature(truth, name, number, ring)
        for name in ("tissue", "tumour", "pen", "blur")
        for number, ring in enumerate(getattr(truth, name))
    ]
    return {"type": "FeatureCollection", "features": features}


def _feature(truth: SlideTruth, name: str, number: int, ring: Ring) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"counterstain-phantom/{truth.slide_id}/{name}/{number}")),
        "geometry": {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]},
        "properties": {
            "objectType": "annotation",
            "name": f"{name} {number + 1}",
            "classification": {"name": name, "color": list(_COLOURS[name])},
            "isLocked": True,
        },
    }


def write_slides(
    folder: Path,
    count: int,
    *,
    settings: PhantomSlide | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SlideTruth, ...]:
    """Draw slides of several patients into `folder`, a `slides.csv` with them: malignant and benign by turns.

    Args:
        folder: Where to; files of the same names are replaced.
        count: How many slides, each of a patient of its own while there are any, then second slides, and so on.
        settings: What all slides have in common; patient and number are set here.
        workers: Processes; with more than 1, call this under `if __name__ == "__main__":`.
        progress: Called with (slides done, slides in all).

    Raises:
        InputError: If count or workers is less than 1.
    """
    if count < 1 or workers < 1:
        raise InputError(f"phantom slides: {count} slides by {workers} workers; at least 1 of each is needed")
    settings = settings or PhantomSlide()
    order = _by_turns(settings.phantom)
    ending = "svs" if settings.vendor == "aperio" else "tif"
    jobs = []
    for n in range(count):
        slide = replace(settings, patient=order[n % len(order)], number=1 + n // len(order))
        who = draw_patient(slide.phantom, slide.patient)
        jobs.append((slide, folder / f"{who.patient_id}-S{slide.number}.{ending}"))
    folder.mkdir(parents=True, exist_ok=True)
    truths = []
    for truth in _spread(jobs, workers):
        truths.append(truth)
        if progress is not None:
            progress(len(truths), count)
    rows = [
        (path.name, truth.slide_id, truth.patient_id, truth.site, truth.label, truth.mpp)
        for truth, (_, path) in zip(truths, jobs, strict=True)
    ]
    write_csv(folder / "slides.csv", _COLUMNS, rows)
    return tuple(truths)


def _by_turns(phantom: Phantom) -> list[int]:
    """All patients, malignant and benign by turns while there are both."""
    labels = [draw_patient(phantom, patient).label for patient in range(phantom.patients)]
    places = {label: [n for n, mine in enumerate(labels) if mine == label] for label in (1, 0)}
    rank = {patient: turn for patients in places.values() for turn, patient in enumerate(patients)}
    return sorted(range(phantom.patients), key=lambda patient: (rank[patient], -labels[patient]))


def _spread(jobs: list[tuple[PhantomSlide, Path]], workers: int) -> Iterator[SlideTruth]:
    if workers == 1:
        yield from map(_draw, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_draw, jobs)


def _draw(job: tuple[PhantomSlide, Path]) -> SlideTruth:
    return write_slide(*job)
