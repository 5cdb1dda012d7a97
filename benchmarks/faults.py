"""What happens with bad inputs of every kind: handled, a traceback, taken silently, a hang, bytes written outside.

    python benchmarks/faults.py                     # all of it, about 12,000 inputs; the table goes into docs/faults.md
    python benchmarks/faults.py --share 10          # a tenth of it
    python benchmarks/faults.py --only yaml kills   # some kinds

A line for each kind goes to stderr while it runs, one JSON line to stdout, and the table into docs/faults.md where
everything ran. Exit code 1 where anything was not handled. The kinds are in faults_files.py, faults_slides.py (slides,
annotations), faults_system.py (what the system refuses, kills), faults_typed.py (commands) and faults_records.py
(records of a finished run); how an input is counted is in faults_tally.py.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faults_files as files
import faults_records as damaged
import faults_slides as slides
import faults_system as system
import faults_typed as typed
from faults_tally import watched

DOCS = Path(__file__).resolve().parent.parent / "docs" / "faults.md"
COUNTS = {
    "images": 2200, "tables": 1800, "names": 600, "yaml": 1400, "json": 900, "bundles": 300, "containers": 300,
    "annotations": 1200, "slides": 200, "system refusals": 1, "typed commands": 1, "records": 1, "kills": 15,
}  # fmt: skip
WORDS = {
    "images": "decoded: PNG, JPEG, TIFF, BMP, GIF, WebP, JPEG 2000; 8 and 16 bits",
    "tables": "predictions, manifests, splits: CSV, TSV, UTF-16, Parquet",
    "names": "formulas, markup, escapes, line ends: written and read back",
    "yaml": "studies and budgets",
    "json": "bundle, calibration and member records, under right hashes",
    "bundles": "any file of them with a flipped bit or cut; wrong values under right hashes",
    "containers": "feature files, HDF5 and NumPy images: damage, links, bombs",
    "annotations": "QuPath, Darwin, ASAP, ImageScope, HALO",
    "slides": "TIFF, SVS, OME, DICOM: inspected and cut beside a sound one",
    "system refusals": "verbs and full disks, folders, pipes, devices, limits",
    "typed commands": "outputs that are inputs, numbers out of range, one kind of file for another, odd names",
    "records": "each record and table of a finished run and its store, damaged, and the verbs that read a run",
    "kills": "SIGKILL in run, search, robustness, explain, export; then to the end, byte by byte",
}


def try_kind(kind: str, count: int, folder: Path, *, seed: int, share: int) -> dict[str, Any]:
    """The record of one kind of input."""
    plain: dict[str, Callable[..., dict[str, Any]]] = {
        name: getattr(files, f"try_{name}")
        for name in ("images", "tables", "names", "yaml", "json", "bundles", "containers")
    }
    if kind in plain:
        return plain[kind](count, folder, seed=seed)
    if kind in ("slides", "annotations"):
        with watched(folder) as written:
            found = getattr(slides, f"try_{kind}")(count, folder, seed=seed)
            # Damage may be harmless or to px alone: there is no telling what must be refused.
            return found | {"silent": None, "hangs": 0, "outside": len(written), "first": found["first_tracebacks"]}
    world = system.make_world(folder / "world") if (folder / "world").mkdir() is None else None
    assert world is not None
    if kind == "kills":
        return system.try_kills(count, folder, world, seed=seed)
    if kind == "records":
        return damaged.try_records(folder, world, share=share, seed=seed)
    if kind == "typed commands":
        return typed.try_typed(folder, world, share=share)
    return system.try_system(folder, world, share=share)


def table(records: dict[str, dict[str, Any]]) -> str:
    """The table of docs/faults.md."""
    lines = [
        "| kind | what | inputs | handled | tracebacks | taken silently | hangs | bytes outside |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    totals = [0] * 6
    for kind, found in records.items():
        cells = [found["inputs"], 0, found["tracebacks"], found["silent"], found["hangs"], found["outside"]]
        cells[1] = cells[0] - sum(cell or 0 for cell in cells[2:])
        totals = [total + (cell or 0) for total, cell in zip(totals, cells, strict=True)]
        shown = " | ".join("–" if cell is None else f"{cell:,}" for cell in cells)
        lines.append(f"| {kind} | {WORDS[kind]} | {shown} |")
    lines.append(f"| **all** | | {' | '.join(f'**{total:,}**' for total in totals)} |")
    return "\n".join(lines) + "\n"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=int, default=1, help="every n-th input only")
    parser.add_argument("--only", nargs="+", choices=list(COUNTS), help="some kinds")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # libraries' talk of damaged files; what escapes is an exception
    logging.disable(logging.CRITICAL)
    records: dict[str, dict[str, Any]] = {}
    for kind in asked.only or COUNTS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            count = max(1, COUNTS[kind] // asked.share)
            found = try_kind(kind, count, Path(folder), seed=asked.seed, share=asked.share)
        records[kind] = found
        bad = {name: found[name] for name in ("tracebacks", "silent", "hangs", "outside") if found[name]}
        spent = time.monotonic() - began
        say(f"{kind}: {found['inputs']:,} inputs in {spent:.0f} s, {found['ended']}, {bad or 'all handled'}")
        for line in found["first"]:
            say(f"    {line}")
    if asked.share == 1 and not asked.only:
        head, mark, _ = DOCS.read_text(encoding="utf-8").partition("<!-- table -->\n")
        DOCS.write_text(
            f"{head}{mark}\n{table(records)}\n{time.strftime('%Y-%m-%d')}, seed {asked.seed}.\n", encoding="utf-8"
        )
    print(json.dumps({"schema": "counterstain.benchmark.faults/1", "kinds": records}))
    print(table(records), file=sys.stderr)
    sys.exit(any(found[name] for found in records.values() for name in ("tracebacks", "silent", "hangs", "outside")))


if __name__ == "__main__":
    main()
