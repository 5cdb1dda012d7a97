"""A server on this machine that gives small made files, and fails on demand."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server:
    """What the server has, and how it is to fail; `asked` has every request's path and range."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.cuts: dict[str, list[int]] = {}  # per path: after how many bytes each answer breaks off; then whole
        self.moved: dict[str, str] = {}
        self.ranges = True
        self.says_length = True
        self.asked: list[tuple[str, str]] = []

    def handler(self) -> Callable[..., BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                server.answer(self)

        return Handler

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        wanted = to.headers.get("Range", "")
        self.asked.append((to.path, wanted))
        if to.path in self.moved:
            to.send_response(302)
            to.send_header("Location", self.moved[to.path])
            to.end_headers()
            return
        content = self.files.get(to.path)
        if content is None:
            to.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if start and start >= len(content):
            to.send_error(416)
            return
        to.send_response(206 if start else 200)
        if self.says_length:
            to.send_header("Content-Length", str(len(content) - start))
        to.end_headers()
        cuts = self.cuts.get(to.path, [])
        most = cuts.pop(0) if cuts else len(content)
        to.wfile.write(content[start : start + most])


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server; its files are empty."""
    made = Server("")
    running = ThreadingHTTPServer(("127.0.0.1", 0), made.handler())
    made.url = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield made
    running.shutdown()
    running.server_close()
    thread.join()
