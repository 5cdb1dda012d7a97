"""Many slides on a dask cluster of this machine: is everything done once, with the bytes of one process, and how fast?

    .venv/bin/python benchmarks/many_slides.py MODEL [--slides 1000] [--distinct 25] [--side 4000] [--timed 100]

promises: all slides are read by a cluster of two workers, one of which is killed when a tenth is done. One slide is
damaged and one hangs: it lies on a FUSE file system that answers for its first bytes and never again (Linux, libfuse 2,
`pip install fusepy`; left out, with a word, where they are missing). Then the files of the distinct slides are compared
with those of one process.

speed: `--timed` slides on one worker and on two, by turns. Phantom slides are drawn once, the distinct ones; the others
are links to them under names of their own. A table goes to stderr, one JSON line to stdout.
"""

import argparse
import csv
import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scaling import ENVIRONMENT, cluster
from turns import finish, ratio, say, show

RUN = [sys.executable, "-m", "counterstain.cli"]
EACH = re.compile(r"tiles in")
NAMELESS = ("model-outputs-csv/{}.csv", "masks/{}.png")
KINDS = (
    *NAMELESS, "model-outputs-geojson/{}.geojson", "heatmaps/{}.ome.tif", "heatmaps/{}.png", "patches/{}.h5",
    "slide-records/{}.json",
)  # fmt: skip
HANGING = """
import errno, os, sys, time
from fuse import FUSE, FuseOSError, Operations
class Hanging(Operations):
    def __init__(self, source): self.source = source
    def getattr(self, path, fh=None):
        if path == "/": return {"st_mode": 0o40755, "st_nlink": 2}
        if path[1:] != "hanging.tif": raise FuseOSError(errno.ENOENT)
        found = os.stat(self.source)
        return {"st_mode": 0o100644, "st_nlink": 1, "st_size": found.st_size, "st_mtime": found.st_mtime}
    def readdir(self, path, fh): return [".", "..", "hanging.tif"]
    def read(self, path, size, offset, fh):
        if offset > 1 << 18: time.sleep(1e6)
        with open(self.source, "rb") as stream:
            stream.seek(offset)
            return stream.read(size)
FUSE(Hanging(sys.argv[1]), sys.argv[2], foreground=True)
"""


def drawn(home: Path, options: argparse.Namespace) -> list[Path]:
    """The distinct phantom slides, drawn here unless a folder of them is named."""
    if options.drawn is not None:
        return sorted(options.drawn.resolve().rglob("*.tif"))[: options.distinct]
    say(f"drawing {options.distinct} slides of {options.side} px")
    size = ["--size-px", str(options.side), "--height-px", str(options.side)]
    count = ["--slides", str(options.distinct), "--patients", str(max(10, options.distinct))]
    subprocess.run(
        [*RUN, "phantom-slides", "--out", str(home / "drawn"), *count, *size], check=True, stdout=subprocess.DEVNULL
    )
    return sorted((home / "drawn").rglob("*.tif"))


def linked(folder: Path, drawn_slides: list[Path], count: int) -> list[str]:
    """Names of `count` slides in a folder, links to the drawn ones in turn."""
    folder.mkdir()
    names = [f"S{number:05d}" for number in range(count)]
    for number, name in enumerate(names):
        os.link(drawn_slides[number % len(drawn_slides)], folder / f"{name}.tif")
    return names


@contextmanager
def hanging(slides: Path, sound: Path, home: Path) -> Iterator[bool]:
    """A slide in `slides` whose pixels never come; False where FUSE is missing."""
    mount = home / "mount"
    mount.mkdir()
    script = home / "hanging.py"
    script.write_text(HANGING, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(script), str(sound), str(mount)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 10
        while not (mount / "hanging.tif").exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        ready = (mount / "hanging.tif").exists()
        if ready:
            # A path of its own in the command: links are not followed into other folders.
            say("one slide lies on a file system that stops answering")
        else:
            say("no libfuse 2 or no fusepy here: no slide hangs")
        yield ready
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False, capture_output=True)
        process.kill()
        process.wait()


def read_slides(
    model: Path, sources: list[Path], out: Path, words: list[str], *, told: Any = None
) -> tuple[int, float, str]:
    """Exit code, seconds, and what was said; `told` is called with the number of slides done, as each ends."""
    command = [*RUN, "slides", "run", str(model), *map(str, sources), "--out", str(out)]
    command += ["--mpp", "0.5", "--allow-scale", "--runtime", "torch", *words]
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | {"OMP_NUM_THREADS": "1"},
    )
    lines, done = [], 0
    for line in process.stderr or ():
        lines.append(line)
        if EACH.search(line):
            done += 1
            if told is not None:
                told(done)
    return process.wait(), time.perf_counter() - began, "".join(lines)


def hashes(out: Path, name: str, kinds: Sequence[str]) -> list[str]:
    """SHA-256 of a slide's file of each kind."""
    return [hashlib.sha256((out / kind.format(name)).read_bytes()).hexdigest() for kind in kinds]


def promises(model: Path, home: Path, slides: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """All slides, one worker killed, one slide damaged, one hanging."""
    folder = home / "all"
    names = linked(folder, slides, options.slides)
    (folder / "damaged.tif").write_bytes(slides[0].read_bytes()[:100_000])
    distinct = names[: len(slides)]
    one, out = home / "one", home / "out"
    say("each distinct slide by one process")
    code, _, said = read_slides(model, [folder / f"{name}.tif" for name in distinct], one, [])
    if code:
        sys.exit(said)
    workers: list[int] = []

    def told(done: int) -> None:
        if done == max(1, options.slides // 10) and not workers:
            workers.extend(_workers(home))
            say(f"{done} slides done: worker {workers[0]} is killed")
            os.kill(workers[0], signal.SIGKILL)

    # The file system goes first: a worker that waits for it cannot even be killed.
    with cluster(2, home) as address, hanging(folder, slides[0], home) as hangs:
        sources = [folder, *([home / "mount" / "hanging.tif"] if hangs else [])]
        words = ["--scheduler", address, "--time-limit", str(options.time_limit)]
        say(f"{options.slides} slides by two workers")
        code, seconds, said = read_slides(model, sources, out, words, told=told)
    if not workers:
        sys.exit(f"no worker was killed:\n{said[-2000:]}")
    with (out / "failures.csv").open(encoding="utf-8", newline="") as stream:
        failures = {row["slide"]: row["reason"] for row in csv.DictReader(stream)}
    finished = [name for name in names if (out / "slide-records" / f"{name}.json").is_file()]
    # Files name their slide, so that those of another name are compared where they don't.
    same = [name for name in distinct if hashes(out, name, KINDS) == hashes(one, name, KINDS)]
    like = {slides[k]: hashes(one, name, NAMELESS) for k, name in enumerate(distinct)}
    others = [k for k in range(len(distinct), len(names)) if names[k] in set(finished)]
    alike = [k for k in others if hashes(out, names[k], NAMELESS) == like[slides[k % len(slides)]]]
    return {
        "slides": len(names),
        "finished": len(finished),
        "same bytes in every file as by one process": f"{len(same)} of {len(distinct)} distinct",
        "the others: same probabilities and masks": f"{len(alike)} of {len(names) - len(distinct)}",
        "exit code": code,
        "failures": failures,
        "hanging slide": hangs,
        "seconds": round(seconds, 1),
    }


def _workers(home: Path) -> list[int]:
    """Process numbers of the cluster's workers, which were started in this folder; dask renames its processes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                here = (entry / "cwd").resolve() == home.resolve()
                worker = b"worker" in (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if here and worker:
                found.append(int(entry.name))
    return sorted(found)


def speed(model: Path, home: Path, slides: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """Slides per second of one worker and of two, by turns."""
    linked(home / "timed", slides, options.timed)
    runs: dict[str, list[dict[str, Any]]] = {"one worker": [], "two workers": []}
    for number in range(options.rounds):
        for side, workers in (("one worker", 1), ("two workers", 2)):
            say(f"round {number + 1} of {options.rounds}: {side}, {options.timed} slides")
            with tempfile.TemporaryDirectory(dir=home) as text, cluster(workers, Path(text)) as address:
                out = Path(text) / "out"
                code, seconds, said = read_slides(model, [home / "timed"], out, ["--scheduler", address])
            if code:
                sys.exit(said)
            runs[side].append({"seconds": seconds})
    return {"slides": options.timed, "runs": runs, "two / one": ratio(runs, "one worker", "two workers", "seconds")}


def main() -> None:
    """Measure, print the table, then the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--slides", type=int, default=1000)
    parser.add_argument("--distinct", type=int, default=25)
    parser.add_argument("--side", type=int, default=4000)
    parser.add_argument("--drawn", type=Path, help="a folder of slides on the disk of temporary files")
    parser.add_argument("--timed", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--time-limit", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        home = Path(text)
        slides = drawn(home, options)
        result = {
            "speed": speed(options.model.resolve(), home, slides, options) if options.timed else None,
            "promises": promises(options.model.resolve(), home, slides, options) if options.slides else None,
        }
    rows = [["what", "value"]]
    if result["speed"]:
        rows.append(["two workers / one, slides per second", f"{result['speed']['two / one']['median']:.2f}"])
    for name, value in (result["promises"] or {}).items():
        rows.append([name, ", ".join(value) if isinstance(value, dict) else str(value)])
    show(rows)
    settings = {**vars(options), "model": options.model.name, "drawn": options.drawn is not None}
    finish("many_slides", {"settings": settings, **result})


if __name__ == "__main__":
    main()
