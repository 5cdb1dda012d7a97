"""How a result shows itself: its record as JSON text, and a few lines of HTML for a notebook."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING

from counterstain.files import plain_values, write_bytes

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Json", "Record", "html_of", "json_text", "short_repr"]

MOST = 190  # characters of a repr: one line of a notebook

Json = Mapping[str, "Json"] | Sequence["Json"] | str | float | int | bool | None
Record = Mapping[str, Json]


def json_text(record: Mapping[str, object], path: Path | str | None = None) -> str:
    """The record as JSON text with sorted keys, NaN as null; with a path it is also written there.

    >>> print(json_text({"n": 2, "auroc": float("nan")}))
    {
      "auroc": null,
      "n": 2
    }
    """
    text = json.dumps(plain_values(record), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    if path is not None:
        write_bytes(Path(path), text + "\n")
    return text


def html_of(
    summary: str, notes: Sequence[str] = (), head: Sequence[str] = (), rows: Sequence[Sequence[str]] = ()
) -> str:
    """A summary, a table and notes as HTML; every text is escaped.

    >>> html_of("2 < 3", ["a note"])
    '<p>2 &lt; 3</p><ul><li>a note</li></ul>'
    """
    parts = [f"<p>{html.escape(line)}</p>" for line in summary.splitlines()]
    if rows:
        cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        parts.append(f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>")
    if notes:
        parts.append(f"<ul>{''.join(f'<li>{html.escape(note)}</li>' for note in notes)}</ul>")
    return "".join(parts)


def short_repr(settings: "DataclassInstance") -> str:
    """One line for a dataclass: its name, and the fields that differ from their defaults, cut where it gets long."""
    changed = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if field.repr and (default is MISSING or value != default):
            changed.append(f"{field.name}={value!r}")
    text = ", ".join(changed)
    name = type(settings).__name__
    room = MOST - len(name) - 3
    return f"{name}({text if len(text) <= room else text[: room - 1] + '…'})"
