"""What the tests of reporting share: believable run folders."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def runs() -> Any:
    """The maker of run folders (make_run.py): make_run(folder, …), KINDS, HOSTILE."""
    path = Path(__file__).with_name("make_run.py")
    spec = importlib.util.spec_from_file_location("make_run", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
