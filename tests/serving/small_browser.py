"""A browser and a running server for the tests that look at pages; skipped, with a word, where there is no browser."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-gpu", "--disable-dev-shm-usage",
]  # fmt: skip


@contextmanager
def open_browser() -> Iterator[Any]:
    """A headless browser with a new profile."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if BROWSER is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def running(app: Any, listening: socket.socket) -> Iterator[None]:
    """Serve an application in a thread of its own, as `counterstain serve` configures it."""
    import uvicorn

    from counterstain.serving.connections import FairServer, ImpatientProtocol

    config = uvicorn.Config(
        app, http=ImpatientProtocol, ws="none", access_log=False, log_level="warning", server_header=False,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = FairServer(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
    thread.start()
    for _ in range(200):
        if server.started:
            break
        time.sleep(0.05)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)


def free_port() -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    return listening


def picture_folder() -> Path | None:
    """Where pictures of the pages are kept, if that is asked for by COUNTERSTAIN_PICTURES."""
    import os

    place = os.environ.get("COUNTERSTAIN_PICTURES")
    return Path(place) if place else None
