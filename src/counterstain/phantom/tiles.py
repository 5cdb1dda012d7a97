"""The phantom: H&E-like tiles of benign and malignant tissue with known truth, drawn by rule and by seed.

The class shows in the size, crowding and disorder of nuclei and in the shape of glands. It does not show in the colour,
unless `shortcut` asks for it. Every patient has stains and texture of their own, every site a scanner of its own.
"""

import functools
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.files import write_bytes
from counterstain.phantom.anatomy import Nuclei, Plane
from counterstain.phantom.optics import (
    Scanner,
    Staining,
    draw_budget,
    draw_scanner,
    draw_staining,
    focus,
    scan,
    transmit,
    wanted_moments,
)
from counterstain.phantom.stain_amounts import stain
from counterstain.phantom.tissue_plane import grow

if TYPE_CHECKING:
    from counterstain.cohort.cohort import Cohort

from counterstain.records import short_repr

__all__ = [
    "CLASSES", "Patient", "Phantom", "Tile", "draw_grade", "draw_patient", "draw_plane", "draw_tile", "tile_counts",
    "vary_grade", "write_phantom",
]  # fmt: skip

CLASSES = ("benign", "malignant")

# The first word of every seed says what is drawn, so that no two kinds of draw share their numbers.
_LAYOUT, _PATIENT, _SITE, _TILE, _PLANE, _COUNT = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """What a phantom cohort is made of.

    patients:          number of patients, at least 2
    tiles_per_patient: mean number of tiles per patient; real cohorts are uneven, so is this one (half to double)
    sites:             number of sites, each with a scanner of its own; classes are spread evenly over them
    malignant_share:   share of the patients that are malignant, 0..1; each class has at least one
    tile_px, mpp:      side of a tile in px; µm per px
    difficulty:        0..1, how much the grades of the two classes overlap
    shortcut:          0..1, how much the class leaks into the colour
    seed:              every tile is a pure function of these settings, the patient and the tile's number
    """

    patients: int = 40
    tiles_per_patient: int = 12
    sites: int = 2
    malignant_share: float = 0.5
    tile_px: int = 257
    mpp: float = 0.5
    difficulty: float = 0.3
    shortcut: float = 0.0
    seed: int = 0

    def __repr__(self) -> str:
        return short_repr(self)

    def __post_init__(self) -> None:
        for name, low, high in _LIMITS:
            value = getattr(self, name)
            integral = isinstance(low, int)
            if isinstance(value, bool) or not isinstance(value, int if integral else int | float):
                raise InputError(f"phantom {name} is {value!r}; it needs a {'whole ' if integral else ''}number")
            if not low <= value <= high:
                raise InputError(f"phantom {name} is {value}; it needs to be from {low} to {high}")
        if self.sites > self.patients:
            raise InputError(f"phantom has {self.sites} sites for {self.patients} patients; each site needs a patient")


_LIMITS: tuple[tuple[str, float, float], ...] = (
    ("patients", 2, 100_000),
    ("tiles_per_patient", 1, 100_000),
    ("sites", 1, 1000),
    ("malignant_share", 0.0, 1.0),
    ("tile_px", 16, 4096),
    ("mpp", 0.1, 8.0),
    ("difficulty", 0.0, 1.0),
    ("shortcut", 0.0, 1.0),
    ("seed", 0, 2**63 - 1),
)


@dataclass(frozen=True)
class Patient:
    """One patient of a phantom: who they are, and what their tissue and slides are like."""

    patient_id: str
    site: str
    label: int  # index into CLASSES
    grade: float  # of the patient; tiles vary around it
    slides: int
    staining: Staining
    scanner: Scanner
    spacing_um: float
    gland_share: float
    fat_share: float
    lymphocytes: float
    fibroblasts: float
    secretion: float
    wave_um: float


@dataclass(frozen=True)
class Tile:
    """One drawn tile and its truth.

    pixels:   (H, W, 3) uint8 RGB
    nuclei:   (H, W) uint16, 0 outside nuclei, else 1 + row of `instances`
    glands:   (H, W) bool, epithelium and its lumina
    label:    index into CLASSES
    grade:    0 benign .. 1 malignant, as drawn for this tile
    instances: the nuclei of the tile and its surroundings; their places are in µm from the tile's top-left corner
    """

    pixels: NDArray[np.uint8]
    nuclei: NDArray[np.uint16]
    glands: NDArray[np.bool_]
    label: int
    grade: float
    instances: Nuclei


def _labels_and_sites(phantom: Phantom) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(patients,) label and site: exact class balance, and each class dealt out over the sites in turn."""
    rng = np.random.default_rng([_LAYOUT, phantom.seed])
    malignant = min(max(round(phantom.malignant_share * phantom.patients), 1), phantom.patients - 1)
    label = np.zeros(phantom.patients, dtype=np.int64)
    label[rng.permutation(phantom.patients)[:malignant]] = 1
    site = np.zeros(phantom.patients, dtype=np.int64)
    order = np.argsort(label, kind="stable")
    site[order] = np.arange(phantom.patients) % phantom.sites
    return label, site


_cached_layout = functools.lru_cache(maxsize=16)(_labels_and_sites)


@functools.lru_cache(maxsize=4096)
def draw_patient(phantom: Phantom, patient: int) -> Patient:
    """Patient number `patient`, from 0.

    Raises:
        InputError: If the phantom has no such patient.
    """
    if not 0 <= patient < phantom.patients:
        raise InputError(f"phantom has no patient {patient}; it has {phantom.patients}, counted from 0")
    labels, sites = _cached_layout(phantom)
    label, site = int(labels[patient]), int(sites[patient])
    rng = np.random.default_rng([_PATIENT, phantom.seed, patient])
    grade = draw_grade(phantom, label, rng)
    return Patient(
        patient_id=f"P{patient:0{max(3, len(str(phantom.patients - 1)))}d}",
        site=f"site-{site + 1}",
        label=label,
        grade=grade,
        slides=int(rng.integers(1, 3)),
        staining=_lean(draw_staining(rng), label, phantom.shortcut),
        scanner=draw_scanner(np.random.default_rng([_SITE, phantom.seed, site])),
        spacing_um=float(rng.uniform(46, 66)),
        gland_share=float(rng.uniform(0.62, 0.92)),
        fat_share=float(rng.uniform(0, 0.5)),
        lymphocytes=float(rng.gamma(2.0, 2.0)),
        fibroblasts=float(rng.uniform(8, 18)),
        secretion=float(rng.beta(1.2, 2.0)),
        wave_um=float(rng.uniform(18, 45)),
    )


def draw_grade(phantom: Phantom, label: int, rng: np.random.Generator) -> float:
    """The grade of a patient's tissue of class `label`."""
    # The classes' grades come together, and the patients spread, as it gets harder.
    half_gap = 0.5 - 0.36 * phantom.difficulty
    return 0.5 + half_gap * (2 * label - 1) + float(rng.normal(0, 0.05 + 0.2 * phantom.difficulty))


def vary_grade(phantom: Phantom, grade: float, rng: np.random.Generator) -> float:
    """The grade of one place in tissue of grade `grade`."""
    return float(np.clip(grade + rng.normal(0, 0.03 + 0.1 * phantom.difficulty), -0.25, 1.3))


def _lean(staining: Staining, label: int, shortcut: float) -> Staining:
    """The colour shortcut: malignant slides get more haematoxylin and less eosin, benign ones the reverse."""
    lean = float(np.exp(0.45 * shortcut * (2 * label - 1)))
    return Staining(staining.vectors, staining.haematoxylin * lean, staining.eosin / lean)


def tile_counts(phantom: Phantom) -> tuple[int, ...]:
    """The number of tiles of each patient: from half to double of `tiles_per_patient`, at least one."""
    rng = np.random.default_rng([_COUNT, phantom.seed])
    factor = np.exp(rng.uniform(-np.log(2), np.log(2), phantom.patients))
    factor /= factor.mean()
    return tuple(int(count) for count in np.maximum(np.rint(phantom.tiles_per_patient * factor), 1))


def draw_tile(phantom: Phantom, patient: int, tile: int) -> Tile:
    """Tile number `tile` (from 0) of a patient, with its truth. A pure function: the order of calls changes nothing.

    Raises:
        InputError: If the phantom has no such patient, or the tile's number is negative.
    """
    who = draw_patient(phantom, patient)
    if tile < 0:
        raise InputError(f"tile number is {tile}; tiles are counted from 0")
    rng = np.random.default_rng([_TILE, phantom.seed, patient, tile])
    grade = vary_grade(phantom, who.grade, rng)
    budget = draw_budget(rng, who.staining)
    plane = draw_plane(who, (_PLANE, phantom.seed, patient, tile), grade, rng)
    side_um = phantom.tile_px * phantom.mpp
    tissue = grow(plane, 0.0, 0.0, side_um, side_um)
    stained = stain(tissue, 0.0, 0.0, (phantom.tile_px, phantom.tile_px), phantom.mpp, white=budget.white)
    light = transmit(stained, who.staining, budget)
    target = wanted_moments(who.staining, budget)
    light = focus(light, who.scanner, target, mpp=phantom.mpp, defocus_um=float(rng.gamma(1.5, 0.12)))
    pixels = scan(light, who.scanner, rng)
    return Tile(pixels, stained.nuclei, stained.glands, who.label, grade, tissue.nuclei)


def draw_plane(who: Patient, key: tuple[int, ...], grade: float, rng: np.random.Generator) -> Plane:
    """An endless section of a patient's tissue, of a given grade; `rng` varies its spacing, inflammation and flow."""
    return Plane(
        key=key, grade=grade, spacing_um=who.spacing_um * float(rng.uniform(0.92, 1.08)), gland_share=who.gland_share,
        fat_share=who.fat_share, lymphocytes=who.lymphocytes * float(rng.gamma(2.0, 0.5)), fibroblasts=who.fibroblasts,
        secretion=who.secretion, flow_rad=float(rng.uniform(0, np.pi)), wave_um=who.wave_um,
    )  # fmt: skip


def write_phantom(
    phantom: Phantom, folder: Path, *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> "Cohort":
    """Draw every tile into `folder`, one folder per class, with a `cohort.csv` beside them, and return the cohort.

    The files' bytes depend on the settings alone, not on the number of workers.

    Args:
        phantom: What to draw.
        folder: Where to; files of the same names are replaced.
        workers: Processes; 1 if not given. With more, a script must call this under `if __name__ == "__main__":`, as
            with all of Python's process pools.
        progress: Called with (tiles done, tiles in all) now and then.

    Raises:
        InputError: If `workers` is less than 1.
    """
    import pandas as pd

    from counterstain.cohort.cohort import COLUMNS, Cohort
    from counterstain.cohort.manifest import write_cohort

    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}; at least 1 is needed")
    jobs = list(_jobs(phantom))
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)

    shares = [(phantom, folder, tuple(jobs[start : start + 8])) for start in range(0, len(jobs), 8)]
    done = 0
    for count in _spread(shares, workers or 1):
        done += count
        if progress is not None:
            progress(done, len(jobs))
    rows = [_row(phantom, patient, tile, path) for patient, tile, path in jobs]
    cohort = Cohort(pd.DataFrame(rows, columns=list(COLUMNS)), CLASSES, folder, CLASSES[-1])
    write_cohort(cohort, folder / "cohort.csv")
    return cohort


_Share = tuple[Phantom, Path, tuple[tuple[int, int, str], ...]]


def _spread(shares: list[_Share], workers: int) -> Iterator[int]:
    if workers == 1:
        yield from map(_draw_share, shares)
        return
    # Threads would wait for each other: half of the time is spent in short numpy calls. Fresh processes, not forks: a
    # fork of a process that runs threads, as one with torch does, can hang.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_draw_share, shares)


def _draw_share(share: _Share) -> int:
    """Draw and write some tiles; how many."""
    phantom, folder, jobs = share
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        # A thread codes and writes one tile, and waits for the disk, while the next one is drawn.
        with ThreadPoolExecutor(1) as pool:
            written = [
                pool.submit(_write, folder / path, draw_tile(phantom, patient, tile).pixels)
                for patient, tile, path in jobs
            ]
        for item in written:
            item.result()  # raises what the thread raised
    finally:
        cv2.setNumThreads(before)
    return len(jobs)


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    write_bytes(path, encode_png(pixels))


_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG bytes of (H, W, 3) uint8 RGB, lightly compressed, without text or time."""
    _, code = cv2.imencode(".png", pixels[:, :, ::-1], _PNG)
    return code.tobytes()


def _jobs(phantom: Phantom) -> Iterator[tuple[int, int, str]]:
    """Patient, tile and path of every tile, in the cohort's order."""
    for patient, count in enumerate(tile_counts(phantom)):
        who = draw_patient(phantom, patient)
        for tile in range(count):
            yield patient, tile, f"{CLASSES[who.label]}/{who.patient_id}_{tile:04d}.png"


def _row(phantom: Phantom, patient: int, tile: int, path: str) -> dict[str, object]:
    who = draw_patient(phantom, patient)
    return {
        "image_path": path, "label": CLASSES[who.label], "patient_id": who.patient_id,
        "slide_id": f"{who.patient_id}-S{tile % who.slides + 1}", "site": who.site, "mpp": phantom.mpp,
        "x": np.nan, "y": np.nan, "split": "",
    }  # fmt: skip
