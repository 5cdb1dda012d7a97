"""Tables in a terminal: every line fits, and no value is cut, whatever the width and the names."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterstain.cli.options import _refuse
from counterstain.terminal_progress import say
from counterstain.text_table import one_line, table_lines, wrapped

INTERVAL = "0.949 [0.932, 0.962]"
NAMES = ["c", "a rather long name of an arm", "arm_with_a_name_of_one_long_word_that_does_not_break", "ガラス標本"]


@pytest.mark.parametrize("width", [40, 60, 80, 140, 200])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 3, 6])
def test_no_line_is_wider_than_the_terminal_and_no_value_is_cut(width: int, name: str, count: int) -> None:
    columns = ["arm", *(f"AUROC of model {k} (95 % interval)" for k in range(count)), "verdict"]
    verdict = "no evidence of a difference between these two"
    lines = table_lines(columns, [[name, *[INTERVAL] * count, verdict]] * 2, width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert text.count("[0.932, 0.962]") == 2 * count
    assert "…" not in text
    squeezed = "".join(text.split())
    assert squeezed.count("".join(name.split())[:8]) >= 2


def test_a_table_that_fits_is_as_narrow_as_its_cells() -> None:
    """By hand: 3 + 2 + 5 columns, names on the left and values on the right."""
    assert table_lines(["arm", "AUROC"], [["a", "0.9"], ["bbb", "0.85"]], 80) == [
        "arm  AUROC",
        "──────────",
        "a      0.9",
        "bbb   0.85",
    ]
    assert table_lines(["", ""], [["p", "0.1"], ["test", "t"]], 80, head=False) == ["p     0.1", "test  t"]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_percent_p_and_intervals_stay_whole(width: int) -> None:
    line = "its AUROC is higher by 0.1 (95 % interval [0.01, 0.19], p < 0.001) on 5 patients"
    broken = wrapped(line, width)
    assert " ".join(broken) == line
    for whole in ("95 %", "[0.01, 0.19]", "p < 0.001"):
        assert any(whole in part for part in broken)


@given(st.lists(st.text(st.characters(blacklist_categories=["C", "Z"]), max_size=30), min_size=1, max_size=4),
       st.integers(30, 120))  # fmt: skip
def test_any_names_are_laid_out(names: list[str], width: int) -> None:
    lines = table_lines(["name", "value"], [[name, INTERVAL] for name in names], width)
    assert sum("[0.932, 0.962]" in line for line in lines) == len(names)


@pytest.mark.parametrize("width", range(30, 81, 5))
def test_heads_keep_a_number_and_its_percent_together(width: int) -> None:
    lines = table_lines(
        ["arm", "AUROC (95 % interval)", "patients to find 0.02 (90 % range)"], [["a", INTERVAL, "5"]], width
    )
    assert sum("95 %" in line for line in lines) == sum("90 %" in line for line in lines) == 1


def test_a_name_cannot_add_a_line() -> None:
    """A slide called "a\\ncounterstain: 5 slides.svs" put a line of its own into tables, talk and refusals."""
    name = "a\ncounterstain: all is well"
    assert one_line(name) == r"a\ncounterstain: all is well"
    for width in (80, 8):
        lines = table_lines(["slide\nx", "tiles"], [[name, "3"], ["b\x1b[2J", "4"]], width)
        assert not any(line.startswith("counterstain") for line in lines)
        assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("tell", [say, _refuse])
def test_talk_and_refusals_are_one_line(tell: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    tell("bad\nname.svs: skipped\r\x1b[2J")
    assert capsys.readouterr().err.count("\n") == 1
