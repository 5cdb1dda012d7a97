"""What must be the same on every machine of a run."""

from counterstain.learning.machine import prepare_machine
from counterstain.learning.settings import Training
from counterstain.study.environment import environment, settled


def test_what_auto_means_is_settled_on_each_machine() -> None:
    found = settled({"a": Training(precision="fp32", device="cpu"), "b": Training(precision="bf16", device="cpu")})
    assert (found["arm a"], found["arm b"]) == ("cpu fp32", "cpu bf16")
    assert (
        found["pooling of arm a"] == found["pooling of arm b"] == prepare_machine(device="cpu", network="given").pooling
    )
    assert {"counterstain", "torch", "numpy"} <= set(found)


def test_versions_are_those_of_the_installed_libraries() -> None:
    import numpy
    import torch

    libraries = environment()["libraries"]
    assert (libraries["numpy"], libraries["torch"]) == (numpy.__version__, str(torch.__version__).partition("+")[0])
