"""Several findings per image in a study: each one predicted, calibrated on the validation part, and evaluated."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.evaluation.calibration import Calibration, calibrate, fit_calibration
from counterstain.evaluation.finding_scores import (
    FindingPredictions,
    finding_rows,
    join,
    read_findings,
    score_findings,
    write_findings,
)
from counterstain.evaluation.predictions_csv import write_predictions
from counterstain.evaluation.thresholds import decide
from counterstain.files import read_record, write_csv, write_json
from counterstain.images.store import Store
from counterstain.learning.bag_dataset import BagStore
from counterstain.learning.bundle import FINDING_CALIBRATION, load_network
from counterstain.learning.config import TrainingConfig
from counterstain.learning.dataset import TileDataset, table_of
from counterstain.learning.findings_network import FindingsNetwork
from counterstain.learning.loop import Trained
from counterstain.learning.predictor import predict_logits
from counterstain.learning.stain_pipeline import StainPipeline
from counterstain.run_folder import record_path
from counterstain.study.study_sections import CalibrationSection

__all__ = [
    "answer_findings", "answers_of_findings", "evaluate_findings", "finish_findings", "predict_findings",
    "raw_findings", "read_finding_calibration",
]  # fmt: skip

SCHEMA = "counterstain.finding_calibration/1"


def raw_findings(part: str) -> str:
    """The file, within a training's folder, of a part's findings before calibration."""
    return f"findings_raw_{part}.csv"


def answer_findings(
    network: FindingsNetwork,
    store: Store,
    rows: NDArray[np.int64],
    *,
    scale: str,
    device: str,
    staining: StainPipeline,
) -> NDArray[np.float64]:
    """(N, K) probability of each finding for the store's rows, by torch in fp32, before any calibration."""
    logits = predict_logits(network.body, store, rows, scale=scale, device=device, staining=staining)
    prob: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -500, 500)))
    return prob


def answers_of_findings(
    folders: Sequence[Path], store: Store | BagStore, rows: NDArray[np.int64], *, device: str
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_] | None]]:
    """{finding: (N,) calibrated probability, (N,) called at its frozen threshold} for the store's rows.

    Of several folders, the members of an ensemble, the mean of their probabilities and None. {} where the models are of
    one label per image.
    """
    members = []
    for folder in folders:
        if isinstance(store, BagStore) or not (folder / FINDING_CALIBRATION).is_file():
            return {}
        bundle, network = load_network(folder)
        if not isinstance(network, FindingsNetwork):
            return {}
        prob = answer_findings(
            network.to(device), store, rows, scale=bundle.scale, device=device, staining=bundle.staining
        )
        blank = ("",) * len(rows)
        names = tuple(str(row) for row in range(len(rows)))
        table = FindingPredictions(
            image=names, patient=names, slide=blank, site=blank, label=np.zeros(prob.shape, np.int64), prob=prob,
            findings=network.findings,
        )  # fmt: skip
        members.append(calibrated(table, read_finding_calibration(folder)))
    first = members[0]
    mean = np.mean([member.prob for member in members], axis=0)
    called = None if len(members) > 1 or first.called is None else first.called.astype(np.bool_)
    return {name: (mean[:, k], None if called is None else called[:, k]) for k, name in enumerate(first.findings)}


def predict_findings(
    material: TileDataset, chosen: NDArray[np.int64], trained: Trained, settings: TrainingConfig
) -> FindingPredictions:
    """The findings of the cohort's images with these row numbers, before any calibration."""
    network, present = trained.network, material.cohort.present
    if not isinstance(network, FindingsNetwork) or present is None:
        raise InputError("this model answers with one class per image; cohort.findings makes one of several findings")
    prob = answer_findings(
        network, material.tiles, material.rows(chosen),
        scale=settings.scale, device=trained.machine.device, staining=trained.staining,
    )  # fmt: skip
    ids = table_of(material, chosen, np.tile([1.0, 0.0], (len(chosen), 1)))
    return FindingPredictions(
        image=ids.image, patient=ids.patient, slide=ids.slide, site=ids.site,
        label=present[chosen], prob=prob, findings=network.findings,
    )  # fmt: skip


def finish_findings(folder: Path, settings: CalibrationSection) -> None:
    """Calibrate each finding of a training on its validation part, choose its threshold, and apply both to all parts.

    Args:
        folder: of the training, with findings_raw_val.csv; gets finding_calibration.json and findings_<part>.csv.
        settings: of the study.
    """
    validation = read_findings(folder / raw_findings("val"))
    fitted = {
        name: fit_calibration(
            validation.of(name), method=settings.method, threshold=settings.threshold, alpha=settings.alpha
        )
        for name in validation.findings
    }
    record = {
        "schema": SCHEMA,
        "findings": [{"finding": name, **calibration.to_record()} for name, calibration in fitted.items()],
    }
    write_json(folder / FINDING_CALIBRATION, record)
    for path in sorted(folder.glob(raw_findings("*"))):
        part = path.stem.removeprefix("findings_raw_")
        write_findings(calibrated(read_findings(path), fitted), folder / f"findings_{part}.csv")


def read_finding_calibration(folder: Path) -> dict[str, Calibration]:
    """{finding: its calibration}, of a bundle's folder."""
    record = read_record(folder / FINDING_CALIBRATION, SCHEMA)
    return {row["finding"]: Calibration.from_record(row) for row in record["findings"]}


def calibrated(table: FindingPredictions, fitted: dict[str, Calibration]) -> FindingPredictions:
    """The table with calibrated probabilities, and with the calls at each finding's frozen threshold."""
    prob = np.empty_like(table.prob)
    called = np.zeros(table.prob.shape, dtype=np.int64)
    for k, name in enumerate(table.findings):
        single = table.of(name)
        prob[:, k] = calibrate(fitted[name], single.prob, single.classes)[:, 1]
        threshold = fitted[name].threshold
        called[:, k] = decide(prob[:, k], 0.5 if threshold is None else threshold)
    return replace(table, prob=prob, called=called)


def evaluate_findings(run: Path, folders: dict[str, dict[str, Sequence[Path]]], *, alpha: float) -> list[Path]:
    """Write what follows from the trainings' findings: tables by arm and seed, findings.csv, records/findings.json.

    Beside the tables of all findings, one of two classes is written for each finding, which `evaluate` and `compare`
    take: findings/<arm>/<seed>/<finding>.csv.

    Args:
        run: the run's folder.
        folders: arm -> name of its seed (and repeat) -> the trainings' folders, one per fold.
        alpha: of the intervals.
    """
    arms: dict[str, list[FindingPredictions]] = {}
    written = []
    for arm, seeds in folders.items():
        for label, fold_folders in seeds.items():
            table = join([read_findings(folder / "findings_test.csv") for folder in fold_folders])
            arms.setdefault(arm, []).append(table)
            path = run / "findings" / arm / f"{label}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_findings(table, path)
            written.append(path)
            for name in table.findings:
                single = path.with_suffix("") / f"{_file_name(name)}.csv"
                single.parent.mkdir(exist_ok=True)
                write_predictions(table.of(name), single)
                written.append(single)
    record = score_findings(arms, alpha=alpha)
    write_json(record_path(run, "findings.json"), record)
    write_csv(run / "findings.csv", *finding_rows(record))
    return [*written, record_path(run, "findings.json"), run / "findings.csv"]


def _file_name(finding: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in finding).strip(".") or "finding"
