"""Records of a finished run that something happened to: every verb that reads a run ends in a result or in one line.

Each table and record of a small finished study, and of its tile store, is replaced in turn: by nothing, `{}`, `[]`,
noise, its first half, or itself with one value of another type. Then the verbs that read a run are called, in this
process. `verify` has to see each change of a listed file. A run whose own list is gone is run again: it has to end
with the very bytes that were damaged, or to refuse them by name.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

from faults_system import World, call
from faults_tally import Tally
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.files import hash_file

RUN = "runs/whole"
MODEL = f"{RUN}/arms/given/seed-0/fold-0-0"
LIST = f"{RUN}/records/run.json"
STUDY = """\
name: whole
cohort: {path: ph/cohort.csv}
tiles: {tile_px: 127}
training: {epochs: 1, threads: 1, precision: fp32, batch: 16}
arms: {given: {network: given}, modified: {network: modified}}
seeds: [0]
"""
# `verify` is called for every damage, three of these by turns: each takes less than a second.
QUICK = {
    "runs": "runs runs", "compare": f"compare {RUN} {{table}}",
    "evaluate": f"evaluate {MODEL}/predictions.csv --model {RUN}",
    "publish": f"publish {RUN} --to tensorboard --out {{new}}",
    "predict": f"predict {RUN} few.csv --out {{new}}.csv", "cohort": f"cohort {RUN}",
    "audit": f"audit {RUN} {RUN}/records/splits.csv", "run": "run whole.yaml", "clean": "clean . --json",
    "serve": "serve runs --export {new}",
}  # fmt: skip
# Called by turns, one for each damage.
SLOW = {
    "report": f"report {RUN}", "resumed": "run whole.yaml", "reproduce": f"reproduce {RUN} --evaluation --out {{new}}",
    "export": f"export {RUN} --formats none --mpp 0.5 --out {{new}}", "sbom": f"sbom {MODEL}",
    "robustness": f"robustness {RUN} few.csv --only rotation --out {{new}}",
    "explain": f"explain {RUN} few.csv --trials 2 --out {{new}}",
}  # fmt: skip
ALIKE = ("arms/modified/", "baselines/file", "baselines/majority", "baselines/mean-rgb")  # as those of "given"
WITH_TIMES = ("training.json", "bundle.json", "SHA256SUMS", "environment.json", "stages/")  # no run has them twice


def damages(content: bytes, name: str, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """(kind, bytes) of each damage to one file."""
    yield from (("empty", b""), ("{}", b"{}"), ("[]", b"[]"), ("noise", rng.randbytes(max(len(content), 9))))
    yield "half", content[: len(content) // 2]
    if name.endswith(".json"):
        yield "another type", json.dumps(_changed(json.loads(content), rng)).encode()


def _changed(record: Any, rng: random.Random) -> Any:
    """The record with one value, at any depth, gone or of another type."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        keys = value if isinstance(value, dict) else range(min(len(value), 3)) if isinstance(value, list) else ()
        for key in list(keys):
            places.append((value, key))
            walk(value[key])

    walk(record)
    holder, key = rng.choice(places) if places else ({}, "")
    new = rng.choice(["gone", None, "x", 7, -1.5, [], {}, True, [None], {"a": 1}, 1e308])
    if new == "gone":
        holder.pop(key, None) if isinstance(holder, dict) else holder.pop(key)
    else:
        holder[key] = new
    return record


def _call(line: str) -> str:
    """What a verb printed; a refusal is an InputError, whatever else goes wrong escapes."""
    done = CliRunner().invoke(app, line.split(" "))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    if done.exit_code == 0:
        return done.stdout
    told = [line for line in done.stderr.splitlines() if line.startswith("counterstain: ")]
    if done.exit_code == 3 and not told:  # a result that says no
        raise InputError(done.stdout.splitlines()[-1])
    if done.exit_code != 2 or len(told) != 1:
        raise RuntimeError(f"exit {done.exit_code}: {done.stderr[-500:]}")
    raise InputError(told[0])


def _prepare(world: World) -> None:
    """A finished study of two arms, and few.csv: four images of each class, for verbs that read pixels."""
    (world.folder / "whole.yaml").write_text(STUDY, encoding="utf-8")
    call(["run", "whole.yaml"], world.folder)
    head, *rows = world.cohort.read_text(encoding="utf-8").splitlines()
    place = head.split(",").index("label")
    labels = sorted({row.split(",")[place] for row in rows})
    kept = [row for label in labels for row in [row for row in rows if row.split(",")[place] == label][:4]]
    (world.folder / "few.csv").write_text("\n".join([head, *(f"ph/{row}" for row in kept)]) + "\n", encoding="utf-8")


def _targets(folder: Path) -> list[str]:
    """Tables and records of the run and of its store: pictures, pages and logs are read by people."""
    found = (path for top in (RUN, "store") for path in (folder / top).rglob("*") if path.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    return [
        name for name in names if name.endswith((".csv", ".json", "SUMS", ".safetensors")) and "/figures/" not in name
    ]


def _one(verb: str, line: str, world: World, name: str, damage: bytes, number: int) -> None:
    """One verb over one damage; everything is put back afterwards."""
    folder = world.folder
    (folder / name).write_bytes(damage)
    if verb == "resumed":
        (folder / LIST).unlink()
    try:
        _call(line.format(new=folder / f"new-{number}", table=f"{MODEL}/predictions.csv"))
        kept = folder.parent / "kept" / name
        again = verb == "resumed" and name != LIST and not any(part in name for part in WITH_TIMES)
        if again and hash_file(folder / name) != hash_file(kept):
            raise RuntimeError(f"{name} is not what it was before it was damaged")
    finally:
        for top in ("runs", "store"):
            shutil.rmtree(folder / top)
            shutil.copytree(folder.parent / "kept" / top, folder / top)


def cases(world: World, rng: random.Random) -> Iterator[tuple[str, str, str, str, bytes]]:
    """(kind, verb, command, file, bytes) of each trial."""
    quick, slow = list(QUICK.items()), list(SLOW.items())
    turn = 0
    for name in _targets(world.folder):
        for kind, damage in damages((world.folder / name).read_bytes(), name, rng):
            turn += 1
            some = [quick[(3 * turn + place) % len(quick)] for place in range(3)]
            for verb, line in [("verify", f"verify {RUN}"), *some, slow[turn % len(slow)]]:
                yield kind, verb, line, name, damage


def try_records(folder: Path, world: World, *, share: int = 1, seed: int = 0) -> dict[str, Any]:
    """Every `share`-th trial."""
    tally, rng = Tally("records", folder), random.Random(seed)
    _prepare(world)
    for top in ("runs", "store"):
        shutil.copytree(world.folder / top, folder / "kept" / top)
    listed = {f"{RUN}/{name}" for name in json.loads((world.folder / LIST).read_text(encoding="utf-8"))["files"]}
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MPLCONFIGDIR"] = str(folder / "matplotlib")  # its font cache is nobody's result
    with chdir(world.folder):
        for number, (kind, verb, line, name, damage) in enumerate(list(cases(world, rng))[::share]):
            changed = damage != (folder / "kept" / name).read_bytes()
            work: Callable[[], object] = partial(_one, verb, line, world, name, damage, number)
            tally.one(kind, f"{verb} {name}", work, wrong=verb == "verify" and name in listed and changed)
    return tally.record()
