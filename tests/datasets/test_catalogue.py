"""The list of public cohorts: every row is complete, and what a row claims is said in a way that can be checked."""

import re

import pytest

from counterstain.cohort.layouts import LAYOUTS
from counterstain.datasets.catalogue import COHORTS, PublicCohort


@pytest.mark.parametrize("row", COHORTS, ids=[row.name for row in COHORTS])
def test_a_row_is_complete(row: PublicCohort) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", row.name) and row.title and row.licence and row.patients
    assert row.page.startswith("https://")
    assert re.fullmatch(r"doi:10\.\d{4,}/\S+|arXiv:\d{4}\.\d{5}", row.paper)
    assert row.files or row.name == "tcga"
    assert len({file.name for file in row.files}) == len(row.files)
    for file in row.files:
        assert re.fullmatch(r"[\w.-]+", file.name)
        assert re.fullmatch(r"(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})?", file.checksum)
        assert re.fullmatch(r"(https?://\S+)?", file.url)
        if file.url.startswith("http://"):
            assert any("plain http" in words for words in row.defects), "the reader is told"
    if row.read_as:
        assert row.read_as.removeprefix("--layout ") in LAYOUTS


def test_names_are_told_apart_and_the_ones_that_science_asks_for_are_there() -> None:
    names = [row.name for row in COHORTS]
    assert len(set(names)) == len(names)
    wanted = {"breakhis", "pcam", "nct-crc", "kather-2016", "lc25000", "pathmnist", "idc", "bach", "mhist"}
    assert wanted | {"camelyon17-wilds", "gleason", "tcga"} <= set(names)
