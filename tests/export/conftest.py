"""An exported model with every graph, and a small one to damage."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from make_export import CALIBRATION, copy, handover, make_bundle

from counterstain.export import parity
from counterstain.export.exported_model import export_model
from counterstain.files import write_json
from counterstain.learning.bundle import seal


@pytest.fixture(scope="module", autouse=True)
def _unclocked() -> Iterator[None]:
    """Each runtime is timed once, and not for half a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "CLOCKED_S", 0.0)
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The given network in every format, with a calibration."""
    home = tmp_path_factory.mktemp("export")
    source = make_bundle(home / "source")
    write_json(source / "calibration.json", CALIBRATION)
    seal(source)
    export_model(source, home / "out", handover(calibration=CALIBRATION, hashes={"split": "5" * 64}))
    return home / "out"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("plain")
    source = make_bundle(home / "source")
    write_json(source / "calibration.json", CALIBRATION)
    seal(source)
    export_model(source, home / "out", handover(formats=(), calibration=CALIBRATION))
    return home / "out"


@pytest.fixture
def plain(made: Path, tmp_path: Path) -> Path:
    """A small folder to damage: every kind of file but the graphs."""
    return copy(made, tmp_path / "plain")
