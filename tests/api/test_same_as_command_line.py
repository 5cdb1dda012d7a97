"""What the command line can do Python can: each command has a function of its name, with its options and defaults."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import counterstain
from counterstain.cli import app
from counterstain.cli.data_verbs import data_app
from counterstain.cli.slides_run import slides_app

COMMANDS: dict[str, Callable[..., Any]] = {
    (command.name or command.callback.__name__).replace("-", "_"): command.callback
    for command in app.registered_commands
    if command.callback is not None
} | {
    f"{group}_{command.name}": command.callback
    for group, typed in (("slides", slides_app), ("data", data_app))
    for command in typed.registered_commands
    if command.callback is not None
}

SPELLED = {"set_": "settings"}  # --set key=value is a mapping here
OF_A_TERMINAL = {"as_json"}
# Arrays come first where the command line has files.
FIRST = {"evaluate": {"predictions": "y_true"}, "compare": {"predictions": "models"}}
# Written only where `out` says so: the object is returned.
ONLY_WHERE_ASKED = {("split", "out")}


def plain(value: object) -> object:
    """A default as both sides have it: paths as text, nothing given as None, a list in a text as a tuple."""
    if value in ((), {}, None, ""):
        return None
    if isinstance(value, str) and "," in value:
        return tuple(value.split(","))
    return value if isinstance(value, (int, float, tuple)) or value is inspect.Parameter.empty else str(value)


def test_every_command_has_its_function() -> None:
    assert set(COMMANDS) == set(counterstain._VERBS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_options_and_defaults_are_the_same(name: str) -> None:
    ours = inspect.signature(counterstain._load(name)).parameters
    for option, parameter in inspect.signature(COMMANDS[name]).parameters.items():
        if option in OF_A_TERMINAL:
            continue
        own = FIRST.get(name, {}).get(option, SPELLED.get(option, option))
        assert own in ours, f"counterstain.{name} lacks the option {option} of the command line"
        if (name, option) not in ONLY_WHERE_ASKED:
            assert plain(ours[own].default) == plain(parameter.default), f"{name}({own})"


def test_python_has_no_default_of_its_own() -> None:
    """What only Python has is about arrays, about being seen, or about what is returned."""
    own = {"verbose", "groups", "slide", "site", "image", "classes", "y_prob", "y_probs", "confidence"}
    for name, command in COMMANDS.items():
        known = set(inspect.signature(command).parameters)
        known |= set(FIRST.get(name, {}).values()) | {SPELLED.get(option, option) for option in known}
        assert set(inspect.signature(counterstain._load(name)).parameters) - known <= own, name
