"""Limits of a difference where few patients tell two arms apart, and a variance of nearly 0 is no knowledge."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.degrees_of_freedom import combined_df
from counterstain.evaluation.metric_names import width

__all__ = ["NOISE", "PSEUDO", "Units", "Wall", "chance_alike", "near_wall"]

NOISE = 1e-9  # standard errors up to here are rounding
PSEUDO = 3.0  # whole patients on which the arms are taken to differ, half of them each way; docs/log.md has others
RARE = 0.25  # where fewer than this share of the patients carry the difference, they are counted exactly
FAR_APART = ("loss",)  # one certain mistake costs 16, so that pseudo-patients would drown what was seen


@dataclass(frozen=True, eq=False)
class Units:
    """What each patient does to a difference.

    left_out: (G,) the difference without patient (or group) g
    difference: with all of them
    effective: number of patients that carry the score, 1 or more
    rows: number of images (or patients, at patient level)
    metric: name of the measure
    """

    left_out: NDArray[np.float64]
    difference: float
    effective: float
    rows: int
    metric: str

    @property
    def widest(self) -> float:
        """The largest difference that the measure allows."""
        return width(self.metric)


@dataclass(frozen=True)
class Wall:
    """A difference as a share of `count` independent observations, each -1, 0 or 1 in units of `scale`.

    centre, se, df: with pseudo-patients, and the spread over seeds added
    seen: the difference itself; rare: whether the exact limits by counting count, too
    counted: whether limits are made here at all; of a loss only where no patient varies it
    """

    centre: float
    se: float
    df: float
    seen: float
    count: float
    scale: float
    rare: bool
    counted: bool

    def limits(self, tail: float) -> tuple[float, float]:
        """Lower and upper limit, each with the chance `tail` outside; the difference itself where none are made."""
        from scipy.special import betaincinv, stdtrit

        if not self.counted:
            return self.seen, self.seen
        half = float(stdtrit(self.df, 1 - tail)) * self.se
        low, high = self.centre - half, self.centre + half
        if self.rare:
            below, above = (self.count * max(side * self.seen / self.scale, 0.0) for side in (-1, 1))
            low = min(low, -self.scale * float(betaincinv(below + 1, max(self.count - below, 1e-9), 1 - tail)))
            high = max(high, self.scale * float(betaincinv(above + 1, max(self.count - above, 1e-9), 1 - tail)))
        return low, high

    def p(self, margin: float, *, upper: bool) -> float:
        """One-sided p that the true difference is at the margin or beyond: above it (`upper`), or below its negative.

        It is below a tail exactly where the limit of that tail lies inside the margin.
        """
        from scipy.special import betainc, stdtr

        if not self.counted:
            return 0.0
        side = 1 if upper else -1
        chance = float(stdtr(self.df, (side * self.centre - margin) / self.se))
        share = margin / self.scale
        if self.rare and 0 < share < 1:
            events = self.count * max(side * self.seen / self.scale, 0.0)
            chance = max(chance, float(betainc(max(self.count - events, 1e-9), events + 1, 1 - share)))
        return chance


def near_wall(units: Units, patient: float, seed: float, df: float) -> Wall:
    """The difference with three whole patients added, half for each arm, as a share of independent observations.

    The number of observations is that of the patients where they are right or wrong as a whole, and rises to that of
    the images where each image is a draw of its own. It is read off the size of the patients' own differences, drawn
    towards whole patients by the three that are added: as long as nothing tells the arms apart a patient counts once.

    Args:
        units: what each patient does.
        patient, seed: variance of the difference from patients and from seeds.
        df: of the difference, which those of the seeds follow from.

    Source: Agresti & Min 2005, Stat. Med. 24:729, doi:10.1002/sim.1781 (pseudo-observations for paired shares);
        Clopper & Pearson 1934, Biometrika 26:404 (exact limits); Kish 1965 (effective number).
    """
    scale = units.widest
    groups = len(units.left_out)
    influence = (groups - 1) * (units.left_out.mean() - units.left_out)
    influence = np.where(np.abs(influence) <= NOISE * groups, 0.0, influence)
    n, delta = units.effective, units.difference / scale
    moves = np.abs(influence / scale + delta) * n / groups
    total = float(moves.sum())
    of_whole = (float((moves**2).sum()) * groups / n + PSEUDO) / (total + PSEUDO)
    count = n / min(max(of_whole, n / max(units.rows, n)), 1.0)
    spread = count * patient / scale**2
    observations = count + PSEUDO
    centre = count * delta / observations
    variance = max((count * (spread + delta**2) + PSEUDO) / observations - centre**2, 0.0) / observations
    fourth = float((influence**4).sum())
    carried = float((influence**2).sum()) ** 2 / fourth if fourth > 0 else 0.0
    return Wall(
        centre=centre * scale,
        se=float(np.sqrt(variance * scale**2 + seed)),
        df=max(combined_df(variance * scale**2, seed, observations - 1, max(df, 1.0)), 1.0),
        seen=units.difference,
        count=count,
        scale=scale,
        rare=carried < RARE * n,
        counted=units.metric not in FAR_APART or patient + seed == 0,
    )


def chance_alike(gain: float, bound: float, units: Units) -> float:
    """The largest chance that all patients show this gain although the true one is `bound` or less, in [0, 1].

    The patients who aren't seen lose as much as the measure allows, so that the share of those who gain is largest.

    Args:
        gain: what every patient shows, positive where the first arm is better.
        bound: of the true gain.
        units: how many patients, and what the measure allows.
    """
    if gain <= bound:
        return 1.0
    share = max(bound + units.widest, 0.0) / (gain + units.widest)
    return float(share**units.effective)
