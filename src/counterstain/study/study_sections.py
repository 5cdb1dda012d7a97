"""The sections of a study file, each with its defaults and the rules that hold within it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass as strict_dataclass

from counterstain.evaluation.metric_names import COMPARABLE, canonical_measure
from counterstain.evaluation.ranking import DEFAULT_PRIOR_SD
from counterstain.evaluation.thresholds import parse_rule
from counterstain.images.augmentation import Augmentation
from counterstain.study.section import Section

__all__ = [
    "IMAGE_STAMP",
    "LEGACY_STAMP",
    "MOST_TRAININGS",
    "AuditSection",
    "CalibrationSection",
    "CohortSection",
    "ComparisonSection",
    "Range",
    "SearchSection",
    "SplitSection",
    "StrictAugmentation",
    "TilesSection",
]

LEGACY_STAMP = "LEAK: images were augmented before an image-level split"
IMAGE_STAMP = "image-level: patients are unknown or ignored, so every figure here is optimistic"
MOST_FOLDS = 1000
MOST_TRAININGS = 20_000
Share = Annotated[float, Field(gt=0, lt=1)]
# The stages own their settings; here they only become strict: a key they do not know is refused.
StrictAugmentation = strict_dataclass(Augmentation, frozen=True, config=ConfigDict(extra="forbid"))


class CohortSection(Section):
    """Where the images are, and how their names are read."""

    path: str
    root: str | None = None
    follow_links: bool = False
    layout: str = "auto"
    positive: str | None = None
    pattern: str | None = None
    task: str | None = None
    magnification: str | None = None
    order: list[str] | None = None
    findings: list[str] = Field(default_factory=list)
    columns: dict[str, str] = Field(default_factory=dict)
    splits: dict[str, str] = Field(default_factory=dict)

    @field_validator("order", "findings", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """YAML reads grades such as 2 as numbers."""
        return [str(name) for name in value] if isinstance(value, list) else value


class SplitSection(Section):
    """Which images train, which choose, and which are reported on."""

    method: Literal["holdout", "folds", "sites", "site_folds", "official", "legacy_augment_first"] = "holdout"
    unit: Literal["patient", "image"] = "patient"
    file: str | None = None
    test: Share = 0.2
    val: Share = 0.2
    folds: Annotated[int, Field(ge=2, le=MOST_FOLDS)] = 5
    repeats: Annotated[int, Field(ge=1, le=MOST_FOLDS)] = 1
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _legacy_is_by_image(self) -> "SplitSection":
        if self.method == "legacy_augment_first" and self.unit != "image":
            raise ValueError("legacy_augment_first splits by image; set `unit: image` to confirm")
        return self

    @model_validator(mode="after")
    def _folds_are_asked_for(self) -> "SplitSection":
        """A number of folds does nothing in a hold-out, and a default that nobody wrote must not decide that."""
        for name in ("folds", "repeats"):
            if name in self.model_fields_set and "method" not in self.model_fields_set:
                raise ValueError(
                    f"{name} is {getattr(self, name)} without a method, and the default, holdout, has none; write "
                    "`method: folds`, or leave it out"
                )
        return self


class TilesSection(Section):
    """What every image becomes before a network sees it."""

    tile_px: Annotated[int, Field(ge=16, le=4096)] = 257
    fit: Literal["stretch", "crop", "exact"] = "stretch"
    max_bad: Annotated[float, Field(ge=0, lt=1)] = 0.05


def _measure(value: Any) -> Any:
    """A measure by its name in the records; the field's other names are known ("sensitivity" is recall)."""
    return canonical_measure(value, COMPARABLE, noun="the measure") if isinstance(value, str) else value


Measure = Annotated[str, BeforeValidator(_measure)]


class ComparisonSection(Section):
    """What the verdict is about, stated before the results are seen."""

    primary: Measure = "auroc"
    co_primary: list[Measure] = Field(default_factory=list)
    thresholds: Literal["half", "frozen"] = "half"
    level: Literal["image", "patient"] = "image"
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    margin: Annotated[float, Field(gt=0, lt=1)] | None = None
    hypothesis: Literal["difference", "equivalence", "noninferiority"] = "difference"
    pairs: list[tuple[str, str]] | None = None
    reference: str | None = None
    detect: Annotated[float, Field(gt=0, lt=1)] | None = None
    prior_sd: Annotated[float, Field(gt=0, lt=1)] = DEFAULT_PRIOR_SD

    @model_validator(mode="after")
    def _question_is_whole(self) -> "ComparisonSection":
        if self.hypothesis != "difference" and self.margin is None:
            raise ValueError(f"{self.hypothesis} needs comparison.margin, the largest negligible difference")
        if self.pairs is not None and self.reference is not None:
            raise ValueError("comparison.reference already says which pairs matter; omit comparison.pairs")
        if self.co_primary and (len(self.co_primary) < 2 or len(set(self.co_primary)) < len(self.co_primary)):
            raise ValueError("comparison.co_primary needs two or more different measures, [sensitivity, specificity]")
        return self


class AuditSection(Section):
    """What is looked for before anything is trained, and what happens when it is found."""

    # YAML reads a bare `off` as false.
    gate: Annotated[Literal["stop", "warn", "off"], BeforeValidator(lambda v: "off" if v is False else v)] = "stop"
    rotated: bool = True
    distinct_ids: bool = False
    baselines: bool = True


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, float | int) and not isinstance(value, bool) else value


def _rule(value: str) -> str:
    parse_rule(value)
    return value


class CalibrationSection(Section):
    """What is fitted on the validation part and frozen: probabilities, the threshold, the prediction sets."""

    method: Literal["temperature", "platt", "isotonic", "none"] = "temperature"
    # YAML reads a stated threshold as a number.
    threshold: Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_rule)] = "youden"
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    conformal: Literal["marginal", "class"] = "marginal"


class Range(Section):
    """What a search may draw for one setting: between low and high, or one of the choices."""

    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    choices: Annotated[list[str | int | float | bool], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "Range":
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("a range is {low, high} (with log: true if it spans powers of ten), or {choices: [...]}")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low is {self.low} and high {self.high}; low must be below high")
        if self.log and (self.low is None or self.low <= 0):
            raise ValueError("log: true requires low above 0")
        return self


class SearchSection(Section):
    """What `counterstain search` may change of one arm, and how often it tries."""

    arm: str
    ranges: Annotated[dict[str, Range], Field(min_length=1)]
    trials: Annotated[int, Field(ge=1, le=MOST_TRAININGS)] = 20
    seed: Annotated[int, Field(ge=0)] = 0
