"""Slides that wait to be read by a model: one record per request, one slide at a time, in a process of its own.

The queue is a folder of records. A request that is not yet done stands there as waiting, also while it is being read:
so a server that starts again resumes it, and the reading itself resumes from its last batch.
"""

import json
import re
import secrets
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, cast

from counterstain.errors import InputError
from counterstain.files import read_json, write_json
from counterstain.serving.problems import ServingError
from counterstain.study.completion import lock

__all__ = ["SlideQueue", "SlideRequest"]

SCHEMA = "counterstain.slide_request/1"
MOST_WAITING = 1000
NAME = re.compile(r"[0-9]{14}-[0-9a-f]{8}")
State = Literal["waiting", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class SlideRequest:
    """One slide to be read by one model.

    id: of the request; its first digits say when it was asked, so that names sort by time.
    slide, path: opaque id and file of the slide; model, model_path: name and folder of the model.
    mpp: µm/px of the tiles; None is the model's own.
    words: what came of it: the map's name, or why it failed.
    """

    id: str
    slide: str
    path: str
    model: str
    model_path: str
    mpp: float | None = None
    state: State = "waiting"
    words: str = ""


class SlideQueue:
    """The requests of a folder, and the thread that has them answered.

    Args:
        folder: of the records; made with the first request.
        maps: folder in which each model gets one for its maps.
    """

    def __init__(self, folder: Path, maps: Path) -> None:
        self.folder, self.maps = folder, maps
        self._progress: dict[str, tuple[int, int]] = {}
        self._process: subprocess.Popen[str] | None = None
        self._reading = ""
        self._changing = threading.RLock()
        self._news = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None

    def requests(self) -> list[SlideRequest]:
        """Every request, the oldest first; a record that cannot be read is left out."""
        requests = []
        for path in sorted(self.folder.glob("*.json")):
            if NAME.fullmatch(path.stem) and not path.is_symlink():
                try:
                    requests.append(self._read(path.stem))
                except (InputError, TypeError):
                    continue
        return requests

    def find(self, identity: str) -> SlideRequest:
        """A request by its id.

        Raises:
            ServingError: 404 if there is none.
        """
        if not NAME.fullmatch(identity) or not (self.folder / f"{identity}.json").is_file():
            raise ServingError(404, "there is no request of this id; see /api/slide-requests")
        return self._read(identity)

    def told(self, request: SlideRequest) -> dict[str, object]:
        """What is said of a request: no path, and how far its reading has come."""
        public = {name: value for name, value in asdict(request).items() if not name.endswith("path")}
        reading = request.state == "waiting" and request.id == self._reading
        done, tiles = self._progress.get(request.id, (0, 0)) if reading else (0, 0)
        return public | {"state": "reading" if reading else request.state, "tiles_done": done, "tiles": tiles}

    def add(self, slide: str, path: Path, model: str, model_path: Path, *, mpp: float | None = None) -> SlideRequest:
        """Ask for a slide to be read; the same one that waits already is returned.

        Raises:
            ServingError: 429 if too many wait.
        """
        with self._changing:
            waiting = [request for request in self.requests() if request.state == "waiting"]
            for request in waiting:
                if (request.slide, request.model, request.mpp) == (slide, model, mpp):
                    return request
            if len(waiting) >= MOST_WAITING:
                raise ServingError(429, f"{len(waiting)} slides are waiting already")
            identity = f"{time.strftime('%Y%m%d%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"
            request = SlideRequest(identity, slide, str(path.absolute()), model, str(model_path.absolute()), mpp)
            self._write(request)
        self.start()
        return request

    def cancel(self, identity: str) -> SlideRequest:
        """Take back a request that waits or is being read; another stays as it is."""
        with self._changing:
            request = self.find(identity)
            if request.state == "waiting":
                request = replace(request, state="cancelled", words="cancelled")
                self._write(request)
                if self._process is not None and self._reading == identity:
                    self._process.terminate()
        return request

    def start(self) -> None:
        """Have what waits read; does nothing where nothing waits or it is being done already."""
        with self._changing:
            self._news.set()
            if self._ended or (self._thread is not None and self._thread.is_alive()):
                return
            if any(request.state == "waiting" for request in self.requests()):
                self._thread = threading.Thread(target=self._work, name="slides", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop reading; what is not done stays waiting for the next server."""
        with self._changing:
            self._ended = True
            self._news.set()
            if self._process is not None:
                self._process.terminate()
        if self._thread is not None:
            self._thread.join(10)

    # ------------------------------------------------------------------------------------------------------ the thread

    def _work(self) -> None:
        with ExitStack() as stack:
            try:
                stack.enter_context(lock(self.folder))
            except InputError:
                return  # another server of these runs reads them
            while not self._ended:
                self._news.clear()
                request = next((entry for entry in self.requests() if entry.state == "waiting"), None)
                if request is None:
                    self._news.wait()
                    continue
                state, result = self._answer(request)
                with self._changing:
                    self._reading = ""
                    if not self._ended and self.find(request.id).state == "waiting":
                        self._write(replace(request, state=state, words=result))

    def _answer(self, request: SlideRequest) -> tuple[State, str]:
        """Read one slide in another process; what came of it."""
        done = [earlier for earlier in self.requests() if earlier.state == "done"]
        others = {earlier.path: earlier.words for earlier in done if earlier.path != request.path}
        order = {
            "slide": request.path, "others": list(others.items()), "model": request.model_path, "name": request.model,
            "maps": str(self.maps), "mpp": request.mpp,
        }  # fmt: skip
        command = [sys.executable, "-m", "counterstain.serving.slide_worker"]
        with self._changing:
            if self._ended:
                return "failed", ""
            self._reading = request.id
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
        process = self._process
        orders, answers = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        last: dict[str, Any] = {"failed": "the process that read it ended early; what was read is kept: ask again"}
        with process:  # its standard input stays open: the worker ends where this server does
            orders.write(json.dumps(order) + "\n")
            orders.flush()
            for line in answers:
                message = json.loads(line)
                if "tiles" in message:
                    self._progress[request.id] = message["done"], message["tiles"]
                else:
                    last = message
        self._progress.pop(request.id, None)
        self._process = None
        return ("done", str(last["map"])) if "map" in last else ("failed", str(last["failed"]))

    # ----------------------------------------------------------------------------------------------------- the records

    def _read(self, identity: str) -> SlideRequest:
        record = read_json(self.folder / f"{identity}.json")
        return SlideRequest(**{name: value for name, value in record.items() if name != "schema"})

    def _write(self, request: SlideRequest) -> None:
        self.folder.mkdir(exist_ok=True)
        write_json(self.folder / f"{request.id}.json", {"schema": SCHEMA, **asdict(request)})
