"""The errors that a user can mend, and how they are worded: what was found, what was needed, what to do."""

import difflib
from collections.abc import Iterable

__all__ = ["GateError", "InputError", "suggest"]


MOST = 25  # names in a message: timm alone knows 1,300 models


class InputError(ValueError):
    """The user's to mend: the command line prints its one line and exits with 2; anything else is our bug."""


class GateError(Exception):
    """A gate that said no, with what it found: the command line prints its one line and exits with 3."""


def suggest(name: str, known: Iterable[str]) -> str:
    """The nearest known name as "; did you mean 'epochs'?", or the list of known names where none is near.

    >>> suggest("epoch", ["epochs", "batch"]), suggest("", map(str, range(1000)))[-24:]
    ("; did you mean 'epochs'?", '23, 24, … and 975 others')
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    more = f", … and {len(known) - MOST} others" if len(known) > MOST else ""
    return f"; known: {', '.join(known[:MOST])}{more}"
