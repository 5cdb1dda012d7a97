"""Counterstain: from a folder of histology images to a claim that survives another hospital.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import Any

from counterstain.cores import wait_shortly

__version__ = "0.1.0"

_HOME = {
    "Augmentation": "pixels.augment",
    "Cohort": "cohort.manifest",
    "InputError": "errors",
    "Phantom": "cohort.phantom",
    "Predictions": "judging.predictions",
    "Split": "cohort.split",
    "Study": "study.protocol",
    "Training": "learning.training",
    "build_store": "pixels.store",
    "compare_arms": "judging.comparison",
    "describe": "cohort.description",
    "evaluate_tables": "judging.evaluated_table",
    "folds": "cohort.split",
    "holdout": "cohort.split",
    "load_network": "learning.bundle",
    "official": "cohort.split",
    "predict_once": "study.single",
    "read_bundle": "learning.bundle",
    "read_images": "study.inputs",
    "read_predictions": "judging.reading",
    "read_split": "cohort.split",
    "read_study": "study.protocol",
    "run_study": "study.run",
    "score_arms": "judging.evaluation",
    "train_once": "study.single",
    "write_cohort": "cohort.manifest",
    "write_phantom": "cohort.phantom",
    "write_predictions": "judging.reading",
    "write_report": "reporting.report",
    "write_split": "cohort.split",
    "write_table_report": "reporting.table_report",
}
__all__ = ["__version__", *sorted(_HOME)]

wait_shortly()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'counterstain' has no attribute '{name}'")
    return getattr(import_module(f"counterstain.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
