"""How many patients a difference that the user names would need, with the range that the pilot's variance leaves."""

from dataclasses import dataclass

import numpy as np

from counterstain.errors import InputError

__all__ = ["PatientsNeeded", "patients_needed"]

POWER = 0.8
RANGE = 0.9  # of the pilots, the true number lies inside


@dataclass(frozen=True)
class PatientsNeeded:
    """Patients for 80 % power at a stated difference.

    detect: the true difference; patients: the number at the pilot's variance, None where seeds alone forbid it
    low, high: the same at the chi-square limits of that variance; high is None where seeds alone forbid it
    tests: how many comparisons share the error (Holm's first step)
    """

    detect: float
    patients: int | None
    low: int | None
    high: int | None
    tests: int


def patients_needed(
    detect: float, *, se_patient: float, se_seed: float, df: float, units: int, alpha: float = 0.05, tests: int = 1
) -> PatientsNeeded | None:
    """Patients at which a true difference of `detect` is found with 80 % power, seeds staying as they are.

    Only the pilot's variance is used, never the difference that it showed, which in small studies is too large
    where it is noticed at all. The range comes from the chi-square limits of that variance (90 %).

    Args:
        detect: the true difference, above 0, on the measure's scale.
        se_patient, se_seed: standard errors of the pilot's difference from patients and from seeds.
        df: degrees of freedom of the variance over patients.
        units: patients of the pilot.
        alpha: two-sided error, before correction.
        tests: comparisons over which Holm's correction runs; its first step is alpha / tests.

    Returns:
        None if the pilot shows no variance, so that nothing can be computed from it.

    Raises:
        InputError: If detect isn't above 0.

    Source: Browne 1995, Stat. Med. 14:1933, doi:10.1002/sim.4780141709 (limits of a pilot's variance).

    Examples:
        >>> patients_needed(0.02, se_patient=0.02, se_seed=0.0, df=29, units=30)
        PatientsNeeded(detect=0.02, patients=238, low=163, high=388, tests=1)
    """
    from scipy.special import chdtri

    if not detect > 0:
        raise InputError(f"detect is {detect}; a difference above 0 was needed, such as 0.02")
    if not np.isfinite(se_patient) or se_patient <= 0 or not df > 0:
        return None
    observed = se_patient**2
    tail = (1 - RANGE) / 2
    smallest, largest = (observed * df / float(chdtri(df, p)) for p in (tail, 1 - tail))  # chdtri takes the upper tail
    number, low, high = (
        _patients(detect, variance, se_seed**2, df, units, alpha / tests) for variance in (observed, smallest, largest)
    )
    return PatientsNeeded(detect=detect, patients=number, low=low, high=high, tests=tests)


def _patients(detect: float, patient: float, seed: float, df: float, units: int, alpha: float) -> int | None:
    """Patients by the t-test whose degrees of freedom grow with them."""
    from scipy.special import stdtrit

    needed = float(units)
    for _ in range(50):
        freedom = max(df * needed / units, 2.0)
        reach = (detect / (float(stdtrit(freedom, 1 - alpha / 2)) + float(stdtrit(freedom, POWER)))) ** 2
        if reach <= seed:
            return None
        last, needed = needed, units * patient / (reach - seed)
        if abs(needed - last) < 0.01:
            break
    return int(np.ceil(max(needed, 2.0)))
