"""The import rule: the list is the architecture."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "counterstain"

# Each room may import itself and the rooms named here; nothing else of the package.
GROUND = {
    "columns",
    "engine",
    "errors",
    "extras",
    "files",
    "yaml_files",
    "id_cells",
    "own_tables",
    "progress",
    "records",
    "run_folder",
    "signatures",
    "system",
    "table_columns",
    "tables",
    "unfinished",
    "version",
}
SHOWN = GROUND | {"cohort", "images", "learning", "evaluation"}
BELOW = SHOWN | {"audit", "explanation", "export", "phantom", "reports", "robustness", "slides", "study"}
MAY_IMPORT = {
    "errors": set(),
    "engine": {"errors"},
    "extras": {"errors"},
    "files": {"errors"},
    "yaml_files": {"errors", "files"},
    "columns": {"errors"},
    "id_cells": {"errors"},
    "tables": {"errors", "files", "run_folder"} | {"table_columns"},
    "own_tables": {"errors", "files", "run_folder"},
    "system": set(),
    "progress": set(),
    "records": {"errors", "files"},
    "run_folder": {"errors", "files"},
    "signatures": {"errors", "files"},
    "table_columns": {"errors"},
    "version": set(),
    "unfinished": {"errors", "files"},
    "serving": BELOW,
    "text_table": set(),
    "terminal_progress": GROUND | {"text_table"},
    "api": BELOW | {"serving", "terminal", "terminal_progress"},
    "cohort": GROUND,
    "evaluation": GROUND,
    "images": GROUND | {"cohort"},
    "phantom": GROUND | {"cohort"},
    "audit": GROUND | {"cohort", "images", "evaluation"},
    "learning": GROUND | {"cohort", "images", "evaluation"},
    "reports": GROUND | {"evaluation"},
    "slides": SHOWN,
    "export": SHOWN | {"slides", "audit"},
    "robustness": SHOWN | {"reports"} | {"audit"},
    "explanation": SHOWN | {"reports"} | {"audit"},
    "study": BELOW - {"study"},
    "terminal": GROUND | {"cohort", "evaluation", "study", "learning"} | {"text_table"},
    "__main__": GROUND | {"cli"},
}
MAY_IMPORT["datasets"] = MAY_IMPORT["bill_of_materials"] = GROUND
MAY_IMPORT["api"] |= {"bill_of_materials", "datasets"}
MAY_IMPORT["cli"] = set(MAY_IMPORT)

WITHOUT_TORCH = {"cohort", "evaluation", "audit", "phantom", "reports", "text_table", *GROUND}


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")


def imported(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file it does so."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module == "counterstain":
                names |= {f"counterstain.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    own = room(path)
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("counterstain.")}
    assert ours <= MAY_IMPORT[own] | {own}, f"{own} may not import {sorted(ours - MAY_IMPORT[own] - {own})}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_evaluation_and_cohort_do_without_torch(path: Path) -> None:
    if room(path) in WITHOUT_TORCH:
        assert not {name.split(".")[0] for name in imported(path)} & {"torch", "torchvision"}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("counterstain", ("torch", "pandas", "numpy")),
        ("counterstain.cli", ("torch", "pandas", "numpy", "matplotlib", "pydantic")),
        ("counterstain.evaluation.predictions", ("torch", "pandas", "sklearn", "matplotlib")),
        ("counterstain.evaluation.comparison", ("torch", "pandas", "sklearn", "matplotlib")),
    ],
)
def test_start_up_is_light(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {absent} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_no_two_files_of_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path in modules():
        if path.name != "__main__.py":
            places.setdefault(path.name, []).append(path.relative_to(SOURCE).as_posix())
    assert not [where for where in places.values() if len(where) > 1]
