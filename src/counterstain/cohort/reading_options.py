"""How images are read: the options that every verb of images shares, as types, and functions that take them."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ParamSpec, TypedDict, TypeVar, get_args

__all__ = ["DEFAULTS", "ImageOptions", "NamingOptions", "ReadingOptions", "takes_reading"]

P = ParamSpec("P")
R = TypeVar("R")


class NamingOptions(TypedDict, total=False):
    """How a folder's names are read; see layouts.read_folder."""

    layout: str
    pattern: str | None
    task: str | None
    magnification: str | None
    follow_links: bool


class ImageOptions(NamingOptions, total=False):
    """How images are read; columns and root are of a manifest, see cohort.read_manifest."""

    columns: Mapping[str, str] | None
    root: Path | str | None


class ReadingOptions(ImageOptions, total=False):
    """How a cohort is read: images, and which of two classes is the positive one."""

    positive: str | None


DEFAULTS: ReadingOptions = {
    "positive": None,
    "layout": "auto",
    "pattern": None,
    "task": None,
    "magnification": None,
    "columns": None,
    "root": None,
    "follow_links": False,
}


def takes_reading(function: Callable[P, R]) -> Callable[P, R]:
    """A function of `**reading: Unpack[ReadingOptions]` (or ImageOptions) whose signature names every option.

    So help() and completion show them, and an unknown one is refused as Python refuses it, before any work.

    Example:
        >>> from typing import Unpack
        >>> @takes_reading
        ... def count(folder: str, **reading: Unpack[ImageOptions]) -> None: ...
        >>> list(inspect.signature(count).parameters)
        ['folder', 'layout', 'pattern', 'task', 'magnification', 'columns', 'root', 'follow_links']
        >>> count("images", patern="x")
        Traceback (most recent call last):
            ...
        TypeError: count() got an unexpected keyword argument 'patern'
    """
    signature = inspect.signature(function)
    *ordinary, packed = signature.parameters.values()
    (options,) = get_args(packed.annotation)
    kinds = options.__annotations__
    named = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kinds[name])
        for name, default in DEFAULTS.items()
        if name in kinds
    ]
    full = signature.replace(parameters=[*ordinary, *named])

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if unknown := next((name for name in kwargs if name not in full.parameters), ""):
            raise TypeError(f"{function.__name__}() got an unexpected keyword argument '{unknown}'")
        return function(*args, **kwargs)

    checked.__signature__ = full  # type: ignore[attr-defined]
    return checked
