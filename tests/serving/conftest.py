"""What the tests of the server share."""

import pytest

pytest.importorskip("fastapi", reason="pip install 'counterstain[web]'")

from small_server import access, client, runs  # noqa: F401
