"""Verbs of whole slides: inspect them, cut them into tiles, read them with a model."""

from collections.abc import Mapping
from pathlib import Path

from counterstain.api.process import Paths, paths_of, working
from counterstain.columns import columns_of_two
from counterstain.engine import Engine
from counterstain.errors import InputError, says_arguments
from counterstain.files import StrPath
from counterstain.progress import SlidesProgress
from counterstain.slides.dicom_export import DicomResults, write_dicom_results
from counterstain.slides.extract_tiles import ExtractedTiles, ExtractionOptions, extract_tiles, find_slides
from counterstain.slides.infer_cohort import SlidesResult, run_slides
from counterstain.slides.infer_slide import InferenceOptions
from counterstain.slides.inspection import inspect_slides
from counterstain.slides.scale import read_mpp_table
from counterstain.slides.slides_result import Inspection, SlideInspection
from counterstain.study.model import find_bundle

__all__ = ["inspect", "slides_dicom", "slides_run", "slides_tiles"]

Slides = Inspection | Paths


@says_arguments
def inspect(
    slides: Slides,
    *,
    mpp: float = 0.5,
    tile_px: int = 256,
    overlap: float = 0.0,
    least_tissue: float = 0.5,
    assume_mpp: float | None = None,
    mpp_table: StrPath | None = None,
    columns: Mapping[str, str] | None = None,
    tissue_mask: bool = True,
    edges: bool = False,
    recursive: bool | None = None,
    out: Path | str | None = None,
    verbose: bool = False,
) -> Inspection:
    """Inspect slides: pyramid levels, µm/px and its source, tissue, and the tiles that `slides_tiles` would cut.

    Args:
        slides: files, and folders of them.
        mpp: µm/px of the tiles to plan; tile_px: their side, px; overlap: share that a neighbour covers too.
        least_tissue: share of a tile that must be tissue; tissue_mask: leave out glass, pen and blur.
        edges: keep tiles that stick out.
        assume_mpp: µm/px of slides that do not say it; mpp_table: CSV of slide,mpp that overrules the files; columns:
            {our column: the table's}.
        recursive: search subfolders; by default only of folders without slides of their own.
        out: folder for a picture of each slide.
        verbose: say on stderr which files are left out.

    Raises:
        InputError: If there is no slide, or the only one can't be read.
    """
    with working(verbose=verbose) as talk:
        inspected = tuple(inspect_slides(
            _files_of(slides), mpp=mpp, tile_px=tile_px, overlap=overlap, least_tissue=least_tissue,
            assume_mpp=assume_mpp, mpp_table=None if mpp_table is None else Path(mpp_table), columns=columns,
            recursive=recursive, thumbnails=None if out is None else Path(out), whole_tiles=not edges,
            tissue=tissue_mask, say=talk.say,
        ))  # fmt: skip
    return Inspection(
        tuple(SlideInspection(record) for _, record in inspected if not isinstance(record, InputError)),
        tuple((str(path), str(error)) for path, error in inspected if isinstance(error, InputError)),
    )


def _files_of(slides: Slides) -> list[Path]:
    """The files and folders; of an inspection the slides that could be read."""
    return paths_of(slides.slides if isinstance(slides, Inspection) else slides)


@says_arguments
def slides_tiles(
    slides: Slides,
    out: Path | str,
    *,
    mpp: float = 0.5,
    tile_px: int = 256,
    overlap: float = 0.0,
    least_tissue: float = 0.5,
    tissue_mask: bool = True,
    edges: bool = False,
    annotations: StrPath | None = None,
    classes: Mapping[str, str] | None = None,
    rest: str | None = None,
    least_overlap: float = 0.5,
    origin: str = "auto",
    slide_table: StrPath | None = None,
    pattern: str | None = None,
    assume_mpp: float | None = None,
    mpp_table: StrPath | None = None,
    columns: Mapping[str, str] | None = None,
    recursive: bool | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    time_limit: float | None = None,
    verbose: bool = False,
) -> ExtractedTiles:
    """Cut slides into tiles with labels from annotations, and a cohort.csv that a study can train on.

    Args:
        slides: files, and folders of them; or what `inspect` could read. out: a new folder.
        mpp, tile_px, overlap, least_tissue, tissue_mask, edges, assume_mpp, mpp_table, recursive: see `inspect`.
        annotations: folder of annotations; classes: {annotated name: label}; rest: label of tiles that none touches.
        least_overlap: share of a tile that its class must cover; origin: of annotations, auto, bounds or slide.
        slide_table: CSV of slide_id and any of patient_id, site, label, split; columns: {our column: its}.
        pattern: regular expression that finds ids in slides' names.
        jobs, scheduler, time_limit: see `slides_run`.
        verbose: say on stderr what is cut.

    Returns:
        The cohort.csv, tiles by label, and the slides that could not be read.
    """
    of_slides, of_mpp = columns_of_two(columns or {}, both=slide_table is not None and mpp_table is not None)
    settings = ExtractionOptions(
        mpp=mpp, tile_px=tile_px, overlap=overlap, least_tissue=least_tissue, whole_tiles=not edges,
        tissue=tissue_mask, annotations=None if annotations is None else Path(annotations), classes=classes, rest=rest,
        least_overlap=least_overlap, origin=origin, slide_table=None if slide_table is None else Path(slide_table),
        columns=of_slides, pattern=pattern, assume_mpp=assume_mpp,
        mpp_table=None if mpp_table is None else read_mpp_table(Path(mpp_table), columns=of_mpp),
    )  # fmt: skip
    with working(verbose=verbose) as talk:
        paths = find_slides(_files_of(slides), recursive=recursive, say=talk.say)
        engine = Engine(jobs=jobs, scheduler=scheduler, time_limit_s=time_limit)
        return extract_tiles(paths, Path(out), settings, engine=engine, say=talk.say)


@says_arguments
def slides_run(
    model: StrPath,
    slides: Slides,
    out: Path | str,
    *,
    arm: str | None = None,
    seed: int | None = None,
    fold: str | None = None,
    network_file: StrPath | None = None,
    mpp: float | None = None,
    overlap: float = 0.0,
    least_tissue: float = 0.5,
    tissue_mask: bool = True,
    truth: StrPath | None = None,
    pooling: str = "auto",
    regions: bool = False,
    compress: bool = False,
    origin: str = "bounds",
    assume_mpp: float | None = None,
    mpp_table: StrPath | None = None,
    columns: Mapping[str, str] | None = None,
    allow_scale: bool = False,
    raw: bool = False,
    runtime: str = "auto",
    precision: str = "fp32",
    device: str = "auto",
    batch: int | None = None,
    workers: int | None = None,
    recursive: bool | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    time_limit: float | None = None,
    verbose: bool = False,
) -> SlidesResult:
    """Read slides with a model: tables and GeoJSON of tiles, heat maps, and scores of slides and patients.

    The same call again resumes a run that was stopped, to the same bytes.

    Args:
        model: a loaded model, a run or an export, or its folder; out: folder of the results.
        slides: files, and folders of them; or what `inspect` could read.
        arm, seed, fold: of a run, instead of the best on validation data; network_file: see `load_model`.
        mpp: µm/px of the tiles; by default the model's. overlap, least_tissue, tissue_mask, recursive: see `inspect`.
        truth: CSV of slide_id,patient_id,label,split, which scores slides; columns: {our column: its}.
        pooling: from tiles to a slide: auto, mean, top_5pct_mean, quantile_90, ….
        regions: add merged regions to GeoJSON; compress: write .geojson.gz; origin: of GeoJSON, bounds or slide.
        assume_mpp, mpp_table: see `inspect`; allow_scale: read at another µm/px than trained at.
        raw: leave the model's calibration out.
        runtime: torch, openvino, onnxruntime or auto; precision: fp32 or bf16; device: auto, cpu or cuda.
        batch: tiles predicted together; workers: threads that decode.
        jobs: slides at once, each in a process with its share of the cores; scheduler: address of a dask scheduler
            whose workers read instead; time_limit: seconds after which a slide is skipped.
        verbose: say on stderr what is read.

    Returns:
        The records of the slides read, and the slides that could not be read.
    """
    of_truth, of_mpp = columns_of_two(columns or {}, both=truth is not None and mpp_table is not None)
    settings = InferenceOptions(
        mpp=mpp, overlap=overlap, least_tissue=least_tissue if tissue_mask else None, batch=batch, runtime=runtime,
        precision=precision, device=device, workers=workers, assume_mpp=assume_mpp,
        mpp_table=None if mpp_table is None else read_mpp_table(Path(mpp_table), columns=of_mpp),
        allow_scale=allow_scale, origin=origin, merged=regions, compress=compress, calibrated=not raw,
    )  # fmt: skip
    bundle, words = find_bundle(model, arm=arm, seed=seed, fold=fold, network_file=network_file)
    with working(verbose=verbose) as talk:
        if words:
            talk.say(words)
        return run_slides(
            bundle, _files_of(slides), Path(out), settings, truth=None if truth is None else Path(truth),
            columns=of_truth, pooling=pooling, recursive=recursive,
            engine=Engine(jobs=jobs, scheduler=scheduler, time_limit_s=time_limit), talk=SlidesProgress(say=talk.say),
        )  # fmt: skip


@says_arguments
def slides_dicom(
    model: StrPath,
    slides: Slides,
    maps: StrPath,
    out: Path | str,
    *,
    send: str | None = None,
    codes: Mapping[str, str] | None = None,
    algorithm: str | None = None,
    arm: str | None = None,
    seed: int | None = None,
    fold: str | None = None,
    network_file: StrPath | None = None,
    recursive: bool | None = None,
    verbose: bool = False,
) -> DicomResults:
    """Write results of `slides_run` on DICOM slides as DICOM: heat map, regions and class; send them to a server.

    Args:
        model, slides: as `slides_run` had them, addresses of servers included; maps: what it returned, or its folder.
        out: folder for heatmap.dcm, regions.dcm and report.dcm of each slide.
        send: dicomweb:// address of a server that stores them.
        codes: {class: "VALUE^SCHEME^MEANING"}, as "108369006^SCT^Neoplasm"; others get a private code.
        algorithm: name that every object states; by default the network's.
        arm, seed, fold, network_file, recursive: see `slides_run`.
        verbose: say on stderr what is skipped, and sent.

    Returns:
        The files of each slide, and the slides that were skipped.
    """
    bundle, words = find_bundle(model, arm=arm, seed=seed, fold=fold, network_file=network_file)
    with working(verbose=verbose) as talk:
        if words:
            talk.say(words)
        files = find_slides(_files_of(slides), recursive=recursive, say=talk.say)
        return write_dicom_results(
            bundle, files, Path(maps), Path(out), codes=codes, algorithm=algorithm, send=send, say=talk.say
        )
