"""Verbs of one model: train, predict, features and export."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

from counterstain.api.process import paths_of, working, yaml_texts
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.layouts import read_images
from counterstain.cohort.reading_options import ImageOptions, ReadingOptions, takes_reading
from counterstain.cohort.split import Split
from counterstain.engine import Engine
from counterstain.errors import InputError, says_arguments
from counterstain.export.from_run import ExportOptions
from counterstain.export.from_run import export as export_to
from counterstain.files import StrPath
from counterstain.learning.own_network import allow_file
from counterstain.slides.feature_files import FeatureFiles, TileGrid, encode_slides, encode_tiles
from counterstain.study.model import find_bundle
from counterstain.study.one_model import train_once
from counterstain.study.predicted import Predicted, PredictionOptions
from counterstain.study.predicting import predict_images
from counterstain.study.prepare import TABLES
from counterstain.study.results import Export
from counterstain.study.study_config import parse_arm

__all__ = ["export", "features", "predict", "train"]


@says_arguments
@takes_reading
def train(
    images: Cohort | StrPath,
    splits: Split | StrPath,
    out: Path | str,
    *,
    network: str = "given",
    batch: int = 32,
    epochs: int = 100,
    patience: int = 10,
    learning_rate: float = 1e-4,
    tile_px: int = 257,
    fit: str = "stretch",
    precision: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    fold: str = "0-0",
    settings: Mapping[str, object] | None = None,
    unit: str = "patient",
    rehash: bool = False,
    verbose: bool = False,
    **reading: Unpack[ReadingOptions],
) -> Path:
    """Train one network once; `out` becomes its bundle, with history and test predictions.

    The same call again resumes a training that was stopped. Where a launcher (torchrun) has started several processes,
    they train the one network together.

    Args:
        images: a cohort, a folder or a manifest; splits: its split, or the splits.csv; out: the folder to write.
        network: given, modified, timm/… or a foundation model.
        batch: images per step; epochs: maximum number; patience: epochs without improvement before stopping.
        learning_rate: of Adam.
        tile_px: side of the tiles, px; fit: stretch, crop or exact.
        precision: auto, fp32 or bf16; device: auto, cpu or cuda; threads: None for OMP_NUM_THREADS, else all cores.
        seed: for all randomness; fold: of a cross-validation, repeat-fold.
        settings: any other setting of an arm, such as {"tune": "frozen"}; the command line's --set.
        unit: "patient" or "image"; a Split knows its own.
        rehash: read and hash every image again, though size and times of its file are as recorded.
        **reading: positive, layout, pattern, … of a folder or a manifest, see `cohort`.
        verbose: show progress on stderr.

    Returns:
        The folder of the bundle, for `load_model`.

    Raises:
        InputError: If `out` holds a finished model, the split does not fit the cohort, or a setting is unknown.
    """
    named: dict[str, object] = {
        "network": network, "batch": batch, "epochs": epochs, "patience": patience, "learning_rate": learning_rate,
        "precision": precision, "device": device, "threads": threads,
    }  # fmt: skip
    chosen = parse_arm(named, yaml_texts(settings))
    with working(verbose=verbose, rehash=Path(out).parent / "store" if rehash else None) as talk:
        train_once(
            images, splits, Path(out), settings=chosen, tile_px=tile_px, fit=fit, seed=seed, fold=fold,
            unit=unit, talk=talk, **reading,
        )  # fmt: skip
    return Path(out)


@says_arguments
@takes_reading
def predict(
    model: StrPath,
    sources: Cohort | StrPath | Sequence[StrPath],
    *,
    out: Path | str = "predictions.csv",
    sheet: Path | str | None = None,
    arm: str | None = None,
    seed: int | None = None,
    fold: str | None = None,
    network_file: StrPath | None = None,
    ensemble: bool = False,
    splits: Split | StrPath | None = None,
    part: str = "test",
    split_fold: str | None = None,
    runtime: str = "auto",
    precision: str = "fp32",
    device: str = "auto",
    attention: Path | str | None = None,
    rehash: bool = False,
    verbose: bool = False,
    **reading: Unpack[ImageOptions],
) -> Predicted:
    """Call every image, say what can't be told and what is unlike the training images; no labels are needed.

    The table is written to `out`, where `read_predictions` reads it if the images are labelled. For arrays, and to
    keep a model in memory, see `load_model`.

    Args:
        model: a loaded model, a run (of which the best arm on validation data is taken) or an export, or its folder.
        sources: a cohort; or images, folders, tables or containers.
        out: the predictions.csv to write; sheet: also a picture of the images with their calls.
        arm, seed, fold: of a run, instead of the best on validation data; network_file: see `load_model`.
        ensemble: average all seeds of the arm.
        splits, part: predict only this part of a split or its splits.csv; split_fold: of several folds, as "0-1"; by
            default the model's own.
        runtime: torch, openvino, onnxruntime, or auto: the fastest that agrees; precision: fp32 or bf16.
        device: auto, cpu or cuda; with cuda the runtime is torch.
        attention: of a model of whole slides (mil/…): folder for the weight of every tile.
        rehash: read and hash every image again, though size and times of its file are as recorded.
        **reading: layout, pattern, … of a folder or a manifest, see `cohort`.
        verbose: say on stderr what was chosen and what runs it.

    Raises:
        InputError: If the model or a source cannot be used, no image can be read, or an option does not fit.
    """
    if network_file is not None:
        allow_file(Path(network_file))
    options = PredictionOptions(
        arm=arm, seed=seed, fold=fold, ensemble=ensemble, splits=splits, part=part,
        split_fold=split_fold, runtime=runtime, precision=precision, device=device,
        attention=None if attention is None else Path(attention), reading=reading,
        sheet=None if sheet is None else Path(sheet),
    )  # fmt: skip
    places = sources if isinstance(sources, Cohort) else paths_of(sources)
    if isinstance(places, list) and not places:
        raise InputError("the list of images is empty; name one image or more")
    with working(verbose=verbose, rehash=Path(out).parent / "store" if rehash else None) as talk:
        return predict_images(Path(model), places, Path(out), options=options, talk=talk)


@says_arguments
@takes_reading
def features(
    model: StrPath,
    sources: Cohort | StrPath | Sequence[StrPath],
    *,
    out: Path | str = "features",
    arm: str | None = None,
    seed: int | None = None,
    fold: str | None = None,
    network_file: StrPath | None = None,
    mpp: float | None = None,
    tile_px: int | None = None,
    fit: str | None = None,
    weights: str = "pretrained",
    overlap: float = 0.0,
    least_tissue: float = 0.5,
    assume_mpp: float | None = None,
    mpp_table: StrPath | None = None,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "fp32",
    jobs: int = 1,
    scheduler: str | None = None,
    time_limit: float | None = None,
    rehash: bool = False,
    verbose: bool = False,
    **reading: Unpack[ReadingOptions],
) -> FeatureFiles:
    """Features of tiles, one .h5 file per slide, and the manifest with which slides are learned from them.

    Args:
        model: a loaded model, a run or an export, or its folder; or a backbone: timm/….
        sources: a cohort of tiles, or where it lies; with `mpp` slides, or a cohort or manifest of them.
        out: folder of the files.
        arm, seed, fold: of a run, instead of the best on validation data; network_file: see `load_model`.
        mpp: read slides, their tiles at so many µm/px.
        tile_px: side of the tiles, px; a trained model has its own.
        fit: of a cohort: stretch, crop or exact. weights: of a backbone: pretrained, random, or a file.
        overlap, least_tissue, assume_mpp, mpp_table: of slides, see `slides_tiles`.
        runtime: torch, openvino, onnxruntime or auto; precision: fp32 or bf16; device: auto, cpu or cuda.
        jobs, scheduler, time_limit: of slides, see `slides_run`.
        rehash: read and hash every image again, though size and times of its file are as recorded.
        **reading: positive, layout, pattern, … of a folder or a manifest, see `cohort`.
        verbose: show progress on stderr.

    Returns:
        How many slides and tiles, and the slides that could not be read.

    Raises:
        InputError: If the model, a source or an option does not fit.
    """
    from counterstain.learning.device import device_for, prepare_device
    from counterstain.learning.encoder import load_encoder
    from counterstain.learning.runtimes import check_runtime
    from counterstain.slides.scale import read_mpp_table

    paths = [] if isinstance(sources, Cohort) else paths_of(sources)
    table = sources if isinstance(sources, Cohort) else _table_of(paths)
    _check_sources(paths, table, mpp=mpp, fit=fit)
    with working(verbose=verbose, rehash=Path(out).parent / "store" if rehash else None) as talk:
        precision = "fp32" if precision == "auto" else precision
        check_runtime(runtime, precision)
        machine = prepare_device(device=device_for(runtime, device), precision=precision)
        runtime = runtime if machine.device == "cpu" else "torch"
        named = str(model)
        if Path(model).is_dir():
            folder, words = find_bundle(model, arm=arm, seed=seed, fold=fold, network_file=network_file)
            named = str(folder)
            talk.say(words or f"model: {folder}")
        encoder = load_encoder(
            named, tile_px=tile_px, weights=weights, device=machine.device, precision=machine.precision
        )
        if mpp is None:
            cohort = read_images(paths[0] if table is None else table, **reading)
            fit = fit or encoder.fit or "exact"
            return encode_tiles(encoder, cohort, Path(out), fit=fit, runtime=runtime, talk=talk)
        known = None if table is None else read_images(table, **reading)
        slides = paths if known is None else [known.root / name for name in known.image]
        laying = TileGrid(
            mpp=mpp, overlap=overlap, least_tissue=least_tissue or None, assume_mpp=assume_mpp,
            mpp_table=None if mpp_table is None else read_mpp_table(Path(mpp_table)),
        )  # fmt: skip
        engine = Engine(jobs=jobs, scheduler=scheduler, time_limit_s=time_limit)
        return encode_slides(encoder, slides, Path(out), laying, table=known, runtime=runtime, engine=engine, talk=talk)


def _check_sources(paths: Sequence[Path], table: Cohort | Path | None, *, mpp: float | None, fit: str | None) -> None:
    """Refuse what is neither one cohort of tiles nor slides at a resolution."""
    from counterstain.slides.slide_files import names_slides

    if mpp is None and table is None and len(paths) != 1:
        raise InputError("name one cohort of tiles (a folder or a manifest); to read slides, say --mpp")
    if mpp is None and table is None and names_slides(paths[0]):
        raise InputError(f"{paths[0]} is of slides, and at what µm/px their tiles are read is not said: add --mpp")
    if mpp is not None and fit is not None:
        raise InputError("--fit is for a cohort of tiles; slides are read at --mpp")


def _table_of(paths: Sequence[Path]) -> Path | None:
    """The one source, where it is a table."""
    return paths[0] if len(paths) == 1 and paths[0].suffix.lower() in TABLES else None


@says_arguments
def export(
    model: StrPath,
    out: Path | str,
    *,
    arm: str | None = None,
    seed: int | None = None,
    fold: str | None = None,
    network_file: StrPath | None = None,
    formats: Sequence[str] = ("wsinfer", "onnx", "openvino"),
    mpp: float | None = None,
    uncalibrated: bool = False,
    int8: bool = False,
    calibrate: Cohort | StrPath | None = None,
    cohort: Cohort | StrPath | None = None,
    licence: str = "",
    verbose: bool = False,
) -> Export:
    """A trained model for every runtime: QuPath (WSInfer), ONNX, OpenVINO, each proven to answer as PyTorch does.

    Args:
        model: a loaded model, a run or an export, or its folder; out: the folder to write, which must not exist yet.
        arm, seed, fold: of a run, instead of the best on validation data; network_file: see `load_model`.
        formats: of wsinfer, onnx and openvino; () for the bundle alone.
        mpp: µm/px of the tiles, where the model does not know it.
        uncalibrated: probabilities as the network gives them.
        int8: also an 8-bit OpenVINO model; calibrate: cohort that sets its ranges and measures its loss.
        cohort: the training images, where a model is exported without its run.
        licence: of the model, for its card.
        verbose: show progress on stderr.

    Raises:
        InputError: If there is no such training, or it cannot be exported as asked.
        GateError: If a probability differs from PyTorch's by more than 1e-4; nothing is written then.
    """
    wanted = ExportOptions(
        arm=arm, seed=seed, fold=fold, formats=tuple(formats), mpp=mpp, calibrated=not uncalibrated, int8=int8,
        calibrate=calibrate, cohort=cohort,
        licence=licence,
    )  # fmt: skip
    if network_file is not None:
        allow_file(Path(network_file))
    with working(verbose=verbose) as talk:
        return Export(Path(out), export_to(Path(model), Path(out), wanted, talk))
