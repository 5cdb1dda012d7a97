"""What a long piece of work has found so far, kept beside its result: killed at any moment, it resumes from there."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.files import plain_values, read_json, write_json, write_with

__all__ = ["Unfinished", "open_unfinished"]

T = TypeVar("T")
Number = TypeVar("Number", bound=np.generic)

FOLDER = ".unfinished"


@dataclass(frozen=True)
class Unfinished:
    """Steps of one piece of work that are done; each is a file that is whole or not there.

    folder: of this work's steps alone; see open_unfinished.
    """

    folder: Path

    def array(self, name: str, make: Callable[[], NDArray[Number]]) -> NDArray[Number]:
        """The array of a step: read where the step was done before, else made and kept."""
        path = self.folder / f"{name}.npy"
        try:
            return np.asarray(np.load(path, allow_pickle=False))
        except (OSError, ValueError, EOFError):  # not there, or of a disk that failed: it is made again
            values = make()
        write_with(path, lambda temporary: _save(temporary, values))
        return values

    def record(self, name: str, make: Callable[[], T]) -> T:
        """What a step found, as JSON has it, so that it is the same whether it was read or made."""
        path = self.folder / f"{name}.json"
        try:
            value: T = read_json(path)["found"]
        except (InputError, KeyError):
            value = plain_values(make())
            write_json(path, {"found": value})
        return value

    def forget(self) -> None:
        """Remove what was kept, once the result itself is whole."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)


def _save(path: Path, array: NDArray[np.generic]) -> None:
    with path.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


def open_unfinished(out: Path, key: str) -> Unfinished:
    """The steps that an earlier attempt at the same work has done; those of any other work are removed.

    Args:
        out: folder of the result.
        key: hash of all that the steps depend on.
    """
    home = out / FOLDER
    for folder in home.iterdir() if home.is_dir() else ():
        if folder.name != key[:32]:
            shutil.rmtree(folder, ignore_errors=True)
    return Unfinished(home / key[:32])
