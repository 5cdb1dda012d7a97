"""A build of the tile store that was stopped or killed is resumed, as far as what it left is sound."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored import flip_byte

from counterstain.cohort.cohort import Cohort
from counterstain.images.store import build_store

Make = Callable[[int], Any]

KILLED = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
import pandas as pd
from counterstain.images.store import build_store
root = Path(sys.argv[1])
names = sorted(path.name for path in root.iterdir())
def stop(done, total):
    if done >= int(sys.argv[3]):
        os.kill(os.getpid(), 9)
cohort = SimpleNamespace(table=pd.DataFrame({"image_path": names}), root=root)
build_store(cohort, Path(sys.argv[2]), tile_px=32, progress=stop)
"""


def kill_a_build(cohort: Cohort, folder: Path, after: int) -> Path:
    """Kill a build once so many images are done; the folder that it leaves."""
    command = [sys.executable, "-c", KILLED, str(cohort.root), str(folder), str(after)]
    assert subprocess.run(command, check=False).returncode == -9
    assert not list(folder.glob("*/store.json"))
    (left,) = folder.glob(".building-*")
    return left


def stop_a_build(cohort: Cohort, folder: Path, after: int) -> None:
    def stop(done: int, total: int) -> None:
        if done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_store(cohort, folder, tile_px=32, progress=stop)


@pytest.mark.parametrize("stopped", [kill_a_build, stop_a_build])
def test_a_stopped_build_is_gone_on_with(
    images: Make, tmp_path: Path, built: list[int], stopped: Callable[[Cohort, Path, int], object]
) -> None:
    """40 images are two pieces: the first is done, the second is decoded, and the bytes are those of one go."""
    cohort = images(40)
    stopped(cohort, tmp_path / "store", 32)
    built.clear()
    store = build_store(cohort, tmp_path / "store", tile_px=32)
    assert len(built) == 8
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == sorted([".lock", store.key])
    whole = build_store(cohort, tmp_path / "other", tile_px=32)
    for file in ("tiles.npy", "store.json", "set_aside.csv"):
        assert (store.folder / file).read_bytes() == (whole.folder / file).read_bytes()
    assert sorted(path.name for path in store.folder.iterdir()) == sorted(path.name for path in whole.folder.iterdir())


UNSOUND: dict[str, Callable[[Path, Path], object]] = {
    "another image": lambda left, root: (root / "000.png").write_bytes((root / "001.png").read_bytes()),
    "a damaged tile": lambda left, root: flip_byte(left / "tiles.part", 500),
    "tiles cut off": lambda left, root: (left / "tiles.part").write_bytes((left / "tiles.part").read_bytes()[:5000]),
    "half a line": lambda left, root: (left / "done.jsonl").write_bytes((left / "done.jsonl").read_bytes()[:300]),
    "no JSON": lambda left, root: (left / "done.jsonl").write_text("{\n"),
    "another record": lambda left, root: (left / "done.jsonl").write_text('{"rows": [[1]], "tiles": 1, "crc": 0}\n'),
    "no tiles": lambda left, root: (left / "tiles.part").unlink(),
    "no journal": lambda left, root: (left / "done.jsonl").unlink(),
}


@pytest.mark.parametrize("harm", UNSOUND.values(), ids=UNSOUND)
def test_what_is_unsound_of_a_killed_build_is_done_again(
    images: Make, tmp_path: Path, built: list[int], harm: Callable[[Path, Path], object]
) -> None:
    cohort = images(40)
    left = kill_a_build(cohort, tmp_path / "store", 32)
    harm(left, cohort.root)
    built.clear()
    store = build_store(cohort, tmp_path / "store", tile_px=32)
    assert len(built) == 40
    whole = build_store(cohort, tmp_path / "other", tile_px=32)
    np.testing.assert_array_equal(store.tiles, whole.tiles)
    assert store.key == whole.key


def test_what_a_killed_build_of_another_store_left_is_swept(images: Make, tmp_path: Path) -> None:
    cohort = images(40)
    folder = tmp_path / "store"
    kill_a_build(cohort, folder, 32)
    store = build_store(cohort, folder, tile_px=48)
    assert sorted(path.name for path in folder.iterdir()) == sorted([".lock", store.key])
