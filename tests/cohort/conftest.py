"""The maker of tiny data sets, tests/data/make.py, as a fixture."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """The functions of tests/data/make.py."""
    spec = importlib.util.spec_from_file_location("make_data", Path(__file__).parent.parent / "data" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
