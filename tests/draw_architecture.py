"""Draw the rooms of the package and the imports between them.

`python tests/draw_architecture.py` writes docs/pictures/architecture.svg and the tables in docs/architecture.md;
tests/test_draw_architecture.py checks that they are current.
"""

import re
from collections import Counter
from pathlib import Path

from house_numbers import numbers
from test_architecture import MAY_IMPORT, SOURCE, imported, modules, room

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- {}: begin -->\n", "<!-- {}: end -->\n"
SIZES = ("files", "lines", "pairs")  # these numbers are said as what they were when the page was written
NEARLY, FEW = 0.05, 5  # so much, or so many, may a size have changed since
WIDTH, BOX, HEIGHT, GAP, FLOOR = 760, 132, 44, 60, 92
ROOFS = {"terminal", "__main__"}


GROUND = "ground"  # the single files that every room may use


def place_of(name: str) -> str:
    """The box a file or room is drawn in: single files of the ground share one."""
    return name if (SOURCE / name).is_dir() or name in ROOFS else GROUND


def arrows() -> Counter[tuple[str, str]]:
    """(importing room, imported room) -> number of files of the first that import from the second."""
    count: Counter[tuple[str, str]] = Counter()
    for path in modules():
        own = place_of(room(path))
        names = {name.split(".")[1] for name in imported(path) if name.startswith("counterstain.")}
        count.update((own, other) for other in {place_of(name) for name in names if name in MAY_IMPORT} - {own})
    return count


def floors(found: Counter[tuple[str, str]]) -> list[list[str]]:
    """Rooms from the ground up: each stands above every room that it imports.

    Raises:
        ValueError: If rooms import each other in a circle.
    """
    left = {name: {b for a, b in found if a == name} for name in sorted({name for pair in found for name in pair})}
    stack: list[list[str]] = []
    while left:
        ready = [name for name, below in left.items() if not below & set(left)]
        if not ready:
            raise ValueError(f"these rooms import each other in a circle: {sorted(left)}")
        stack.append(ready)
        left = {name: below for name, below in left.items() if name not in ready}
    return stack


def table() -> str:
    """The rooms from the roof down, each with the rooms that it imports."""
    found = arrows()
    stack = floors(found)
    rows = ["| floor | room | imports from |\n", "|---|---|---|\n"]
    for level in range(len(stack) - 1, -1, -1):
        for name in stack[level]:
            below = ", ".join(sorted(b for a, b in found if a == name))
            rows.append(f"| {level} | `{name}` | {below or '–'} |\n")
    return "".join(rows)


def drawing() -> str:
    """The floors as SVG: a box per room, and a line down to each room that it imports and reaches in no other way."""
    found = arrows()
    stack = floors(found)
    below: dict[str, set[str]] = {}  # all that a room rests on
    for name in (name for names in stack for name in names):
        below[name] = {deep for a, b in found if a == name for deep in {b} | below[b]}
    place: dict[str, tuple[float, float]] = {}
    for level, names in enumerate(stack):
        width = (BOX + GAP) * len(names) - GAP
        for i, name in enumerate(names):
            place[name] = ((WIDTH - width) / 2 + i * (BOX + GAP), (len(stack) - 1 - level) * FLOOR + 20)
    height = len(stack) * FLOOR
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="14">\n',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n',
    ]
    for a, b in sorted(found):
        if any(b in below[c] for a2, c in found if a2 == a):
            continue
        (xa, ya), (xb, yb) = place[a], place[b]
        middle = (ya + HEIGHT + yb) / 2
        out.append(
            f'<path d="M{xa + BOX / 2:.0f} {ya + HEIGHT:.0f} C{xa + BOX / 2:.0f} {middle:.0f} {xb + BOX / 2:.0f} '
            f'{middle:.0f} {xb + BOX / 2:.0f} {yb:.0f}" fill="none" stroke="#7a6c9d" stroke-width="1.5"/>\n'
        )
    for name, (x, y) in sorted(place.items()):
        out.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{BOX}" height="{HEIGHT}" rx="6" fill="#f4eef8" stroke="#5b3f8c"/>\n'
        )
        out.append(f'<text x="{x + BOX / 2:.0f}" y="{y + 27:.0f}" text-anchor="middle">{name}</text>\n')
    return "".join([*out, "</svg>\n"])


def number_table(found: dict[str, int]) -> str:
    """The numbers as two columns."""
    return "".join(["| of `src` | |\n", "|---|---|\n", *(f"| {what} | {value:,} |\n" for what, value in found.items())])


def numbers_on(page: str) -> dict[str, int]:
    """The numbers that the page has."""
    return {
        what: int(value.replace(",", ""))
        for what, value in re.findall(r"\| (.+?) \| ([\d,]+) \|", block(page, "numbers"))
    }


def block(page: str, name: str) -> str:
    """What stands between two marks of the page."""
    return page.partition(BEGIN.format(name))[2].partition(END.format(name))[0]


def current(page: str) -> dict[str, int]:
    """The numbers that the page should have: sizes that are nearly right may stay."""
    stated = numbers_on(page)
    return {
        what: stated[what] if _nearly(what, stated.get(what), value) else value
        for what, value in numbers(len(arrows())).items()
    }


def _nearly(what: str, stated: int | None, value: int) -> bool:
    named = what.split()[0] in SIZES and " over " not in what
    return named and stated is not None and abs(stated - value) <= max(NEARLY * value, FEW)


def with_tables(page: str) -> str:
    """The page with the tables between its marks made anew."""
    for name, made in (("arrows", table()), ("numbers", number_table(current(page)))):
        before, mark, rest = page.partition(BEGIN.format(name))
        page = before + mark + made + END.format(name) + rest.partition(END.format(name))[2]
    return page


if __name__ == "__main__":
    page = DOCS / "architecture.md"
    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
    (DOCS / "pictures" / "architecture.svg").write_text(drawing(), encoding="utf-8")
    print(f"{len(arrows())} arrows between rooms on {len(floors(arrows()))} floors; no circle")
