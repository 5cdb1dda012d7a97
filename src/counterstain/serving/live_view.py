"""What the page of training draws: the curves of every training as far as they have come, time left, and the log."""

import os
import time
from pathlib import Path
from typing import Any

from counterstain.errors import InputError
from counterstain.files import read_json
from counterstain.run_folder import LOG, as_written, record_path
from counterstain.study.run_list import state_of
from counterstain.study.training_curves import read_history

__all__ = ["live_data"]

LOG_BYTES = 20_000


def live_data(run: Path) -> dict[str, object]:
    """A run as its files are now; nothing is remembered, so a server that starts again resumes from them.

    Returns:
        state; log: its last lines; trainings: name, curves (column -> one number per epoch), epochs asked for, whether
        it is done, and seconds left by the pace of its epochs (None where that is not known).
    """
    epochs = _epochs_asked(run)
    histories = sorted((run / "arms").glob("*/seed-*/fold-*/history.csv"))
    trainings = [_training(run, path, epochs) for path in histories if not path.is_symlink()]
    return {"state": state_of(run), "log": _tail(run / LOG), "trainings": trainings, "now": time.time()}


def _epochs_asked(run: Path) -> dict[str, int]:
    try:
        arms = read_json(as_written(record_path(run, "resolved.json"))).get("arms") or {}
    except InputError:
        return {}
    return {name: int(settings.get("epochs") or 0) for name, settings in arms.items() if isinstance(settings, dict)}


def _training(run: Path, path: Path, epochs_asked: dict[str, int]) -> dict[str, Any]:
    arm, seed, fold = path.parent.relative_to(run / "arms").parts
    curves = read_history(path)
    done = (path.parent / "training.json").is_file()
    epochs, most = len(curves["loss"]), epochs_asked.get(arm, 0)
    seconds_left = None
    if not done and epochs and most > epochs:
        started = min(file.stat().st_mtime for file in path.parent.iterdir())
        born = _born(path.parent, started)
        pace = (path.stat().st_mtime - born) / epochs
        seconds_left = pace * (most - epochs) if pace > 0 else None
    return {"name": f"{arm}, {seed.replace('-', ' ')}, {fold.replace('-', ' ', 1)}", "curves": curves, "epochs": most,
            "done": done, "seconds_left": seconds_left}  # fmt: skip


def _born(folder: Path, default: float) -> float:
    """When a folder was made, where the system tells it."""
    return float(getattr(folder.stat(), "st_birthtime", default))


def _tail(path: Path) -> list[str]:
    """The last lines of the log."""
    if not path.is_file() or path.is_symlink():
        return []
    with path.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - LOG_BYTES))
        return stream.read().decode("utf-8", "replace").splitlines()[-200:]
