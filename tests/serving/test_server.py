"""The server as it runs: connections that say nothing keep nobody out, and Python can start and stop it."""

import contextlib
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from small_browser import free_port, running
from small_server import TOKEN

import counterstain
from counterstain.errors import InputError
from counterstain.serving import connections
from counterstain.serving.app import make_app, served_of
from counterstain.serving.security import Access, allowed_hosts
from counterstain.serving.server import ServeOptions, start


@contextlib.contextmanager
def counterstain_page(runs: Path) -> Iterator[Any]:
    page = counterstain.serve(runs, port=0)
    try:
        yield page
    finally:
        page.close()


def closed_within(line: socket.socket, seconds: float) -> bool:
    """Whether the other side ends the connection in that time."""
    line.settimeout(seconds)
    try:
        return line.recv(1000) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_silence_is_given_up_and_keeps_nobody_out(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADER_S", 1.0)
    monkeypatch.setattr(connections, "WAITING", 20)
    listening = free_port()
    port = listening.getsockname()[1]
    access = Access(token=TOKEN, hosts=allowed_hosts("127.0.0.1", port))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with running(make_app(served_of(runs, ServeOptions()), access), listening):
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
        for line in silent[::2]:
            line.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert httpx.get(f"http://127.0.0.1:{port}/v2/health/live", headers=headers, timeout=10).status_code == 200
        assert closed_within(silent[0], 5)  # the oldest went when there were too many
        assert closed_within(silent[-1], 10)  # and the last for its silence
        with httpx.Client(headers=headers) as client:  # one that goes on speaking stays, for longer than that
            for _ in range(3):
                assert client.get(f"http://127.0.0.1:{port}/v2/health/live").status_code == 200
                time.sleep(0.6)
        for line in silent:
            line.close()


def test_answers_are_not_held_back(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nagle's algorithm is off on every connection, or each answer waits 40 ms for the other side's confirmation."""
    found: list[int] = []
    made = connections.ImpatientProtocol.connection_made

    def noted(self: connections.ImpatientProtocol, transport: Any) -> None:
        found.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        made(self, transport)

    monkeypatch.setattr(connections.ImpatientProtocol, "connection_made", noted)
    with counterstain_page(runs) as page:
        assert httpx.get(page.url, follow_redirects=True).status_code == 200
    assert found and all(found)


def test_a_flood_of_connections_comes_in_small_parts(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 that are opened at once no more than a few are taken before others have their turn."""
    times: list[float] = []
    made = connections.ImpatientProtocol.connection_made

    def noted(self: connections.ImpatientProtocol, transport: Any) -> None:
        times.append(time.monotonic())
        made(self, transport)

    monkeypatch.setattr(connections.ImpatientProtocol, "connection_made", noted)
    with counterstain_page(runs) as page, contextlib.ExitStack() as held:
        for _ in range(200):
            held.enter_context(socket.create_connection(("127.0.0.1", page._started.port), timeout=30))
        assert httpx.get(page.url, follow_redirects=True, timeout=60).status_code == 200  # after those before it
    for first in range(len(times) - 2 * connections.ACCEPTED):
        assert times[first + 2 * connections.ACCEPTED] - times[first] >= connections.PAUSE_S


def test_heads_without_end_are_refused(runs: Path) -> None:
    listening = free_port()
    port = listening.getsockname()[1]
    access = Access(token=TOKEN, hosts=allowed_hosts("127.0.0.1", port))
    app = make_app(served_of(runs, ServeOptions()), access)
    with running(app, listening), socket.create_connection(("127.0.0.1", port)) as line:
        line.settimeout(10)
        line.sendall(b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 200_000)
        assert line.recv(1000).startswith(b"HTTP/1.1 4")


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
