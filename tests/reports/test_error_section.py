"""The errors on the page: tiles within their budget or none at all, and sentences on single patients."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counterstain.files import read_json, write_json
from counterstain.reports import run_report
from counterstain.reports.error_section import influence_words, tile_uris
from counterstain.reports.run_record import read_run
from counterstain.reports.run_report import MOST_TILES, write_report


@pytest.fixture
def run(tmp_path: Path, runs: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder; figures are left out."""
    names = ("arms", "split", "histories", "confusions", "curves", "differences", "reliability", "benefit")
    monkeypatch.setattr(run_report, "illustrate", lambda record: dict.fromkeys(names, ()))
    made: Path = runs.make_run(tmp_path / "run", **runs.KINDS["two"], epochs=3, images_each=6)
    return made


def noise(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_tiles_get_smaller_until_all_fit_and_are_left_out_at_last() -> None:
    tiles = {f"{k}.png": noise(k) for k in range(4)}
    shown = [*tiles, "0.png"]
    whole = tile_uris(tiles, shown, 10**9)
    for budget in (60_000, 40_000, 15_000):
        uris = tile_uris(tiles, shown, budget)
        assert all(uris.values()) and sum(len(uris[name]) for name in shown) <= budget
        assert len(uris["1.png"]) < len(whole["1.png"])
    few = tile_uris(tiles, shown, 8_000)
    assert few["0.png"] and not few["3.png"] and sum(len(few[name]) for name in shown) <= 8_000


def test_page_shows_the_strips_and_the_patients(run: Path) -> None:
    page = write_report(run).read_text(encoding="utf-8")
    record = read_json(run / "records" / "errors.json")
    own = record["arms"]["given-32"]
    section = page[page.index('<section id="errors">') : page.index('<section id="comparison">')]
    assert '<a href="#errors">Errors</a>' in page
    assert section.count('<img class="tile"') == sum(
        len(strip) for arm in record["arms"].values() for strip in arm["tiles"].values()
    )
    assert section.count("Confidently wrong") == len(record["arms"])
    assert f"{100 * own['errors']:.1f}\u00a0% of {own['images']} test images are predicted wrong" in section
    for row in own["patients"][:10]:
        assert f"{row['patient']}</th>" in section and f"<td>{row['errors']:.1f}</td>" in section


def test_embedded_tiles_stay_within_the_cap(run: Path) -> None:
    for path in (run / "records" / "error_tiles").iterdir():
        path.write_bytes(noise(len(path.name)))
    (run / "figures" / "augmentation.png").write_bytes(_large())
    page = write_report(run).read_text(encoding="utf-8")
    parts = page.split('src="data:image/')[1:]
    assert sum(len(part.partition('"')[0]) for part in parts) <= MOST_TILES


def _large() -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (700, 1600, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_without_tiles_no_picture_of_an_image_is_in_the_page(run: Path) -> None:
    Image.fromarray(np.full((30, 60, 3), 200, np.uint8)).save(run / "figures" / "slide.png")
    slide = {"slide": "S", "arm": "a", "size_px": [5, 5], "mpp": 0.5, "tiles": 1, "positive": 1, "auroc": 1.0,
             "iou": 1.0, "threshold": 0.5}  # fmt: skip
    write_json(run / "records" / "slide.json", slide)
    assert write_report(run).read_text(encoding="utf-8").count("data:image/") > 10
    page = write_report(run, tiles=False).read_text(encoding="utf-8")
    assert "data:image/" not in page and "Confidently wrong" in page and "AUROC of its 1 tile" in page


def test_influence_is_told_as_the_record_has_it(run: Path) -> None:
    record = read_json(run / "records" / "errors.json")
    for pair in record["influence"]:
        for row in pair["patients"]:
            row |= {"changes": False, "verdict": pair["verdict"]}
    write_json(run / "records" / "errors.json", record)
    steady = influence_words(read_run(run))
    assert steady and all("the verdict stays the same without any one of the 3 patients" in line for line in steady)
    pair = record["influence"][0]
    pair["patients"][1] |= {"changes": True, "verdict": "a_better", "patient": "P7"}
    write_json(run / "records" / "errors.json", record)
    assert f"without patient P7 the verdict changes to “{pair['a']} is better”" in influence_words(read_run(run))[0]
    pair["patients"][1] |= {"verdict": ""}
    write_json(run / "records" / "errors.json", record)
    assert "without patient P7 the arms can't be compared" in influence_words(read_run(run))[0]


def test_a_run_without_the_record_has_no_section(run: Path) -> None:
    (run / "records" / "errors.json").unlink()
    assert 'id="errors"' not in write_report(run).read_text(encoding="utf-8")


def test_unfamiliar_images_are_told_where_they_are_known(run: Path) -> None:
    assert "unlike the training images" not in write_report(run).read_text(encoding="utf-8")
    record = read_json(run / "records" / "errors.json")
    own = record["arms"]["given-32"]
    own["unfamiliar"] = {"images": 3, "share": 0.0625, "errors": 1.0, "errors_of_others": 0.25}
    own["tiles"]["wrong"][0]["unfamiliar"] = True
    write_json(run / "records" / "errors.json", record)
    page = write_report(run).read_text(encoding="utf-8")
    assert "3 (6.2\u00a0%) are unlike the training images to most trainings" in page
    assert "Of them 100\u00a0% are predicted wrong, of the others 25\u00a0%." in page
    assert page.count(", unlike the training images</span>") == 1


def test_each_site_that_was_left_out_has_its_line(run: Path) -> None:
    assert "by models trained on the other sites" not in write_report(run).read_text(encoding="utf-8")
    resolved = read_json(run / "records" / "resolved.json")
    write_json(run / "records" / "resolved.json", resolved | {"split": {**resolved["split"], "method": "sites"}})
    score = {"value": 0.81, "low": 0.7, "high": 0.9}
    scores = dict.fromkeys(("accuracy", "recall", "specificity", "auroc"), score)
    groups = [{"group": "Site A", "images": 40, "patients": 12, "scores": scores},
              {"group": "Site B", "images": 9, "patients": 3, "scores": None}]  # fmt: skip
    arms = {arm: {"groups": groups, "worst": None} for arm in resolved["arms"]}
    write_json(run / "records" / "subgroups.json", {"site": {"arms": arms}})
    page = write_report(run).read_text(encoding="utf-8")
    table = page[page.index("AUROC at each site, by models trained on the other sites") :].partition("</table>")[0]
    assert table.count("Site A") == 1 and table.count("<td>0.810<small>[0.700, 0.900]") == len(arms)
    assert table.count("fewer than 10 patients") == len(arms)
