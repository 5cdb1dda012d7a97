"""One slide read by a model: planned (which tiles), read (their probabilities), and written down (every file of it)."""

import dataclasses
import glob
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.calibration import Calibration, calibrate
from counterstain.evaluation.conformal import prediction_sets
from counterstain.evaluation.predictions import check_prob
from counterstain.files import read_json
from counterstain.slides.geojson import write_geojson
from counterstain.slides.heatmap import draw_heatmap, overlay, write_heatmap
from counterstain.slides.heatmap_picture import framed_heatmap
from counterstain.slides.info import Slide
from counterstain.slides.outputs import SlideJob, write_record
from counterstain.slides.overview import Overview, read_overview, write_png
from counterstain.slides.reader import open_slide
from counterstain.slides.resume import ResumeFile, append, read_logits, rows_of, start_or_resume, sync
from counterstain.slides.scale import require_mpp
from counterstain.slides.slide_scores import pool_tiles
from counterstain.slides.tile_files import Planned, read_patches, write_patches, write_tile_csv
from counterstain.slides.tile_predictions import TilePredictions
from counterstain.slides.tile_stream import batch_size, stream_logits
from counterstain.slides.tiling import Tiling, plan_tiles
from counterstain.slides.tissue import tissue_mask

__all__ = ["InferenceOptions", "Model", "plan_slide", "read_slide"]

Floats = NDArray[np.float64]
Pair = tuple[float, float]

_THUMBNAIL_PX = 1_500_000
_SYNC_S = 5.0  # seconds of work that a failing machine may lose; a killed process loses a batch


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """How slides are read.

    mpp: µm/px of the tiles; None is the model's.
    overlap: share of a tile that its neighbour covers too.
    least_tissue: share of a tile that must be tissue for it to be read; None reads every tile, and makes no mask.
    batch: tiles predicted together; None is as many as fit into 6 MiB, at most 64.
    runtime, precision, device: of the network, see learning.predictor.load_predictor.
    workers: threads that decode; None is one for each core.
    threads: of the network, on which the last digits of probabilities depend; None is one for each core.
    assume_mpp, mpp_table: µm/px of slides that do not say them, see reader.open_slide.
    allow_scale: read at another µm/px than the model was trained at.
    origin: of GeoJSON, "bounds" or "slide", see geojson.origin_of.
    merged: add merged regions of each class to the GeoJSON.
    compress: write .geojson.gz.
    calibrated: apply the bundle's calibration to each tile's probabilities, and call tiles at its threshold.
    """

    mpp: float | None = None
    overlap: float = 0.0
    least_tissue: float | None = 0.5
    batch: int | None = None
    runtime: str = "auto"
    precision: str = "fp32"
    device: str = "cpu"
    workers: int | None = None
    threads: int | None = None
    assume_mpp: float | None = None
    mpp_table: dict[str, Pair] | None = None
    allow_scale: bool = False
    origin: str = "bounds"
    merged: bool = False
    compress: bool = False
    calibrated: bool = True


@dataclass(frozen=True)
class Model:
    """What reading needs of a model: tiles (B, tile_px, tile_px, 3) uint8 to (B, C) float32 logits, and what they mean.

    distance_limit: where the logits have one more column, each tile's distance from the training tiles, the distance
        within which 99 % of tiles like those lie; None where they have none.
    key: what the bytes of its answers depend on: runtime, versions, threads.
    """

    logits: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    classes: tuple[str, ...]
    tile_px: int
    calibration: Calibration | None
    key: str
    distance_limit: float | None = None

    @property
    def columns(self) -> int:
        """How many numbers `logits` gives for a tile."""
        return len(self.classes) + (self.distance_limit is not None)


# ------------------------------------------------------------------------------------------------------------ the plan


def plan_slide(job: SlideJob, settings: InferenceOptions, *, mpp: float, tile_px: int) -> int:
    """How many tiles of a slide are to be read; its mask and its list of tiles are written, unless they are there.

    Raises:
        InputError: If the slide cannot be read, its µm/px are unknown or unsuitable, or it has no tissue.
    """
    planned = read_patches(job.paths.patches)
    if planned is None or planned.key != job.key:
        with _open(job.path, settings) as slide:
            tiling = _plan(slide, settings, mpp, tile_px, job.paths.mask)
        write_patches(tiling, job.paths.patches, key=job.key)
        return len(tiling)
    return len(planned.coords)


def _open(path: Path, settings: InferenceOptions) -> Slide:
    return open_slide(path, assume_mpp=settings.assume_mpp, mpp_table=settings.mpp_table)


def _plan(slide: Slide, settings: InferenceOptions, mpp: float, tile_px: int, mask_path: Path) -> Tiling:
    if settings.least_tissue is None:
        return plan_tiles(slide, mpp=mpp, tile_px=tile_px, overlap=settings.overlap)
    mask = tissue_mask(slide)
    write_png(mask.mask, mask_path)
    tiling = plan_tiles(
        slide, mpp=mpp, tile_px=tile_px, overlap=settings.overlap, tissue=mask, least_tissue=settings.least_tissue
    )
    if len(tiling) == 0:
        raise InputError(
            f"{slide.info.path} has no tile with {settings.least_tissue:.0%} tissue; look at {mask_path.name} in "
            "masks, and lower --least-tissue or read all with --no-tissue-mask"
        )
    return tiling


def _replanned(slide: Slide, planned: Planned, settings: InferenceOptions, *, mpp: float, tile_px: int) -> Tiling:
    """The tiling of a plan that was written before: the whole grid, of which its cells are kept."""
    grid = plan_tiles(slide, mpp=mpp, tile_px=tile_px, overlap=settings.overlap)
    return dataclasses.replace(grid, cells=planned.cells, coords=planned.coords)


# --------------------------------------------------------------------------------------------------------- the reading


def read_slide(
    job: SlideJob,
    settings: InferenceOptions,
    model: Model,
    *,
    mpp: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, object]:
    """Read a planned slide and write all its files; resumes where an earlier process was cut off.

    Args:
        job: the slide.
        settings: how it is read.
        model: what reads it.
        mpp: µm/px of the tiles.
        progress: told how many of the tiles are done, after each batch.

    Returns:
        The slide's record.

    Raises:
        InputError: If the slide is damaged.
    """
    _remove_partial(job)
    planned = read_patches(job.paths.patches)
    if planned is None:
        raise InputError(f"{job.paths.patches} is gone; run the same command again")
    with _open(job.path, settings) as slide:
        info = slide.info
        tiling = _replanned(slide, planned, settings, mpp=mpp, tile_px=model.tile_px)
        picture = read_overview(slide, largest_px=_THUMBNAIL_PX)
    batch = settings.batch or batch_size(model.tile_px)
    partial = ResumeFile(job.paths.partial, f"{job.key} {model.key}", len(tiling), model.columns, batch)
    _predict(partial, tiling, settings, model, progress)
    answers = read_logits(partial)
    prob = _probabilities(answers[:, : len(model.classes)], model)
    table = TilePredictions(
        slide=job.name,
        classes=model.classes,
        corner=tiling.coords,
        size=(max(1, round(tiling.tile_level0_px[0])), max(1, round(tiling.tile_level0_px[1]))),
        prob=prob,
        extent=info.area,
        mpp=require_mpp(info.path, info.mpp_x, info.mpp_y),
        threshold=model.calibration.threshold if model.calibration else None,
        abstained=_abstained(prob, model),
        unfamiliar=None if model.distance_limit is None else answers[:, -1] > model.distance_limit,
    )
    _write(table, job, settings, picture)
    unfamiliar = _unfamiliar(table, model)
    record = {
        "tiles": len(table),
        "mpp": list(table.mpp),
        "mpp_source": info.mpp_source,
        "tile_mpp": list(tiling.actual_mpp),
        "level": tiling.level,
        "resampled": tiling.resampled,
        "extent": list(table.extent),
        "size_px": list(info.size_px),
        "reader": info.reader,
        "unfamiliar": unfamiliar,
        "notes": [*info.notes, *tiling.notes, *([unfamiliar["words"]] if unfamiliar and unfamiliar["words"] else [])],
        "pooled": pool_tiles(prob),
    }
    write_record(job, record)
    job.paths.partial.unlink()
    return read_json(job.paths.record)  # the same as a later run finds


def _remove_partial(job: SlideJob) -> None:
    """Remove what a process left half written when it was killed."""
    for path in (*job.paths.results(), job.paths.record):
        for stale in path.parent.glob(f".{glob.escape(path.name)}.*"):
            stale.unlink()


def _predict(
    partial: ResumeFile, tiling: Tiling, settings: InferenceOptions, model: Model, progress: Callable[[int, int], None]
) -> None:
    """Fill the partial file with the logits of all tiles."""
    stream, done = start_or_resume(partial)
    with stream:
        progress(min(done * partial.batch, partial.tiles), partial.tiles)
        batches = (rows_of(partial, number) for number in range(done, partial.batches))
        synced = time.monotonic()
        for logits in stream_logits(
            lambda: _open(tiling.path, settings), tiling, batches, model.logits, workers=settings.workers
        ):
            append(stream, logits)
            done += 1
            if time.monotonic() - synced > _SYNC_S:
                sync(stream)
                synced = time.monotonic()
            progress(min(done * partial.batch, partial.tiles), partial.tiles)


_OFTEN = 0.1  # share of unfamiliar tiles from which on a slide's notes tell of them; 1 % are expected


def _abstained(prob: Floats, model: Model) -> NDArray[np.bool_] | None:
    """(N,) whether no class, or more than one, is left in a tile's prediction set."""
    if model.calibration is None:
        return None
    return np.asarray(prediction_sets(prob, model.calibration.quantiles).sum(axis=1) != 1)


def _unfamiliar(table: TilePredictions, model: Model) -> dict[str, Any] | None:
    """How many tiles lie beyond the limit; None where the model has no statistics of its training tiles."""
    beyond = table.unfamiliar
    if beyond is None:
        return None
    share = float(beyond.mean())
    remark = f"{share:.0%} of the tiles are unlike the training images (1 % would be expected)"
    return {
        "tiles": int(beyond.sum()), "share": share, "limit": model.distance_limit,
        "words": remark if share > _OFTEN else "",
    }  # fmt: skip


def _probabilities(logits: NDArray[np.float32], model: Model) -> Floats:
    """(N, C) probabilities, calibrated where the model is."""
    from counterstain.learning.runtimes import softmax

    prob = softmax(logits)
    check_prob(prob, lambda row: f"tile {row + 1}")
    return prob if model.calibration is None else calibrate(model.calibration, prob, model.classes)


# --------------------------------------------------------------------------------------------------------- the writing


def _write(table: TilePredictions, job: SlideJob, settings: InferenceOptions, picture: Overview) -> None:
    write_tile_csv(table, job.paths.table)
    write_geojson(table, job.paths.geojson, origin=settings.origin, merged=settings.merged)
    heat = draw_heatmap(table)
    write_heatmap(heat, job.paths.heatmap, slide=job.name)
    framed = framed_heatmap(
        overlay(heat, picture.pixels, downsample=picture.downsample),
        title=job.name,
        legend=f"probability of {heat.names[0].removeprefix('prob_')}",
        um_per_px=table.mpp[0] * picture.downsample[0],
    )
    write_png(framed, job.paths.overlay)
