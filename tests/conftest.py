"""What every test may use."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INTERVAL = r"\[[−+-]?\d[\d.]*\s?%?, [−+-]?\d[\d.]*\s?%?\]"
LEVEL = r"\d\s?%(?: interval| limit| half-width|:)"
TABLE = r"(?s)<figure(?: class=\"table[^>]*)?>(?:(?!</figure>).)*?<table.*?</figure>"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real histology images; the test is skipped, and says so, where it is missing."""
    folder = Path(os.environ.get("COUNTERSTAIN_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "breakhis_100x" / "manifest.csv").is_file():
        pytest.skip(f"no real histology data at {folder}; set COUNTERSTAIN_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def unlevelled() -> Callable[[str], list[str]]:
    """Finds the intervals of a page that don't say their level: in a sentence beside them, or above their table.

    A sentence, or the text of a picture, names the level before its interval; a table in its caption or in the head of
    the column.
    """

    def found(page: str) -> list[str]:
        page = re.sub(r"(?s)<(style|script)\b.*?</\1>|data:[^\"]*", "", page).replace("&nbsp;", "\u00a0")
        out = []
        for table in re.findall(TABLE, page):
            heads = re.findall(r"(?s)<figcaption>.*?</figcaption>|<thead>.*?</thead>", table)
            if not re.search(LEVEL, " ".join(heads)):
                out += re.findall(INTERVAL, table)
        text = re.sub("<[^>]+>", "", re.sub('<img[^>]* alt="([^"]*)"[^>]*>', r"\1", re.sub(TABLE, "", page)))
        out += [hit[0] for hit in re.finditer(INTERVAL, text) if not re.search(LEVEL, text[: hit.start()][-25:])]
        return out

    return found
