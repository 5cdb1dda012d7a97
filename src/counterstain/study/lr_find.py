"""The learning-rate range test of one arm of a study: its curve, drawn, and the rate that follows from it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError, suggest
from counterstain.files import write_csv, write_json
from counterstain.learning.dataset import examples
from counterstain.learning.lr_range import RateCurve, loss_by_rate
from counterstain.learning.mil_networks import is_bag_network
from counterstain.learning.objective import objective_of
from counterstain.learning.stain_pipeline import fit_staining
from counterstain.progress import Progress
from counterstain.reports.rate_figure import rate_figure, save_figure
from counterstain.study.planning import check_settings
from counterstain.study.prepare import PreparedStudy, prepare
from counterstain.study.results import FoundRate
from counterstain.study.study_config import read_study

__all__ = ["find_rate"]


def find_rate(
    path: Path,
    out: Path,
    *,
    arm: str | None = None,
    steps: int = 100,
    seed: int = 0,
    overrides: dict[str, str] | None = None,
    folder: Path | None = None,
    talk: Progress | None = None,
) -> FoundRate:
    """Raise one arm's learning rate from step to step on training images; write and draw the loss.

    Neither validation nor test images are used.

    Args:
        path: of the study's YAML file.
        out: folder for lr_find.csv, lr_find.json and the drawing, lr_find.png and .svg.
        arm: which; by default the study's only one.
        steps: from the lowest rate to the highest.
        seed: of weights, order and augmentation.
        overrides: see read_study.
        folder: where `store/` is made; None for beside the study.
        talk: where progress is told.

    Raises:
        InputError: If the study has no such arm, or the arm has no learning rate.
    """
    talk = talk or Progress()
    study = read_study(path, overrides)
    check_settings(study, path.parent)
    if arm is None and len(study.arms) > 1:
        raise InputError(f"the study has the arms {', '.join(study.arms)}; name one with --arm")
    arm = arm or next(iter(study.arms))
    if arm not in study.arms:
        raise InputError(f"--arm is '{arm}'{suggest(arm, study.arms)}")
    settings = study.arm(arm)
    if settings.tune == "frozen" or is_bag_network(settings.network):
        kind = "a probe on frozen features" if settings.tune == "frozen" else settings.network
        raise InputError(f"arm {arm} is {kind}; lr-find is for networks that learn from tiles")
    prepared = prepare(study, path.parent, store=(folder or path.parent) / "store", talk=talk)
    talk.say(f"learning-rate range test of arm {arm}: {steps} steps of {settings.batch} training images")
    curve = _measure(prepared, arm, steps, seed, talk)
    out.mkdir(parents=True, exist_ok=True)
    write_csv(
        out / "lr_find.csv",
        ("learning_rate", "loss", "smoothed"),
        zip(curve.rate.tolist(), curve.loss.tolist(), curve.smoothed.tolist(), strict=True),
    )
    title = f"Loss by learning rate: arm {arm}, {len(curve.rate)} steps"
    figure = rate_figure(
        curve.rate, curve.loss, curve.smoothed, suggested=curve.suggested, current=settings.learning_rate, title=title,
        stamp=study.stamp,
    )  # fmt: skip
    png, _ = save_figure(figure, out / "lr_find")
    write_json(out / "lr_find.json", _record(arm, curve, asdict(settings), seed, prepared))
    return FoundRate(arm, curve.rate.tolist(), curve.loss.tolist(), curve.suggested, settings.learning_rate, png)


def _measure(prepared: PreparedStudy, arm: str, steps: int, seed: int, talk: Progress) -> RateCurve:
    material, settings = prepared.material, prepared.study.arm(arm)
    rows: NDArray[np.int64] = np.flatnonzero(np.array(prepared.split.parts[0].assignment) == "train")
    training = examples(material, rows)
    step = talk.step
    return loss_by_rate(
        material.tiles,
        training,
        classes=material.outputs,
        settings=settings,
        augmentation=material.augmentation,
        seed=seed,
        steps=steps,
        staining=fit_staining(material.tiles, training.row, settings),
        objective=objective_of(settings, material.cohort.classes, training.label),
        progress=None if step is None else lambda done, total: step("learning rate", done, total),
    )


def _record(arm: str, curve: RateCurve, settings: dict[str, Any], seed: int, prepared: PreparedStudy) -> dict[str, Any]:
    return {
        "schema": "counterstain.lr_find/1",
        "arm": arm,
        "settings": settings,
        "seed": seed,
        "data": prepared.material.store.data_hash,
        "steps": len(curve.rate),
        "suggested": curve.suggested,
    }
