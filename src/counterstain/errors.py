"""The errors that a user can mend, and how they are worded: what was found, what was needed, what to do."""

import difflib
import functools
import inspect
import os
import re
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from pathlib import Path
from types import UnionType
from typing import ForwardRef, ParamSpec, TypeVar, Union, get_args, get_origin

__all__ = ["GateError", "InputError", "as_arguments", "as_typed", "first_line", "first_names"]
__all__ += ["refuse_own_input", "says_arguments", "suggest"]

MOST = 25  # names in a message: timm alone knows 1,300 models

P = ParamSpec("P")
T = TypeVar("T")


class InputError(ValueError):
    """The user's to mend: the command line prints its one line and exits with 2; anything else is our bug."""

    typed: str | None = None  # the message with options, where the one of `args` has arguments


class GateError(Exception):
    """A gate that said no, with what it found: the command line prints its one line and exits with 3."""

    typed: str | None = None


_READ = ("images", "splits", "sources", "model", "predictions", "study", "slides", "folder", "truth", "budget")


def says_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """A function of the Python interface: messages name its arguments, where those of the command line name options.

    What another verb returned stands for the file or folder that it wrote (os.PathLike); the function gets its path.
    Anything else is refused where a path is taken, unless the annotation names its class. What is read is not written
    over: that is refused here, for all of them.
    """
    takes = inspect.signature(function).parameters
    kinds = {name: _kinds(parameter.annotation) for name, parameter in takes.items()}
    plain = {name: _plain(parameter.annotation) for name, parameter in takes.items()}
    listed = {name for name, parameter in takes.items() if _is_texts(parameter.annotation)}
    needed = {name for name, parameter in takes.items() if parameter.default is inspect.Parameter.empty}
    call: Callable[..., T] = function

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            known = [_as_path(name, value, kinds[name]) for name, value in zip(takes, args, strict=False)]
            placed = (*known, *args[len(known) :])
            named = {name: _as_path(name, value, kinds.get(name, ())) for name, value in kwargs.items()}
            for name, value in (*zip(takes, placed, strict=False), *named.items()):
                if value is None and name in needed and kinds[name]:
                    raise InputError(f"`{name}` is None; the path of a file or a folder is needed")
                _refuse_other(name, value, plain.get(name, frozenset()))
            named = {
                name: [value] if name in listed and isinstance(value, str) else value for name, value in named.items()
            }
            if isinstance(out := named.get("out"), (str, Path)):
                refuse_own_input(Path(out), [*placed, *(value for name, value in named.items() if name in _READ)])
            return call(*placed, **named)
        except (InputError, GateError) as error:
            error.typed = as_typed(error)
            error.args = (as_arguments(error.typed),)
            raise

    return wrapped


def _kinds(annotation: object) -> tuple[type, ...]:
    """The classes that an argument may have where one of them is a path; () for other arguments."""
    members = _members(annotation)
    if any(isinstance(member, (str, ForwardRef)) for member in members):
        return ()  # a class that is not imported here: the function looks itself
    kinds = tuple(kind for member in members if isinstance(kind := get_origin(member) or member, type))
    return kinds if str in kinds and (os.PathLike in kinds or Path in kinds) else ()


def _members(annotation: object) -> tuple[object, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _plain(annotation: object) -> frozenset[object]:
    """The classes of an argument that takes numbers, texts, yes or no, and perhaps None; empty for others."""
    members = frozenset(_members(annotation))
    return members if members <= {str, int, float, bool, type(None)} else frozenset()


def _is_texts(annotation: object) -> bool:
    """Whether an argument takes several texts and not one: one text is then a list of one, not of its letters."""
    members = _members(annotation)
    return str not in members and any(
        get_origin(member) is Sequence and get_args(member) == (str,) for member in members
    )


def _refuse_other(name: str, value: object, kinds: frozenset[object]) -> None:
    """Refuse None, a text for a number, a list for either; NumPy's numbers are numbers."""
    if not kinds or (value is None and type(None) in kinds) or (isinstance(value, str) and str in kinds):
        return
    if kinds & {int, float, bool} and (isinstance(value, Real) or type(value).__name__ in ("bool", "bool_")):
        return
    numbers = (
        "True or False" if bool in kinds else "a whole number" if int in kinds and float not in kinds else "a number"
    )
    wanted = " or ".join(["a text"] * (str in kinds) + [numbers] * bool(kinds & {int, float, bool}))
    given = "None" if value is None else f"{_a(type(value).__name__)}, {value!r:.40}"
    raise InputError(f"`{name}` is {given}; {wanted} is needed")


def _as_path(name: str, value: object, kinds: tuple[type, ...]) -> object:
    """The argument, what stands for a file or folder as its path; refused where it is none of `kinds`."""
    if not kinds or value is None:
        return value
    if isinstance(value, os.PathLike):
        return value if isinstance(value, Path) else Path(value)
    kind = type(value).__name__
    if isinstance(value, str):
        return value
    ours = type(value).__module__.startswith("counterstain.")
    if Sequence in kinds and isinstance(value, Iterable) and not ours and kind != "DataFrame":
        return [_as_path(name, one, (str, Path)) for one in value]
    if isinstance(value, kinds):
        return value
    others = "".join(f" or {_a(known.__name__)}" for known in kinds if known.__module__.startswith("counterstain."))
    way = WAYS.get(kind, "")
    raise InputError(f"`{name}` is {_a(kind)}, not the path of a file or a folder{others}{way and '; '}{way}")


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'AEIOaeio' or kind == 'ndarray' else 'a'} {kind}"


# What has no place on the disk, and how it gets one.
WAYS = {
    "Cohort": "write it, counterstain.write_cohort(…, 'cohort.csv'), and give that path",
    "Split": "write it, counterstain.write_split(…, 'splits.csv'), and give that path",
    "Predictions": "write it, counterstain.write_predictions(…, 'predictions.csv'), and give that path",
    "DataFrame": "write it, .to_csv(…, index=False), and give that path",
    "ndarray": "counterstain.load_model(…).predict takes arrays of tiles",
    "Bundle": "give the folder that it was read from",
    "Study": "give the file that it was read from",
}


def as_typed(error: InputError | GateError) -> str:
    """The message as the command line prints it, with options."""
    return str(error) if error.typed is None else error.typed


# What stays as it is: commands, and what a user wrote (after a quote, or within a word or a path).
_COMMAND = re.compile(r"`[^`]*`|\b(?:counterstain|pip|hf|timm's|in a command)\b[^;)]*")
_PAIR = r"\w+=(?:<[^>]*>|[^,;)\s']*)"
_OPTION = re.compile(
    r"(?<![\w'\"/.-])--(?P<name>[a-z][a-z0-9]*(?:-[a-z0-9]+)*)"
    rf"(?:[= ](?:'(?P<quoted>\w+=[^']*)'|(?P<pairs>{_PAIR}(?:,{_PAIR})*)|(?P<number>\d[\d.]*\b)))?"
)
# Options whose argument has another name.
ARGUMENTS = {"class": "classes", "set": "settings", "from": "source", "no_tissue_mask": "tissue_mask=False"}


def as_arguments(text: str) -> str:
    """A message's options as the arguments of Python that have their meaning; commands in it stay commands.

    >>> as_arguments("leave --tile-px out, or ask for --mpp 0.5; or `counterstain cohort --pattern …`")
    'leave `tile_px` out, or ask for `mpp=0.5`; or `counterstain cohort --pattern …`'
    >>> as_arguments("say which with --columns patient_id=Case")
    "say which with `columns={'patient_id': 'Case'}`"
    """
    pieces, at = [], 0
    for command in _COMMAND.finditer(text):
        pieces += [_OPTION.sub(_argument, text[at : command.start()]), command[0]]
        at = command.end()
    return "".join([*pieces, _OPTION.sub(_argument, text[at:])])


def _argument(option: re.Match[str]) -> str:
    name = option["name"].replace("-", "_")
    name = ARGUMENTS.get(name, name)
    if option["number"]:
        return f"`{name}={option['number'].rstrip('.')}`"
    if option["quoted"]:
        return f"`{name}={dict([option['quoted'].split('=', 1)])}`"
    if not option["pairs"]:
        return f"`{name}`"
    pairs = dict(re.findall(r"(\w+)=(<[^>]*>|[^,]*)", option["pairs"]))
    return f"`{name}={pairs}`"


def suggest(name: str, known: Iterable[str]) -> str:
    """The nearest known name as "; did you mean 'epochs'?", or the list of known names where none is near.

    >>> suggest("epoch", ["epochs", "batch"]), suggest("", map(str, range(1000)))[-24:]
    ("; did you mean 'epochs'?", '23, 24, … and 975 others')
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    more = f", … and {len(known) - MOST} others" if len(known) > MOST else ""
    return f"; known: {', '.join(known[:MOST])}{more}"


def first_line(error: BaseException) -> str:
    """What a library says of an error, in one line: the first of its message, or else the kind of error.

    >>> first_line(OSError("no such file\\nor folder")), first_line(EOFError())
    ('no such file', 'EOFError')
    """
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def first_names(names: Sequence[str], most: int = 3) -> str:
    """The first of these names, with "…" where there are more.

    >>> first_names(["a", "b"]), first_names(["a", "b", "c", "d"])
    ('a, b', 'a, b, c, …')
    """
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def refuse_own_input(out: Path, inputs: Iterable[object]) -> None:
    """Refuse to write a result over what it is made from.

    Args:
        out: the file or folder to write.
        inputs: of a call, whatever they are; those that name files or folders count, in lists, too.

    Raises:
        InputError: If it is one of them.
    """
    if not out.exists():
        return
    for argument in inputs:
        for value in argument if isinstance(argument, (list, tuple)) else (argument,):
            if isinstance(value, (str, os.PathLike)) and os.fspath(value) and _same(out, Path(value)):
                raise InputError(f"--out is {out}, which is read here; name another, so that it is kept")


def _same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except (OSError, ValueError):  # no file of that name, or no name of a file
        return False
