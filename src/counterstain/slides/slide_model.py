"""The model that reads slides, loaded in a process that reads them."""

from collections.abc import Callable
from pathlib import Path

from counterstain.evaluation.calibration import read_calibration, use_warnings
from counterstain.learning.bundle import Bundle
from counterstain.slides.infer_slide import InferenceOptions, Model

__all__ = ["load_slide_model"]


def load_slide_model(
    folder: Path,
    bundle: Bundle,
    settings: InferenceOptions,
    *,
    images: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Model, str]:
    """The model, ready to answer, and the name of the runtime that runs it.

    Args:
        folder, bundle: of the model, and what is written there.
        settings: how slides are read; the runtime "auto" is settled by a trial.
        images: number of tiles that it will be asked for, which decides whether a faster runtime's start pays.
        say: where to tell what was settled.
    """
    from counterstain.learning.device import device_for, prepare_device
    from counterstain.learning.ood_statistics import STATISTICS, read_ood_statistics
    from counterstain.learning.predictor import load_predictor
    from counterstain.learning.unfamiliar import with_distances

    machine = prepare_device(device=device_for(settings.runtime, settings.device), threads=settings.threads)
    predictor = load_predictor(
        folder, runtime=settings.runtime, precision=settings.precision, device=machine.device, images=images
    )
    say(f"runtime: {predictor.runtime}, {settings.precision}, {machine.device}, {machine.threads} threads")
    calibration = read_calibration(folder) if settings.calibrated else None
    for line in () if calibration is None else use_warnings(calibration, bundle.stamp):
        say(f"calibration: {line}")
    key = f"{predictor.runtime} {machine.torch} {machine.device} {machine.threads}"
    if not (folder / STATISTICS).is_file():
        return Model(predictor.logits, bundle.classes, bundle.tile_px, calibration, key), predictor.runtime
    familiar = read_ood_statistics(folder / STATISTICS)
    logits = with_distances(predictor, familiar)
    return Model(logits, bundle.classes, bundle.tile_px, calibration, key, familiar.limit), predictor.runtime
