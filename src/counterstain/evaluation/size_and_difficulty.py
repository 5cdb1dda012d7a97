"""Do patients with many images differ in difficulty from those with few? A score over images then rests on a few."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.degrees_of_freedom import effective_units
from counterstain.evaluation.format import p_words
from counterstain.evaluation.metrics import predicted_class
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.resampling import unit_places

__all__ = ["SUSPECT", "SizeAndDifficulty", "size_and_difficulty", "tables_by_size"]

Floats = NDArray[np.float64]

# Below this p the note is printed and intervals are widened. With 0.05 the 95 % interval of 20 patients covers 91.8 %
# where difficulty rises steeply with size, with 0.1 92.5 %; docs/measures/intervals.md has the table.
SUSPECT = 0.1
FEWEST = 5  # patients, below which no trend over them is tested


@dataclass(frozen=True)
class SizeAndDifficulty:
    """How the share of images predicted right changes with a patient's number of images.

    per_doubling: change of the share right when a patient has twice as many images, in [-1, 1] for ordinary data
    p: two-sided, against no change; 1.0 where it can't be tested
    over_images, over_patients: share right with each image, or each patient, counting once
    se_patients: standard error of `over_patients`; NaN with fewer than two patients
    patients: number of patients
    """

    per_doubling: float
    p: float
    over_images: float
    over_patients: float
    se_patients: float
    patients: int

    @property
    def detected(self) -> bool:
        """Whether the scores over images must be read with care."""
        return self.p < SUSPECT

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Limits of `over_patients`: a t-interval on the logit scale; NaN where no patient changes it."""
        from scipy.special import stdtrit

        mean = self.over_patients
        if not (self.se_patients > 1e-12 and 0 < mean < 1):
            return float("nan"), float("nan")
        half = float(stdtrit(self.patients - 1, 0.5 + confidence / 2)) * self.se_patients / (mean * (1 - mean))
        middle = np.log(mean / (1 - mean))
        return float(1 / (1 + np.exp(half - middle))), float(1 / (1 + np.exp(-half - middle)))

    def words(self, confidence: float = 0.95, rows_are: str = "image") -> str:
        """What a reader should know, in the word for what the rows are; "" if nothing was detected."""
        if not self.detected:
            return ""
        trend = "less" if self.per_doubling < 0 else "more"
        low, high = self.interval(confidence)
        ends = f", {100 * confidence:g} % interval [{low:.3f}, {high:.3f}]" if np.isfinite(low) else ""
        return (
            f"patients with more {rows_are}s are predicted right {trend} often ({self.per_doubling:+.3f} for twice the "
            f"{rows_are}s, {p_words(self.p)}): accuracy is {self.over_images:.3f} with each {rows_are} counting once "
            f"and {self.over_patients:.3f} with each patient counting once ({self.patients:,} patients{ends})"
        )

    def to_json(self, confidence: float = 0.95) -> dict[str, object]:
        """The record: all fields, the interval of `over_patients`, and `detected`."""
        low, high = self.interval(confidence)
        return asdict(self) | {"low": low, "high": high, "confidence": confidence, "detected": self.detected}


def size_and_difficulty(images: Floats, right: Floats) -> SizeAndDifficulty:
    """Test whether patients' shares of right predictions go with their numbers of images.

    The share is regressed on the logarithm of the number of images, each patient weighted by its images, so that the
    residuals are those of the score over images. The slope's error is the cluster-robust one with the patient as the
    cluster (HC2), and its t-quantile has the effective number of patients that carry the slope.

    Args:
        images: (K,) images per patient, 0 where a patient has none.
        right: (K,) how many of them are predicted right; the mean over seeds need not be whole.

    Raises:
        ValueError: If the arrays differ in length, or more images are right than there are.

    Source: MacKinnon & White 1985, J. Econometrics 29:305, doi:10.1016/0304-4076(85)90158-7; informative cluster size:
        Williamson, Datta & Satten 2003, Biometrics 59:36, doi:10.1111/1541-0420.00005.

    Examples:
        >>> found = size_and_difficulty(np.array([1.0, 2, 4, 8, 16, 32]), np.array([1.0, 2, 4, 7, 11, 19]))
        >>> found.detected, round(found.over_images, 3), round(found.over_patients, 3)
        (True, 0.698, 0.859)
    """
    from scipy.special import stdtr

    if images.shape != right.shape or (right > images + 1e-9).any() or (right < 0).any():
        raise ValueError(f"{len(images)} patients with images and {len(right)} with right ones do not fit together")
    has_images = images > 0
    n, k = images[has_images], right[has_images]
    over_images = float(k.sum() / n.sum()) if len(n) else float("nan")
    centred = np.log(n) - (np.log(n) * n).sum() / n.sum() if len(n) else n
    spread = float((centred**2 * n).sum())
    slope, p = 0.0, 1.0
    if len(n) >= FEWEST and spread > 1e-9 * n.sum():
        slope = float((centred * (k - over_images * n)).sum()) / spread
        residual = k - (over_images + slope * centred) * n
        leverage = n / n.sum() + centred**2 * n / spread
        moved = centred * residual / np.sqrt(np.maximum(1 - leverage, 1e-6))
        error = float(np.sqrt((moved**2).sum())) / spread
        df = max(effective_units(centred**2 * n) - 1, 1.0)
        p = float(2 * stdtr(df, -abs(slope) / error)) if error > 1e-12 else float(abs(slope) < 1e-12)
    share = k / n
    return SizeAndDifficulty(
        per_doubling=slope * float(np.log(2)),
        p=p,
        over_images=over_images,
        over_patients=float(share.mean()) if len(n) else float("nan"),
        se_patients=float(share.std(ddof=1) / np.sqrt(len(n))) if len(n) > 1 else float("nan"),
        patients=len(n),
    )


def tables_by_size(tables: Sequence[Predictions], names: Sequence[str]) -> SizeAndDifficulty | None:
    """`size_and_difficulty` of one arm's tables, one per seed, at image level; None where patients are unknown.

    Args:
        tables: all on the same images.
        names: the patients.
    """
    first = tables[0]
    if first.unit != "patient":
        return None
    code = unit_places(first, names)
    hit = np.mean([predicted_class(table.prob) == table.label for table in tables], axis=0)
    images = np.bincount(code, minlength=len(names)).astype(np.float64)
    return size_and_difficulty(images, np.minimum(np.bincount(code, weights=hit, minlength=len(names)), images))
