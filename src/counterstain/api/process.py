"""What a verb sets for the whole process while it works, and puts back when it has ended."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from counterstain.extras import missing_package
from counterstain.files import StrPath
from counterstain.system import wait_shortly

if TYPE_CHECKING:
    from counterstain.progress import Progress

__all__ = ["Paths", "kept_settings", "paths_of", "working", "yaml_texts"]

Paths = StrPath | Sequence[StrPath]

VARIABLES = ("GOMP_SPINCOUNT", "THP_MEM_ALLOC_ENABLE", "MASTER_ADDR", "MASTER_PORT", "TORCHINDUCTOR_CACHE_DIR")


@contextmanager
def kept_settings() -> Iterator[None]:
    """Threads of PyTorch and OpenCV, and environment variables, are afterwards what they were before.

    What cannot be put back is said in docs/python.md: `train` and `run` tell glibc to keep freed memory, and PyTorch
    reads how long its threads spin when it is first imported.
    """
    before = {name: os.environ.get(name) for name in VARIABLES}
    wait_shortly()
    try:
        import cv2
        import torch
    except ModuleNotFoundError as error:
        raise missing_package(error, "this verb") from None

    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv2_threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def working(*, verbose: bool, rehash: Path | None = None) -> Iterator["Progress"]:
    """`kept_settings` around a verb, and where it tells what it does: on stderr as on the command line, or nowhere.

    Args:
        verbose: tell it on stderr.
        rehash: folder of stores whose images are all hashed again.
    """
    with ExitStack() as stack:
        stack.enter_context(kept_settings())
        if rehash is not None:
            from counterstain.images.store_files import forget_times

            forget_times(rehash)
        if verbose:
            from counterstain.terminal_progress import talking

            yield stack.enter_context(talking())
            return
        from counterstain.progress import Progress

        yield Progress()


def yaml_texts(settings: Mapping[str, object] | None) -> dict[str, str]:
    """Settings as the command line's --set gives them: each value as YAML text; text stays as it is.

    >>> yaml_texts({"training.epochs": 5, "training.learning_rate": 1e-5, "seeds": [0, 1], "tune": "frozen"})
    {'training.epochs': '5', 'training.learning_rate': '1.0e-05', 'seeds': '[0, 1]', 'tune': 'frozen'}
    """
    import yaml

    def text(value: object) -> str:
        if isinstance(value, (str, os.PathLike)):
            return value if isinstance(value, str) else str(Path(value))
        if hasattr(value, "tolist"):  # a number or an array of NumPy
            value = value.tolist()
        return str(yaml.safe_dump(value, default_flow_style=True, width=10_000)).removesuffix("...\n").strip()

    return {name: text(value) for name, value in (settings or {}).items()}


def paths_of(places: Paths) -> list[Path]:
    """One path or several as a list.

    >>> [path.name for path in paths_of("a.svs")], [path.name for path in paths_of(["a.svs", "b.svs"])]
    (['a.svs'], ['a.svs', 'b.svs'])
    """
    return [Path(places)] if isinstance(places, (str, os.PathLike)) else [Path(place) for place in places]
