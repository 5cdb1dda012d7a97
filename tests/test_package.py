"""What `import counterstain` offers, and that importing changes nothing."""

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import counterstain

FACE = Path(counterstain.__file__)


def test_every_name_is_there() -> None:
    for name in counterstain.__all__:
        assert getattr(counterstain, name) is not None
    assert "evaluate" in dir(counterstain)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'run_studies'"):
        counterstain.run_studies  # noqa: B018


def test_type_checkers_see_the_same_names_from_the_same_places() -> None:
    """The stub imports each name under its own name from the module where __init__.py finds it."""
    stub = {}
    for node in ast.parse(FACE.with_suffix(".pyi").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                assert alias.name == alias.asname
                stub[alias.name] = node.module
    assert set(stub) == set(counterstain.__all__)
    assert stub.pop("__version__") == "counterstain.version"
    for name, module in stub.items():
        assert getattr(importlib.import_module(module), name) is counterstain._load(name)


def test_every_public_function_and_class_has_a_docstring() -> None:
    for name in set(counterstain.__all__) - {"__version__"}:
        assert (getattr(counterstain, name).__doc__ or "").strip(), name


ROOMS = sorted(set(counterstain._VERBS) & {module.name for module in pkgutil.iter_modules(counterstain.__path__)})


def test_rooms_that_have_the_name_of_a_verb_are_known() -> None:
    assert {"audit", "cohort", "robustness"} <= set(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_a_verb_stays_callable_when_the_room_of_its_name_is_imported(name: str) -> None:
    room = importlib.import_module(f"counterstain.{name}")
    assert getattr(counterstain, name) is room and callable(room)
    assert inspect.signature(room) == inspect.signature(counterstain._load(name))
    assert room.__doc__ == counterstain._load(name).__doc__
    with pytest.raises(TypeError, match=rf"{name}\(\) got an unexpected keyword"):
        getattr(counterstain, name)(no_such_option=1)


def test_a_room_calls_its_verb(tmp_path: Path) -> None:
    from counterstain.errors import InputError

    importlib.import_module("counterstain.cohort")
    with pytest.raises(InputError, match="does not exist"):
        counterstain.cohort(tmp_path / "absent")


EVERYTHING = """
import importlib, json, logging, os, pkgutil, sys
before = dict(os.environ)
import cv2, numba, torch
def state():
    return {"torch": torch.get_num_threads(), "cv2": cv2.getNumThreads(), "layer": numba.config.THREADING_LAYER,
            "handlers": len(logging.getLogger().handlers), "path": list(sys.path)}
first = state()
import ctypes
class Watched(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "mallopt":
            print("mallopt was asked for")
        return super().__getattr__(name)
ctypes.CDLL = Watched
env = dict(os.environ)
import counterstain
for module in pkgutil.walk_packages(counterstain.__path__, "counterstain."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in counterstain.__all__:
    getattr(counterstain, name)
changed = {key for key in {*env, *os.environ} if env.get(key) != os.environ.get(key)}
last = {key: [first[key], value] for key, value in state().items() if value != first[key]}
print(json.dumps([sorted(changed), last]))
"""


def test_importing_every_module_changes_nothing_of_the_process() -> None:
    found = subprocess.run([sys.executable, "-c", EVERYTHING], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[[], {}]"


def test_the_command_line_sets_what_it_needs_itself() -> None:
    code = "import os, counterstain.cli as cli; cli.app = lambda: print(os.environ.get('GOMP_SPINCOUNT')); cli.main()"
    free = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=free)
    assert found.stdout.strip() == "50000"


def test_every_public_function_takes_a_path_as_text_too() -> None:
    for name in set(counterstain.__all__) - {"__version__"}:
        function = counterstain._load(name)
        if inspect.isfunction(function):
            for parameter in inspect.signature(function).parameters.values():
                kind = str(parameter.annotation)
                assert "Path" not in kind or "str" in kind, f"{name}({parameter})"
