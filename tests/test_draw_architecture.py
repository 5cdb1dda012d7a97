"""The drawing, the table and the numbers of the architecture are those of the source."""

from collections import Counter

import pytest

from draw_architecture import DOCS, arrows, drawing, floors, numbers_on, with_tables


def test_the_page_and_the_drawing_are_current() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert page == with_tables(page), "run: python tests/draw_architecture.py"
    assert (DOCS / "pictures" / "architecture.svg").read_text(encoding="utf-8") == drawing()


def test_every_room_stands_above_what_it_imports() -> None:
    level = {name: i for i, names in enumerate(floors(arrows())) for name in names}
    assert all(level[upper] > level[lower] for upper, lower in arrows())


def test_a_circle_is_found() -> None:
    with pytest.raises(ValueError, match=r"circle: \['a', 'b'\]"):
        floors(Counter({("a", "b"): 1, ("b", "a"): 2, ("a", "c"): 1}))


def test_numbers_that_are_no_longer_right_are_replaced() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    true = numbers_on(page)
    for what, value in true.items():
        wrong = page.replace(f"| {what} | {value:,} |", f"| {what} | {value + 1 + 2 * max(value // 5, 5):,} |")
        assert wrong != page
        assert with_tables(wrong) != wrong, what
