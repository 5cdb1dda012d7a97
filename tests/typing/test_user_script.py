"""A user's script under `mypy --strict` against the package: no error, and no Any in what it gets."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NUMPYS_OWN = "tuple[Any, ...]"  # numpy's type of an array whose number of dimensions isn't part of its type


@pytest.mark.slow
def test_a_users_script_is_fully_typed(tmp_path: Path) -> None:
    script = HERE / "user_script.py"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"),
               "--cache-dir", str(tmp_path), str(script)]  # fmt: skip
    found = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"MYPYPATH": str(ROOT / "src")}
    )
    errors = [line for line in found.stdout.splitlines() if ": error:" in line]
    assert not errors and "Success" in found.stdout, found.stdout + found.stderr
    revealed = re.findall(r'(\d+): note: Revealed type is "(.*)"', found.stdout)
    asked = [number for number, line in enumerate(script.read_text().splitlines(), 1) if "reveal_type(" in line]
    assert [int(number) for number, _ in revealed] == asked
    untyped = [(number, kind) for number, kind in revealed if re.search(r"\bAny\b", kind.replace(NUMPYS_OWN, ""))]
    assert not untyped
    kinds = {kind.rpartition(".")[2] for _, kind in revealed}
    assert {"bool", "Scores", "Verdict", "RobustnessCard", "StudyRun"} <= kinds
