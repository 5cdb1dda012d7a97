"""The server as it runs: Python can start and stop it, and its address says how to reach it."""

import subprocess
import sys
import zlib
from pathlib import Path

import httpx
import pytest
from small_browser import free_port

import counterstain
from counterstain.errors import InputError
from counterstain.serving.server import ServeOptions, start


def test_python_serves_and_stops(runs: Path) -> None:
    page = counterstain.serve(runs, port=0)
    try:
        assert "token=" in page.url and page.token not in repr(page)
        with httpx.Client(follow_redirects=True, timeout=20) as client:
            answer = client.get(page.url)
            assert answer.status_code == 200 and "Studies" in answer.text
            assert "frame-ancestors http://localhost:*" in answer.headers["content-security-policy"]
            assert "<iframe" in page._repr_html_()
    finally:
        page.close()
    with pytest.raises(httpx.TransportError):
        httpx.get(page.url, timeout=2)


def test_a_port_that_is_taken_and_a_folder_that_is_none(runs: Path, tmp_path: Path) -> None:
    with free_port() as taken, pytest.raises(InputError, match="cannot be served"):
        start(runs, ServeOptions(port=taken.getsockname()[1]))
    with pytest.raises(InputError, match="is not a folder"):
        start(tmp_path / "none", ServeOptions(port=0))
    with pytest.raises(InputError, match="--token"):
        start(runs, ServeOptions(host="0.0.0.0", port=0))


def test_the_printed_lines_say_how_to_reach_it(runs: Path) -> None:
    started = start(runs, ServeOptions(port=0))
    started.listening.close()
    first, tunnel = started.lines()
    assert first == f"Open http://127.0.0.1:{started.port}/?token={started.token}"
    assert f"ssh -N -L {started.port}:127.0.0.1:{started.port}" in tunnel
    assert started.token not in tunnel


def test_saved_pages_from_python(runs: Path, tmp_path: Path) -> None:
    page = counterstain.serve(runs, export=tmp_path / "site")
    assert page.site == tmp_path / "site" / "index.html" and page.site.is_file()
    page.close()


def test_who_only_looks_waits_for_no_pytorch() -> None:
    code = "import sys, counterstain.serving.app; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_the_page_adds_to_the_wheel_is_less_than_a_megabyte() -> None:
    folder = Path(counterstain.__file__).parent / "serving"
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert any(path.name == "openseadragon.min.js" for path in files)
    assert sum(len(zlib.compress(path.read_bytes(), 6)) for path in files) < 1_000_000
