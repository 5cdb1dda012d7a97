"""Numbers and names as a reader sees them."""

import pytest

from counterstain.evaluation.format import (
    agreeing,
    clean,
    difference,
    digits_apart,
    interval,
    levelled,
    listed,
    metric_name,
    natural,
    number,
    p_value,
    p_words,
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
    assert [number(-1234.56, 1), number(-0.04, 1), number(12.0, 0)] == ["−1,234.6", "0.0", "12"]


def test_differences_have_a_sign_unless_they_are_zero() -> None:
    assert [signed(0.02), signed(-0.02), signed(0.0), signed(0.0001)] == ["+0.020", "−0.020", "0.000", "0.000"]
    assert [signed(0.26, 1), signed(-0.26, 1), signed(0.04, 1), signed(None), signed(10.0, 0)] == [
        "+0.3", "−0.3", "0.0", "–", "+10",
    ]  # fmt: skip
    assert difference(0.021, -0.03, 0.072) == "+0.021 (95\u00a0% interval [−0.030, +0.072])"
    assert difference(0.021, None, 0.072) == "+0.021" and difference(None, None, None) == "–"


def test_an_interval_is_whole_or_absent() -> None:
    assert interval(0.1, 0.2) == "[0.100, 0.200]"
    assert interval(0.04, 0.2, 1) == "[0.0, 0.2]" and interval(-0.26, 0.26, 1, sign=True) == "[−0.3, +0.3]"
    assert levelled(0.1, 0.2) == " (95\u00a0% interval [0.100, 0.200])"
    assert levelled(0.1, 0.2, confidence=0.9, sign=True) == " (90\u00a0% interval [+0.100, +0.200])"
    nan, inf = float("nan"), float("inf")
    for low, high in [(None, 0.2), (0.1, None), (nan, 0.2), (0.1, nan), (-inf, 0.2), (0.1, inf)]:
        assert interval(low, high) == levelled(low, high) == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.00004, "< 0.001"), (0.00123, "0.001"), (0.0344, "0.034"), (0.26, "0.260"), (1.0, "1.000"), (None, "–"),
     (float("nan"), "–"), (0.001, "0.001"), (0.0009, "< 0.001"), (0.0, "< 0.001")],
)  # fmt: skip
def test_p_has_three_decimals(value: float | None, words: str) -> None:
    assert p_value(value) == words


def test_p_in_a_sentence_has_one_sign() -> None:
    assert (p_words(0.034), p_words(1e-9)) == ("p = 0.034", "p < 0.001")


def test_measures_have_the_names_that_a_reader_knows() -> None:
    assert metric_name("recall") == "sensitivity (recall)" and metric_name("npv") == "NPV"
    assert metric_name("time_to_event") == "time to event"


def test_words() -> None:
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c" and listed([]) == ""
    assert plural(1, "patient") == "1 patient" and plural(1200, "image") == "1,200 images" and plural(None, "x") == ""
    assert plural(2, "biopsy", "biopsies") == "2 biopsies" and plural(1, "biopsy", "biopsies") == "1 biopsy"
    assert plural(0, "image") == "0 images" and share(1, 8, 2) == "12.50\u00a0%"
    assert share(413, 1000) == "41.3\u00a0%" and share(1, 0) == "–"
    assert natural(["b-200", "b-32", "a", "3"]) == ["3", "a", "b-32", "b-200"]


def test_names_lose_what_cannot_be_shown() -> None:
    assert clean("a\x00b\n\u202ec\ud800  d") == "a b c d"
    assert clean("a\u2028b\u2029c\u0378d\u200be") == "a b c d e" and clean(7) == "7"
    assert shorten("abcdef", 6) == "abcdef" and shorten("abcdefg", 6) == "abc…fg" and shorten("abcdefg", 5) == "ab…fg"
    assert shorten("a" * 24) == "a" * 24 and len(shorten("a" * 25)) == 24
    assert shorten("SOB_M_DC-14-2523-40-001.png", 15) == "SOB_M_D…001.png"


@pytest.mark.parametrize(
    ("low", "high", "digits"),
    [(0.004, 0.02, 3), (-0.0007, -0.0002, 4), (-0.0002, 0.0001, 3), (0.00003, 0.4, 5), (1e-12, 0.1, 6), (0.0, 0.1, 3),
     (None, 0.1, 3), (float("nan"), 0.1, 3)],
)  # fmt: skip
def test_a_difference_that_excludes_0_is_not_shown_as_0(low: float | None, high: float | None, digits: int) -> None:
    assert digits_apart(low, high) == digits


def test_verbs_agree_with_how_many_there_are() -> None:
    assert [agreeing(count, "are the same file") for count in (1, 2)] == ["is the same file", "are the same file"]
    assert [agreeing(count, "overlap") for count in (1, 0)] == ["overlaps", "overlap"]
