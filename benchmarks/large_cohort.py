"""Cohort, split and tile store of a large archive: is everything linear, in how much memory?

    .venv/bin/python benchmarks/large_cohort.py COHORT [--sizes 200000 1000000] [--tile-px 48]

The images of COHORT (a folder or a manifest) are linked under further names until there are enough, with patients of
their own for each copy, so that 200,000 images of 1,000 patients become 1,000,000 of 5,000. Each verb is a process of
its own: seconds of the processor, since a disk may be shared, and its largest memory; the store's includes pages of the
file that it has just written and checked. The store is killed in the middle once and gone on with. A table goes to
stderr, one JSON line to stdout.
"""

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from turns import finish, say, show

STORE = """
import sys
from pathlib import Path
from counterstain.cohort.layouts import read_images
from counterstain.images.store import build_store
cohort = read_images(Path(sys.argv[1]))
say = lambda done, total: print(done, flush=True)
build_store(cohort, Path(sys.argv[2]), tile_px=int(sys.argv[3]), progress=say)
"""


def linked(source: Path, folder: Path, count: int) -> Path:
    """A manifest of `count` images, links to those of the source in turn."""
    from counterstain.cohort.layouts import read_images

    cohort = read_images(source)
    table = cohort.table.astype(str)
    images, labels, patients = (list(table[name]) for name in ("image_path", "label", "patient_id"))
    rows = []
    for number in range(count):
        row, copy = number % len(table), number // len(table)
        path = f"copy{copy}/{row // 5000}/{row}{Path(images[row]).suffix}"
        if row % 5000 == 0:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(cohort.root / images[row], folder / path)
        rows.append([path, labels[row], f"{copy}-{patients[row]}"])
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_path", "label", "patient_id"])
        writer.writerows(rows)
    return folder / "manifest.csv"


def measured(command: list[str], *, kill_at: int = 0) -> dict[str, float]:
    """Processor seconds and largest memory of a process; it is killed once it has printed so large a number."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    said = []
    for line in process.stdout or ():
        said.append(line)
        if kill_at and line.strip().isdigit() and int(line) >= kill_at:
            process.send_signal(signal.SIGKILL)
            break
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ((-signal.SIGKILL,) if kill_at else (0,)):
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    first = next((int(line) for line in said if line.strip().isdigit()), 0)
    return {
        "processor_s": round(used.ru_utime + used.ru_stime, 1),
        "wall_s": round(time.perf_counter() - began, 1),
        "peak_gb": round(used.ru_maxrss / 1e6, 2),
        "first": first,
    }


def one_size(source: Path, count: int, tile_px: int) -> dict[str, Any]:
    """All verbs at one size."""
    verb = [sys.executable, "-m", "counterstain"]
    with tempfile.TemporaryDirectory(dir=source.resolve().parent) as text:
        folder = Path(text)
        say(f"linking {count:,} images")
        manifest = linked(source, folder, count)
        found: dict[str, Any] = {"images": count}
        say("cohort")
        found["cohort"] = measured([*verb, "cohort", str(manifest), "--out", str(folder / "cohort.csv")])
        say("split")
        found["split"] = measured([*verb, "split", str(manifest), "--out", str(folder / "splits.csv")])
        store = [sys.executable, "-c", STORE, str(manifest), str(folder / "store"), str(tile_px)]
        say("store, killed in the middle")
        found["store, first half"] = measured(store, kill_at=count // 2)
        say("store, gone on with")
        found["store, second half"] = measured(store)
        say("store, opened")
        found["store, opened"] = measured(store)
    return found


def main() -> None:
    """Measure, print the table, then the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--tile-px", type=int, default=48)
    options = parser.parse_args()
    sizes = [one_size(options.cohort, count, options.tile_px) for count in options.sizes]
    rows = [["", *(f"{one['images']:,}: processor s, peak GB" for one in sizes)]]
    for name in [name for name in sizes[0] if name != "images"]:
        rows.append([name, *(f"{one[name]['processor_s']}, {one[name]['peak_gb']}" for one in sizes)])
    show(rows)
    finish("large_cohort", {"settings": {**vars(options), "cohort": options.cohort.name}, "sizes": sizes})


if __name__ == "__main__":
    main()
