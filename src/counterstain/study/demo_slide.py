"""The demo's last step: a model just trained reads a phantom slide, and its map is held against the slide's truth."""

import importlib.util
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.calibration import read_calibration
from counterstain.evaluation.metrics import roc_auc
from counterstain.files import write_json
from counterstain.phantom.slide import PhantomSlide, SlideTruth, write_slide
from counterstain.phantom.slide_layout import Ring, Window, cover
from counterstain.phantom.tiles import CLASSES, Phantom, draw_patient
from counterstain.progress import Progress
from counterstain.progress import SlidesProgress as SlidesTalk
from counterstain.run_folder import record_path
from counterstain.slides.heatmap import HeatMap, draw_heatmap, overlay
from counterstain.slides.heatmap_picture import framed_heatmap
from counterstain.slides.infer_cohort import run_slides
from counterstain.slides.infer_slide import InferenceOptions
from counterstain.slides.outputs import paths_of
from counterstain.slides.overview import read_overview, write_png
from counterstain.slides.reader import open_slide
from counterstain.slides.tile_files import read_tile_predictions
from counterstain.slides.tile_predictions import TilePredictions

__all__ = ["MapScores", "read_map", "read_phantom_slide", "score_map", "slides_can_be_read"]

SCHEMA = "counterstain.demo-slide/1"
SLIDE_PX = (5120, 3840)
DISTINCT_BLOCKS = 40
OVERLAP = 0.5  # of tiles: the map is twice as fine as they are
LEAST_TISSUE = 0.9  # the phantom's tiles hold no bare glass, and a model need not know what to make of it
_PANEL_DOWNSAMPLE = 8.0
_LINE = {"tumour": (0, 0, 0), "tissue": (120, 120, 120)}


@dataclass(frozen=True)
class MapScores:
    """How a map agrees with the tumours' polygons.

    tiles, positive: how many were read, and how many of them lie in a tumour for the greater part
    auroc:     of the tiles' probabilities
    iou:       area that is both called tumour and is, over the area that is either; the whole slide counts
    threshold: from which on a place is called tumour
    """

    tiles: int
    positive: int
    auroc: float
    iou: float
    threshold: float


def score_map(table: TilePredictions, truth: SlideTruth) -> MapScores:
    """Hold a slide's tiles and their map against its truth."""
    threshold = 0.5 if table.threshold is None else table.threshold
    heat = draw_heatmap(table)
    tumour = _tumour(heat, truth)
    called = heat.value[0] >= 1 + np.rint(254 * threshold)
    real = tumour >= 0.5
    low = np.rint((table.corner - heat.corner) / heat.step).astype(np.int64)
    high = np.rint((table.corner + table.size - heat.corner) / heat.step).astype(np.int64)
    inside = np.array(
        [tumour[y0:y1, x0:x1].mean() > 0.5 for (x0, y0), (x1, y1) in zip(low.tolist(), high.tolist(), strict=True)]
    )
    return MapScores(
        tiles=len(table),
        positive=int(inside.sum()),
        auroc=roc_auc(inside, table.prob[:, -1]),
        iou=float((called & real).sum() / max((called | real).sum(), 1)),
        threshold=threshold,
    )


def _tumour(heat: HeatMap, truth: SlideTruth) -> NDArray[np.float32]:
    """(H, W) share of each of the map's pixels that is tumour."""
    height, width = heat.value.shape[1:]
    rings = tuple((ring - heat.corner) / heat.step for ring in truth.tumour)
    share = cover(rings, Window(0, 0, width, height), 0.01)
    return np.zeros((height, width), np.float32) if share is None else share


def slides_can_be_read() -> bool:
    """Whether what slides need is installed."""
    return all(importlib.util.find_spec(name) for name in ("openslide", "tifffile"))


def read_phantom_slide(
    bundle: Path,
    phantom: Phantom,
    folder: Path,
    run: Path,
    *,
    mpp: float,
    arm: str,
    size_px: tuple[int, int] = SLIDE_PX,
    talk: Progress | None = None,
) -> MapScores:
    """Draw a slide of a malignant patient whom no model has seen and read it; write its record and its picture.

    Args:
        bundle: the model.
        phantom: the cohort that it learned from; the patient is a further one, of one of its sites.
        folder: gets slides/ and slide-maps/.
        run: the run's folder, which gets the record and the picture.
        mpp: µm/px of the model's tiles.
        arm: whose model it is, for the record.
        size_px: width and height of the slide.
        talk: where progress is told.
    """
    talk = talk or Progress()
    # The patients beyond the known ones share the sites with them, and nothing else.
    wider = replace(phantom, patients=2 * phantom.patients)
    patient = next(n for n in range(phantom.patients, wider.patients) if draw_patient(wider, n).label == 1)
    settings = PhantomSlide(
        phantom=wider, patient=patient, size_px=size_px, vendor="aperio", distinct_blocks=DISTINCT_BLOCKS
    )
    phantom_patient = draw_patient(wider, patient)
    path = folder / "slides" / f"{phantom_patient.patient_id}-S1.svs"
    with talk.working_on(
        f"slide: drawing {path.name}, {size_px[0]} × {size_px[1]} px, of a patient who trained no model"
    ):
        truth = write_slide(settings, path)
    options = InferenceOptions(mpp=mpp, overlap=OVERLAP, least_tissue=LEAST_TISSUE, allow_scale=True, merged=True)
    maps = folder / "slide-maps" / run.name
    with talk.working_on("slide: reading it, tile by tile"):
        run_slides(bundle, [path], maps, options, talk=SlidesTalk(say=talk.say))
        table = read_map(maps, path.stem, truth, bundle)
        scores = score_map(table, truth)
        _write_picture(table, truth, path, run / "figures" / "slide.png")
    record = {
        "schema": SCHEMA, "slide": truth.slide_id, "site": truth.site, "size_px": list(truth.size_px),
        "mpp": truth.mpp, "arm": arm, "tile_mpp": mpp, "overlap": OVERLAP, **asdict(scores),
    }  # fmt: skip
    write_json(record_path(run, "slide.json"), record)
    talk.say(
        f"slide: AUROC of {scores.tiles} tiles {scores.auroc:.3f}, overlap with the tumours (IoU) {scores.iou:.2f}"
    )
    return scores


def read_map(maps: Path, slide: str, truth: SlideTruth, bundle: Path) -> TilePredictions:
    """What a model said of a phantom slide, from the table that run_slides wrote; with the model's threshold."""
    calibration = read_calibration(bundle)
    return read_tile_predictions(
        paths_of(maps, slide, compress=False).table, classes=CLASSES, extent=(0, 0, *truth.size_px),
        mpp=(truth.mpp, truth.mpp), threshold=calibration.threshold if calibration else None,
    )  # fmt: skip


def _write_picture(table: TilePredictions, truth: SlideTruth, slide: Path, path: Path) -> None:
    """The slide with its truth, and beside it the same under the map."""
    with open_slide(slide) as opened:
        picture = read_overview(opened, finest_downsample=_PANEL_DOWNSAMPLE)
    heated = overlay(draw_heatmap(table), picture.pixels, downsample=picture.downsample)
    panels = [_outlined(panel, truth, picture.downsample) for panel in (picture.pixels, heated)]
    gap = np.full((picture.pixels.shape[0], 12, 3), 255, np.uint8)
    framed = framed_heatmap(
        np.concatenate([panels[0], gap, panels[1]], axis=1),
        title=f"{table.slide}: tumours outlined; right: the same under the model's map",
        legend=f"probability of {table.classes[-1]}",
        um_per_px=table.mpp[0] * picture.downsample[0],
    )
    write_png(framed, path)


def _outlined(panel: NDArray[np.uint8], truth: SlideTruth, downsample: tuple[float, float]) -> NDArray[np.uint8]:
    outlined = panel.copy()
    for name, colour in _LINE.items():
        rings: tuple[Ring, ...] = getattr(truth, name)
        lines = [np.round(ring / downsample * 16 - 8).astype(np.int32) for ring in rings]
        cv2.polylines(outlined, lines, isClosed=True, color=colour, thickness=2, lineType=cv2.LINE_AA, shift=4)
    return outlined
