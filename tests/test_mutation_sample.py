"""The sample of mutants: its size, its shares, and that it is the same one again."""

from pathlib import Path
from types import ModuleType

import pytest
from scipy.stats import binomtest

COUNTS = {"a": 300, "b": 50, "c": 7, "d": 0}
FILES = {Path(f"{name}.py"): [f"{name}{k}" for k in range(count)] for name, count in COUNTS.items()}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import mutation_sample

    return mutation_sample


@pytest.mark.parametrize("count", [1, 60, 356, 357, 1000])
def test_every_file_gives_the_same_share(tool: ModuleType, count: int) -> None:
    drawn = tool.sample(FILES, count=count, seed=1)
    assert sum(map(len, drawn.values())) == min(count, 357)
    for path, names in drawn.items():
        assert set(names) <= set(FILES[path])
        assert len(set(names)) == len(names)
        assert abs(len(names) - min(count, 357) * len(FILES[path]) / 357) < 1


def test_a_seed_takes_the_same_mutants_whatever_other_files_hold(tool: ModuleType) -> None:
    first = tool.sample(FILES, count=100, seed=1)
    assert tool.sample({path: names[::-1] for path, names in FILES.items()}, count=100, seed=1) == first
    assert tool.sample(FILES, count=100, seed=2) != first
    more = tool.sample(FILES, count=200, seed=1)
    assert all(names == more[path][: len(names)] for path, names in first.items())


@pytest.mark.parametrize(("killed", "tried"), [(550, 600), (0, 9), (9, 9)])
def test_limits_are_wilsons(tool: ModuleType, killed: int, tried: int) -> None:
    found = binomtest(killed, tried).proportion_ci(method="wilson")
    assert tool.wilson(killed, tried) == pytest.approx((found.low, found.high), abs=1e-6)
