"""What users and contributors read is plain English, can be found from the index, and names files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
# The log is a diary: what was written on a day stays as it was.
PAGES += [path for path in sorted(DOCS.rglob("*.md")) if path.name != "log.md"]
SOURCE = sorted((ROOT / "src" / "counterstain").rglob("*.py"))
SOURCE += sorted((ROOT / "src" / "counterstain").rglob("*.html"))

# "One row an image": each of these nouns before "a" or "an" and one of those after it needs "per".
COUNTED = (
    "one|rows?|images|tiles|tables?|seeds|columns?|features|bytes|bits|studies|folds?|files?|pages?|numbers?|ms|µs|GiB"
)
EACH = (
    "row|tile|seed|step|patient|image|class|slide|line|column|fold|channel|site|arm|process|GPU|epoch|second|pair|cell"
)
DISTRIBUTIVE = re.compile(rf"\b(?:{COUNTED}) an? (?:{EACH})\b(?! (?:of|has|have|may|is|touches|takes))")
MEANT = {"tables a column", "file a slide"}
DIALECT = (
    "what the images can bear",
    "gone on with",
    "as they came out",
    "drawn anew",
    "worked out",
    "is told of",
    "read this with care",
    "what no network would score",
    "judged alike",
    "for want of",
    "set aside",
    "made-up",
    "anew",
    "ends with exit code",
    "that judging",
)
# A run, a command or a process that "goes on" resumes, continues or runs.
GOES_ON = re.compile(r"\b(?:goes|gone|going|went|to go) on(?! (?:one|each|the|with it|a|an|its)\b)")


@pytest.mark.parametrize("path", [*PAGES, *SOURCE], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_distributive_article(path: Path) -> None:
    text = " ".join(path.read_text(encoding="utf-8").split())
    assert [found[0] for found in DISTRIBUTIVE.finditer(text) if found[0] not in MEANT] == []


@pytest.mark.parametrize("path", [*PAGES, *SOURCE], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_dialect(path: Path) -> None:
    text = " ".join(path.read_text(encoding="utf-8").lower().split())
    assert [phrase for phrase in DIALECT if re.search(rf"\b{phrase}\b", text)] == []
    assert GOES_ON.findall(text) == []


def test_a_distributive_article_is_found() -> None:
    assert DISTRIBUTIVE.search("one row an image") and DISTRIBUTIVE.search("images a second")
    assert not DISTRIBUTIVE.search("one row per image, an image, and a row of a table")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


def test_the_index_lists_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w./-]+)\)", (DOCS / "README.md").read_text(encoding="utf-8")))
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    assert pages - linked == set()


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", DOCS / "architecture.md"], ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    """Each `path/file.py` counts from the root or from the package."""
    named = set(re.findall(r"`([\w/]+/[\w]+\.py)`", page.read_text(encoding="utf-8")))
    assert len(named) > 10
    missing = {name for name in named if not any((base / name).exists() for base in (ROOT, SOURCE[0].parent))}
    assert missing == set()
