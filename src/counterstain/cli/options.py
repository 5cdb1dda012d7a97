"""What every verb shares: the app, common options, and how errors become exit codes."""

import functools
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from counterstain.errors import GateError, InputError
from counterstain.files import check_writable, refusal
from counterstain.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a folder of histology images to a claim that survives another hospital. Start with: counterstain demo",
)

P = ParamSpec("P")

Images = Annotated[Path, typer.Argument(help="A folder of images, or a CSV or Parquet manifest.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Unit = Annotated[str, typer.Option(help="patient, or image where patients are unknown.")]
Positive = Annotated[str | None, typer.Option(help="The positive one of two classes.")]
Layout = Annotated[str, typer.Option(help="How names carry labels and ids: auto, folder, breakhis, idc, tcga, …")]
Pattern = Annotated[str | None, typer.Option(help="Regular expression with groups such as (?P<patient_id>…).")]
Task = Annotated[str | None, typer.Option(help="For layouts with several: binary or subtype (BreakHis).")]
Out = Annotated[Path, typer.Option("--out", help="File or folder to write.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--columns", help="What the table calls our columns: label=GT,patient_id=Case; see docs/tables.md."),
]
Model = Annotated[
    Path, typer.Argument(help="A run (its best arm on validation data), a bundle or an export.", show_default=False)
]
Arm = Annotated[str | None, typer.Option(help="Of a run: this arm instead of the best one on validation data.")]
Seed = Annotated[int | None, typer.Option(help="Of a run: this seed.")]
Fold = Annotated[str | None, typer.Option(help="Of a run: this fold, as 0-0.")]
NetworkFile = Annotated[
    Path | None,
    typer.Option("--network-file", help="Of a model with a network of your own: its Python file, which is run."),
]
Root = Annotated[
    Path | None, typer.Option(help="Folder that image paths of a table count from; by default the table's own.")
]
OwnFold = Annotated[
    str | None,
    typer.Option("--split-fold", help="Of a split with several folds, as repeat-fold; by default the model's own."),
]
FollowLinks = Annotated[bool, typer.Option("--follow-links", help="Follow links inside the folder, or inside --root.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Replace a key of the study: training.epochs=5")]


def verb(function: Callable[P, None]) -> Callable[P, None]:
    """A command whose input errors end in one line and exit code 2, a shut gate in 3, an interruption in 130."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            for name in ("out", "to"):
                if isinstance(place := kwargs.get(name), Path):
                    check_writable(place)
            function(*args, **kwargs)
        except InputError as error:
            print(f"counterstain: {error}", file=sys.stderr)
            raise typer.Exit(2) from None
        except GateError as error:
            print(f"counterstain: {error}", file=sys.stderr)
            raise typer.Exit(3) from None
        except KeyboardInterrupt:
            print("counterstain: stopped; the same command goes on from where it was", file=sys.stderr)
            raise typer.Exit(130) from None
        except (OSError, MemoryError, RuntimeError) as error:
            words = _system_words(error)
            if words is None:
                raise
            print(f"counterstain: {words}", file=sys.stderr)
            raise typer.Exit(2) from None

    return wrapped


def _system_words(error: OSError | MemoryError | RuntimeError) -> str | None:
    """One line for what the machine refused: disk, permission, memory; None for a bug of ours."""
    if isinstance(error, OSError):
        # Without a file or a number of the system's it isn't the machine that refused.
        return refusal(error) if error.errno is not None and not isinstance(error, BrokenPipeError) else None
    if isinstance(error, BrokenExecutor):
        return (
            "a worker process was killed, most often for want of memory; what was finished before is kept; close other "
            "programs, or ask for fewer workers"
        )
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "out of memory" in str(error):
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
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """From a folder of histology images to a claim that survives another hospital."""


def columns_given(texts: list[str] | None) -> dict[str, str]:
    """What --columns says; without it nothing."""
    from counterstain.columns import parse_columns

    return parse_columns(texts or ())


def columns_of_two(columns: dict[str, str], *, both: bool) -> tuple[dict[str, str], dict[str, str]]:
    """--columns for a table of slides and for one of µm/px; given `both`, what is said of µm/px goes to the latter."""
    if not both:
        return columns, columns
    of_mpp = {noun: name for noun, name in columns.items() if noun.startswith("mpp")}
    return {noun: name for noun, name in columns.items() if noun not in of_mpp}, of_mpp


def chosen_model(model: Path, arm: str | None, seed: int | None, fold: str | None, network_file: Path | None) -> Path:
    """The bundle's folder that MODEL, --arm, --seed and --fold mean; says on stderr which of a run was taken."""
    allow_network(network_file)
    from counterstain.learning.model_choice import choose_model
    from counterstain.terminal import say

    choice = choose_model(model, arm=arm, seed=seed, fold=fold)
    if choice.words:
        say(choice.words)
    return choice.folder


def allow_network(path: Path | None) -> None:
    """Run the file of --network-file, so that models whose network it is can be built."""
    if path is not None:
        from counterstain.learning.own_network import allow_file

        allow_file(path)


def assignment(text: str) -> tuple[str, str]:
    """Key and value of a --set."""
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: write key=value, such as training.epochs=5")
    return key, value
