"""Messages: options on the command line, arguments in Python; every name in them is one that there is."""

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import typer

import counterstain
from counterstain.cli import app
from counterstain.errors import GateError, InputError, as_arguments, as_typed, says_arguments

SOURCE = Path(counterstain.__file__).parent
OPTION = re.compile(r"(?<![\w'\"/.-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)")
# Of other programs' commands.
FOREIGN = {"upgrade", "cache-dir", "topk", "results-separate-col", "revision"}


def messages() -> Iterator[tuple[str, str]]:
    """(place, text) of every text in the package outside the command line and docstrings; values in it are {}."""
    for path in sorted(SOURCE.rglob("*.py")):
        if path.parent.name == "cli" or path.name == "errors.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = (ast.Module, ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
        docs = {id(node.body[0].value) for node in ast.walk(tree)
                if isinstance(node, own) and node.body and isinstance(node.body[0], ast.Expr)}  # fmt: skip
        parts = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
        for node in ast.walk(tree):
            if id(node) in docs or id(node) in parts:
                continue
            if isinstance(node, ast.JoinedStr):
                values = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
                yield f"{path.name}:{node.lineno}", "".join(map(str, values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.name}:{node.lineno}", node.value


NAMED = [(place, text) for place, text in messages() if OPTION.search(text)]


def options() -> set[str]:
    """Every option of every verb, without its dashes."""
    found: set[str] = set()
    waiting = [typer.main.get_command(app)]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        found |= {text.removeprefix("--") for one in command.params for text in (*one.opts, *one.secondary_opts)}
    return found


def arguments() -> set[str]:
    functions = [getattr(counterstain, name) for name in (*counterstain._VERBS, "load_model", "read_predictions")]
    return {name for function in functions for name in inspect.signature(function).parameters}


def test_messages_name_options_that_exist() -> None:
    assert len(NAMED) > 80
    known = options() | FOREIGN
    unknown = {place: name for place, text in NAMED for name in OPTION.findall(text) if name not in known}
    assert unknown == {}


def test_in_python_every_option_becomes_an_argument_that_exists() -> None:
    known, wrong = arguments(), {}
    for place, text in NAMED:
        spoken = re.sub(r"\{\}", "x", as_arguments(text))
        outside = re.sub(r"`[^`]*`", "", spoken)
        commands = re.sub(r"\b(counterstain|pip|hf|timm's|in a command)\b[^;)]*", "", outside)
        if OPTION.search(commands):
            wrong[place] = spoken
        names = re.findall(r"`([a-z_]+)[`=]", as_arguments(re.sub(r"`[^`]*`", "", text)))
        for name in set(names) - known - FOREIGN:
            wrong[place] = name
    assert wrong == {}


@pytest.mark.parametrize(
    ("typed", "spoken"),
    [
        ("leave --threshold-from out", "leave `threshold_from` out"),
        ("ask for --mpp 0.5.", "ask for `mpp=0.5`."),
        ("--columns label=GT,patient_id=<its name>, and so on",
         "`columns={'label': 'GT', 'patient_id': '<its name>'}`, and so on"),
        ("say it with --columns 'label=true label'.", "say it with `columns={'label': 'true label'}`."),
        ("predict without labels: --columns label=", "predict without labels: `columns={'label': ''}`"),
        ("lower --least-tissue or read all with --no-tissue-mask",
         "lower `least_tissue` or read all with `tissue_mask=False`"),
        ("arm '--odd' and /a/--b/c--d stay", "arm '--odd' and /a/--b/c--d stay"),
        ("cohort.root (in a command, --root X) or --root", "cohort.root (in a command, --root X) or `root`"),
        ("run `counterstain split --out x`, then --seed", "run `counterstain split --out x`, then `seed`"),
        ("pip install --upgrade x; or --weights", "pip install --upgrade x; or `weights`"),
        ("nothing here", "nothing here"),
    ],
)  # fmt: skip
def test_options_as_arguments(typed: str, spoken: str) -> None:
    assert as_arguments(typed) == spoken


@pytest.mark.parametrize("kind", [InputError, GateError])
def test_an_error_has_both_forms(kind: type[InputError] | type[GateError]) -> None:
    @says_arguments
    def inner() -> None:
        raise kind("--mpp is 3")

    outer = says_arguments(inner)
    with pytest.raises(kind, match=r"^`mpp` is 3$") as raised:
        outer()
    assert as_typed(raised.value) == "--mpp is 3"
    assert as_typed(kind("--mpp is 4")) == "--mpp is 4"


def test_every_verb_says_arguments(tmp_path: Path) -> None:
    for name in counterstain._VERBS:
        verb = getattr(import_module(f"counterstain.{counterstain._VERBS[name]}"), name)
        assert hasattr(verb, "__wrapped__"), name
    table = tmp_path / "t.csv"
    table.write_text("image_path,label,prob_b\ni,a,0.2\nj,b,0.9\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"`threshold_from` was given without `threshold`; .*`threshold` youden"):
        counterstain.evaluate(table, threshold_from=table)
    assert "say which column does with `columns={'patient_id': '<its name>'}`" in str(
        counterstain.evaluate(table).notes
    )
