"""A task ends with a result, with a refusal, or, past its time limit, with that as its refusal."""

import threading

import pytest

from counterstain.engine import Engine, Task, attempt
from counterstain.errors import InputError


@pytest.mark.parametrize("limit", [None, 30.0])
def test_a_task_has_its_result_and_its_time(limit: float | None) -> None:
    outcome = attempt(Task("one", lambda order: order + 1, 1, limit))
    assert (outcome.name, outcome.result, outcome.refusal) == ("one", 2, "")
    assert outcome.seconds >= 0


@pytest.mark.parametrize("limit", [None, 30.0])
def test_an_input_error_is_a_refusal(limit: float | None) -> None:
    def refuse(order: object) -> None:
        raise InputError("no such slide")

    outcome = attempt(Task("one", refuse, None, limit))
    assert (outcome.result, outcome.refusal) == (None, "no such slide")


def test_a_task_that_hangs_is_set_aside_after_its_time() -> None:
    never = threading.Event()
    outcome = attempt(Task("stuck", never.wait, 60.0, 0.05))
    never.set()
    assert outcome.result is None
    assert outcome.refusal.startswith("it took longer than its time limit of 0.05 s")


@pytest.mark.parametrize("error", [AssertionError("a fault in the program"), TimeoutError("of its own")])
@pytest.mark.parametrize("limit", [None, 30.0])
def test_a_fault_of_the_program_is_raised(error: Exception, limit: float | None) -> None:
    def broken(order: object) -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        attempt(Task("any", broken, None, limit))


@pytest.mark.parametrize(
    ("engine", "elsewhere"),
    [(Engine(), False), (Engine(jobs=2), True), (Engine(scheduler="tcp://h:1"), True), (Engine(time_limit_s=1), False)],
)
def test_who_works(engine: Engine, elsewhere: bool) -> None:
    assert engine.elsewhere is elsewhere
