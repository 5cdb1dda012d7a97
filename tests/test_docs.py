"""What the README and the docs quote is what the commands print, and each page of measures can be found."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import counterstain
from counterstain.cli import app
from counterstain.cohort.layouts import LAYOUTS
from counterstain.evaluation.evaluation_tables import evaluation_tables
from counterstain.evaluation.metric_names import measure_words
from counterstain.evaluation.text_tables import details_table
from counterstain.learning.foundation import FOUNDATION

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
MEASURES = ROOT / "docs" / "measures"


def quoted() -> list[tuple[str, str]]:
    """Each command of a block that begins with "$ counterstain", and the output that stands below it."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```[a-z]*\n(\$ counterstain .*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            command, _, output = block.partition("\n")
            found.append((command.removeprefix("$ counterstain "), output))
    return found


@pytest.mark.parametrize(("command", "output"), quoted(), ids=[command for command, _ in quoted()])
def test_what_is_quoted_is_what_is_printed(command: str, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed = CliRunner().invoke(app, shlex.split(command)).stdout
    assert [line for line in output.splitlines() if line.strip()] == [
        line for line in printed.splitlines() if line.strip()
    ], f"put the new output below '$ counterstain {command}'"


def test_something_is_quoted() -> None:
    assert any(command.startswith("compare ") and "Verdict: " in output for command, output in quoted())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_output_is_quoted_in_part(page: Path) -> None:
    assert "[…]" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_every_page_of_measures_is_listed_once() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (MEASURES / "README.md").read_text(encoding="utf-8"))
    listed = list(dict.fromkeys(listed))
    assert sorted(listed) == sorted(page.name for page in MEASURES.glob("*.md") if page.name != "README.md")


def test_every_measure_that_is_printed_has_a_page() -> None:
    """The first column of every table that both verbs print stands in the index of the pages."""
    index = (MEASURES / "README.md").read_text(encoding="utf-8").split("## By the name that is printed")[1]
    known = [name.strip() for row in index.splitlines()[4:] for name in row.split("|")[1:2] for name in name.split(";")]
    tables = ROOT / "examples" / "tables"
    options = ["--threshold", "0.3", "--prevalence", "0.05", "--json"]
    shown = CliRunner().invoke(app, ["evaluate", str(tables / "ours.csv"), *options])
    record = json.loads(shown.stdout)
    named = [
        row[0] for table in evaluation_tables(record) if table.name in ("calls", "calibration") for row in table.rows
    ]
    named += [score["metric"] for score in record["arms"]["model"]["scores"]]
    both = [f"{name}={tables / name}.csv" for name in ("ours", "theirs")]
    for question in (
        ["--noninferiority"],
        ["--equivalence"],
        ["--co-primary", "recall,specificity"],
        ["--detect", "0.02"],
    ):
        asked = ["compare", *both, "--fixed-models", "--margin", "0.1", *question, "--json"]
        found = json.loads(CliRunner().invoke(app, asked).stdout)
        named += [row[0] for row in details_table(found, found["pairs"][0])[1] if row[0].startswith(("p ", "joint p"))]
    assert len(named) > 30
    for name in named:
        plain = measure_words(name)
        assert any(plain.startswith(one.removesuffix("…").strip()) for one in known if one), plain


@pytest.mark.parametrize("name", ["ours.csv", "theirs.csv"])
def test_the_example_tables_are_those_of_their_script(name: str, tmp_path: Path) -> None:
    script = ROOT / "examples" / "tables" / "make.py"
    copy = tmp_path / "make.py"
    copy.write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
    scope: dict[str, object] = {"__file__": str(copy), "__name__": "made"}
    exec(compile(copy.read_text(encoding="utf-8"), str(copy), "exec"), scope)
    scope["main"]()  # type: ignore[operator]
    assert (tmp_path / name).read_bytes() == (script.parent / name).read_bytes()


def section(page: str, title: str) -> str:
    """What stands under a heading of a page, up to the next one of its level."""
    return (ROOT / "docs" / page).read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("page", "title", "names"),
    [
        ("python.md", "Every verb", tuple(counterstain._VERBS)),
        ("learning.md", "Foundation models", tuple(FOUNDATION)),
        ("cohorts.md", "Public data sets", tuple(name for name, one in LAYOUTS.items() if one.pattern)),
    ],
)
def test_what_is_a_row_of_a_table_has_a_row_on_its_page(page: str, title: str, names: tuple[str, ...]) -> None:
    text = section(page, title)
    assert [name for name in names if f"`{name}`" not in text] == [], f"add a row to '{title}' of docs/{page}"
