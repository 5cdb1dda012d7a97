"""Measuring several programs in one run: each is a process, and they take turns, so that all see the same machine.

A parent starts every side once, waits until each is warm, and then lets them measure one after the other, round after
round. Ratios are taken within a round, and their median is what is reported. The standard library only: the sides run
in environments of their own, and a child's peak memory starts at what its parent held.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["answer", "finish", "peak_bytes", "ratio", "run_once", "say", "show", "take_turns"]

Runs = dict[str, list[dict[str, Any]]]
HERE = Path(__file__).resolve().parent


def say(text: str) -> None:
    """Progress goes to stderr; stdout is for the JSON line."""
    print(text, file=sys.stderr, flush=True)


def take_turns(
    commands: Mapping[str, Sequence[str]], rounds: int, *, environment: Mapping[str, Mapping[str, str]] | None = None
) -> Runs:
    """What each side reports in each round; a side is a command that calls `answer`, with its own extra variables."""
    extra = environment or {}
    processes: dict[str, subprocess.Popen[str]] = {}
    runs: Runs = {side: [] for side in commands}
    try:
        for side, command in commands.items():
            processes[side] = subprocess.Popen(
                list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env=os.environ | dict(extra.get(side, {})),
            )  # fmt: skip
            _line(processes[side], side)  # warm: the next side starts only then
        for number in range(rounds):
            for side, process in processes.items():
                say(f"round {number + 1} of {rounds}: {side}")
                stdin = process.stdin
                if stdin is None:
                    raise RuntimeError(f"{side} has no stdin")
                print("go", file=stdin, flush=True)
                runs[side].append(_line(process, side))
    finally:
        for process in processes.values():
            if process.stdin is not None:
                process.stdin.close()
            process.wait()
    return runs


def _line(process: "subprocess.Popen[str]", side: str) -> dict[str, Any]:
    stdout = process.stdout
    for line in stdout or ():
        if line.startswith("{"):  # programs talk on stdout, too
            record: dict[str, Any] = json.loads(line)
            return record
    sys.exit(f"{side} ended with {process.wait()}; a negative number is a signal, -9 often memory")


def answer(measure: Callable[[], dict[str, Any]]) -> None:
    """A side's part of `take_turns`: say that it is warm, then measure as often as asked."""
    print("{}", flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


def run_once(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A process from start to end: the last JSON line it prints, and its seconds as total_s."""
    began = time.perf_counter()
    done = subprocess.run(
        list(command), stdout=subprocess.PIPE, text=True, check=False, env=os.environ | dict(environment or {})
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}; a negative number is a signal, -9 often memory")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    record: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return record | {"total_s": seconds}


def peak_bytes(*, with_children: bool = False) -> int:
    """The largest resident memory of this process so far; with children, plus that of the largest one."""
    import resource

    whose = [resource.RUSAGE_SELF] + [resource.RUSAGE_CHILDREN] * with_children
    return sum(resource.getrusage(who).ru_maxrss for who in whose) * (1 if sys.platform == "darwin" else 1024)


def ratio(runs: Runs, above: str, below: str, name: str) -> dict[str, float]:
    """Median, least and greatest of above[name] / below[name], pair by pair within the rounds."""
    pairs = [one[name] / other[name] for one, other in zip(runs[above], runs[below], strict=True)]
    return {"median": statistics.median(pairs), "least": min(pairs), "greatest": max(pairs), "rounds": len(pairs)}


def show(rows: Sequence[Sequence[str]]) -> None:
    """A small table on stderr; the first row is its head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (cell.ljust(width) if n == 0 else cell.rjust(width) for n, (cell, width) in
                          enumerate(zip(row, widths, strict=True)))  # fmt: skip
        say("  ".join([first, *others]))


def finish(question: str, found: Mapping[str, Any]) -> None:
    """Print the JSON line: what was found, with date, commit and machine."""
    commit = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True, check=False
    )
    record = {
        "schema": f"counterstain.benchmark.{question}/1",
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "machine": {
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "load": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
        },
        **found,
    }
    print(json.dumps(record, sort_keys=True), flush=True)


def _processor() -> str:
    """The processor's name, and which of the instructions that matter here it has."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    matter = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in named.get("flags", "").split()]
    return f"{named.get('model name', platform.machine())} ({', '.join(matter)})"
