"""Counterstain: from a folder of histology images to a claim that survives another hospital.

One function per verb of the command line, by its name: `counterstain.evaluate(y_true, y_prob, groups=patient)`. They,
`load_model` and the classes below are loaded when they are first used, so that importing the package costs nothing and
changes nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

# Where each public name lives; __init__.pyi says the same to type checkers, and a test holds the two together.
_VERBS = {
    "compare": "api.evaluation",
    "evaluate": "api.evaluation",
}
_NOUNS = {
    "Augmentation": "pixels.augment",
    "Cohort": "cohort.manifest",
    "Comparison": "judging.comparison_result",
    "GateError": "errors",
    "InputError": "errors",
    "Model": "study.model",
    "ModelOutput": "judging.model_output",
    "PairComparison": "judging.comparison_result",
    "Phantom": "cohort.phantom",
    "Predictions": "judging.predictions",
    "Score": "judging.scores_result",
    "Scores": "judging.scores_result",
    "Split": "cohort.split",
    "Study": "study.protocol",
    "Training": "learning.training",
    "Verdict": "judging.comparison_result",
    "as_predictions": "judging.from_arrays",
    "build_store": "pixels.store",
    "compare_arms": "judging.comparison",
    "describe": "cohort.description",
    "evaluate_tables": "judging.evaluated_table",
    "folds": "cohort.split",
    "holdout": "cohort.split",
    "load_model": "study.model",
    "load_network": "learning.scaled_network",
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
_HOME = _VERBS | _NOUNS
__all__ = ["__version__", *sorted(_HOME)]


class _CallableRoom(ModuleType):
    """A room of the package that has the name of a verb: calling it calls the verb."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return _load(self.__name__.rpartition(".")[2])(*args, **options)


class _Package(ModuleType):
    """The package's module: where a room is imported whose name is a verb's too, the name stays callable."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _VERBS and isinstance(value, ModuleType):
            value.__class__ = _CallableRoom
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _load(name: str) -> Any:
    return getattr(import_module(f"counterstain.{_HOME[name]}"), name)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'counterstain' has no attribute '{name}'")
    return _load(name)


def __dir__() -> list[str]:
    return __all__
