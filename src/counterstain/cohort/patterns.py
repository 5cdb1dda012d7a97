"""Ids from file names by a regular expression, the user's own one within a time limit."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence

from counterstain.cohort.cohort_columns import COLUMNS
from counterstain.errors import InputError, first_names, suggest

__all__ = ["fill_by_pattern", "match_pattern"]

GROUPS = tuple(name for name in COLUMNS if name not in ("image_path", "split"))
MOST_CHARACTERS = 1000
_SECONDS = 0.8
_SECONDS_A_NAME = 50e-6  # thirty times what an ordinary pattern takes

# A pattern such as (a+)+$ can take longer than the universe on a short name, and Python's `re` cannot be stopped from
# within. So it runs in a process of its own, which a watchdog thread that needs no interpreter lock ends.
_CHILD = """
import faulthandler, json, os, re, sys
task = json.load(sys.stdin)
sys.stdout.write("ready\\n"); sys.stdout.flush()
faulthandler.dump_traceback_later(task["seconds"], exit=True, file=open(os.devnull, "w"))
find = re.compile(task["pattern"]).search
matches = [match and match.groupdict() for match in map(find, task["names"])]
faulthandler.cancel_dump_traceback_later()
json.dump(matches, sys.stdout)
"""


def match_pattern(pattern: str, names: Sequence[str]) -> dict[str, list[str]]:
    """What the pattern's named groups say of each name, as {cohort column: (N,) text}; "" where a group took no part.

    The pattern is searched for anywhere in a name (the path below the root, with "/").

    Raises:
        InputError: If it is no regular expression, has no or unknown groups, misses a name, or takes too long.
    """
    groups = _check_pattern(pattern)
    matches = _search(pattern, list(names))
    missed = [name for name, match in zip(names, matches, strict=True) if match is None]
    if len(missed) == len(names):
        raise InputError(f"pattern {pattern!r} matches none of the {len(names)} images (first: {names[0]}); correct it")
    if missed:
        raise InputError(
            f"pattern {pattern!r} misses {len(missed)} of {len(names)} images ({first_names(missed)}); widen it, or "
            "move these away"
        )
    return {group: [(match or {}).get(group) or "" for match in matches] for group in groups}


def fill_by_pattern(columns: dict[str, list[str]], pattern: str, where: str) -> dict[str, list[str]]:
    """The columns of a table with what a pattern finds in its image paths put where the table says nothing.

    Args:
        columns: {cohort column: (N,) text}, `image_path` among them.
        pattern: see `match_pattern`.
        where: the table, for messages.

    Raises:
        InputError: If the table says something else of an image, or the pattern is none; see `match_pattern`.
    """
    filled = dict(columns)
    for noun, matched in match_pattern(pattern, columns["image_path"]).items():
        cells = columns.get(noun, [""] * len(matched))
        for row, (cell, match) in enumerate(zip(cells, matched, strict=True)):
            if cell.strip() and match and cell.strip() != match:
                raise InputError(
                    f"{where} row {row + 1} has {noun} '{cell.strip()}', and the pattern finds '{match}' in "
                    f"{columns['image_path'][row]}; leave the group {noun} out of the pattern, or the column out of "
                    f"the table with --columns {noun}="
                )
        filled[noun] = [cell if cell.strip() else match for cell, match in zip(cells, matched, strict=True)]
    return filled


def _check_pattern(pattern: str) -> tuple[str, ...]:
    example = r"say (?P<patient_id>P\d+)_"
    if len(pattern) > MOST_CHARACTERS:
        raise InputError(f"pattern has {len(pattern)} characters; {MOST_CHARACTERS} are allowed")
    try:
        groups = tuple(re.compile(pattern).groupindex)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(f"pattern {pattern!r} is not a regular expression ({error}); {example}") from None
    if not groups:
        raise InputError(f"pattern {pattern!r} has no named group; name what it finds: {example}")
    for group in groups:
        if group not in GROUPS:
            raise InputError(f"pattern: a group is named '{group}'{suggest(group, GROUPS)}")
    return groups


def _search(pattern: str, names: list[str]) -> list[dict[str, str | None] | None]:
    seconds = _SECONDS + _SECONDS_A_NAME * len(names)
    task = json.dumps({"pattern": pattern, "names": names, "seconds": seconds})
    command = [sys.executable, "-I", "-S", "-c", _CHILD]
    try:
        process = subprocess.run(
            command, input=task, capture_output=True, encoding="utf-8", timeout=120 + seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(_too_slow(pattern, seconds)) from None
    ready, _, answer = process.stdout.partition("\n")
    if ready == "ready" and not answer:
        raise InputError(_too_slow(pattern, seconds))
    if process.returncode != 0:
        raise RuntimeError(
            f"the process that matches the pattern ended with {process.returncode}: {process.stderr[-500:]}"
        )
    result: list[dict[str, str | None] | None] = json.loads(answer)
    return result


def _too_slow(pattern: str, seconds: float) -> str:
    return (
        f"pattern {pattern!r} takes more than {seconds:.1f} s on these names; repeats inside repeats, as in (a+)+, "
        "are the usual cause: write it without them"
    )
