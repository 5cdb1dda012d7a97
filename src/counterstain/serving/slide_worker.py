"""The process that reads one slide for the queue: its order is a line on standard input, its news lines of JSON.

Standard input stays open while the server lives. Where that ends, in whatever way, this process ends too: the next
server's resumes from the last batch.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from counterstain.errors import InputError

if TYPE_CHECKING:
    from counterstain.progress import SlideProgress

__all__ = ["main", "read_slide_for"]

NICER = 10  # pages and predictions go before


def main() -> None:
    """Read the slide of the one order."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(NICER)
    try:
        _say({"map": read_slide_for(**order)})
    except InputError as error:
        _say({"failed": str(error)})


def read_slide_for(
    slide: str, others: list[tuple[str, str]], model: str, name: str, maps: str, mpp: float | None = None
) -> str:
    """Read a slide as `counterstain slides run` does, and return the name of the folder of its map.

    Args:
        slide: its file; others: files that were read before and the folders of their maps; the tables of a folder list
            all its slides.
        model: folder of a run, bundle or export; name: of the model, for people.
        maps: folder in which each model has one; another model of the same name, or another resolution, gets another.
        mpp: µm/px of the tiles; None is the model's own.

    Raises:
        InputError: If the model or the slide cannot be used.
    """
    from counterstain.files import hash_file
    from counterstain.learning.bundle import SUMS
    from counterstain.learning.model_choice import choose_model
    from counterstain.progress import SlidesProgress
    from counterstain.slides.infer_cohort import run_slides
    from counterstain.slides.infer_slide import InferenceOptions

    bundle = choose_model(Path(model)).folder
    folder = f"{name}-{hash_file(bundle / SUMS)[:8]}" + ("" if mpp is None else f"-{mpp:g}")

    def told(progress: "SlideProgress") -> None:
        _say({"done": progress.done, "tiles": progress.tiles})

    paths = [Path(slide), *(Path(path) for path, read in others if read == folder and Path(path).is_file())]
    options = InferenceOptions(mpp=mpp, runtime="auto", device="auto")
    result = run_slides(bundle, paths, Path(maps) / folder, options, talk=SlidesProgress(progress=told))
    reason = next((why for _, path, why in result.failures if path == slide), None)
    if reason is not None:
        raise InputError(reason)
    return folder


def _say(record: dict[str, object]) -> None:
    print(json.dumps(record), flush=True)


def _end_with_the_server() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
