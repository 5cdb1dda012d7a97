"""The maker of slides, make_slides.py, as a fixture."""

from types import ModuleType

import make_slides
import pytest


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """The functions of make_slides.py."""
    return make_slides
