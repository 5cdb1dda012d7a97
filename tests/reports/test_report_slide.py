"""The slide of known truth in a report: there where its record and picture are, and nowhere else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counterstain.files import write_json
from counterstain.reports import run_report
from counterstain.reports.run_report import write_report

RECORD = {
    "schema": "counterstain.demo-slide/1", "slide": "P048-S1", "arm": "given-32", "size_px": [5120, 3840], "mpp": 0.5,
    "tiles": 421, "positive": 98, "auroc": 0.9712, "iou": 0.7649, "threshold": 0.5,
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, runs: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder; figures are left out."""
    monkeypatch.setattr(run_report, "illustrate", lambda record: dict.fromkeys(FIGURES, ()))
    made: Path = runs.make_run(tmp_path / "run", **runs.KINDS["two"], epochs=3, images_each=6)
    return made


FIGURES = ("arms", "split", "histories", "confusions", "curves", "differences", "reliability", "benefit")


def test_slide_and_map_are_shown_where_they_are(run: Path) -> None:
    write_json(run / "records" / "slide.json", RECORD)
    Image.fromarray(np.full((30, 60, 3), 200, np.uint8)).save(run / "figures" / "slide.png")
    page = write_report(run).read_text(encoding="utf-8")
    section = page[page.index('<section id="slide">') : page.index('<section id="reporting">')]
    assert '<a href="#slide">' in page
    for words in ("P048-S1", "5,120 × 3,840 px at 0.5", "421 tiles, 98 of them in tumour: 0.971", "76%", "no evidence"):
        assert words in section
    assert 'src="data:image/png;base64,' in section


def test_without_them_the_report_says_nothing_of_a_slide(run: Path) -> None:
    assert 'id="slide"' not in write_report(run).read_text(encoding="utf-8")
    write_json(run / "records" / "slide.json", RECORD)  # a record without its picture
    assert 'id="slide"' not in write_report(run).read_text(encoding="utf-8")


def test_a_name_on_the_slide_is_no_markup(run: Path) -> None:
    write_json(run / "records" / "slide.json", RECORD | {"arm": "<script>"})
    Image.fromarray(np.full((30, 60, 3), 200, np.uint8)).save(run / "figures" / "slide.png")
    assert "<script>" not in write_report(run).read_text(encoding="utf-8")
