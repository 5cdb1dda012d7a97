"""Leave one site out: each site is tested once, by a model that has seen no image of it."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from counterstain.cohort.dealing import deal
from counterstain.cohort.manifest import Cohort
from counterstain.cohort.parts import Part, Split, check, count_by_unit, listed
from counterstain.errors import InputError

__all__ = ["leave_one_site_out"]


def leave_one_site_out(cohort: Cohort, *, val: float = 0.2, unit: str = "patient", seed: int = 0) -> Split:
    """A fold a site, by the alphabet: the site is its test part; the share `val` of the others' images chooses.

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
    if not 0 < val < 1:
        raise InputError(f"val is {val}; needed: a share between 0 and 1, such as 0.2")
    if seed < 0:
        raise InputError(f"seed is {seed}; needed: 0 or more")
    names, unit_row, counts = count_by_unit(cohort, unit)
    site = np.array(cohort.table["site"], dtype=object)
    sites = _check_sites(cohort, site, unit)
    site_of = np.empty(len(names), dtype=object)
    site_of[unit_row] = site
    parts = []
    for fold, held_out in enumerate(sites):
        words = np.full(len(names), "test", dtype=object)
        side = np.flatnonzero(site_of != held_out)
        rng = np.random.default_rng([seed, *b"sites", fold])
        dealt = deal(counts[side], [1 - val, val], rng)
        if dealt is None:
            scarcest = int(np.argmin((counts[side] > 0).sum(axis=0)))
            having = [names[row] for row in side[counts[side, scarcest] > 0]]
            raise InputError(
                f"without site '{held_out}' class '{sorted(cohort.classes)[scarcest]}' has {listed(having, unit)}; "
                f"train and val each need one: add {unit}s, or merge sites"
            )
        words[side] = np.array(["train", "val"], dtype=object)[dealt]
        parts.append(Part(0, fold, tuple(words[unit_row])))
    split = Split(cohort.image, tuple(parts), unit)
    check(split, cohort)
    return split


def _check_sites(cohort: Cohort, site: NDArray[np.object_], unit: str) -> list[str]:
    """The sites by the alphabet, after what would make a fold impossible was refused."""
    missing = np.flatnonzero(site == "")
    if len(missing):
        raise InputError(
            f"{len(missing)} of {len(cohort)} images have no site (first: {cohort.image[missing[0]]}); "
            "give every image its site in the manifest, or split by patient"
        )
    sites = sorted(set(site))
    if len(sites) < 2:
        raise InputError(f"all {len(cohort)} images are of site '{sites[0]}'; leaving one out needs two sites or more")
    labels = np.array(cohort.table["label"], dtype=object)
    for name in sites:
        absent = sorted(set(cohort.classes) - set(labels[site == name]))
        if absent:
            raise InputError(
                f"site '{name}' has no image of class '{absent[0]}', so nothing could be tested there; "
                "merge it with another site, or leave it out"
            )
    if unit == "patient":
        pairs = sorted(set(zip(cohort.patient, site, strict=True)))
        for (first, here), (second, there) in pairwise(pairs):
            if first == second:
                raise InputError(
                    f"patient {first} is at two sites ({here} and {there}); "
                    "give each patient one site, or ids that tell two patients apart"
                )
    return sites
