"""Splits that keep sites whole: leave one site out, and folds of several sites each with the classes balanced."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.allocation import deal
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.split import Fold, Split, check, count_by_unit, few_names
from counterstain.errors import InputError

__all__ = ["leave_one_site_out", "site_preserved_folds"]

_NODES = 300  # of the search for the best folds: a count, unlike a time, makes the same folds on every machine
_GAP = 1e-3


def leave_one_site_out(cohort: Cohort, *, val: float = 0.2, unit: str = "patient", seed: int = 0) -> Split:
    """One fold per site, by the alphabet: the site is its test part; the share `val` of the others' images chooses.

    Validation is drawn by `unit` from all other sites together. Every class is in every part. The same seed gives the
    same folds, whatever the order of the rows.

    Args:
        cohort: with a site for every image, two sites or more, and every class at every site.
        val: share of the images of the other sites, between 0 and 1.
        unit: "patient", or "image" where patients are unknown.
        seed: of the drawing of the validation parts.

    Returns:
        Repeat 0, with as many folds as sites.

    Raises:
        InputError: If a site is missing or the only one, a patient is at two sites, a site lacks a class, or the other
            sites have too few patients of one.
    """
    _check_numbers(val, seed)
    names, unit_row, counts = count_by_unit(cohort, unit)
    site = np.array(cohort.table["site"], dtype=object)
    sites = _check_sites(cohort, site, unit)
    site_of = np.empty(len(names), dtype=object)
    site_of[unit_row] = site
    fold_of = np.array([sites.index(name) for name in site_of])
    titles = [f"site '{name}'" for name in sites]
    parts = _folds_of(cohort, names, unit_row, counts, fold_of, titles, val=val, unit=unit, seed=seed)
    split = Split(cohort.image, parts, unit)
    check(split, cohort)
    return split


def site_preserved_folds(
    cohort: Cohort, *, k: int = 5, val: float = 0.2, unit: str = "patient", seed: int = 0
) -> Split:
    """Cross-validation in which each site is whole in one of k folds, every class as evenly over the folds as can be.

    The sum over folds and classes of |share of the class's patients in the fold - 1/k| is made as small as possible by
    integer programming (HiGHS, by way of scipy); the split's notes say how uneven the folds are, and whether that is
    proven to be the best or by how much a better division could beat it. The same cohort gives the same folds,
    whatever the order of its rows; the seed draws the validation parts, by `unit`, from the other folds together.

    Args:
        cohort: with a site for every image, and k sites or more.
        k: folds, 2 or more.
        val: share of the images of the other folds, between 0 and 1.
        unit: "patient", or "image" where patients are unknown.
        seed: of the drawing of the validation parts.

    Returns:
        Repeat 0, with k folds.

    Raises:
        InputError: If a site is missing, a patient is at two sites, there are fewer than k sites, or no division has
            every class in every fold.

    Source:
        Howard et al. 2021, Nature Communications 12:4423, doi:10.1038/s41467-021-24698-1.
    """
    _check_numbers(val, seed)
    names, unit_row, counts = count_by_unit(cohort, unit)
    site = np.array(cohort.table["site"], dtype=object)
    sites = _known_sites(cohort, site, unit)
    if not 2 <= k <= len(sites):
        raise InputError(
            f"folds is {k}, and there are {len(sites)} sites; needed: 2 folds or more, and a site for each"
        )
    site_of = np.empty(len(names), dtype=object)
    site_of[unit_row] = site
    number = np.array([sites.index(name) for name in site_of])
    units = np.zeros((len(sites), len(cohort.classes)))
    np.add.at(units, number, (counts > 0).astype(float))
    fold, note = _balance(units, k, sorted(cohort.classes))
    titles = [f"the sites of fold {index}" for index in range(k)]
    parts = _folds_of(cohort, names, unit_row, counts, fold[number], titles, val=val, unit=unit, seed=seed)
    split = Split(cohort.image, parts, unit, (f"{len(sites)} sites in {k} folds: {note}",))
    check(split, cohort)
    return split


def _balance(units: NDArray[np.float64], k: int, classes: Sequence[str]) -> tuple[NDArray[np.int64], str]:
    """The fold of each site, and how even that is.

    Args:
        units: (S, K) patients of each class at each site.
        k: folds.
        classes: their names, for messages.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array, eye_array, hstack, kron

    sites, class_count = units.shape
    order = np.argsort(-units.sum(axis=1), kind="stable")  # large sites first: they decide most
    share = (units / np.maximum(units.sum(axis=0), 1))[order]
    # Variables: (S, k) whether a site is in a fold, then (k, K) deviations of the shares from 1 / k.
    fold_share = kron(coo_array(share.T), eye_array(k))  # (K k, S k): share of a class in a fold
    once = kron(eye_array(sites), coo_array(np.ones((1, k))))
    apart = eye_array(class_count * k)
    zero = coo_array((sites, class_count * k))
    least = 1 / np.maximum(units.sum(axis=0), 1)
    total = np.repeat(units.sum(axis=0), k)
    constraints = [
        LinearConstraint(hstack([once, zero]), 1, 1),
        LinearConstraint(hstack([fold_share, -apart]), -np.inf, 1 / k),
        LinearConstraint(hstack([fold_share, apart]), 1 / k, np.inf),
        # A class needs a patient in each fold's test part, and one each for train and val outside of it.
        LinearConstraint(
            hstack([fold_share, coo_array((class_count * k, class_count * k))]),
            np.repeat(least, k) - 1e-9, (total - 2) / np.maximum(total, 1) + 1e-9,
        ),
    ]  # fmt: skip
    # Folds have no order: the first site is in the first fold, the second in one of the first two, and so on.
    upper = np.concatenate([np.tril(np.ones((sites, k))).ravel(), np.full(class_count * k, np.inf)])
    solution = milp(
        np.concatenate([np.zeros(sites * k), np.ones(class_count * k)]),
        integrality=np.concatenate([np.ones(sites * k), np.zeros(class_count * k)]),
        bounds=Bounds(0, upper),
        constraints=constraints,
        options={"node_limit": _NODES, "mip_rel_gap": _GAP},
    )
    if solution.x is None:
        scarcest = int(np.argmin((units > 0).sum(axis=0)))
        raise InputError(
            f"no division of {sites} sites into {k} folds was found that has every class in every fold; the scarcest "
            f"is class '{classes[scarcest]}', at {int((units[:, scarcest] > 0).sum())} sites: ask for fewer folds, or "
            "merge sites"
        )
    fold = np.empty(sites, dtype=np.int64)
    fold[order] = np.argmax(solution.x[: sites * k].reshape(sites, k), axis=1)
    deviation = np.abs(np.stack([share[fold[order] == index].sum(axis=0) for index in range(k)]) - 1 / k)
    bound = 100 * max(float(solution.mip_dual_bound or 0.0), 0.0) / (k * class_count)
    proven = "no division is more even"
    # A sum of 0 is the smallest there is, though no share of it is left for the solver's relative gap to close.
    if float(solution.mip_gap or 0.0) > _GAP and float(deviation.sum()) > 1e-9:
        proven = f"the search was ended, and no division can be below {bound:.2f} on average"
    return fold, (
        f"a fold's share of a class's patients differs from {1 / k:.0%} by {100 * deviation.mean():.1f} points on "
        f"average, at most by {100 * deviation.max():.1f}; {proven}"
    )


def _folds_of(
    cohort: Cohort,
    names: Sequence[str],
    unit_row: NDArray[np.int64],
    counts: NDArray[np.int64],
    fold_of: NDArray[np.int64],
    titles: Sequence[str],
    *,
    val: float,
    unit: str,
    seed: int,
) -> tuple[Fold, ...]:
    """The divisions in which each fold is tested and val is drawn by unit from the others; `titles` is for messages."""
    parts = []
    for fold, held_out in enumerate(titles):
        assignment = np.full(len(names), "test", dtype=object)
        side = np.flatnonzero(fold_of != fold)
        rng = np.random.default_rng([seed, *b"sites", fold])
        dealt = deal(counts[side], [1 - val, val], rng)
        if dealt is None:
            scarcest = int(np.argmin((counts[side] > 0).sum(axis=0)))
            having = [names[row] for row in side[counts[side, scarcest] > 0]]
            raise InputError(
                f"without {held_out} class '{sorted(cohort.classes)[scarcest]}' has {few_names(having, unit)}; "
                f"train and val each need one: add {unit}s, or merge sites"
            )
        assignment[side] = np.array(["train", "val"], dtype=object)[dealt]
        parts.append(Fold(0, fold, tuple(assignment[unit_row])))
    return tuple(parts)


def _check_numbers(val: float, seed: int) -> None:
    if not 0 < val < 1:
        raise InputError(f"val is {val}; needed: a share between 0 and 1, such as 0.2")
    if seed < 0:
        raise InputError(f"seed is {seed}; needed: 0 or more")


def _check_sites(cohort: Cohort, site: NDArray[np.object_], unit: str) -> list[str]:
    """The sites by the alphabet, after what would make it impossible to test each alone was refused."""
    sites = _known_sites(cohort, site, unit)
    labels = np.array(cohort.table["label"], dtype=object)
    for name in sites:
        absent = sorted(set(cohort.classes) - set(labels[site == name]))
        if absent:
            raise InputError(
                f"site '{name}' has no image of class '{absent[0]}', so nothing could be tested there; "
                "merge it with another site, leave it out, or put several sites into each fold (site-preserved folds)"
            )
    return sites


def _known_sites(cohort: Cohort, site: NDArray[np.object_], unit: str) -> list[str]:
    """The sites by the alphabet, after missing ones and patients at two of them were refused."""
    missing = np.flatnonzero(site == "")
    if len(missing):
        raise InputError(
            f"{len(missing)} of {len(cohort)} images have no site (first: {cohort.image[missing[0]]}); "
            "give every image its site in the manifest, or split by patient"
        )
    sites = sorted(set(site))
    if len(sites) < 2:
        raise InputError(f"all {len(cohort)} images are of site '{sites[0]}'; leaving one out needs two sites or more")
    if unit == "patient":
        pairs = sorted(set(zip(cohort.patient, site, strict=True)))
        for (first, first_site), (second, second_site) in pairwise(pairs):
            if first == second:
                raise InputError(
                    f"patient {first} is at two sites ({first_site} and {second_site}); "
                    "give each patient one site, or ids that tell two patients apart"
                )
    return sites
