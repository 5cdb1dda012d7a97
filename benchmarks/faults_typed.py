"""What people type wrongly: an output that is an input, numbers out of range, one kind of file for another, odd names.

Each row is a command, with names of a world's files in braces. All are to be refused in one line, and every file that
they name is to be as it was. Names that hold terminal escapes, markup and formulas are typed as well: what is
printed of them must not move the terminal's cursor or colour it.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from faults_system import PY, World, call
from faults_tally import Tally

from counterstain.files import hash_file

# {link} is a link to {table}, {other} a copy of it, {new} a free name; the rest is what the world holds.
OVER_ITSELF = (
    "evaluate {table} --out {table}", "evaluate {table} --out {link}", "compare {table} {other} --out {other}",
    "compare {table} {other} --out {link}", "split {cohort} --out {cohort}",
    "split {cohort} --out {ph}/../ph/cohort.csv", "export {model} --out {model}",
    "robustness {model} {cohort} --out {model}", "explain {model} {cohort} --out {model}",
    "predict {model} {table} --out {table}", "predict {model} {cohort} --out {cohort}",
    "predict {model} {ph} --out {model}", "augment {cohort} --out {cohort}", "init {cohort} --out {cohort}",
)  # fmt: skip
OUT_OF_RANGE = (
    "phantom --patients -1 --out {new}", "phantom --patients 1 --out {new}",
    "phantom --patients 1000000000000 --out {new}", "phantom --tile-px 0 --out {new}",
    "phantom --tile-px 1e3 --out {new}", "phantom --tiles 0 --out {new}", "phantom --workers -3 --out {new}",
    "phantom --difficulty nan --out {new}", "phantom-slides --slides 0 --out {new}",
    "phantom-slides --size-px 10000000000 --out {new}", "phantom-slides --mpp 0 --out {new}",
    "slides run {model} {ph} --time-limit 0 --out {new}", "slides run {model} {ph} --time-limit nan --out {new}",
    "slides run {model} {ph} --jobs 0 --out {new}", "slides run {model} {ph} --jobs -1 --out {new}",
    "slides run {model} {ph} --scheduler foo --out {new}",
    "slides run {model} {ph} --scheduler tcp://x:1:2 --out {new}",
    "slides run {model} {ph} --assume-mpp -0.5 --out {new}", "slides tiles {ph} --mpp 0 --out {new}",
    "slides tiles {ph} --mpp inf --out {new}", "slides tiles {ph} --mpp 0.5 --tile-px -64 --out {new}",
    "slides tiles {ph} --mpp 0.5 --overlap 64 --tile-px 64 --out {new}",
    "slides tiles {ph} --mpp 0.5 --least-tissue 2 --out {new}", "split {cohort} --test 1.5 --out {new}",
    "split {cohort} --test 0 --out {new}", "split {cohort} --folds 0 --out {new}",
    "split {cohort} --folds 1000000000 --out {new}", "split {cohort} --seed -1 --out {new}", "run {study} --jobs 0",
    "run {study} --scheduler foo", "run {study} --set training.epochs=0 --dry-run",
    "run {study} --set training.epochs=: --dry-run", "run {study} --set =5 --dry-run",
    "run {study} --set seeds=[0,0] --dry-run", "compare {table} {other} --margin -1",
    "compare {table} {other} --alpha 1", "evaluate {table} --resamples -5", "evaluate {table} --threshold 2",
    "evaluate {table} --prevalence 0", "evaluate {table} --prevalence nan", "report {run} --width 0mm",
    "report {run} --width -85mm", "report {run} --font 0", "report {run} --language xx", "publish {run} --to nowhere",
    "serve --runs {ph} --port -1", "serve --runs {ph} --port 99999999",
    "explain {model} {cohort} --trials -1 --out {new}", "robustness {model} {cohort} --only nothing --out {new}",
)  # fmt: skip
ANOTHER_KIND = (
    "evaluate {cohort}", "evaluate {model}", "evaluate {study}", "evaluate {run}", "compare {table}",
    "compare {table} {table}", "compare {table} {cohort}", "cohort {study}", "cohort {model}/model.safetensors",
    "split {table}", "split {study}", "run {cohort}", "run {table}", "run {ph}", "run {model}/model.json",
    "search {cohort}", "lr-find {ph}", "predict {cohort} {model}", "predict {ph} {ph}", "predict {model} {study}",
    "export {ph}", "export {table} --out {new}", "robustness {ph} {model}", "explain {ph} {ph}", "inspect {table}",
    "inspect {ph}", "inspect {study}", "slides tiles {table} --mpp 0.5 --out {new}",
    "slides run {ph} {model} --out {new}", "features {ph} {model} --out {new}", "verify {ph}", "verify {table}",
    "reproduce {ph}", "reproduce {table}", "report {ph}", "report {table}", "sbom {ph}", "data verify {ph}",
    "data fetch nothing", "publish {ph} --to mlflow", "clean {table}", "audit {study}", "train {ph} {ph}",
    "evaluate {table} --columns ===", "evaluate {table} --columns label=nothing", "evaluate {table} --positive zebra",
    "cohort {cohort} --columns label=nothing", "cohort {ph} --layout nothing",
    "cohort {ph} --pattern ( --layout folder", "cohort {cohort} --positive zebra", "run {study} --bogus", "nothing",
    "evaluate", "evaluate {table} --out",
)  # fmt: skip
ODD_NAMES = (
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\x9b2Jb", "\x1b[2J", "=1+1", "<script>x</script>", "\u202egnp",
    "a\x08b",
)  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")


def _names(world: World, here: Path) -> dict[str, str]:
    """The files that commands name, copies of the world's."""
    shutil.copytree(world.folder / "ph", here / "ph")
    shutil.copytree(world.folder / "runs", here / "runs")
    shutil.copy(world.folder / "base.yaml", here / "base.yaml")
    model = here / world.model.relative_to(world.folder)
    for name in ("table.csv", "other.csv"):
        shutil.copy(world.table, here / name)
    (here / "link.csv").symlink_to(here / "table.csv")
    names = {
        "model": model, "run": here / "runs/base", "ph": here / "ph", "cohort": here / "ph/cohort.csv",
        "table": here / "table.csv", "other": here / "other.csv", "link": here / "link.csv",
        "study": here / "base.yaml",
    }  # fmt: skip
    return {name: str(path) for name, path in names.items()}


def _typed(row: str, names: dict[str, str], here: Path, number: int) -> None:
    """Type one command; what is there must stay as it is, whatever becomes of it."""
    before = _hashes(here)
    words = row.format(**names, new=here.parent / f"new-{number}").split(" ")
    try:
        call(words, here)
    finally:
        after = _hashes(here)
        odd = sorted(name for name in before if before[name] != after.get(name))
        if odd:
            raise RuntimeError(f"changed {odd[:3]}")


def _hashes(folder: Path) -> dict[str, str]:
    kept = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in kept}


def _odd_folder(name: str, world: World, here: Path) -> Path:
    """A folder with a class, images and a table of an odd name, and its own name is odd."""
    folder = here / f"{name} folder"
    for label in ("b", name):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(sorted((world.folder / "ph").rglob("*.png"))[:3]):
            shutil.copy(image, folder / label / f"{name}{number}.png")
    shutil.copy(world.table, folder / f"{name}.csv")
    return folder


def _odd(verb: list[str], folder: Path, name: str) -> None:
    """A verb over it: what it prints, on either stream, is text alone. An audit may end with exit code 3."""
    source = folder / f"{name}.csv" if verb[0] == "evaluate" else folder
    done = subprocess.run(
        [*PY, *verb, str(source)], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=folder, check=False
    )
    if done.returncode not in (0, 2, 3) or "Traceback" in done.stderr:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr[-800:]}")
    if found := _CONTROL.search(done.stdout + done.stderr):
        raise RuntimeError(f"{verb[0]} printed {found[0]!r} of {name!r}")


def cases() -> Iterator[tuple[str, str]]:
    """(kind, command) of each row."""
    for kind, rows in (("over itself", OVER_ITSELF), ("out of range", OUT_OF_RANGE), ("another kind", ANOTHER_KIND)):
        yield from ((kind, row) for row in rows)


def try_typed(folder: Path, world: World, *, share: int = 1) -> dict[str, Any]:
    """Every `share`-th command."""
    tally, here = Tally("typed commands", folder), folder / "typed"
    here.mkdir()
    names = _names(world, here)
    for number, (kind, row) in enumerate(list(cases())[::share]):
        tally.one(kind, row, partial(_typed, row, names, here, number), wrong=True)
    for name in ODD_NAMES[::share]:
        source = _odd_folder(name.replace("/", ""), world, folder)
        for verb in (["cohort"], ["audit"], ["evaluate"], ["init"], ["inspect"]):
            tally.one("odd names", f"{verb[0]} {name!r}", partial(_odd, verb, source, name.replace("/", "")))
        shutil.rmtree(source)
    return tally.record()
