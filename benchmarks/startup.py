"""How long until something happens? `--help`, `evaluate` of a small table, `train` from its start to its first step.

    .venv/bin/python benchmarks/startup.py [--rounds 7] [--images 400]

Every time is of a whole process as a user starts it: interpreter, imports, work. For `train` it is the time from the
start of the process to the end of the first step, with the tile store there already: a small driver runs the
verb with a callback that says when the first step is done. A table goes to stderr, one JSON line to stdout.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from turns import finish, say, show

# The verb itself, with a progress callback that prints the time at the first step and ends there.
DRIVER = """
import os, sys, time
from contextlib import contextmanager
from counterstain import cli, terminal_progress
from counterstain.progress import Progress

def first(label, step):
    print("first step", time.time(), flush=True)
    os._exit(0)

@contextmanager
def talking():
    yield Progress(trained=first)

terminal_progress.talking = talking
cli.main()
"""


def prepare(folder: Path, images: int) -> None:
    """Small PNG files with patients in their names, their manifest, their division, and a table of predictions."""
    import numpy as np
    import pandas as pd
    from made_up import write_pngs

    write_pngs(folder / "images", images, 257)
    names = sorted(path.relative_to(folder).as_posix() for path in (folder / "images").rglob("*.png"))
    patient = [Path(name).stem.split("_")[0] for name in names]
    label = [name.split("/")[1] for name in names]
    cohort = pd.DataFrame({"image_path": names, "label": label, "patient_id": patient})
    cohort.to_csv(folder / "cohort.csv", index=False)
    prob = np.random.default_rng(0).uniform(size=len(names)).round(6)
    table = cohort.assign(slide_id="", site="", prob_benign=1 - prob, prob_malignant=prob)
    table.to_csv(folder / "predictions.csv", index=False)


def seconds(command: list[str], *, until_print: bool = False) -> float:
    """Of a whole process; or until the time that it prints."""
    began, clock = time.perf_counter(), time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    if until_print and "first step" not in done.stdout:
        sys.exit(f"{' '.join(command)} never came to a first step: {done.stdout.strip()[-400:]}")
    return float(done.stdout.split()[-1]) - clock if until_print else whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        return prepare(options.prepare, options.images)
    verb = str(Path(sys.executable).with_name("counterstain"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        me = [sys.executable, str(Path(__file__).resolve())]
        subprocess.run([*me, "--prepare", name, "--images", str(options.images)], check=True)
        cohort, splits = str(folder / "cohort.csv"), str(folder / "splits.csv")
        quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([verb, "split", cohort, "--out", splits], **quiet)
        train = [sys.executable, "-c", DRIVER, "train", cohort, splits, "--out", str(folder / "out" / "model")]
        table = str(folder / "predictions.csv")
        ways = {
            "an empty Python": ([sys.executable, "-c", "pass"], False),
            "counterstain --help": ([verb, "--help"], False),
            "counterstain evaluate": ([verb, "evaluate", table, "--json"], False),
            "import torch": ([sys.executable, "-c", "import torch"], False),
            "counterstain train, to the first step": (train, True),
        }
        found: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(options.rounds + 1):  # the first round builds the store and warms the disk
            for way, (command, until_print) in ways.items():
                took = seconds(command, until_print=until_print)
                if number:
                    found[way].append(took)
    rows = [("", "median", "least")]
    rows += [(way, f"{statistics.median(times):.2f} s", f"{min(times):.2f} s") for way, times in found.items()]
    show(rows)
    say(f"{options.rounds} rounds; {options.images} images; the store warm")
    return finish("startup", {"images": options.images, "seconds": found})


if __name__ == "__main__":
    main()
