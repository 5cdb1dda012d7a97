"""Image, Apptainer definition, conda recipe and workflow say what pyproject.toml says. None is built here."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from counterstain.version import __version__

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def plain(requirement: str) -> str:
    return requirement.replace(" ", "")


def test_the_recipe_needs_what_the_core_needs() -> None:
    recipe = load("packaging/recipe.yaml")
    assert recipe["context"]["version"] == PROJECT["version"] == __version__
    run = {plain(one) for one in recipe["requirements"]["run"]}
    assert run == {plain(one) for one in PROJECT["dependencies"]} | {f"python{PROJECT['requires-python']}"}
    (entry,) = recipe["build"]["python"]["entry_points"]
    assert entry == f"counterstain = {PROJECT['scripts']['counterstain']}"


def test_the_images_take_extras_that_exist_and_files_that_are_there() -> None:
    for path in ("Dockerfile", "packaging/counterstain.def"):
        text = (ROOT / path).read_text(encoding="utf-8")
        extras = re.search(r"(?i)extras=([\w,]+)", text)
        assert extras is not None and set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
        assert all((ROOT / name).exists() for name in ("pyproject.toml", "README.md", "LICENSE", "src"))
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {f"!{name}" for names in copied for name in names.split()} <= set(ignored)


def test_the_image_runs_without_root_and_writes_to_tmp_alone() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER user$", last, re.MULTILINE) and "HEALTHCHECK" in last
    environment = re.search(r"ENV (.*?)\nUSER", last, re.DOTALL)
    assert environment is not None
    for name in ("HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "HF_HOME"):
        assert re.search(rf"{name}=/tmp", environment[1])


def test_the_workflow_calls_what_is_there() -> None:
    jobs = load(".github/workflows/test.yml")["jobs"]
    assert set(jobs["test"]["strategy"]["matrix"]["os"]) == {"ubuntu-latest", "macos-latest", "windows-latest"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for job in jobs.values():
        for step in job["steps"]:
            for target in re.findall(r"^make (\w+)", step.get("run", ""), re.MULTILINE):
                assert re.search(rf"^{target}:", makefile, re.MULTILINE)
            for script in re.findall(r"\.ci/\w+", step.get("run", "")):
                assert (ROOT / script).stat().st_mode & 0o100
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
