"""How far a command goes through the source: the files, rooms and arrows that its calls cross.

    python benchmarks/way.py SRC VERB ARGS…

runs `counterstain VERB ARGS…` of the source in the folder SRC, which may be that of an older commit
(`git archive COMMIT src | tar -x -C older`), and prints one JSON line on stderr.
"""

import json
import sys
import threading
from collections import deque
from pathlib import Path
from types import FrameType
from typing import Any


class Way:
    """Files of one package that were called, and the calls from one file to another."""

    def __init__(self, package: Path) -> None:
        self.root = f"{package}/"
        self.files: set[str] = set()
        self.calls: set[tuple[str, str]] = set()

    def file_of(self, frame: FrameType) -> str | None:
        name = frame.f_code.co_filename
        return name.removeprefix(self.root) if name.startswith(self.root) else None

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        """A call, and from which file of the package it came: what lies between, such as torch, is left out."""
        own = self.file_of(frame) if event == "call" and frame.f_code.co_name != "<module>" else None
        if own is None:
            return
        self.files.add(own)
        above = frame.f_back
        while above is not None and self.file_of(above) is None:
            above = above.f_back
        caller = self.file_of(above) if above is not None else None
        if caller is not None and caller != own and above is not None and above.f_code.co_name != "<module>":
            self.calls.add((caller, own))

    def record(self) -> dict[str, int]:
        """files: that were called; rooms: their folders; calls: pairs of files; arrows: pairs of rooms.

        depth: files from the command line to the farthest one, by the shortest way.
        """
        near = {name: 0 for name in self.files if name.startswith("cli/")}
        waiting = deque(near)
        while waiting:
            name = waiting.popleft()
            for caller, called in self.calls:
                if caller == name and called not in near:
                    near[called] = near[name] + 1
                    waiting.append(called)
        rooms = {room_of(name) for name in self.files}
        arrows = {(room_of(a), room_of(b)) for a, b in self.calls if room_of(a) != room_of(b)}
        return {
            "files": len(self.files), "rooms": len(rooms), "calls": len(self.calls), "arrows": len(arrows),
            "depth": max(near.values(), default=0),
        }  # fmt: skip


def room_of(name: str) -> str:
    return name.partition("/")[0] if "/" in name else "ground"


def main() -> None:
    source = Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(source))
    way = Way(source / "counterstain")
    sys.argv = ["counterstain", *sys.argv[2:]]
    threading.setprofile(way.note)
    sys.setprofile(way.note)
    from counterstain.cli import main as run

    code: object = 0
    try:
        run()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.setprofile(None)
    loaded = sum(name.partition(".")[0] == "counterstain" for name in sys.modules)
    print(json.dumps({"exit": code, "loaded": loaded, **way.record()}), file=sys.stderr)


if __name__ == "__main__":
    main()
