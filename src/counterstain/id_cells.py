"""Ids in the cells of a table as they were meant: "unknown" is none, and what a spreadsheet spoilt is refused."""

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence

from counterstain.errors import InputError

__all__ = ["NO_ID", "SPREADSHEET_ERRORS", "counting_ids", "plain_ids", "visible"]

# What spreadsheets write where a formula failed; none of them names anything.
SPREADSHEET_ERRORS = frozenset({"#n/a", "#na", "#ref!", "#value!", "#name?", "#div/0!", "#num!", "#null!"})
# Words that stand for no id: all rows that say so would be one patient, slide or site.
NO_ID = SPREADSHEET_ERRORS | {
    *("?", "??", "???", "-", "--", "---", "–", "—", ".", "unknown", "unk", "missing", "not known", "not available"),
    *("not applicable", "not reported", "undefined", "tbd"),
}  # fmt: skip

FEW = 10  # rows, which may well be numbered and of one patient each

_ROUNDED = re.compile(r"\d([.,]\d+)?[eE]\+\d+")
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mrz|mai|okt|dez"
_DATE = re.compile(rf"\d{{1,2}}[-. ]{{1,2}}({_MONTHS})\.?|({_MONTHS})\.?[- ]\d{{1,2}}", re.IGNORECASE)
_WHOLE = re.compile(r"(\d+)\.0+")


def visible(text: str) -> str:
    """The text in one Unicode form, without characters that nobody sees, and with one space for any run of them.

    >>> visible(" P1\\u200b"), visible("non\\u00a0 tumour\\n")
    ('P1', 'non tumour')
    """
    letters = text if text.isascii() else "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return " ".join(unicodedata.normalize("NFC", letters).split())


def plain_ids(values: Sequence[str], missing: Collection[str], where: Callable[[int], str]) -> list[str]:
    """(N,) ids without what nobody sees; "" for missing ones; whole numbers without ".0", as gaps in a column add it.

    >>> plain_ids(["P1\\u200b", "7.0", "unknown", "#N/A", ""], {""}, "row {}".format)
    ['P1', '7', '', '', '']

    Args:
        values: (N,) cells.
        missing: further words that stand for no id, in lower case.
        where: says which cell the one of an index is, for the message.

    Raises:
        InputError: If a spreadsheet has rounded an id (1.23E+11) or made a date of it (2-Mar): what it was is lost, and
            several patients may have become one.
    """
    plain: dict[str, str] = {}
    for row, value in enumerate(values):
        if value not in plain:
            plain[value] = _plain_id(value, missing, row, where)
    return [plain[value] for value in values]


def _plain_id(value: str, missing: Collection[str], row: int, where: Callable[[int], str]) -> str:
    text = visible(value)
    if text.lower() in missing or text.lower() in NO_ID:
        return ""
    damage = "rounded" if _ROUNDED.fullmatch(text) else "turned into a date" if _DATE.fullmatch(text) else ""
    if damage:
        raise InputError(
            f"{where(row)} is '{text}', which looks like an id that a spreadsheet has {damage}: several ids may "
            "have become one; export the table again with that column formatted as text"
        )
    match = _WHOLE.fullmatch(text)
    return match[1] if match else text


def counting_ids(patient: Sequence[str]) -> tuple[str, ...]:
    """A note where patients are numbered like rows: each row a patient of its own, in counting order.

    >>> len(counting_ids([f"{row:03d}" for row in range(20)])), counting_ids(["7", "7", "9"])
    (1, ())
    """
    if len(patient) < FEW or not all(name.isdecimal() for name in patient):
        return ()
    first = int(patient[0])
    if any(int(name) != number for number, name in enumerate(patient, start=first)):
        return ()
    return (
        f"patient ids count the rows ({patient[0]}, {patient[1]}, …), so that every row is a patient of its own; where "
        "they number images, patients are divided: name the patients' column with --columns patient_id=…",
    )
