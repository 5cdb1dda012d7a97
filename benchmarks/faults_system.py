"""What the system refuses, and kills: verbs that meet full disks, folders, pipes, devices and limits, or end half-way.

`try_system` gives each verb an output or an input that cannot be: one line that names it and exit code 2 is right, a
traceback, exit code 0 or a hang is not. `try_kills` ends a verb by SIGKILL at random moments, gives the same command
again until it is through, and compares the result with an unbroken one, byte by byte.
"""

import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from faults_tally import LIMIT_S, Hang, Tally

from counterstain.errors import InputError

PATIENT_S = 1800  # for the unbroken run that the others are held against
PY = [sys.executable, "-W", "ignore", "-m", "counterstain"]
STUDY = """\
name: {name}
cohort: {{path: ph/cohort.csv}}
tiles: {{tile_px: 127}}
audit: {{gate: off, baselines: false}}
training: {{epochs: {epochs}, threads: 1, precision: fp32, batch: 16}}
arms: {{given: {{network: given}}}}
seeds: [0]
search: {{arm: given, trials: 3, ranges: {{learning_rate: {{low: 1.0e-5, high: 1.0e-3, log: true}}}}}}
"""


@dataclass(frozen=True)
class World:
    """A folder with phantom tiles (ph/), a finished run (runs/base/), its model, and its table of predictions."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "runs/base/arms/given/seed-0/fold-0-0"

    @property
    def table(self) -> Path:
        return self.model / "predictions.csv"

    @property
    def cohort(self) -> Path:
        return self.folder / "ph/cohort.csv"


def make_world(folder: Path, *, epochs: int = 4) -> World:
    """Made by the verbs themselves."""
    call(["phantom", "--out", folder / "ph", "--patients", 16, "--tiles", 6, "--tile-px", 127, "--workers", 1], folder)
    (folder / "base.yaml").write_text(STUDY.format(name="base", epochs=epochs), encoding="utf-8")
    call(["run", folder / "base.yaml"], folder)
    return World(folder)


def call(
    arguments: Sequence[object],
    folder: Path,
    *,
    limits: dict[int, int] | None = None,
    kill_after: float | None = None,
    limit_s: float = LIMIT_S,
) -> str:
    """Run a verb: what it printed. Exit codes 2 and 3 with one line are refusals; anything else that fails is none.

    Raises:
        InputError: For a refusal.
        Hang: If it takes longer than the limit.
        RuntimeError: For a traceback, or another exit code.
    """

    def restrict() -> None:
        for kind, most in (limits or {}).items():
            resource.setrlimit(kind, (most, most))

    environment = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "dumb"}
    process = subprocess.Popen(
        [*PY, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=folder, env=environment, preexec_fn=restrict if limits else None, start_new_session=True,
    )  # fmt: skip
    try:
        out, told = process.communicate(timeout=kill_after or limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        if kill_after is None:
            raise Hang from None
        return "killed"
    if process.returncode == 0:
        return out
    lines = [line for line in told.splitlines() if line.startswith("counterstain: ")]
    if process.returncode in (2, 3) and "Traceback" not in told and (lines or "Usage:" in told or "Error" in told):
        raise InputError(lines[-1] if lines else told.splitlines()[-1])
    raise RuntimeError(f"exit {process.returncode}: {told[-800:]}")


# ------------------------------------------------------------------------------------------------------ system refusals

Case = tuple[str, str, Callable[[], object], bool]


def _outputs(world: World, here: Path) -> Iterator[Case]:
    """Verbs that write, and places that cannot be written to."""
    (here / "file").write_text("mine")
    (here / "full").mkdir()
    (here / "full" / "mine.txt").write_text("mine")
    (here / "loop").symlink_to(here / "loop")
    verbs: dict[str, list[object]] = {
        "cohort": ["cohort", world.folder / "ph", "--out"],
        "split": ["split", world.cohort, "--out"],
        "evaluate": ["evaluate", world.table, "--out"],
        "robustness": ["robustness", world.model, world.cohort, "--only", "rotation", "--out"],
        "explain": ["explain", world.model, world.cohort, "--out"],
        "export": ["export", world.model, "--formats", "none", "--out"],
        "predict": ["predict", world.model, world.cohort, "--out"],
        "phantom": ["phantom", "--patients", 4, "--tiles", 2, "--workers", 1, "--out"],
    }  # fmt: skip
    long = "n" * 300
    for verb, words in verbs.items():
        for kind, place in (
            ("under a file", here / "file" / "out"), ("name too long", here / long),
            ("a link to itself", here / "loop"),
        ):  # fmt: skip
            yield kind, verb, partial(call, [*words, place], world.folder), True
    for verb in ("cohort", "split"):
        yield "a folder", verb, partial(call, [*verbs[verb], here / "full"], world.folder), True
        yield "full device", verb, partial(call, [*verbs[verb], "/dev/full"], world.folder), True
    yield "a folder with files", "export", partial(call, [*verbs["export"], here / "full"], world.folder), True
    for verb in ("cohort", "robustness", "explain", "export", "predict"):
        limits = {resource.RLIMIT_FSIZE: 200}
        place = here / f"small-{verb}"
        yield "disk full", verb, partial(call, [*verbs[verb], place], world.folder, limits=limits), True
    few = {resource.RLIMIT_NOFILE: 9}
    yield "few open files", "cohort", partial(call, [*verbs["cohort"], here / "f.csv"], world.folder, limits=few), False


def _inputs(world: World, here: Path) -> Iterator[Case]:
    """Verbs that read, and what is no file to read."""
    os.mkfifo(here / "pipe.csv")
    (here / "empty.csv").write_bytes(b"")
    (here / "noise.csv").write_bytes(random.Random(0).randbytes(5000))
    verbs: dict[str, list[object]] = {
        "evaluate": ["evaluate"], "compare": ["compare", world.table], "cohort": ["cohort"], "audit": ["audit"],
        "run": ["run"], "predict": ["predict", world.model], "robustness": ["robustness", world.model],
        "export": ["export", "--out", here / "x"], "split": ["split"],
    }  # fmt: skip
    for verb, words in verbs.items():
        for kind, path in (
            ("a pipe", here / "pipe.csv"), ("an endless device", Path("/dev/zero")), ("empty", here / "empty.csv"),
            ("noise", here / "noise.csv"), ("missing", here / "nowhere.csv"),
        ):  # fmt: skip
            yield kind, verb, partial(call, [*words, path], world.folder), True


def try_system(folder: Path, world: World, *, share: int = 1) -> dict[str, Any]:
    """Every `share`-th case: what is there beforehand must be there afterwards, and nothing else of its folder's."""
    tally, here = Tally("system refusals", folder), folder / "system"
    here.mkdir()
    cases = [*_outputs(world, here), *_inputs(world, here)]
    for kind, verb, work, wrong in cases[::share]:
        tally.one(kind, verb, work, wrong=wrong)
        kept = (here / "file").read_text() == "mine" and [p.name for p in (here / "full").iterdir()] == ["mine.txt"]
        if not kept:
            tally.outside.append(f"{kind}: {verb}: what was there was changed")
    return tally.record()


# ---------------------------------------------------------------------------------------------------------------- kills


def _contents(folder: Path, patterns: Sequence[str]) -> dict[str, bytes]:
    found = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _killed(world: World, verb: str, home: Path) -> list[object]:
    """The command of a verb whose results go to `home`."""
    shutil.copy(world.folder / "base.yaml", home / "base.yaml")
    if not (home / "ph").exists():
        shutil.copytree(world.folder / "ph", home / "ph")
    return {
        "run": ["run", "base.yaml"],
        "search": ["search", "base.yaml"],
        "robustness": ["robustness", world.model, world.cohort, "--only", "brightness", "--out", "card"],
        "explain": ["explain", world.model, world.cohort, "--trials", 8, "--out", "explained"],
        "export": ["export", world.model, "--formats", "wsinfer,onnx", "--out", "exported"],
    }[verb]  # type: ignore[return-value]


RESULTS = {
    "run": ["runs/base/**/*.safetensors", "runs/base/**/predictions*.csv", "runs/base/records/scores.json"],
    "search": ["runs/base-search/trials.csv", "runs/base-search/trial-*/val.csv"],
    "robustness": ["card/**/*"], "explain": ["explained/**/*"], "export": ["exported/**/*"],
}  # fmt: skip


def try_kills(count: int, folder: Path, world: World, *, seed: int = 0) -> dict[str, Any]:
    """`count` kills, by turns of the verbs that go on: run, search, robustness, explain, export."""
    tally, rng = Tally("kills", folder), random.Random(seed)
    unbroken: dict[str, tuple[float, dict[str, bytes]]] = {}
    for number in range(count):
        verb = list(RESULTS)[number % len(RESULTS)]
        if verb not in unbroken:
            home = folder / f"unbroken-{verb}"
            home.mkdir()
            began = time.monotonic()
            _ended(_killed(world, verb, home), home, limit_s=PATIENT_S)
            unbroken[verb] = time.monotonic() - began, _contents(home, RESULTS[verb])
        took, expected = unbroken[verb]
        limit_s = LIMIT_S + 5 * took  # a busy machine is as slow here as it was there
        home = folder / f"killed-{number}"
        home.mkdir()
        command = _killed(world, verb, home)

        def work(command: list[object] = command, home: Path = home, verb: str = verb, took: float = took,
                 expected: dict[str, bytes] = expected, limit_s: float = limit_s) -> None:  # fmt: skip
            with suppress(InputError):  # a gate that says no is an end, too
                call(command, home, kill_after=rng.uniform(0.2, 1.0) * took)
            _ended(command, home, limit_s=limit_s)
            found = _contents(home, RESULTS[verb])
            if found != expected:
                odd = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
                raise RuntimeError(f"{verb} ended otherwise after a kill: {odd[:5]}")

        tally.one(verb, str(number), work, limit_s=limit_s)
        shutil.rmtree(home, ignore_errors=True)
    return tally.record()


def _ended(command: Sequence[object], home: Path, *, limit_s: float) -> None:
    """Through to its end; exit code 3 is a gate that said no after everything was written."""
    try:
        call(command, home, limit_s=limit_s)
    except InputError as error:
        if "is there already" not in str(error) and "no map is shown" not in str(error):
            raise RuntimeError(str(error)) from None
