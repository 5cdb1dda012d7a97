"""Connections that say nothing, or go on after they were refused, keep nobody out."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from small_browser import free_port, running
from small_server import TOKEN

import counterstain
from counterstain.serving import connections
from counterstain.serving.app import make_app, served_of
from counterstain.serving.security import Access, allowed_hosts
from counterstain.serving.server import ServeOptions

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


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


@pytest.fixture
def port(runs: Path) -> Iterator[int]:
    """The port of a server of those runs."""
    listening = free_port()
    number = int(listening.getsockname()[1])
    access = Access(token=TOKEN, hosts=allowed_hosts("127.0.0.1", number), body_bytes=1 << 20)
    with running(make_app(served_of(runs, ServeOptions()), access), listening):
        yield number


# Of every kind that is refused before its body is read: method, path, headers, status.
REFUSED = {
    "chunks": ("POST", "/api/predict", {"Transfer-Encoding": "chunked", "Content-Type": "image/png"}, 411),
    "too large": ("POST", "/api/predict", {"Content-Length": "999999999", "Content-Type": "image/png"}, 413),
    "a form": ("POST", "/api/predict", {"Transfer-Encoding": "chunked", "Content-Type": "text/plain"}, 415),
    "no token": ("POST", "/api/predict", {"Transfer-Encoding": "chunked", "Authorization": ""}, 401),
    "another page": ("POST", "/api/claim", {"Transfer-Encoding": "chunked", "Origin": "http://b.example"}, 403),
    "another host": ("POST", "/api/claim", {"Transfer-Encoding": "chunked", "Host": "b.example"}, 421),
    "another method": ("PUT", "/api/predict", {"Transfer-Encoding": "chunked"}, 405),
    "get with a body": ("GET", "/", {"Transfer-Encoding": "chunked"}, 400),
    "get with a length": ("GET", "/", {"Content-Length": "999999999"}, 400),
    "head with a body": ("HEAD", "/", {"Transfer-Encoding": "chunked"}, 400),
}


def head(port: int, method: str, path: str, headers: dict[str, str]) -> bytes:
    said = {"Host": f"127.0.0.1:{port}", **HEADERS, **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items() if value)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def sent_until(line: socket.socket, seconds: float) -> int:
    """Bytes of chunks without end that go into a connection until it ends, or for that time."""
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    total, ends = 0, time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while time.monotonic() < ends:
            line.settimeout(max(ends - time.monotonic(), 0.001))
            total += line.send(piece)
    return total


@pytest.mark.parametrize("kind", REFUSED)
def test_a_body_that_goes_on_after_the_answer_is_not_listened_to(
    kind: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes, says that the connection ends, and it does, though its sender goes on."""
    monkeypatch.setattr(connections, "LINGER_S", 0.5)
    method, path, headers, status = REFUSED[kind]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(head(port, method, path, headers))
        answer = line.recv(10_000)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:100]
        assert b"connection: close" in answer.lower()
        begun = time.monotonic()
        sent_until(line, 10)
        assert time.monotonic() - begun < 8


def test_many_that_go_on_are_read_slowly_together(port: int) -> None:
    """Four that send without end get through no more than one would; read as they came it were gigabytes."""
    method, path, headers, _ = REFUSED["no token"]
    sent: list[int] = []

    def send() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.sendall(head(port, method, path, headers))
            sent.append(sent_until(line, 1.5))

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    buffers = 4 * (8 << 20)  # what the system itself takes up for each
    assert len(sent) == 4 and sum(sent) < 1.5 / connections.DISCARD_S * (256 << 10) + buffers
    assert httpx.get(f"http://127.0.0.1:{port}/v2/health/live", headers=HEADERS, timeout=10).status_code == 200


def test_who_sends_too_much_can_read_why(port: int) -> None:
    """A client that sends all before it reads: closed at once, it would see nothing but a reset connection."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    line.request("POST", "/api/predict", body=b"x" * (12 << 20), headers={**HEADERS, "Content-Type": "image/png"})
    answer = line.getresponse()
    assert answer.status == 413 and b"1048576 bytes" in answer.read()
    line.close()


def test_who_was_refused_and_is_done_is_let_go(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not held for `LINGER_S`: it is one of few that may wait."""
    monkeypatch.setattr(connections, "LINGER_S", 60.0)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(head(port, *REFUSED["chunks"][:3]))
        answer = b""
        while piece := line.recv(10_000):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 411 ")
        assert any(connection.leaving for connection in list(connections._waiting))
    ends = time.monotonic() + 20
    while connections._waiting and time.monotonic() < ends:
        time.sleep(0.02)
    assert not connections._waiting
