"""Rules that every verb of the command line keeps: one spelling a thing, --json, -h, an example, and suggestions."""

import inspect
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import counterstain
from counterstain.cli import _ORDER, app
from counterstain.cli.options import READING
from counterstain.cli.suggestions import MEANINGS

RUNNER = CliRunner()


def verbs(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """("slides run", its command) of every verb."""
    command = command or typer.main.get_command(app)
    if hasattr(command, "commands"):
        for name, one in command.commands.items():
            yield from verbs(one, (*path, name))
    else:
        yield " ".join(path), command


VERBS = dict(verbs())
PARAMETERS = {name: [one for one in command.params if one.name != "help"] for name, command in VERBS.items()}
OPTIONS = {
    name: {one.opts[0]: one for one in own if one.param_type_name == "option"} for name, own in PARAMETERS.items()
}

# Where one word has a meaning of its own in a verb, with the reason.
OWN_MEANING = {
    "--out": "says what is written there",
    "--seed": "of a run: which training; elsewhere for all randomness",
    "--mpp": "by default the model's, or 0.5; of features it means slides",
    "--tile-px": "audit compares images at it; features may take the model's",
    "--precision": "only training has auto",
    "--threshold": "one of a model, or one for each model",
    "--arm": "of a study, or of a run that is used as a model",
    "--trials": "of a search, or of the checks of maps",
    "--set": "of a study, or of one arm",
    "--model": "held to its own statement, or for the page's Predict",
    "--slides": "of the page several folders",
    "--key": "the private one that signs, or the public one that is checked",
    "--maps": "what slides run wrote, to be shown or handed over",
    "--origin": "of annotations that are read, or of GeoJSON that is written",
}


def test_the_verbs_are_found() -> None:
    assert len(VERBS) == len(counterstain._VERBS) and "slides run" in VERBS


# Verbs without --json, and why.
WITHOUT_JSON = {
    "serve": "prints one address and serves until it is stopped; its page speaks JSON under /api",
    "sbom": "prints a bill of materials, which is JSON (CycloneDX) and nothing else",
}


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_json_and_an_example(name: str) -> None:
    assert ("--json" in OPTIONS[name]) == (name not in WITHOUT_JSON)
    assert f"Example: counterstain {name}" in (VERBS[name].help or "")


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_verb_shows_its_help(name: str, option: str) -> None:
    done = RUNNER.invoke(app, [*name.split(), option])
    assert done.exit_code == 0 and "Usage:" in done.stdout and "Show this message" in done.stdout


def test_every_verb_has_its_place_in_the_list() -> None:
    names = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    assert names - set(_ORDER) == set(), "add each to _ORDER in cli/__init__.py, where --help should list it"
    assert set(_ORDER) - names == set(), "these verbs are gone: remove them from _ORDER in cli/__init__.py"


def test_one_name_has_one_help() -> None:
    texts: dict[str, set[str]] = defaultdict(set)
    for own in OPTIONS.values():
        for name, option in own.items():
            texts[name].add(option.help)
    several = {name for name, found in texts.items() if len(found) > 1}
    assert several == set(OWN_MEANING)


def test_one_name_has_one_type() -> None:
    kinds: dict[str, set[str]] = defaultdict(set)
    for own in OPTIONS.values():
        for name, option in own.items():
            if option.default is not None:
                kinds[name].add(type(option.default).__name__.removeprefix("Posix"))
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}


def test_device_and_runtime_are_auto_everywhere() -> None:
    for name, own in OPTIONS.items():
        for option in {"--device", "--runtime"} & set(own):
            assert own[option].default == "auto", name


def test_help_is_a_sentence() -> None:
    """It starts with a capital or a value, ends with a full stop or an example, and is no genitive ("Of Adam.")."""
    for name, own in PARAMETERS.items():
        for parameter in own:
            text = parameter.help or ""
            assert len(text.split()) >= 3, f"{name} {parameter.name}: {text}"
            assert text[0].isupper() or text[0].isdigit() or "=" in text.split()[0], f"{name} {parameter.name}: {text}"
            assert not text.startswith(("Of ", "…", "How many")), f"{name} {parameter.name}: {text}"
        first = VERBS[name].help.strip().splitlines()[0]
        assert first[0].isupper() and first.endswith((".", "?")), name


def test_verbs_that_take_images_take_every_way_to_read_them() -> None:
    wanted = {f"--{name.replace('_', '-')}" for name in READING} - {"--positive"}
    for name, own in PARAMETERS.items():
        if any(one.name in ("images", "sources") for one in own):
            assert wanted <= set(OPTIONS[name]), name


def test_verbs_that_take_a_model_take_a_run() -> None:
    for name, own in PARAMETERS.items():
        if any(one.name == "model" for one in own) and name not in WITHOUT_JSON:
            assert {"--arm", "--seed", "--fold"} <= set(OPTIONS[name]), name


def test_an_option_is_called_as_in_python() -> None:
    """--split-fold is split_fold; the names that are words of Python, or lists, differ."""
    differs = {"--set": "set_", "--class": "classes", "--json": "as_json", "--from": "source", "--all": "all_keys",
               "--code": "codes"}  # fmt: skip
    for name, own in OPTIONS.items():
        for option, parameter in own.items():
            assert differs.get(option, option.strip("-").replace("-", "_")) == parameter.name, f"{name} {option}"


@pytest.mark.parametrize("ours", MEANINGS)
def test_a_meaning_is_of_an_option_that_is_there(ours: str) -> None:
    takers = [name for name, own in OPTIONS.items() if ours in own]
    assert takers
    for theirs in MEANINGS[ours]:
        assert any(theirs not in OPTIONS[name] for name in takers), f"{theirs} is an option of its own"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("split x --output y", "--out"),
        ("train a b --lr 3", "--learning-rate"),
        ("slides run m s --gz", "--compress"),
        ("export m --to x", "--out"),
        ("explain m i --model-seed 1", "--seed"),
        ("robustness m i --images 3", "--sample"),
        ("predict --model m x", "MODEL is an argument"),
        ("predict m x --devcie cpu", "--device"),
    ],
)
def test_an_unknown_option_is_answered_by_its_meaning(line: str, words: str) -> None:
    done = RUNNER.invoke(app, line.split())
    assert done.exit_code == 2
    assert words in done.stderr.replace("│\n│ ", "")


def test_completion_can_be_installed() -> None:
    assert "--install-completion" in RUNNER.invoke(app, ["--help"]).stdout


def test_every_verb_is_a_function_with_keywords() -> None:
    """Typer calls by keyword; a verb that packs its options keeps every one of them in its signature."""
    for name, command in VERBS.items():
        known = {one.name for one in PARAMETERS[name]}
        assert known == set(inspect.signature(command.callback).parameters), name
