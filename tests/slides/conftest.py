"""The maker of slides, make_slides.py, as a fixture."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """The functions of make_slides.py."""
    spec = importlib.util.spec_from_file_location("make_slides", Path(__file__).with_name("make_slides.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_slides"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module
