"""Leave one site out: which images are tested when, what keeps patients together, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.cohort.manifest import Cohort, assemble
from counterstain.cohort.site_split import leave_one_site_out
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


@settings(max_examples=20, deadline=None)
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
