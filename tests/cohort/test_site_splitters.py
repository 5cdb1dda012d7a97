"""Leave one site out: which images are tested when, what keeps patients together, and what is refused."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.cohort.cohort import Cohort, assemble
from counterstain.cohort.site_splitters import leave_one_site_out, site_preserved_folds
from counterstain.errors import InputError


def sited(sites: int = 3, patients: int = 8, images: int = 3) -> Cohort:
    """At every site as many patients, every other of class b, with images each."""
    rows = [(s, p, i) for s in range(sites) for p in range(patients) for i in range(images)]
    return assemble(
        {
            "image_path": [f"s{s}/p{p}/{i}.png" for s, p, i in rows],
            "label": ["ab"[p % 2] for _, p, _ in rows],
            "patient_id": [f"S{s}P{p}" for s, p, _ in rows],
            "site": [f"site-{s}" for s, _, _ in rows],
        },
        root=Path(),
    )


@settings(max_examples=20)
@given(sites=st.integers(2, 4), patients=st.integers(4, 9), seed=st.integers(0, 5), val=st.sampled_from([0.2, 0.4]))
def test_each_site_is_tested_once_by_what_never_saw_it(sites: int, patients: int, seed: int, val: float) -> None:
    cohort = sited(sites, patients)
    split = leave_one_site_out(cohort, seed=seed, val=val)
    site, patient = np.array(cohort.table["site"]), np.array(cohort.patient)
    assert [(part.repeat, part.fold) for part in split.parts] == [(0, fold) for fold in range(sites)]
    for fold, part in enumerate(split.parts):
        word = np.array(part.assignment)
        assert set(site[word == "test"]) == {f"site-{fold}"}
        np.testing.assert_array_equal(word == "test", site == f"site-{fold}")
        assert not set(patient[word == "train"]) & set(patient[word == "val"])
        share = (word == "val").sum() / (word != "test").sum()
        assert abs(share - val) <= 1 / (patients - 1)  # a class has half of them, and gives one at least
        for name in ("train", "val", "test"):
            assert set(cohort.table["label"][word == name]) == {"a", "b"}


def test_the_order_of_the_rows_changes_nothing_and_the_seed_does() -> None:
    cohort = sited()
    order = np.random.default_rng(0).permutation(len(cohort))
    split, other = leave_one_site_out(cohort), leave_one_site_out(cohort.subset(order))
    for part, shuffled in zip(split.parts, other.parts, strict=True):
        assert tuple(np.array(part.assignment, dtype=object)[order]) == shuffled.assignment
    assert leave_one_site_out(cohort, seed=1).parts != split.parts


def test_images_can_be_the_unit() -> None:
    assert leave_one_site_out(sited(2, 2), unit="image").unit == "image"


@pytest.mark.parametrize(
    ("column", "value", "row", "message"),
    [
        ("site", "", 0, "1 of 72 images have no site"),
        ("site", "site-1", 0, "patient S0P0 is at two sites"),
        ("label", "a", slice(0, 24), "site 'site-0' has no image of class 'b'"),
        ("site", "one", slice(None), "all 72 images are of site 'one'"),
    ],
)
def test_what_cannot_be_left_out_is_refused(column: str, value: str, row: int | slice, message: str) -> None:
    cohort = sited()
    table = cohort.table.copy()
    table.iloc[row, table.columns.get_loc(column)] = value
    with pytest.raises(InputError, match=message):
        leave_one_site_out(Cohort(table, cohort.classes, cohort.root, cohort.positive))


def test_too_few_patients_at_the_other_sites_are_refused() -> None:
    cohort = sited(2, 2)
    with pytest.raises(InputError, match="without site 'site-0' class 'a' has 1 patient"):
        leave_one_site_out(cohort)
    with pytest.raises(InputError, match="share between 0 and 1"):
        leave_one_site_out(cohort, val=0)
    with pytest.raises(InputError, match="0 or more"):
        leave_one_site_out(cohort, seed=-1)


def several(sites: list[tuple[int, int]], images: int = 1) -> Cohort:
    """Sites with so many patients of class a and of class b."""
    rows = [
        (number, label, patient, image)
        for number, counts in enumerate(sites)
        for label, count in zip("ab", counts, strict=True)
        for patient in range(count)
        for image in range(images)
    ]
    return assemble(
        {
            "image_path": [f"s{s}/{label}{p}/{i}.png" for s, label, p, i in rows],
            "label": [label for _, label, _, _ in rows],
            "patient_id": [f"S{s}{label}{p}" for s, label, p, _ in rows],
            "site": [f"site-{s:02}" for s, *_ in rows],
        },
        root=Path(),
    )


def unevenness(fold: tuple[int, ...], sites: list[tuple[int, int]], k: int) -> float:
    """By the definition: the sum over folds and classes of |share of the class's patients - 1/k|."""
    units = np.array(sites, dtype=float)
    held = np.stack([units[np.array(fold) == index].sum(axis=0) for index in range(k)])
    return float(np.abs(held / units.sum(axis=0) - 1 / k).sum())


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=7), st.integers(2, 3))
def test_no_division_of_sites_is_more_even_than_the_one_found(sites: list[tuple[int, int]], k: int) -> None:
    """Against all k^sites divisions by brute force; a site may lack a class, which leaving one out forbids."""
    sites = [(a + (a + b == 0), b) for a, b in sites]
    total = np.array(sites).sum(axis=0)
    possible = [
        unevenness(fold, sites, k)
        for fold in product(range(k), repeat=len(sites))
        if all(
            (held := np.array(sites)[np.array(fold) == index].sum(axis=0)).min() > 0 and (total - held).min() >= 2
            for index in range(k)
        )
    ]
    cohort = several(sites, 2) if total.min() else None
    if cohort is None:
        return
    if not possible:
        with pytest.raises(InputError, match="every class in every fold"):
            site_preserved_folds(cohort, k=k)
        return
    split = site_preserved_folds(cohort, k=k)
    fold = {}
    for part in split.parts:
        for row in part.rows("test"):
            assert fold.setdefault(cohort.table["site"][row], part.fold) == part.fold
    found = tuple(fold[f"site-{number:02}"] for number in range(len(sites)))
    assert unevenness(found, sites, k) == pytest.approx(min(possible), abs=1e-3 * max(min(possible), 1))
    assert "no division is more even" in split.notes[0]


def test_many_sites_are_divided_with_a_stated_gap() -> None:
    """As TCGA has them: many small sites and a few large ones."""
    rng = np.random.default_rng(0)
    sites = [(int(a), int(b)) for a, b in rng.geometric(0.08, (36, 2))]
    split = site_preserved_folds(several(sites), k=5)
    assert len(split.parts) == 5
    average = float(split.notes[0].split(" by ")[1].split(" points")[0])
    assert average < 0.5  # of 20 points
    assert split.notes == site_preserved_folds(several(sites), k=5, seed=3).notes


def test_site_folds_keep_patients_whole_and_do_not_heed_the_order_of_rows() -> None:
    cohort = several([(3, 3)] * 6, images=2)
    split = site_preserved_folds(cohort, k=3)
    order = np.random.default_rng(1).permutation(len(cohort))
    other = site_preserved_folds(cohort.subset(order), k=3)
    for part, shuffled in zip(split.parts, other.parts, strict=True):
        assert tuple(np.array(part.assignment, dtype=object)[order]) == shuffled.assignment
        patient = np.array(cohort.patient)
        assert not set(patient[part.rows("train")]) & set(patient[part.rows("val")])
    with pytest.raises(InputError, match="folds is 7, and there are 6 sites"):
        site_preserved_folds(cohort, k=7)
    with pytest.raises(InputError, match="have no site"):
        site_preserved_folds(assemble({"image_path": ["a", "b"], "label": ["a", "b"]}, root=Path()), unit="image")
