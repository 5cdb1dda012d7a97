"""What a run was made with: versions, and what "auto" means on this machine."""

from collections.abc import Mapping
from importlib import metadata
from platform import python_version
from typing import TypedDict

from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import prepare_device
from counterstain.version import __version__

__all__ = ["Environment", "environment", "settled"]

LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "pandas", "pillow", "opencv-python-headless", "safetensors")


class Environment(TypedDict):
    """environment.json: versions, of libraries by name."""

    schema: str
    counterstain: str
    python: str
    libraries: dict[str, str]


def environment() -> Environment:
    """Versions of Python, of this package and of the libraries that results depend on."""
    return {
        "schema": "counterstain.environment/1",
        "counterstain": __version__,
        "python": python_version(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
    }


def settled(arms: Mapping[str, TrainingConfig]) -> dict[str, str]:
    """What must be the same wherever trainings of one study are done: versions, and what each arm is computed with.

    Raises:
        InputError: If an arm asks for a device that is not here.
    """
    versions = environment()
    record = {"counterstain": versions["counterstain"], **versions["libraries"]}
    for name, arm in arms.items():
        machine = prepare_device(device=arm.device, precision=arm.precision, threads=arm.threads, network=arm.network)
        record[f"arm {name}"] = f"{machine.device} {machine.precision}"
        record[f"pooling of arm {name}"] = machine.pooling
    return record
