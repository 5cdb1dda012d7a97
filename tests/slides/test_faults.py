"""A tenth of benchmarks/faults_slides.py: damaged files end in their own line, never in a traceback."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from counterstain.slides.annotations import load_annotations


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "faults_slides.py"
    spec = importlib.util.spec_from_file_location("faults_slides", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # shapely on infinite corners, which are then refused
def test_damaged_slides(faults: ModuleType, tmp_path: Path) -> None:
    found = faults.try_slides(40, tmp_path, seed=1)
    assert found["tracebacks"] == 0, found["first_tracebacks"]
    assert sum(found["ended"].values()) == 40 and found["ended"]["refused"] > 5 and found["ended"]["read"] > 5


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damaged_annotations(faults: ModuleType, tmp_path: Path) -> None:
    for name, content in faults.ANNOTATIONS.items():
        (tmp_path / name).write_bytes(content)
        assert load_annotations(tmp_path / name).regions
    found = faults.try_annotations(100, tmp_path, seed=1)
    assert found["tracebacks"] == 0, found["first_tracebacks"]
    assert sum(found["ended"].values()) == 100
