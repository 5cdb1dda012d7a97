"""What every verb shares: the app, common options, and how errors become exit codes."""

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from counterstain.cli.suggestions import SuggestingGroup
from counterstain.cohort.reading_options import DEFAULTS
from counterstain.errors import GateError, InputError, as_typed, refuse_own_input
from counterstain.extras import missing_words
from counterstain.files import check_writable, refusal
from counterstain.version import __version__

app = typer.Typer(
    cls=SuggestingGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="From a folder of histology images to a claim that survives another hospital. Start with: counterstain demo",
)

P = ParamSpec("P")

# Every verb by the name of its function, and the one at work with what it was given: `next_commands` hands it on.
VERBS: dict[str, Callable[..., None]] = {}
AT_WORK: ContextVar[tuple[str, dict[str, Any]]] = ContextVar("at_work")

Images = Annotated[Path, typer.Argument(help="Folder of images, or a CSV or Parquet manifest.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
UNIT = typer.Option(help="Unit that a split keeps together: patient, or image if patients are unknown.")
Unit = Annotated[str, UNIT]
Positive = Annotated[str | None, typer.Option(help="Positive class, if there are two classes.")]
Out = Annotated[Path, typer.Option("--out", help="File or folder to write.")]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--columns", help="Names of a table's columns: label=GT,patient_id=Case; see docs/tables.md."),
]
Order = Annotated[
    list[str] | None,
    typer.Option(
        "--order", help="Classes that are grades, in ascending order: normal,low,high. Adds the weighted kappa."
    ),
]
Root = Annotated[
    Path | None, typer.Option(help="Folder that image paths in a table are relative to; by default the table's own.")
]
Splits = Annotated[Path | None, typer.Option(help="Use only the images of one part of this splits.csv.")]
SplitPart = Annotated[str, typer.Option(help="The part of --splits to use.")]
OwnFold = Annotated[
    str | None,
    typer.Option("--split-fold", help="Fold of --splits to use, as repeat-fold: 0-3; by default the model's own."),
]
Model = Annotated[
    Path,
    typer.Argument(help="Run (its best arm on validation data is used), bundle or export.", show_default=False),
]
Arm = Annotated[str | None, typer.Option(help="Arm of the run; by default the best on validation data.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the training to take from a run.")]
FOLD = typer.Option(help="Fold of the cross-validation, as repeat-fold: 0-3.")
Fold = Annotated[str | None, FOLD]
NetworkFile = Annotated[
    Path | None,
    typer.Option("--network-file", help="Python file of the model's custom network; its code is executed."),
]
RandomSeed = Annotated[int, typer.Option(help="Seed for all randomness.")]
Device = Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")]
Runtime = Annotated[
    str, typer.Option(help="Runtime: torch, openvino, onnxruntime, or auto for the fastest that agrees with torch.")
]
Jobs = Annotated[int, typer.Option(help="Number of trainings or slides at once; each gets its share of the cores.")]
Scheduler = Annotated[str | None, typer.Option(help="Send the work to a dask cluster: tcp://host:8786")]
Precision = Annotated[str, typer.Option(help="Number format: fp32, or bf16 (faster, slightly less accurate).")]
TilePx = Annotated[int, typer.Option(help="Side length of the tiles in px.")]
Rehash = Annotated[
    bool, typer.Option("--rehash", help="Read and hash every image again, even if its size and times are unchanged.")
]
Set = Annotated[list[str] | None, typer.Option("--set", help="Replace a key of the study: training.epochs=5")]
StudyFile = Annotated[Path, typer.Argument(help="The study's YAML file.")]
StudyFolder = Annotated[
    Path | None, typer.Option(help="Folder in which runs/ and store/ are made; by default the study's own.")
]

# Every verb that reads a cohort takes these, see `takes_images`.
READING: dict[str, Any] = {
    "positive": Positive,
    "layout": Annotated[str, typer.Option(help="How paths carry labels and ids: auto, folder, breakhis, idc, tcga, …")],
    "pattern": Annotated[str | None, typer.Option(help="Regular expression for names: (?P<patient_id>…)")],
    "task": Annotated[
        str | None, typer.Option(help="Classes of a layout with several tasks: binary or subtype (BreakHis).")
    ],
    "magnification": Annotated[
        str | None, typer.Option(help="Magnification of BreakHis: 40, 100, 200 or 400; by default all.")
    ],
    "columns": Columns,
    "root": Root,
    "follow_links": Annotated[
        bool, typer.Option("--follow-links", help="Follow links inside the folder, or inside --root.")
    ],
}


def takes_images(function: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options of READING; it gets them as one mapping, `reading`, as the functions of Python take them.

    A verb that gives images to a model has no --positive: the model knows its classes.
    """
    own = inspect.signature(function).parameters
    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=READING[name])
        for name, default in DEFAULTS.items()
        if not (name == "positive" and "model" in own and own["model"].annotation is Model)
    ]
    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in own.items()
        if name not in ("reading", "as_json")
    ]
    last = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, parameter in own.items() if name == "as_json"
    ]

    @functools.wraps(function)
    def wrapped(**options: Any) -> None:
        reading = {parameter.name: options.pop(parameter.name) for parameter in extra}
        function(**options, reading={**reading, "columns": columns_given(reading["columns"])})

    signature = inspect.Signature([*kept, *extra, *last])
    wrapped.__signature__ = signature  # type: ignore[attr-defined]
    wrapped.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return wrapped


def verb(function: Callable[P, None]) -> Callable[P, None]:
    """A command whose input errors end in one line and exit code 2, a shut gate in 3, an interruption in 130."""

    folder = _writes_folder(function)

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        AT_WORK.set((function.__name__, _given(function, kwargs)))
        try:
            if isinstance(place := kwargs.get("out"), Path):
                refuse_own_input(
                    place,
                    [
                        value
                        for name, value in kwargs.items()
                        if name not in ("out", "source") and isinstance(value, (Path, list))
                    ],
                )
                check_writable(place, folder=folder)
            function(*args, **kwargs)
        except InputError as error:
            _refuse(as_typed(error))
            raise typer.Exit(2) from None
        except GateError as error:
            _refuse(as_typed(error))
            raise typer.Exit(3) from None
        except KeyboardInterrupt:
            print("counterstain: stopped; the same command resumes", file=sys.stderr)
            raise typer.Exit(130) from None
        except ModuleNotFoundError as error:
            words = missing_words(error, verb_name(function.__name__))
            if words is None:
                raise
            _refuse(words)
            raise typer.Exit(2) from None
        except (OSError, MemoryError, RuntimeError, ImportError) as error:
            words = system_words(error)
            if words is None:
                raise
            _refuse(words)
            raise typer.Exit(2) from None

    VERBS[function.__name__] = wrapped
    return wrapped


def _given(function: Callable[..., None], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that differ from the verb's defaults."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in values.items() if value != known[name].default and value not in ([], ())}


def _writes_folder(function: Callable[..., None]) -> bool:
    """Whether --out is a folder and nothing else, by its help: "Folder …"."""
    out = inspect.signature(function).parameters.get("out")
    helps = [str(option.help) for option in getattr(out and out.annotation, "__metadata__", ())]
    return any(words.startswith("Folder") and " or a page" not in words for words in helps)


def show(text: object = "") -> None:
    """A result, or lines of one, on stdout; names in it can't do anything to the terminal."""
    from counterstain.text_table import visible

    print(visible(str(text)), flush=True)


def _refuse(words: str) -> None:
    from counterstain.text_table import one_line

    short = re.sub(r"\S{400,}", lambda word: f"{word[0][:150]}…{word[0][-150:]}", words)  # a cell of megabytes
    print(f"counterstain: {one_line(short)}", file=sys.stderr)


def verb_name(function: str) -> str:
    """A verb as it is typed, from the name of its function."""
    return function.replace("_", " " if function.startswith(("slides_", "data_")) else "-")


# What the loader says of a library for which memory, or the room that a limit leaves, is too small.
_NOT_LOADED = ("failed to map segment", "annot allocate memory")


def system_words(error: Exception) -> str | None:
    """One line for what the machine refused: disk, permission, memory; None for a bug of ours."""
    if isinstance(error, OSError):
        # Without a file or a number of the system's it isn't the machine that refused.
        return refusal(error) if error.errno is not None and not isinstance(error, BrokenPipeError) else None
    if isinstance(error, BrokenExecutor):
        return (
            "a worker process was killed, most often for lack of memory; what was finished before is kept; close other "
            "programs, or ask for fewer workers"
        )
    not_loaded = isinstance(error, ImportError) and any(words in str(error) for words in _NOT_LOADED)
    told = isinstance(error, RuntimeError) and ("can't allocate memory" in str(error) or "out of memory" in str(error))
    if isinstance(error, MemoryError) or not_loaded or told:
        return (
            "there is not enough memory; what was finished before is kept; close other programs, or ask for smaller "
            "batches or fewer workers"
        )
    return None


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def counterstain(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """From a folder of histology images to a claim that survives another hospital."""


def columns_given(texts: list[str] | None) -> dict[str, str]:
    """What --columns says; without it nothing."""
    from counterstain.columns import parse_columns

    return parse_columns(texts or ())


def order_given(texts: list[str] | None) -> list[str] | None:
    """The grades of --order, with commas between them or one each time; None without it."""
    if not texts:
        return None
    return texts if len(texts) > 1 else [name.strip() for name in texts[0].split(",") if name.strip()]


def chosen_model(model: Path, arm: str | None, seed: int | None, fold: str | None, network_file: Path | None) -> Path:
    """The bundle's folder that MODEL, --arm, --seed and --fold mean; says on stderr which of a run was taken."""
    from counterstain.learning.model_choice import choose_model
    from counterstain.learning.own_network import allow_file
    from counterstain.terminal_progress import say

    if network_file is not None:
        allow_file(network_file)

    choice = choose_model(model, arm=arm, seed=seed, fold=fold)
    if choice.words:
        say(choice.words)
    return choice.folder


def settings_given(texts: list[str] | None) -> dict[str, str]:
    """What every --set says, the value as text."""
    pairs = {text: text.partition("=") for text in texts or ()}
    wrong = next((text for text, (_, equals, _) in pairs.items() if not equals), None)
    if wrong is not None:
        raise InputError(f"--set {wrong}: write key=value, such as training.epochs=5")
    return {key: value for key, _, value in pairs.values()}
