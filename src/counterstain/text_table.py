"""A table as lines of text that fit a width: heads, then intervals, then names are broken; no value is ever cut."""

import json
import re
import textwrap
import unicodedata
from collections.abc import Sequence

from rich.cells import cell_len

__all__ = ["NO_BREAK", "one_line", "table_lines", "visible", "wrapped"]

NO_BREAK = "\u00a0"
GAP = 2
NARROWEST = 12  # of a column of texts; below that a list says more
TEXT = 26  # a column with a longer cell holds texts, which may be broken; a value with its interval is shorter

Columns = list[list[str]]
# The blanks of "95 %", "[0.1, 0.2]", "p < 0.001" and "81 s".
_JOINT = re.compile(
    r"(?<=\d) (?=%)|(?<=,) (?=[-+−\d.∞]+\])|(?<=p) (?=[<=])|(?<=[<=]) (?=\d)|(?<=\d) (?=(?:s|min|h|px)\b)"
)


def visible(text: str) -> str:
    """Text for a terminal: what would move its cursor, change its colours or turn its direction is written out.

    Names of files, classes and patients are the user's, or whoever's the images are. Line ends and tabs stay, and JSON
    stays JSON.

    >>> print(visible("be\x1b[2Jnign, \u202egnp.exe, 0.5 µm"))
    be\\u001b[2Jnign, \\u202egnp.exe, 0.5 µm
    """
    if text.isprintable():
        return text
    return "".join(letter if _harmless(letter) else json.dumps(letter)[1:-1] for letter in text)


def one_line(text: str) -> str:
    """`visible` text whose line ends are written out, too: a name in it cannot add a line that looks like ours.

    >>> print(one_line("a\\ncounterstain: all is well.svs"))
    a\\ncounterstain: all is well.svs
    """
    return visible(text).replace("\n", "\\n")


def _harmless(letter: str) -> bool:
    # Joiners (200C, 200D) are part of words and emoji; other format characters turn or hide what follows.
    return letter in "\n\t\u200c\u200d" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def wrapped(line: str, width: int) -> list[str]:
    """A sentence broken at words; "95 %", "p < 0.001" and an interval stay whole, and so does a long name.

    Args:
        line: the sentence.
        width: columns of the terminal.
    """
    broken = textwrap.wrap(_glued(line), width, break_long_words=False, break_on_hyphens=False) or [""]
    return [part.replace(NO_BREAK, " ") for part in broken]


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, head: bool = True) -> list[str]:
    """The lines of a table with its first column on the left and values under each other.

    Args:
        columns: the heads.
        rows: one cell per column.
        width: columns of the terminal; in a narrower one heads are broken at words, then values from their intervals,
            then texts, and where all that isn't enough each row becomes a list.
        head: False: two columns of names and values, without a head.

    Examples:
        >>> print("\\n".join(table_lines(["arm", "AUROC"], [["a", "0.957"], ["b", "0.882"]], 80)))
        arm  AUROC
        ──────────
        a    0.957
        b    0.882
    """
    cells = [[one_line(row[place]) for row in rows] for place in range(len(columns))]
    heads = list(map(one_line, columns)) if head else [""] * len(columns)
    widths = [max(map(cell_len, (name, *column))) for name, column in zip(heads, cells, strict=True)]
    if _total(widths) > width:
        widths = [max(_longest_word(name), *map(cell_len, column)) for name, column in zip(heads, cells, strict=True)]
    if _total(widths) > width:
        cells = [[cell.replace(" [", "\n[") if _is_interval(cell) else cell for cell in column] for column in cells]
        widths = [max(_longest_word(name), *map(_widest, column)) for name, column in zip(heads, cells, strict=True)]
    if _total(widths) > width:
        widths = _squeezed(widths, cells, width)
    if _total(widths) > width:
        return _listed(heads if head else columns, [[one_line(cell) for cell in row] for row in rows], width)
    lines = []
    if head:
        lines += [
            *_row([_broken(name, size) for name, size in zip(heads, widths, strict=True)], widths, head),
            "─" * _total(widths),
        ]
    for row in zip(*cells, strict=True):
        lines += _row([_broken(cell, size) for cell, size in zip(row, widths, strict=True)], widths, head)
    return lines


def _glued(text: str) -> str:
    """The text with what belongs together joined by blanks at which no line is broken."""
    return _JOINT.sub(NO_BREAK, text)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _longest_word(text: str) -> int:
    return max((cell_len(word) for word in _glued(text).split(" ")), default=0)


def _widest(cell: str) -> int:
    return max(map(cell_len, cell.split("\n")))


def _is_interval(cell: str) -> bool:
    return " [" in cell and cell.endswith("]") and len(cell) <= TEXT + 10


def _squeezed(widths: Sequence[int], cells: Columns, width: int) -> list[int]:
    """Widths at which columns of texts take up the lack, the widest of them first."""
    squeezed = list(widths)
    texts = [place for place, column in enumerate(cells) if place == 0 or any(cell_len(cell) > TEXT for cell in column)]
    least = {
        place: max(NARROWEST, *(min(_longest_word(cell), 2 * NARROWEST) for cell in cells[place])) for place in texts
    }  # fmt: skip
    while _total(squeezed) > width:
        free = [place for place in texts if squeezed[place] > least[place]]
        if not free:
            return squeezed
        squeezed[max(free, key=lambda place: squeezed[place])] -= 1
    return squeezed


def _broken(cell: str, size: int) -> list[str]:
    """The lines of one cell; a word that is wider than its column is broken in it."""
    lines: list[str] = []
    for part in cell.split("\n"):
        indent = part[: len(part) - len(part.lstrip())]
        fits = cell_len(part) <= size
        lines += [part] if fits else textwrap.wrap(_glued(part), size, break_on_hyphens=False, subsequent_indent=indent)
    return [line.replace(NO_BREAK, " ") for line in lines] or [""]


def _row(cells: Sequence[Sequence[str]], widths: Sequence[int], head: bool) -> list[str]:
    lines = []
    for line in range(max(map(len, cells))):
        parts = []
        for place, (cell, size) in enumerate(zip(cells, widths, strict=True)):
            text = cell[line] if line < len(cell) else ""
            blank = " " * max(size - cell_len(text), 0)
            parts.append(text + blank if place == 0 or not head else blank + text)
        lines.append((" " * GAP).join(parts).rstrip())
    return lines


def _listed(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Each row as its name and a line for each value."""
    lines = []
    for name, *values in rows:
        lines += textwrap.wrap(name, width) or [""]
        for column, value in zip(columns[1:], values, strict=True):
            text = f"{column}: {value}" if column else value
            lines += [f"  {part}" for part in wrapped(text, width - 2)] if value else []
    return lines
