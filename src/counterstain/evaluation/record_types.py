"""The records of scores and comparisons as types: what scores.json and comparison.json hold, key by key."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

__all__ = [
    "ArmErrors",
    "ArmRecord",
    "ComparisonQuestion",
    "ComparisonRecord",
    "DecisionCurve",
    "Distribution",
    "ErrorTile",
    "ErrorsRecord",
    "FindingDifference",
    "FindingScore",
    "FindingsRecord",
    "PairRow",
    "PatientsNeededRow",
    "RankingRecord",
    "RankingRow",
    "Reliability",
    "ScoreRow",
    "ScoresRecord",
    "Smoothed",
    "TestRow",
]

# A class is a key of its own, and a word of Python, so these two are written as calls.
ScoreRow = TypedDict(
    "ScoreRow",
    {
        "metric": str,
        "level": str,  # "image", "slide" or "patient"
        "class": str | None,  # None: of the positive class, or the mean over classes
        "value": float | None,  # None where it is undefined
        "low": float | None,
        "high": float | None,
        "per_seed": list[float],
    },
)


class ArmRecord(TypedDict):
    """Scores of one arm, over its seeds; confusion: seed -> counts, rows true and columns called."""

    seeds: list[int]
    images: int
    patients: int | None
    method: str
    warnings: list[str]
    size_and_difficulty: dict[str, object] | None
    scores: list[ScoreRow]
    confusion: dict[str, list[list[int]]]


class SeenRecord(TypedDict):
    """Which of the evaluated images a model was trained on: how many by kind, and the same in words."""

    counts: dict[str, int]
    words: list[str]


class ScoresRecord(TypedDict):
    """scores.json, see arm_scores.score_arms; of one model's tables also what table_evaluation.evaluate_tables adds."""

    schema: str
    stamp: str
    unit: str
    classes: list[str]
    positive: str | None
    confidence: float
    arms: dict[str, ArmRecord]
    rows_are: NotRequired[str]
    averaged: NotRequired[int]
    decision: NotRequired[dict[str, Any] | None]
    probabilities: NotRequired[dict[str, Any] | None]
    subgroups: NotRequired[dict[str, Any]]
    deployed: NotRequired[dict[str, Any] | None]
    looks: NotRequired[list[str]]
    seen: NotRequired[SeenRecord]


class PatientsNeededRow(TypedDict):
    """See sample_size.PatientsNeeded."""

    detect: float
    patients: int | None
    low: int | None
    high: int | None
    tests: int


class TestRow(TypedDict):
    """A published test beside the verdict; about: what is compared, with what as the unit."""

    test: str
    p: float | None
    about: str


class PairRow(TypedDict):
    """One pair of arms and one endpoint: the paired difference a − b, its tests, and the verdict.

    The numbers from value_a to p_inferior are those of paired_difference.Difference; undefined ones are NaN, or None
    where the record was read from a file. In a row of co-primary endpoints, verdict, p_adjusted and the like are the
    joint ones, needed and probability_false are None, and the difference is the first endpoint's: endpoints has a row
    for each.
    """

    a: str
    b: str
    primary: bool
    metric: str
    positive: str | None
    level: str
    confidence: float
    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    p: float
    low_margin: float
    high_margin: float
    low_one_sided: float
    high_one_sided: float
    se_patient: float
    se_seed: float
    df: float
    near_wall: bool
    method: str
    margin: float | None
    p_equivalence: float
    p_noninferior: float
    p_inferior: float
    p_adjusted: float
    p_margin: float
    p_margin_adjusted: float
    p_inferior_adjusted: float
    tests_corrected_for: int
    probability_false: float | None
    needed: PatientsNeededRow | None
    test: str
    seeds: int
    patients: int | None
    images: int
    verdict: str
    also: str | None
    words: str
    endpoints: "NotRequired[list[PairRow]]"
    low_a: NotRequired[float]  # these four of co-primary endpoints
    high_a: NotRequired[float]
    low_b: NotRequired[float]
    high_b: NotRequired[float]
    tests: NotRequired[list[TestRow]]


class RankingRow(TypedDict):
    """One arm's value; told_from_best: whether its pair with the best arm tells the two apart."""

    arm: str
    value: float
    low: float
    high: float
    seeds: int
    told_from_best: bool


class RankingRecord(TypedDict):
    """The arms from best to worst, see ranking.ranking_record."""

    arms: list[RankingRow]


class ComparisonQuestion(TypedDict):
    """What comparison.json says of the question, before any answer."""

    schema: str
    stamp: str
    primary: str
    co_primary: list[str]
    level: str
    unit: str
    positive: str | None
    positive_from: str | None
    rows_are: NotRequired[str]
    alpha: float
    confidence: float
    margin: float | None
    hypothesis: str
    asked: str
    claim: str
    reference: str | None
    prior_sd: float
    detect: float | None
    training_sets: int
    thresholds: str
    rule: str


class ComparisonRecord(ComparisonQuestion):
    """comparison.json, see comparison.compare_arms."""

    shown: bool
    pairs: list[PairRow]
    ranking: RankingRecord
    exploratory: list[dict[str, object]]
    words: str
    warnings: list[str]


class FindingCount(TypedDict):
    """How many images, and units of the error, have a finding."""

    finding: str
    images: int
    units: int


class FindingScore(TypedDict):
    """One measure of one finding, or of their mean, in one arm."""

    arm: str
    finding: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    per_seed: list[float]


class FindingDifference(TypedDict):
    """The difference a − b of two arms in one finding, or in their mean, which is not adjusted."""

    a: str
    b: str
    finding: str
    metric: str
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: NotRequired[float]


class FindingsRecord(TypedDict):
    """findings.json, see finding_scores.score_findings; seeds: arm -> how many."""

    schema: str
    unit: str
    confidence: float
    images: int
    units: int
    findings: list[FindingCount]
    seeds: dict[str, int]
    scores: list[FindingScore]
    differences: list[FindingDifference]


class ErrorTile(TypedDict):
    """One image with its call; file: the name of its tile; unfamiliar: whether it is unlike the training images."""

    image: str
    patient: str
    site: str
    label: str
    predicted: str
    probability: float
    file: str
    unfamiliar: bool | None


class ArmErrors(TypedDict):
    """The errors of one arm: their share, its most telling images by kind, and the patients with most errors."""

    images: int
    errors: float
    unfamiliar: dict[str, float | int | None] | None
    tiles: dict[str, list[ErrorTile]]
    patients: list[dict[str, str | int | float]]


class ErrorsRecord(TypedDict):
    """errors.json, see error_record.error_record."""

    schema: str
    stamp: str
    classes: list[str]
    unit: str
    arms: dict[str, ArmErrors]
    influence: list[Mapping[str, object]]


class ReliabilityBin(TypedDict):
    """Images whose probability lies in [low, high): mean_prob and share are None where there is none."""

    low: float
    high: float
    n: int
    mean_prob: float
    share: float
    share_low: float | None
    share_high: float | None


class Reliability(TypedDict):
    """See reliability.reliability_record."""

    kind: str
    bins: list[ReliabilityBin]
    ece: dict[str, object]
    ece_confidence: float
    loss: float
    brier: dict[str, float]
    brier_parts: dict[str, float]
    slope: float | None
    intercept: float | None
    images: int
    patients: int
    unit: str


class Curve(TypedDict):
    """A value at every threshold, with its band."""

    value: list[float]
    low: list[float | None]
    high: list[float | None]


class DecisionCurve(TypedDict):
    """See decision_curve.decision_curve."""

    thresholds: list[float]
    model: Curve
    treat_all: list[float]
    prevalence: float
    unit: str
    patients: int


class Smoothed(TypedDict):
    """See smoothed_reliability.smoothed_reliability; (K,) each."""

    prob: list[float]
    share: list[float]
    low: Sequence[float | None]
    high: Sequence[float | None]
    ici: dict[str, float | None]
    e90: float
    span: float


class ClassDistribution(TypedDict):
    """Probabilities among the images of one class."""

    images: int
    shares: list[float]
    quantiles: dict[str, float]


class Distribution(TypedDict):
    """See reliability.probability_distribution."""

    bins: int
    classes: dict[str, ClassDistribution]
