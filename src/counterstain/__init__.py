"""Counterstain: from a folder of histology images to a claim that survives another hospital.

One function per verb of the command line, by its name: `counterstain.evaluate(y_true, y_prob, groups=patient)`. They,
`load_model` and the classes below are loaded when they are first used, so that importing the package costs nothing and
changes nothing.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from counterstain.version import __version__

# Where each public name lives; __init__.pyi says the same to type checkers, and a test holds the two together.
_VERBS = {
    "audit": "api.images",
    "augment": "api.images",
    "clean": "api.finished_runs",
    "cohort": "api.images",
    "compare": "api.model_comparison",
    "data_fetch": "api.verification",
    "data_list": "api.verification",
    "data_verify": "api.verification",
    "demo": "api.studies",
    "doctor": "api.verification",
    "evaluate": "api.evaluation",
    "explain": "api.trust",
    "export": "api.models",
    "features": "api.models",
    "init": "api.images",
    "inspect": "api.slides",
    "lr_find": "api.studies",
    "phantom": "api.images",
    "phantom_slides": "api.images",
    "predict": "api.models",
    "privacy": "api.verification",
    "publish": "api.finished_runs",
    "report": "api.studies",
    "reproduce": "api.reproduction",
    "robustness": "api.trust",
    "run": "api.studies",
    "runs": "api.finished_runs",
    "sbom": "api.verification",
    "search": "api.studies",
    "serve": "api.local_page",
    "sign": "api.verification",
    "slides_dicom": "api.slides",
    "slides_run": "api.slides",
    "slides_tiles": "api.slides",
    "split": "api.images",
    "train": "api.models",
    "verify": "api.verification",
}
_NOUNS = {
    "AuditReport": "audit.audit_result",
    "Augmentation": "images.augment",
    "Bundle": "learning.bundle",
    "Cleanup": "study.cleanup",
    "Cohort": "cohort.cohort",
    "Comparison": "evaluation.comparison_result",
    "DicomResults": "slides.dicom_export",
    "Explanation": "explanation.explanation_result",
    "Export": "study.results",
    "ExtractedTiles": "slides.extract_tiles",
    "FeatureFiles": "slides.feature_files",
    "FetchedCohort": "datasets.fetch",
    "Finding": "audit.findings",
    "FindingScores": "evaluation.findings_result",
    "Fold": "cohort.split",
    "FoundRate": "study.results",
    "GateError": "errors",
    "Health": "study.doctor",
    "InputError": "errors",
    "Inspection": "slides.slides_result",
    "Limit": "robustness.robustness_result",
    "LocalPage": "api.local_page",
    "Loss": "robustness.robustness_result",
    "Model": "study.model",
    "ModelOutput": "evaluation.model_output",
    "PairComparison": "evaluation.comparison_result",
    "Parity": "study.results",
    "Phantom": "phantom.tiles",
    "Predicted": "study.predicted",
    "Predictions": "evaluation.predictions",
    "PrivacyReport": "audit.privacy",
    "PublicCohort": "datasets.catalogue",
    "Reproduction": "study.reproduce",
    "RobustnessCard": "robustness.robustness_result",
    "RunList": "study.run_list",
    "ScaledNetwork": "learning.scaled_network",
    "Score": "evaluation.scores_result",
    "Scores": "evaluation.scores_result",
    "SearchResult": "study.results",
    "SlideInspection": "slides.slides_result",
    "SlidesResult": "slides.infer_cohort",
    "SlideTruth": "phantom.slide",
    "Split": "cohort.splitters",
    "Study": "study.study_config",
    "StudyPlan": "study.results",
    "StudyRun": "study.results",
    "TrainingConfig": "learning.config",
    "Verdict": "evaluation.comparison_result",
    "Verification": "study.verify",
    "as_predictions": "evaluation.from_arrays",
    "evaluate_findings": "api.finding_evaluation",
    "load_model": "study.model",
    "load_network": "learning.scaled_network",
    "official": "cohort.splitters",
    "read_bundle": "learning.bundle",
    "read_predictions": "evaluation.predictions_csv",
    "read_split": "cohort.splitters",
    "read_study": "study.study_config",
    "write_cohort": "cohort.manifest",
    "write_predictions": "evaluation.predictions_csv",
    "write_split": "cohort.splitters",
}
_HOME = _VERBS | _NOUNS
__all__ = ["__version__", *sorted(_HOME)]


class _CallableRoom(ModuleType):
    # A room of the package that has the name of a verb: calling it calls the verb, whose help and signature it shows.
    __doc__ = property(lambda self: self._verb().__doc__)  # type: ignore[assignment]
    __signature__ = property(lambda self: import_module("inspect").signature(self._verb()))

    def _verb(self) -> Callable[..., object]:
        return _load(self.__name__.rpartition(".")[2])

    def __call__(self, *args: object, **options: object) -> object:
        return self._verb()(*args, **options)


class _Package(ModuleType):
    """The package's module: where a room is imported whose name is a verb's too, the name stays callable."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _VERBS and isinstance(value, ModuleType):
            value.__class__ = _CallableRoom
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _load(name: str) -> Any:
    try:
        return getattr(import_module(f"counterstain.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        from counterstain.extras import missing_package

        raise missing_package(error, f"counterstain.{name}") from None


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'counterstain' has no attribute '{name}'")
    return _load(name)


def __dir__() -> list[str]:
    return __all__
