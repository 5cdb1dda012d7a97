"""The pages as files: they open from a disk, and show what the server's show."""

import json
from pathlib import Path

import pytest
from small_studies import slide_home

from counterstain.errors import InputError
from counterstain.serving import site as site_module
from counterstain.serving.error_view import error_data
from counterstain.serving.pictures import image_id
from counterstain.serving.site import write_site


@pytest.fixture(scope="module")
def site(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    assert write_site(runs, out) == out / "index.html"
    return out


def test_every_link_and_picture_is_there(site: Path) -> None:
    import re

    for page in site.glob("*.html"):
        if page.name.endswith("-report.html"):
            continue
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r'(?:href|src)="([^"#]+)"', text):
            if name.endswith("-report.html"):
                continue
            assert (site / name).is_file(), (page.name, name)
        assert "http://" not in text.replace("http://www.w3.org", "")
    assert len(list((site / "tiles").iterdir())) == 60
    assert (site / "static" / "openseadragon-LICENSE.txt").is_file()


def test_a_site_holds_no_names_beyond_the_tables(site: Path, runs: Path) -> None:
    assert all(path.stem.startswith("two-") for path in (site / "tiles").iterdir())
    ids = set(error_data(runs / "two")["ids"])
    assert ids <= {path.stem.removeprefix("two-") for path in (site / "tiles").iterdir()}


def test_what_cannot_be_written_is_refused(site: Path, runs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has something in it"):
        write_site(runs, site)
    with pytest.raises(InputError, match="holds no run"):
        write_site(tmp_path, tmp_path / "out")


def test_slides_are_written_with_their_maps_to_a_limit(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a slide of 1500 px and at most 1000 px: the levels of 750 and 375 px and below, and no finer tile."""
    pytest.importorskip("tifffile")
    pytest.importorskip("shapely")
    home = slide_home(tmp_path / "slide")
    monkeypatch.setattr(site_module, "SLIDE_PX", 1000)
    write_site(runs, tmp_path / "out", slides=(home / "slides",), maps=(home / "maps",))
    text = (tmp_path / "out" / f"slide-{image_id('s')}.html").read_text(encoding="utf-8")
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert data["levels"] == 11 and data["finest"] == 10
    assert list(data["heats"]) == ["maps"] and data["heats"]["maps"]["names"] == ["malignant"]
    names = {path.name for path in (tmp_path / "out" / "slides" / image_id("s")).iterdir()}
    assert {name.partition("_")[0] for name in names} == {"8", "9", "10"}
    assert {name for name in names if name.startswith("10_")} == {f"10_{x}_{y}.jpg" for x in range(3) for y in range(3)}
    assert f'href="slide-{image_id("s")}.html"' in (tmp_path / "out" / "slides.html").read_text(encoding="utf-8")
    assert 'id="draw"' not in text
