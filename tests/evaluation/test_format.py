"""Numbers and names as a reader sees them."""

import pytest

from counterstain.evaluation.format import (
    clean,
    difference,
    interval,
    listed,
    natural,
    number,
    p_value,
    plural,
    share,
    shorten,
    signed,
)


def test_numbers_have_three_decimals_and_a_true_minus() -> None:
    assert [number(0.8126), number(-0.0214), number(1234.5), number(-0.0001)] == [
        "0.813",
        "−0.021",
        "1,234.500",
        "0.000",
    ]
    assert [number(None), number(float("nan")), number(float("inf"))] == ["–", "–", "–"]


def test_differences_have_a_sign_unless_they_are_zero() -> None:
    assert [signed(0.02), signed(-0.02), signed(0.0), signed(0.0001)] == ["+0.020", "−0.020", "0.000", "0.000"]
    assert difference(0.021, -0.03, 0.072) == "+0.021 [−0.030, +0.072]"


def test_an_interval_is_whole_or_absent() -> None:
    assert interval(0.1, 0.2) == "[0.100, 0.200]"
    assert interval(None, 0.2) == interval(0.1, float("nan")) == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.00004, "< 0.001"), (0.00123, "0.0012"), (0.0345, "0.035"), (0.26, "0.26"), (0.999, "> 0.99"), (1.0, "1.0"),
     (None, "–")],
)  # fmt: skip
def test_p_has_two_significant_digits(value: float | None, words: str) -> None:
    assert p_value(value) == words


def test_words() -> None:
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c" and listed([]) == ""
    assert plural(1, "patient") == "1 patient" and plural(1200, "image") == "1,200 images" and plural(None, "x") == ""
    assert share(413, 1000) == "41.3\u00a0%" and share(1, 0) == "–"
    assert natural(["b-200", "b-32", "a", "3"]) == ["3", "a", "b-32", "b-200"]


def test_names_lose_what_cannot_be_shown() -> None:
    assert clean("a\x00b\n\u202ec\ud800  d") == "a b c d"
    assert shorten("SOB_M_DC-14-2523-40-001.png", 15) == "SOB_M_D…001.png"
