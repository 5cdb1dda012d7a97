"""The documentation builds as a site, every link of it leading somewhere."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    if not (Path(sys.executable).parent / "zensical").is_file():
        pytest.skip("zensical is not installed; pip install zensical")
    for name in ("docs", "examples", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / name for name in ("Makefile", "zensical.toml", "LICENSE", "CITATION.cff")),
    ):
        shutil.copy(path, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    # `make` would install what is there already.
    make = ["make", "site", "-o", ".venv/.dev"]
    done = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "build" / "site" / "docs" / "tutorials" / "reviewers-afternoon.html").read_text(encoding="utf-8")
    assert "A reviewer's afternoon" in page
    # It works without a network: nothing is loaded from elsewhere.
    assert 'src="http' not in page
    assert 'rel="stylesheet" href="http' not in page
