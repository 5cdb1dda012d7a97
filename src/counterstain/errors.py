"""The errors that a user can mend, and how they are worded: what was found, what was needed, what to do."""

import difflib
from collections.abc import Iterable

__all__ = ["GateError", "InputError", "suggest"]


class InputError(ValueError):
    """The user's to mend: the command line prints its one line and exits with 2; anything else is our bug."""


class GateError(Exception):
    """A gate that said no, with what it found: the command line prints its one line and exits with 3."""


def suggest(name: str, known: Iterable[str]) -> str:
    """The nearest known name as "; did you mean 'epochs'?", or the list of known names where none is near."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
