"""What a table of valid cells may have meant otherwise: told as notes, since only its owner knows."""

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from counterstain.cohort.cohort_columns import label_key
from counterstain.cohort.finding_columns import ANY, NONE
from counterstain.id_cells import NO_ID
from counterstain.tables import MISSING

__all__ = ["doubtful_labels", "one_hot_words"]

SHOWN = 3  # pairs of a note
FEW = 10  # classes; below that a class with one image is only a small class
LONG = 6  # letters of words in which one letter more or less is most often a slip
_BETWEEN = re.compile(r"\s*[;|,/+&]\s*|\s+(?:and|und)\s+")


def doubtful_labels(labels: Sequence[str]) -> list[str]:
    """Notes on classes that may be none, or one in two spellings.

    >>> doubtful_labels(["Tumor", "Tumour", "normal"])
    ["classes that may be one: 'Tumor' and 'Tumour'; where they are, write one word for both"]
    >>> doubtful_labels(["none", "any finding"])
    []
    >>> doubtful_labels(["benign", "malignant", "typical", "atypical", "grade 1", "grade 2"])
    []
    """
    counts = Counter(labels)
    if set(counts) == {NONE, ANY}:  # of a table of findings: our words, where 'none' means just that
        return []
    notes = []
    for label, number in counts.items():
        if label.lower() in NO_ID | MISSING and not (label == "-" and "+" in counts):
            notes.append(
                f"'{label}' ({number} images) is a class here; where it means that the label is not known, leave these "
                "images out"
            )
    joined = [label for label in counts if _joins(label, counts)]
    if joined:
        notes.append(
            f"classes that join others: {_quoted(joined)}; an image has one class: decide, leave such images out, or "
            "give each class a column of 0 and 1 (cohort.findings of a study)"
        )
    alike = [f"'{a}' and '{b}'" for a, b in itertools.combinations(list(counts)[:200], 2) if _alike(a, b)]
    if alike:
        more = f", and {len(alike) - SHOWN} more pairs" if len(alike) > SHOWN else ""
        notes.append(
            f"classes that may be one: {', '.join(alike[:SHOWN])}{more}; where they are, write one word for both"
        )
    single = sum(number == 1 for number in counts.values())
    if len(counts) > FEW and 2 * single > len(counts):
        notes.append(
            f"{single} of {len(counts)} classes have one image: is this column a name, an id or a measurement? Name "
            "the label's with --columns label=…"
        )
    return notes


def _joins(label: str, counts: Mapping[str, int]) -> bool:
    parts = [label_key(part) for part in _BETWEEN.split(label)]
    return len(parts) > 1 and {label_key(name) for name in counts} >= set(parts)


def _alike(first: str, second: str) -> bool:
    """Whether two classes may be one: plural, British and American, shortened, y for yes, one letter amiss."""
    short, long = sorted((label_key(first), label_key(second)), key=len)
    if not short.isalpha() or not long.isalpha():  # grade 1, grade 2
        return False
    if long in (f"{short}s", f"{short}es") or _american(short) == _american(long):
        return True
    if (short, long) in (("y", "yes"), ("n", "no")):
        return True
    if 3 <= len(short) <= 4 and len(long) >= LONG and long.startswith(short):
        return True
    return len(short) >= LONG and _one_letter(short, long)


def _american(key: str) -> str:
    return key.replace("our", "or").replace("ae", "e").replace("oe", "e").replace("isation", "ization")


def _one_letter(short: str, long: str) -> bool:
    """Whether one letter inside is another, missing or doubled; at an end it may tell classes apart: type a, type b."""
    if len(long) - len(short) > 1 or short[0] != long[0] or short[-1] != long[-1]:
        return False
    if short.rstrip("ivx") == long.rstrip("ivx"):  # stage i, stage ii
        return False
    edits = [op for op in difflib.SequenceMatcher(None, short, long, autojunk=False).get_opcodes() if op[0] != "equal"]
    return len(edits) == 1 and max(edits[0][2] - edits[0][1], edits[0][4] - edits[0][3]) == 1


def one_hot_words(columns: Mapping[str, Sequence[str]]) -> str:
    """What columns of 0 and 1 of which each row has a single 1 mean; "" where there are none.

    >>> one_hot_words({"a": ["0", "1"], "b": ["1", "0"], "age": ["50", "61"]})[:53]
    "'a' and 'b' hold 0 and 1, and each row has a single 1"
    """
    flags = {name: [_flag(cell) for cell in cells] for name, cells in columns.items()}
    binary = {name: cells for name, cells in flags.items() if None not in cells and len(set(cells)) == 2}
    if len(binary) < 2 or any(sum(map(bool, row)) != 1 for row in zip(*binary.values(), strict=True)):
        return ""
    names = list(binary)
    return (
        f"{_quoted(names)} hold 0 and 1, and each row has a single 1: write the name of that column into one column "
        "'label'"
    )


def _flag(cell: str) -> int | None:
    return {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}.get(cell.strip().lower())


def _quoted(names: Sequence[str]) -> str:
    shown = [f"'{name}'" for name in names[:SHOWN]]
    if len(names) > SHOWN:
        return f"{', '.join(shown)} and {len(names) - SHOWN} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
