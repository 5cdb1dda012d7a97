"""What several verbs make of their arguments: one source or many, texts, and options that do not apply."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from counterstain.errors import InputError
from counterstain.evaluation.from_arrays import Names, Source, Sources

__all__ = ["Arrays", "Sources", "listed_sources", "order_texts", "refuse_options", "shown_names"]


class Arrays(TypedDict):
    """What is known of the images beside their classes; see `evaluate`."""

    groups: Names | None
    slide: Names | None
    site: Names | None
    image: Names | None
    classes: Sequence[str] | None


def refuse_options(why: str, **options: object) -> None:
    """Refuse each option that was given; `why` says what it is for."""
    for name, value in options.items():
        if value is not None and not (isinstance(value, Mapping) and not value):
            raise InputError(f"{name} is {why}; leave it out")


def shown_names(sources: Sequence[Source], name: str) -> list[str]:
    """What messages call each source."""
    return [
        str(source) if isinstance(source, (str, Path)) else f"table {k} of {name}"
        for k, source in enumerate(sources, 1)
    ]


def listed_sources(sources: Sources) -> list[Source]:
    """One source or several as a list; what a verb wrote by its path."""
    several = list(sources) if isinstance(sources, Sequence) and not isinstance(sources, str) else [sources]
    listed = [Path(source) if isinstance(source, os.PathLike) else source for source in several]
    if not listed:
        raise InputError("no predictions were given; name at least one table")
    return listed


def order_texts(order: Sequence[str] | None) -> tuple[str, ...] | None:
    """The grades as the tables name them: 3 is the class '3'."""
    return None if order is None else tuple(map(str, order))
