"""What to do next, as commands that run as they are printed: they take over what the command at work was given."""

import inspect
import shlex
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.models import ArgumentInfo

from counterstain.cli.options import AT_WORK, VERBS, verb_name
from counterstain.errors import InputError

if TYPE_CHECKING:
    from counterstain.cohort.cohort import Cohort

__all__ = ["after_audit", "after_cohort", "after_table", "command", "free_place", "near", "show_next", "trust_commands"]

# Where a command writes is its own; how it says so, and what was done once for all images, isn't handed on.
OWN = ("out", "as_json", "rehash")


def command(verb: str, *, alone: bool = False, **changed: object) -> str:
    """A command of `verb` with every argument and option of the command at work that both take, and what is changed.

    A parameter is the same where it is declared the same, so that the seed of a split does not become that of a model.

    Args:
        verb: name of its function, such as "slides_run".
        alone: nothing is taken over.
        changed: values by the names of the function's parameters; None leaves one out.

    Raises:
        KeyError: If there is no such verb, or it has no such parameter.
    """
    at_work, given = AT_WORK.get()
    declared = inspect.signature(VERBS[at_work]).parameters
    given = {} if alone else given
    wanted = inspect.signature(VERBS[verb]).parameters
    if unknown := next((name for name in changed if name not in wanted), ""):
        raise KeyError(f"{verb} has no parameter {unknown}")
    arguments, options = [], []
    for name, parameter in wanted.items():
        shared = name in given and name not in OWN and declared[name].annotation == parameter.annotation
        value = changed[name] if name in changed else given[name] if shared else None
        if value is None or value == parameter.default:
            continue
        info = parameter.annotation.__metadata__[0]
        values = [str(one) for one in value] if isinstance(value, (list, tuple)) else [str(value)]
        if isinstance(info, ArgumentInfo):
            arguments += values
        elif isinstance(value, bool):
            options.append(_flag(name, info) if value else f"--no-{name.replace('_', '-')}")
        else:
            options += [word for one in values for word in (_flag(name, info), one)]
    return shlex.join(["counterstain", *verb_name(verb).split(), *arguments, *options])


def _flag(name: str, info: Any) -> str:
    """An option as it is typed."""
    return next((one for one in info.param_decls or () if one.startswith("--")), f"--{name.replace('_', '-')}")


def free_place(path: Path) -> Path:
    """The path, or the first of path-2, path-3 … where nothing is: what a command writes to must be free.

    Example:
        >>> free_place(Path("nowhere/card")).name
        'card'
    """
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def near(path: Path) -> Path:
    """The path as seen from this folder, where it lies in it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def trust_commands(folder: Path, images: Path, out: Path, *, done: str, splits: Path | None = None) -> list[str]:
    """What shows how far a model can be trusted, and hands it on; nothing that this model can't do.

    Args:
        folder: of the bundle; images: with their labels; out: what the verb at work wrote, beside which these write.
        done: the verb at work; splits: of the images, where that verb has no such option.
    """
    from counterstain.export.exported_model import possible_formats
    from counterstain.learning.bundle import read_bundle
    from counterstain.learning.mil_networks import is_bag_network

    bundle = read_bundle(folder)
    if is_bag_network(bundle.network):  # of features: no pixels to change, no map, no graph
        return []
    step = partial(command, model=folder, arm=None, seed=None, fold=None)
    tried = step if splits is None else partial(step, splits=splits)
    lines = [
        tried(verb, images=images, out=free_place(out.with_name(name)))
        for verb, name in (("explain", "explanation"), ("robustness", "robustness"))
        if verb != done
    ]
    formats = ",".join(possible_formats(bundle)) or "none"
    return [*lines, step("export", out=free_place(out.with_name("exported")), formats=formats)]


def show_next(commands: Iterable[str]) -> None:
    """The commands below the word Next, on stdout; nothing where there is none."""
    from counterstain.terminal import print_next

    print_next(tuple(commands))


def after_cohort(table: "Cohort", out: Path | None, positive: str | None) -> list[str]:
    """Divide it where it can be and isn't yet, look for copies, begin a study.

    The table that was written has our columns and needs no option to be read again.
    """
    from counterstain.cohort.splitters import holdout

    step = command if out is None else partial(command, alone=True, images=out, positive=positive)
    commands = [step("audit", out=free_place(Path("audit")))]
    if any(name.endswith(".h5") for name in table.image):  # features: their study is written by hand
        return commands
    if not (table.table["split"] != "").any():
        with suppress(InputError):  # patients are unknown, or a class has too few
            holdout(table)
            commands.append(step("split", out=free_place(Path("splits.csv"))))
    return [*commands, step("init", out=free_place(Path("study.yaml")))]


def after_audit(verdict: str, splits: Path | None, out: Path) -> list[str]:
    """Audit the proposed split where this one leaks; train on one that doesn't."""
    proposed = out / "splits.csv"
    if verdict == "leaks":
        return [command("audit", splits=proposed, out=free_place(out))] if proposed.is_file() else []
    if splits is None:
        return [command("init", out=free_place(Path("study.yaml")))]
    return [command("train", splits=splits, out=free_place(Path("model")))]


def after_table(path: Path, *verbs: str) -> list[str]:
    """These verbs on a cohort's table that was written, where every row has the label that they need."""
    from counterstain.cohort.layouts import read_images

    try:
        read_images(path)
    except InputError:
        return []
    place = {"init": Path("study.yaml"), "split": Path("splits.csv")}
    begun = [command(verb, alone=True, images=path, out=free_place(place[verb])) for verb in verbs]
    return [command("cohort", alone=True, images=path), *begun]
