"""Every DOI that docs, source and tests cite stands in docs/references.md; an unchecked one is called so."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "references.md"
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page != TABLE)]
CODE = [path for folder in ("src", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
CITING = PAGES + [path for path in CODE if path != Path(__file__)]  # below are examples of how a DOI is written
# Brackets may be part of a DOI, as in 10.1016/0304-4076(85)90158-7, but only in pairs.
DOI = re.compile(r"10\.\d{4,9}/(?:[^\s()\[\]`\"',;|<>*]|\([^()\s]*\))+")


def dois(text: str) -> list[tuple[str, int]]:
    """Each DOI, without the full stop of its sentence, and where it ends."""
    return [(name, found.start() + len(name)) for found in DOI.finditer(text) if (name := found[0].rstrip(".:"))]


def states() -> dict[str, str]:
    rows = re.findall(r"^\| (10\.\S+) \| (.+) \| (\w+) \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len({name.lower() for name, _, _ in rows}) == len(rows) > 50, "a DOI stands twice"
    assert all(re.search(r"\d{4}", work) for _, work, _ in rows), "each work has its year"
    return {name.lower(): state for name, _, state in rows}


def test_every_doi_has_its_row_and_every_row_its_use() -> None:
    known = states()
    assert set(known.values()) <= {"found", "unchecked"}
    cited = {name.lower() for page in CITING for name, _ in dois(page.read_text(encoding="utf-8"))}
    assert cited - set(known) == set(), "add them to docs/references.md, as unchecked until they were looked up"
    assert set(known) - cited == set(), "nothing cites these"


def test_an_unchecked_doi_is_called_so_where_it_is_cited() -> None:
    known = states()
    for page in CITING:
        text = page.read_text(encoding="utf-8")
        for name, end in dois(text):
            marked = text[end:].lstrip(")").startswith(" (unchecked)")
            assert marked == (known[name.lower()] == "unchecked"), f"{page.name}: {name}"


def test_a_doi_is_read_with_its_brackets_and_without_its_full_stop() -> None:
    text = "doi:10.1016/0304-4076(85)90158-7; [A](https://doi.org/10.1109/38.946629), 10.2307/2533958."
    assert [name for name, _ in dois(text)] == ["10.1016/0304-4076(85)90158-7", "10.1109/38.946629", "10.2307/2533958"]
