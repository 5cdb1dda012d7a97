"""Time a study of equal small trainings: one after the other, two at a time, on a dask cluster of one and two workers.

    .venv/bin/python benchmarks/scaling.py [--seeds 6] [--tiles 400] [--epochs 4] [--rounds 3] [--plan 100]

The phantom is drawn and its tile store built once, apart. Every side is `counterstain run` in a process of its own, and
the sides take turns. From the medians follow the parts of a run (start, a training, the end) and what they promise for
1 to 64 workers. Speed-ups on two cores are measured; all beyond is the model. A table goes to stderr, one JSON line to
stdout.
"""

import argparse
import math
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from turns import finish, ratio, say, show

RUN = [sys.executable, "-m", "counterstain.cli", "run"]
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "default"}
STUDY = """\
name: scaling
cohort: {{path: phantom/cohort.csv}}
tiles: {{tile_px: {tile_px}}}
training: {{epochs: {epochs}, patience: {epochs}}}
arms:
  given: {{network: given, batch: 32}}
seeds: {seeds}
audit: {{gate: 'off', baselines: false}}
"""
WORKERS = (1, 2, 4, 8, 16, 32, 64)
ENDED = re.compile(r"best epoch \d+ of \d+, (\d+) s")
# What each side adds to the command, and how many of its trainings run at once.
WHOLE, SINGLE, TWO, ONE_WORKER, TWO_WORKERS = (
    "one after the other, all cores each",
    "one after the other, 1 thread each",
    "--jobs 2, 1 thread each",
    "cluster of 1 worker, 1 thread",
    "cluster of 2 workers, 1 thread each",
)
AT_ONCE = {WHOLE: 1, SINGLE: 1, TWO: 2, ONE_WORKER: 1, TWO_WORKERS: 2}


def measure(home: Path, words: Sequence[str], name: str, at_once: int, trainings: int) -> dict[str, float]:
    """Seconds of one run: until training starts, of the trainings together and of each, and after the last of them."""
    command = [*RUN, str(home / "study.yaml"), "--set", f"name={name}", *words]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=home
    )
    started = last = began
    worker_start = 0.0
    each: list[float] = []
    talk: list[str] = []
    for line in process.stderr or ():
        now = time.perf_counter() - began
        talk.append(line)
        ended = ENDED.search(line)
        if ended:
            if not each:  # what is not training until the first one ends: a worker's imports and its look at the study
                worker_start = max(0.0, now - started - float(ended[1]))
            each.append(float(ended[1]))
            last = now
        elif not each and not line.startswith(" "):  # the last such line is written as training starts
            started = now
    if process.wait() or len(each) != trainings:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(talk)}")
    total = time.perf_counter() - began
    turns = math.ceil(trainings / at_once)
    training = statistics.mean(each)
    return {
        "total_s": total,
        "start_s": started,
        "trainings_s": last - started,
        "training_s": training,
        "worker_start_s": worker_start,
        "overhead_s": (last - started - worker_start) / turns - training,
        "end_s": total - last,
        "per_training_s": (last - started) / trainings,
    }


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[str]:
    """The address of a dask scheduler with this many workers of one thread each."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    alone = ["--nworkers", "1", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]
    commands = [["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show"]]
    commands += [["worker", address, *alone, "--local-directory", str(folder / f"w{n}")] for n in range(workers)]
    started = []
    log = folder / "dask.log"
    with log.open("wb") as stream:
        for command in commands:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *command], stdout=stream, stderr=stream, env=ENVIRONMENT, cwd=folder
                )
            )
    try:
        until = time.monotonic() + 60
        while log.read_bytes().count(b"Register worker") < workers:
            if time.monotonic() > until:
                sys.exit(f"no cluster of {workers} workers:\n{log.read_text()}")
            time.sleep(0.1)
        yield address
    finally:
        for process in started:
            process.kill()
            process.wait()


def prepare(home: Path, options: argparse.Namespace) -> float:
    """Draw the phantom, write the study, build the store; seconds that building takes beyond finding it built."""
    say("drawing the phantom")
    phantom = ["--out", str(home / "phantom"), "--patients", "40", "--tiles", str(max(1, options.tiles // 40))]
    command = [sys.executable, "-m", "counterstain.cli", "phantom", *phantom, "--tile-px", str(options.tile_px)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    text = STUDY.format(tile_px=options.tile_px, epochs=options.epochs, seeds=options.seeds)
    (home / "study.yaml").write_text(text, encoding="utf-8")
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        subprocess.run([*RUN, str(home / "study.yaml"), "--dry-run"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return seconds[0] - seconds[1]


def side_words(side: str, home: Path, stack: ExitStack) -> list[str]:
    """What a side adds to the command; its cluster is up before the clock runs, as a user's would be."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = ["--set", f"training.threads={cores if side == WHOLE else 1}"]
    if side == TWO:
        return [*threads, "--jobs", "2"]
    if side in (ONE_WORKER, TWO_WORKERS):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=home)))
        return [*threads, "--scheduler", stack.enter_context(cluster(AT_ONCE[side], folder))]
    return threads


def expect(parts: dict[str, float], store_s: float, trainings: int, workers: int) -> float:
    """Seconds of a study of equal trainings: what is done once, and as many turns as the workers need."""
    turns = math.ceil(trainings / workers)
    once = parts["start_s"] + store_s + parts["worker_start_s"] + parts["end_s"]
    return once + turns * (parts["training_s"] + max(0.0, parts["overhead_s"]))


def main() -> None:
    """Measure, print the table, then the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6, help="equal trainings of the study; even, so that 2 share them")
    parser.add_argument("--tiles", type=int, default=400, help="images of the cohort")
    parser.add_argument("--tile-px", type=int, default=257)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plan", type=int, default=100, help="trainings of the study that the model is asked about")
    options = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in AT_ONCE}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store_s = prepare(home, options)
        for number in range(options.rounds):
            for index, side in enumerate(AT_ONCE):
                say(f"round {number + 1} of {options.rounds}: {side}")
                with ExitStack() as stack:
                    words = side_words(side, home, stack)
                    runs[side].append(measure(home, words, f"s{index}-{number}", AT_ONCE[side], options.seeds))
                shutil.rmtree(home / "runs")
    medians = {
        side: {name: statistics.median(run[name] for run in found) for name in found[0]} for side, found in runs.items()
    }
    rows = [["side", "in all", "start", "worker", "a training", "overhead", "end", "s per training done", "speed-up"]]
    speed_up = {side: ratio(runs, WHOLE, side, "total_s") for side in AT_ONCE}
    per_training = {side: ratio(runs, WHOLE, side, "per_training_s") for side in AT_ONCE}
    names = ("total_s", "start_s", "worker_start_s", "training_s", "overhead_s", "end_s", "per_training_s")
    for side, found in medians.items():
        rows.append([side, *(f"{found[name]:.1f}" for name in names), f"{speed_up[side]['median']:.2f}"])
    show(rows)
    parts = medians[TWO_WORKERS]
    model = {workers: expect(parts, store_s, options.plan, workers) for workers in WORKERS}
    say(f"\nexpected of {options.plan} such trainings, from the cluster of 2 workers (a model, not measured):")
    show(
        [["workers", "turns", "seconds", "speed-up", "of the best"]]
        + [
            [str(n), str(math.ceil(options.plan / n)), f"{s:.0f}", f"{model[1] / s:.1f}", f"{model[1] / s / n:.0%}"]
            for n, s in model.items()
        ]
    )
    finish(
        "scaling",
        {
            "settings": vars(options),
            "store_s": store_s,
            "sides": medians,
            "speed_up": speed_up,
            "speed_up_of_training_alone": per_training,
            "model": {str(workers): seconds for workers, seconds in model.items()},
        },
    )


if __name__ == "__main__":
    main()
