"""What must be the same on every machine of a run."""

from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import prepare_device
from counterstain.study.environment import environment, settled


def test_what_auto_means_is_settled_on_each_machine() -> None:
    found = settled(
        {"a": TrainingConfig(precision="fp32", device="cpu"), "b": TrainingConfig(precision="bf16", device="cpu")}
    )
    assert (found["arm a"], found["arm b"]) == ("cpu fp32", "cpu bf16")
    assert (
        found["pooling of arm a"] == found["pooling of arm b"] == prepare_device(device="cpu", network="given").pooling
    )
    assert {"counterstain", "torch", "numpy"} <= set(found)


def test_versions_are_those_of_the_installed_libraries() -> None:
    import numpy
    import torch

    libraries = environment()["libraries"]
    assert (libraries["numpy"], libraries["torch"]) == (numpy.__version__, str(torch.__version__).partition("+")[0])
