"""The pages as files: they open from a disk, and show what the server's show."""

from pathlib import Path

import pytest

from counterstain.errors import InputError
from counterstain.serving.error_view import error_data
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
