"""How one damaged input ended, and the counts of many: read, refused, traceback, silent, hung, bytes outside."""

import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from counterstain.errors import GateError, InputError

__all__ = ["LIMIT_S", "Hang", "Tally", "watched"]

LIMIT_S = 120  # of wall clock for one input; a busy machine is slow, a hang has no end


class Hang(BaseException):
    """An input took longer than the limit; no handler of ours may take it for an error of its own."""


_written: list[str] = []
_inside: list[str] = []
_WRITES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree"}


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what is opened for writing, made, moved or removed outside of the folder of the trials."""
    if not _inside:
        return
    if event == "open":
        path, mode, flags = arguments
        writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (
            isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if not writes:
            return
    elif event in _WRITES:
        path = arguments[0]
    else:
        return
    if isinstance(path, (str, bytes, os.PathLike)):
        place = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (no link is followed, nothing is looked up)
        # Caches of compiled code, and the system's own streams, are nobody's results.
        if not place.startswith((*_inside, "/dev/", "/proc/")) and "__pycache__" not in place:
            _written.append(place)


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """What this process writes outside of `folder` and of the system's folder for temporary files."""
    if not getattr(sys, "_faults_audited", False):
        sys.addaudithook(_audit)
        sys._faults_audited = True  # type: ignore[attr-defined]
    _written.clear()
    _inside[:] = [str(folder.absolute()), str(folder.resolve()), tempfile.gettempdir()]
    try:
        yield _written
    finally:
        _inside.clear()


@dataclass
class Tally:
    """The counts of one kind of input.

    ended: "read", "refused"; silent, tracebacks, hangs, outside: a line for each input that ended so.
    """

    what: str
    folder: Path
    inputs: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    silent: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: str = ""

    def one(
        self, kind: str, label: str, read: Callable[[], object], *, wrong: bool = False, limit_s: float | None = None
    ) -> None:
        """Read one input; `wrong`: it is known to be wrong, so that reading it is taking it silently."""
        self.inputs += 1
        self.kinds[kind] += 1
        began = time.monotonic()
        before = signal.signal(signal.SIGALRM, _too_long)
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S if limit_s is None else limit_s)
        with watched(self.folder) as written:
            try:
                read()
                self.ended["read"] += 1
                if wrong:
                    self.silent.append(f"{kind}: {label}")
            except (InputError, GateError) as error:
                self.ended["refused"] += 1
                if "\n" in str(error):
                    self.tracebacks.append(f"{kind}: {label}: a refusal of several lines: {str(error)[:300]!r}")
            except Hang:
                self.hangs.append(f"{kind}: {label}")
            except Exception:  # noqa: BLE001 (what escapes is what is counted)
                self.tracebacks.append(f"{kind}: {label}: {traceback.format_exc()[-1200:]}")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
            self.outside += [f"{kind}: {label}: {place}" for place in written]
        took = time.monotonic() - began
        if took > self.slowest_s:
            self.slowest_s, self.slowest = took, f"{kind}: {label}"

    def record(self) -> dict[str, Any]:
        return {
            "what": self.what, "inputs": self.inputs, "ended": dict(self.ended), "kinds": dict(self.kinds),
            "tracebacks": len(self.tracebacks), "silent": len(self.silent), "hangs": len(self.hangs),
            "outside": len(self.outside), "slowest_s": round(self.slowest_s, 2), "slowest": self.slowest,
            "first": [*self.tracebacks[:5], *self.silent[:5], *self.hangs[:5], *self.outside[:5]],
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }  # fmt: skip


def _too_long(number: int, frame: FrameType | None) -> None:
    raise Hang
