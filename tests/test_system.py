"""Cores are those that the process is bound to, where the system tells."""

import os

import pytest

from counterstain.system import default_threads, usable_cores, wait_shortly


def test_bound_cores_count_and_elsewhere_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores() == 7


@pytest.mark.parametrize(
    ("given", "stands"),
    [({}, "50000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, None)],
)
def test_threads_spin_shortly_unless_the_user_says_how(
    given: dict[str, str], stands: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that what is set below is taken back
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    wait_shortly()
    assert os.environ.get("GOMP_SPINCOUNT") == stands


@pytest.mark.parametrize(("given", "threads"), [("3", 3), ("2,4", 2), ("", 5), ("0", 5), ("-1", 5), ("many", 5)])
def test_openmps_own_number_of_threads_is_honoured(given: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("counterstain.system.usable_cores", lambda: 5)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert default_threads() == threads
