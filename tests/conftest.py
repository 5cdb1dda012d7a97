"""What every test may use."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# No test fails because a machine is slow: an example may take as long as it needs.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

ROOT = Path(__file__).parent.parent
INTERVAL = r"\[[−+-]?\d[\d.]*\s?%?, [−+-]?\d[\d.]*\s?%?\]"
LEVEL = r"\d\s?%(?: interval| limit| half-width|:)"
TABLE = r"(?s)<figure(?: class=\"table[^>]*)?>(?:(?!</figure>).)*?<table.*?</figure>"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real histology images; the test is skipped, and says so, where it is missing."""
    folder = Path(os.environ.get("COUNTERSTAIN_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "breakhis_100x" / "manifest.csv").is_file():
        pytest.skip(f"no real histology data at {folder}; set COUNTERSTAIN_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def unlevelled() -> Callable[[str], list[str]]:
    """Finds the intervals of a page that don't say their level: in a sentence beside them, or above their table.

    A sentence, or the text of a picture, names the level before its interval; a table in its caption or in the head of
    the column.
    """

    def found(page: str) -> list[str]:
        page = re.sub(r"(?s)<(style|script)\b.*?</\1>|data:[^\"]*", "", page).replace("&nbsp;", "\u00a0")
        out = []
        for table in re.findall(TABLE, page):
            heads = re.findall(r"(?s)<figcaption>.*?</figcaption>|<thead>.*?</thead>", table)
            if not re.search(LEVEL, " ".join(heads)):
                out += re.findall(INTERVAL, table)
        text = re.sub("<[^>]+>", "", re.sub('<img[^>]* alt="([^"]*)"[^>]*>', r"\1", re.sub(TABLE, "", page)))
        out += [hit[0] for hit in re.finditer(INTERVAL, text) if not re.search(LEVEL, text[: hit.start()][-25:])]
        return out

    return found


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler's address and the processes of its two workers, of one thread each; nobody restarts them."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{found.getsockname()[1]}"
    environment = {**os.environ, "PYTHONWARNINGS": "default"}  # dask's own commands would end on a warning of theirs
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        log = (tmp_path / f"dask-{len(started)}.log").open("wb")
        command = [sys.executable, "-m", "dask", *words]
        started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path))
        log.close()
        return started[-1]

    start("scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard", "--no-show")
    alone = ("--nworkers", "1", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0")
    workers = [start("worker", address, *alone, "--local-directory", str(tmp_path / f"w{n}")) for n in range(2)]
    until = time.monotonic() + 120
    while (tmp_path / "dask-0.log").read_bytes().count(b"Register worker") < 2:
        assert time.monotonic() < until, (tmp_path / "dask-0.log").read_text()
        time.sleep(0.1)
    yield address, workers
    for process in started:
        process.kill()
        process.wait()
