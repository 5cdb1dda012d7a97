"""Image, Apptainer definition, conda recipe and workflow say what pyproject.toml says; none is built here.

`packaging/build_image` builds the image, where buildah and a base are found.
"""

import importlib.util
import re
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
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
        extras = re.findall(r"(?i)extras=([\w,]+)", text)
        assert set(extras) == {"slides,runtimes,data,web", "report"}  # by default, and without PyTorch
        assert {name for names in extras for name in names.split(",")} <= set(PROJECT["optional-dependencies"])
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


def test_health_is_what_serve_answers_and_nothing_else() -> None:
    """It has no token: refused is alive, broken and absent are not. Other verbs have no port to ask."""
    spec = importlib.util.spec_from_file_location("healthcheck", ROOT / "packaging" / "healthcheck.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    status = 401

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    serve = ["python3", "counterstain", "serve", "runs"]
    server = HTTPServer(("127.0.0.1", 0), Answer)
    port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert module.healthy(serve, port)
        status = 200
        assert module.healthy(serve, port)
        status = 503
        assert not module.healthy(serve, port)
        assert module.healthy(["counterstain", "run", "study.yaml"], port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert not module.healthy(serve, port)


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
