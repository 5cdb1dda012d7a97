"""What a study does to a disk and a network: bytes read and written, files made, peak space; and what was forecast.

    .venv/bin/python benchmarks/traffic.py [--patients 40] [--tiles 400] [--epochs 4] [--scheduler]

A phantom is drawn, then `counterstain run` works in a process of its own. *read* and *written* are what it asked of the
kernel (rchar, wchar of /proc/self/io, libraries included); *from disk* and *to disk* are what reached the device, less
where pages are cached. *peak* is the most that lay in the folder at any time, looked at ten times a second. With
--scheduler the trainings are sent to a dask cluster of two workers, and the bytes on the loopback device are counted in
a network namespace of their own (Linux, root). A table goes to stderr, one JSON line to stdout.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from scaling import STUDY, cluster
from turns import finish, say, show

# The command line itself, which tells at its end what the kernel counted for it.
COUNTED = """
import atexit, sys
place = sys.argv.pop(1)
atexit.register(lambda: open(place, "w").write(open("/proc/self/io").read()))
from counterstain.cli import main
main()
"""
NAMES = {"rchar": "read", "wchar": "written", "read_bytes": "from disk", "write_bytes": "to disk"}


def space(folder: Path) -> tuple[int, int]:
    """Bytes and number of the files in a folder, which may change meanwhile."""
    size = count = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                size += (Path(place) / name).lstat().st_size
            except OSError:
                continue
            count += 1
    return size, count


def watched(words: list[str], home: Path) -> dict[str, float]:
    """Run one verb; what it asked of the kernel, and what lay in its folder beyond what lay there before."""
    counts = home.parent / "counts"
    before, files_before = space(home)
    peak, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak.append(space(home)[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        process = subprocess.run(
            [sys.executable, "-c", COUNTED, str(counts), *words], cwd=home, capture_output=True, text=True, check=False
        )
    finally:
        done.set()
        watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(words)}: {process.stderr[-2000:]}")
    lines = dict(line.split(": ") for line in counts.read_text().splitlines())
    after, files = space(home)
    return {
        "seconds": time.perf_counter() - began,
        **{own: float(lines[name]) for name, own in NAMES.items()},
        "kept": after - before,
        "peak": max(*peak, after) - before,
        "files": files - files_before,
    }


def on_loopback() -> int:
    """Bytes that the loopback device has sent."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[8])
    return 0


def main() -> None:
    """Measure, print the table, then the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--tiles", type=int, default=400)
    parser.add_argument("--tile-px", type=int, default=257)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--scheduler", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scheduler and not options.inside:
        words = " ".join(f"'{word}'" for word in [sys.executable, *sys.argv, "--inside"])
        sys.exit(
            subprocess.run(["unshare", "-n", "sh", "-c", f"ip link set lo up && exec {words}"], check=False).returncode
        )
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as text:
        home = Path(text) / "study"
        home.mkdir()
        say("drawing the phantom")
        drawn = ["phantom", "--out", str(home / "phantom"), "--patients", str(options.patients), "--tile-px"]
        drawn += [str(options.tile_px), "--tiles", str(max(1, options.tiles // options.patients))]
        subprocess.run([sys.executable, "-m", "counterstain", *drawn], check=True, stdout=subprocess.DEVNULL)
        study = STUDY.format(tile_px=options.tile_px, epochs=options.epochs, seeds=options.seeds)
        (home / "study.yaml").write_text(study, encoding="utf-8")
        images, count = space(home / "phantom")
        found["images"] = {"bytes": images, "files": count}
        say("forecasting")
        plan = subprocess.run(
            [sys.executable, "-m", "counterstain", "run", "study.yaml", "--dry-run", "--json"],
            cwd=home, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found["forecast"] = json.loads(plan.stdout)["estimate"]
        for path in sorted((home / "store").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        say("the study")
        if options.scheduler:
            with cluster(2, home.parent) as address:
                before = on_loopback()
                found["run"] = watched(["run", "study.yaml", "--scheduler", address], home)
                found["network"] = on_loopback() - before
        else:
            found["run"] = watched(["run", "study.yaml"], home)
    rows = [["", *found["run"]]]
    rows.append(
        [
            "counterstain run",
            *(f"{value:,.1f}" if name == "seconds" else f"{value:,.0f}" for name, value in found["run"].items()),
        ]
    )
    show(rows)
    say(
        f"images: {found['images']}; forecast: {found['forecast']}; on the network: {found.get('network', 'not asked')}"
    )
    finish("traffic", {"settings": vars(options), **found})


if __name__ == "__main__":
    main()
