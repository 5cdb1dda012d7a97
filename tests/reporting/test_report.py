"""The page: complete, escaped, self-contained, and the same bytes twice."""

import html
import importlib.util
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from counterstain.errors import InputError
from counterstain.files import read_json, write_json
from counterstain.reporting.report import write_report


def _load(name: str) -> Any:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = _load("make_run")
HOSTILE = MAKE.HOSTILE


class Page(HTMLParser):
    """The tags, attributes and visible words of a page, as a browser would parse them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _made(folder: Path, kind: str, **changes: Any) -> tuple[Path, str]:
    run = MAKE.make_run(folder, **(MAKE.KINDS[kind] | changes))
    return run, write_report(run).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return _made(tmp_path_factory.mktemp("two") / "run", "two", arms=("given-32", "modified-200"))


def test_page_has_every_section_and_number(two: tuple[Path, str]) -> None:
    run, page = two
    words = " ".join(Page(page).words)
    for wanted in (
        "breast-100x",
        "research use only",
        "135,482",
        "1,136,482",
        "counterstain run study.yaml",
        "22549AB",
    ):
        assert wanted.lower() in words.lower(), wanted
    for score in read_json(run / "scores.json")["arms"]["given-32"]["scores"]:
        assert f"{score['value']:.3f}".lstrip("-") in words, score
    for pair in read_json(run / "comparison.json")["pairs"]:
        assert pair["words"].split(":")[0] in words


def test_page_needs_nothing_from_outside(two: tuple[Path, str]) -> None:
    _, page = two
    parsed = Page(page)
    assert {tag for tag, _ in parsed.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "form", "base"})
    for _, attributes in parsed.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
        assert (attributes.get("src") or "data:").startswith("data:")
    policy = next(a["content"] for t, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert "url(" not in page and "@import" not in page


def test_page_tells_no_place_or_time(two: tuple[Path, str]) -> None:
    run, page = two
    assert str(run) not in page and str(Path.home()) not in page
    assert not re.search(r"\b20\d\d-\d\d-\d\d", page)


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    changes = {"arms": ("given-32", "modified-200"), "seeds": (0, 1, 2), "epochs": 8}
    first, _ = _made(tmp_path / "first", "two", **changes)
    second, _ = _made(tmp_path / "elsewhere" / "second", "two", **changes)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len([name for name in files if name.suffix == ".svg"]) == 9
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    before = (first / "report.html").read_bytes()
    write_report(first)
    assert (first / "report.html").read_bytes() == before


def test_hostile_names_are_text_everywhere(tmp_path: Path) -> None:
    run, page = _made(tmp_path / "run", "hostile", epochs=5)
    resolved = read_json(run / "resolved.json")
    write_json(run / "resolved.json", resolved | {"name": f"<script>alert(2)</script>{HOSTILE}"})
    page = write_report(run).read_text(encoding="utf-8")
    parsed = Page(page)
    assert {tag for tag, _ in parsed.tags}.isdisjoint({"script"})
    assert not any("onerror" in attributes for _, attributes in parsed.tags)
    assert all((a.get("src") or "").startswith("data:image/") for t, a in parsed.tags if t == "img")
    assert "<img src=x" not in page and "<script" not in page
    assert html.escape(HOSTILE, quote=False)[:10] in page or "&lt;img src=x" in page
    for figure in (run / "figures").glob("*.svg"):
        drawn = figure.read_text(encoding="utf-8")
        assert "<img" not in drawn and "<script" not in drawn, figure.name


@pytest.mark.parametrize("stamp", ["LEAK: images were augmented before an image-level split", "image-level"])
def test_stamp_is_on_page_title_footer_and_figures(tmp_path: Path, stamp: str) -> None:
    run, page = _made(tmp_path / "run", "stamped", stamp=stamp, arms=("given-32", "modified-200"), epochs=4)
    words = "".join(Page(page).words)
    assert words.count(stamp) >= 3
    for figure in (run / "figures").glob("*.svg"):
        # Letters are drawn as paths; matplotlib writes the words beside them as a comment.
        assert stamp.split()[0] in figure.read_text(encoding="utf-8"), figure.name


def test_one_arm_with_one_seed_is_no_result(tmp_path: Path) -> None:
    _, page = _made(tmp_path / "run", "single", epochs=3)
    assert "It was compared with nothing" in page and "a single training run" in page


def test_undefined_numbers_are_dashes(tmp_path: Path) -> None:
    run, _ = _made(tmp_path / "run", "single", epochs=3)
    scores = read_json(run / "scores.json")
    for score in scores["arms"]["given-32"]["scores"]:
        if score["metric"] == "precision":
            score.update(value=None, low=None, high=None, per_seed=[None])
    write_json(run / "scores.json", scores)
    page = write_report(run).read_text(encoding="utf-8")
    row = re.search(r'<th scope="row" class="words short">precision</th>(.*?)</tr>', page)
    assert row is not None and ">–<" in row[1]


def test_missing_records_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        write_report(tmp_path / "absent")
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"scores\.json does not exist"):
        write_report(tmp_path / "run")


def test_templates_are_in_the_package() -> None:
    from importlib import resources

    names = {path.name for path in resources.files("counterstain.reporting").joinpath("templates").iterdir()}
    assert {"report.html", "report.css"} <= names


@pytest.mark.slow
def test_a_browser_runs_nothing_of_a_hostile_name(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    run, _ = _made(tmp_path / "run", "hostile", epochs=5)
    page = run / "report.html"
    # Without the policy a payload would get its chance: escaping alone must hold. The title would tell of one that ran.
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    bare = bare.replace("alert(1)", "(document.title=&#39;PWNED&#39;)")
    page.with_name("bare.html").write_text(bare, encoding="utf-8")
    flags = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
    flags += ["disable-component-update", "disable-sync", "virtual-time-budget=3000", "dump-dom"]
    command = [
        chromium,
        *(f"--{flag}" for flag in flags),
        f"--user-data-dir={tmp_path / 'profile'}",
        page.with_name("bare.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "<footer>" in done.stdout
    assert "<title>PWNED" not in done.stdout
    assert not any("onerror" in attributes for _, attributes in Page(done.stdout).tags)
