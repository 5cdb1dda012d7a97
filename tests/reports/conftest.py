"""What the tests of reporting share: believable run folders."""

from typing import Any

import make_run
import pytest


@pytest.fixture(scope="session")
def runs() -> Any:
    """The maker of run folders (make_run.py): make_run(folder, …), KINDS, HOSTILE."""
    return make_run
