"""Numbers and names as a reader sees them: rounded sensibly, with their interval, in the field's words."""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

from counterstain.evaluation.metric_names import WORDS

__all__ = [
    "METRIC_NAMES",
    "UNDEFINED",
    "agreeing",
    "capital",
    "clean",
    "counted_rows",
    "difference",
    "digits_apart",
    "interval",
    "levelled",
    "listed",
    "metric_name",
    "natural",
    "number",
    "p_value",
    "p_words",
    "plural",
    "share",
    "shorten",
    "signed",
]

# What is printed for a number that does not exist, such as the precision of a model that predicted no positive.
UNDEFINED = "–"

# No line break before a per cent sign.
METRIC_NAMES = {name: words.replace(" %", "\u00a0%") for name, words in WORDS.items()}


def metric_name(metric: str) -> str:
    """The name that a reader knows a metric by; an unknown one with its underscores as spaces."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def number(value: float | None, digits: int = 3) -> str:
    """A value to `digits` decimals with a true minus sign; an en dash where it is undefined."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    text = f"{value:,.{digits}f}"
    return f"−{text[1:]}" if text.startswith("-") and float(text.replace(",", "")) else text.lstrip("-")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference to `digits` decimals, with its sign; zero has none."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and any(digit in text for digit in "123456789") else text


def interval(low: float | None, high: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """An interval as "[0.741, 0.869]"; "" where it is undefined."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    shown = signed if sign else number
    return f"[{shown(low, digits)}, {shown(high, digits)}]"


def levelled(low: float | None, high: float | None, *, confidence: float = 0.95, sign: bool = False) -> str:
    """An interval with its level, for a sentence: " (95 % interval [0.741, 0.869])"; "" where it is undefined."""
    ends = interval(low, high, sign=sign)
    return f" ({100 * confidence:g}\u00a0% interval {ends})" if ends else ""


def difference(value: float | None, low: float | None, high: float | None) -> str:
    """A difference with its interval, as "+0.021 (95 % interval [−0.030, +0.072])"."""
    return f"{signed(value)}{levelled(low, high, sign=True)}"


def p_value(value: float | None) -> str:
    """A p value to three decimals, in tables and in sentences alike; "< 0.001" below that, an en dash of none."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_words(value: float) -> str:
    """A p value in a sentence: "p < 0.001" or "p = 0.034"."""
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def digits_apart(low: float | None, high: float | None, digits: int = 3, *, most: int = 6) -> int:
    """How many decimals show that an interval excludes 0: `digits`, or more where they would round an end to 0.

    Args:
        low, high: the ends; where one is missing, or they don't exclude 0, `digits` are enough.
        digits: the usual number.
        most: the largest, for ends that are 0 but for rounding.

    Examples:
        >>> digits_apart(0.004, 0.02), digits_apart(-0.0007, -0.0002), digits_apart(-0.0002, 0.0001)
        (3, 4, 3)
    """
    if low is None or high is None or not low * high > 0 or not math.isfinite(low + high):
        return digits
    nearest = min(abs(low), abs(high))
    return next((count for count in range(digits, most) if round(nearest, count) > 0), max(digits, most))


def share(part: float, whole: float, digits: int = 1) -> str:
    """A percentage as "41.3 %", with a space that does not break; an en dash of nothing."""
    return f"{100 * part / whole:.{digits}f}\u00a0%" if whole else UNDEFINED


def plural(count: float | None, noun: str, nouns: str | None = None) -> str:
    """A count with its noun: "1 patient", "1,200 images"; "" where the count is unknown."""
    if count is None:
        return ""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


_OF_ONE = {"are": "is", "have": "has", "differ": "differs", "overlap": "overlaps"}


def agreeing(count: int, words: str) -> str:
    """What is said of so many things: its verb, which is the first word, is singular for one of them.

    Examples:
        >>> agreeing(2, "have the same pixels"), agreeing(1, "have the same pixels")
        ('have the same pixels', 'has the same pixels')
    """
    verb = words.partition(" ")[0]
    return _OF_ONE[verb] + words[len(verb) :] if count == 1 else words


def counted_rows(rows: int, rows_are: str, patients: int | None) -> str:
    """The rows of a table: "240 images of 30 patients", or "30 patients" where each row is one.

    Examples:
        >>> counted_rows(240, "image", 30), counted_rows(30, "patient", 30), counted_rows(1, "slide", None)
        ('240 images of 30 patients', '30 patients', '1 slide')
    """
    if patients is None or rows_are == "patient":
        return plural(rows, rows_are)
    return f"{plural(rows, rows_are)} of {plural(patients, 'patient')}"


def listed(words: Iterable[str]) -> str:
    """Words as "a, b and c"."""
    *most, last = tuple(words) or ("",)
    return f"{', '.join(most)} and {last}" if most else last


def clean(name: object) -> str:
    """A name without characters that no page or figure can show: controls, line ends, unpaired surrogates."""
    printable = (
        " " if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Cn") else letter for letter in str(name)
    )
    return " ".join("".join(printable).split())


def shorten(name: str, letters: int = 24) -> str:
    """A name in at most `letters` letters, its middle left out: the ends of file names are what tells them apart."""
    name = clean(name)
    if len(name) <= letters:
        return name
    tail = (letters - 1) // 2
    return f"{name[: letters - 1 - tail]}…{name[len(name) - tail :]}"


def natural(names: Iterable[str]) -> list[str]:
    """Names in the order of a reader: batch-32 before batch-200."""

    def key(name: str) -> Sequence[tuple[int, int, str]]:
        pieces = re.split(r"([0-9]+)", name)
        return [(1, 0, piece) if index % 2 == 0 else (0, int(piece), "") for index, piece in enumerate(pieces)]

    return sorted(names, key=lambda name: (key(name), name))


def capital(text: str) -> str:
    """The text with its first letter in capitals."""
    return text[:1].upper() + text[1:]
