"""The page: complete, escaped, self-contained, and the same bytes twice."""

import base64
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counterstain.errors import InputError
from counterstain.evaluation.format import number
from counterstain.files import read_json, write_json
from counterstain.reports import run_report
from counterstain.reports.illustration import photograph_uri, png_uri
from counterstain.reports.run_report import write_report

TWO_ARMS = ("given-32", "modified-200")
NO_FIGURES: dict[str, list[Any]] = {
    name: [] for name in ("arms", "split", "histories", "confusions", "curves", "differences")
}


class Page(HTMLParser):
    """The tags, attributes and words of a page, as a browser would parse them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out: for tests of the page's words, where drawing is most of the time."""
    monkeypatch.setattr(run_report, "illustrate", lambda record: NO_FIGURES)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, runs: Any) -> tuple[Path, str]:
    run = runs.make_run(
        tmp_path_factory.mktemp("two") / "run", **runs.KINDS["two"], arms=TWO_ARMS, epochs=8, images_each=6
    )
    return run, write_report(run).read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_figures")
def test_page_has_every_number_with_its_interval(tmp_path: Path, runs: Any) -> None:
    run = runs.make_run(tmp_path / "run", **runs.KINDS["two"], epochs=3, images_each=6)
    parsed = Page(write_report(run).read_text(encoding="utf-8"))
    for wanted in ("breast-100x", "For research use only", "135,482", "counterstain run study.yaml", "22549AB"):
        assert wanted in parsed.text, wanted
    for arm in read_json(run / "records" / "scores.json")["arms"].values():
        for score in arm["scores"]:
            shown = [number(score[name]) for name in ("value", "low", "high")]
            found = f"{shown[0]}[{shown[1]}, {shown[2]}]"
            assert found.replace("[–, –]", "no interval") in parsed.text, score
    comparison = read_json(run / "records" / "comparison.json")
    assert len(comparison["pairs"]) == 6
    # More pairs than anybody reads as sentences: one sentence on the best arm, and a row of the table for each pair.
    assert comparison["words"].replace(" -", " −").replace("[-", "[−")[:60] in parsed.text
    for pair in comparison["pairs"]:
        assert number(abs(pair["difference"])) in parsed.text
        assert f"{pair['a']} − {pair['b']}" in parsed.text
    assert "effect of the network" in parsed.text and "effect of the batch, 200 − 32" in parsed.text


def test_every_interval_of_the_page_says_its_level(
    tmp_path: Path, runs: Any, two: tuple[Path, str], unlevelled: Callable[[str], list[str]]
) -> None:
    assert unlevelled(two[1]) == []
    four = write_report(runs.make_run(tmp_path / "run", **runs.KINDS["margin"]))
    assert unlevelled(four.read_text(encoding="utf-8")) == []
    assert unlevelled("<p>AUROC 0.8 [0.7, 0.9]</p>") == ["[0.7, 0.9]"]
    assert unlevelled("<figure><figcaption>Scores</figcaption><td>[70 %, 90 %]</td></figure>") == ["[70 %, 90 %]"]


def test_no_number_is_broken_at_its_point(two: tuple[Path, str]) -> None:
    """Names may be broken after a point, but not 0.05."""
    assert "prior SD 0.05" in two[1] and not re.search(r"\d\.<wbr>\d", two[1])
    assert "<wbr>" in two[1]


def test_every_figure_is_in_the_page_and_in_the_folder(two: tuple[Path, str]) -> None:
    run, page = two
    images = [attributes for tag, attributes in Page(page).tags if tag == "img"]
    drawn = {path.stem for path in (run / "figures").glob("*.svg")}
    assert len(drawn) == 11 and drawn | {"augmentation"} == {path.stem for path in (run / "figures").glob("*.png")}
    tiles = [attributes for attributes in images if attributes.get("class") == "tile"]
    assert len(images) - len(tiles) == 12 and all(attributes["alt"] for attributes in images)


def test_page_needs_nothing_from_outside(two: tuple[Path, str]) -> None:
    _, page = two
    parsed = Page(page)
    assert {tag for tag, _ in parsed.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "form", "base"})
    for _, attributes in parsed.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
        assert (attributes.get("src") or "data:image/").startswith("data:image/")
    policy = next(a["content"] for t, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert "url(" not in page and "@import" not in page


def test_page_tells_no_place_or_time(two: tuple[Path, str]) -> None:
    run, page = two
    assert str(run) not in page and str(Path.home()) not in page
    assert not re.search(r"\b20\d\d-\d\d-\d\d", page)


def test_writing_twice_gives_the_same_bytes(two: tuple[Path, str], tmp_path: Path) -> None:
    run, page = two
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(run, copy)
    for path in [copy / "report.html", *(copy / "figures").glob("*.svg")]:
        path.unlink()
    assert write_report(copy).read_text(encoding="utf-8") == page
    for path in (run / "figures").iterdir():
        assert path.read_bytes() == (copy / "figures" / path.name).read_bytes(), path.name


def test_hostile_names_are_text_everywhere(tmp_path: Path, runs: Any) -> None:
    settings = runs.KINDS["hostile"] | {"arms": ("given-32",), "stamp": f"</style>{runs.HOSTILE}", "seeds": (0,)}
    run = runs.make_run(tmp_path / "run", **settings, epochs=5, patients=9)
    resolved = read_json(run / "records" / "resolved.json")
    write_json(run / "records" / "resolved.json", resolved | {"name": f"<script>alert(2)</script>{runs.HOSTILE}"})
    page = write_report(run).read_text(encoding="utf-8")
    parsed = Page(page)
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert not any("onerror" in attributes for _, attributes in parsed.tags)
    assert all((a.get("src") or "").startswith("data:image/") for t, a in parsed.tags if t == "img")
    assert "<img src=x" not in page and "<script" not in page and page.count("</style>") == 1
    assert runs.HOSTILE * 5 in parsed.text and f"b{runs.HOSTILE}$x^$" in parsed.text
    for figure in (run / "figures").glob("*.svg"):
        drawn = figure.read_text(encoding="utf-8")
        assert "<img" not in drawn and "<script" not in drawn, figure.name


def test_stamp_is_on_page_tables_title_footer_and_figures(tmp_path: Path, runs: Any) -> None:
    stamp = "LEAK: images were augmented before an image-level split"
    settings = runs.KINDS["stamped"] | {"arms": ("given-32",), "epochs": 4, "patients": 9}
    run = runs.make_run(tmp_path / "run", **settings)
    page = write_report(run).read_text(encoding="utf-8")
    parsed = Page(page)
    tables = sum(tag == "table" for tag, _ in parsed.tags)
    assert parsed.text.count(stamp) == tables + 4  # title, head, contact sheet, foot
    assert "@top-center" in page and "What this protocol would have claimed" in page
    figures = list((run / "figures").glob("*.svg"))
    assert len(figures) == 7
    for figure in figures:
        # Letters are drawn as paths; matplotlib writes the words beside them as a comment.
        assert "<!-- LEAK: images were augmented" in figure.read_text(encoding="utf-8"), figure.name


@pytest.mark.usefixtures("no_figures")
def test_a_stamp_of_any_record_stamps_the_page(tmp_path: Path, runs: Any) -> None:
    run = runs.make_run(tmp_path / "run", **runs.KINDS["single"], epochs=3, patients=9)
    assert 'class="stamp"' not in write_report(run).read_text(encoding="utf-8")
    write_json(run / "records" / "scores.json", read_json(run / "records" / "scores.json") | {"stamp": "image-level"})
    assert 'class="stamp" role="alert"><strong>image-level<' in write_report(run).read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_figures")
def test_one_arm_with_one_seed_is_no_result(tmp_path: Path, runs: Any) -> None:
    run = runs.make_run(tmp_path / "run", **runs.KINDS["single"], epochs=3, patients=9)
    page = write_report(run).read_text(encoding="utf-8")
    assert "It was compared with nothing" in page and "a single training run" in page


@pytest.mark.usefixtures("no_figures")
def test_undefined_numbers_are_dashes(tmp_path: Path, runs: Any) -> None:
    run = runs.make_run(tmp_path / "run", **runs.KINDS["single"], epochs=3, patients=9)
    scores = read_json(run / "records" / "scores.json")
    for score in scores["arms"]["given-32"]["scores"]:
        if score["metric"] == "precision":
            score.update(value=None, low=None, high=None, per_seed=[None])
    write_json(run / "records" / "scores.json", scores)
    page = write_report(run).read_text(encoding="utf-8")
    rows = re.findall(r'<th scope="row" class="words short">precision</th>(.*?)</tr>', page)
    assert rows == ["<td>–</td>"] * 2  # image and patient level


@pytest.mark.usefixtures("no_figures")
def test_a_number_without_an_interval_says_so(tmp_path: Path, runs: Any) -> None:
    run = runs.make_run(
        tmp_path / "run", arms=TWO_ARMS, epochs=3, patients=9
    )  # one patient of a class in the test part
    assert read_json(run / "records" / "comparison.json")["pairs"][0]["low"] is None
    text = Page(write_report(run).read_text(encoding="utf-8")).text
    assert "no interval can be given for AUROC: the test part has too few patients" in text
    assert text.count("no interval") > 4 and "[–" not in text


def test_a_large_contact_sheet_is_shown_smaller() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (900, 2000, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    uri = photograph_uri(content.getvalue())
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as shown:
        assert uri.startswith("data:image/jpeg;base64,") and shown.size == (1100, 495)
    assert len(uri) <= 600_000 < len(png_uri(content.getvalue()))
    assert len(photograph_uri(content.getvalue(), 90_000)) <= 90_000
    plain = io.BytesIO()
    Image.fromarray(np.full((90, 200, 3), 220, np.uint8)).save(plain, "PNG")
    assert photograph_uri(plain.getvalue()) == png_uri(plain.getvalue())


@pytest.mark.usefixtures("no_figures")
def test_headline_follows_from_the_verdicts(tmp_path: Path, runs: Any) -> None:
    run = runs.make_run(tmp_path / "run", arms=TWO_ARMS, epochs=3, patients=9)
    comparison = read_json(run / "records" / "comparison.json")
    found = {}
    for verdict in ("a_better", "b_better", "equivalent", "no_evidence", "not_enough_runs"):
        comparison["pairs"][0]["verdict"] = verdict
        write_json(run / "records" / "comparison.json", comparison)
        shown = re.search(r'<p class="verdict">(.*?)</p>', write_report(run).read_text(encoding="utf-8"))
        assert shown is not None
        found[verdict] = Page(shown[1]).text
    assert found == {
        verdict: f"{words} AUROC of given-32 0.771 and modified-200 0.685."
        for verdict, words in {
            "a_better": "given-32 is better than modified-200 in AUROC.",
            "b_better": "modified-200 is better than given-32 in AUROC.",
            "equivalent": "given-32 and modified-200 are equivalent in AUROC within the margin.",
            "no_evidence": "No evidence of a difference in AUROC between given-32 and modified-200.",
            "not_enough_runs": "Not enough runs to claim a difference in AUROC.",
        }.items()
    }


@pytest.mark.usefixtures("no_figures")
def test_effects_turn_with_the_order_of_the_pair(tmp_path: Path, runs: Any) -> None:
    run = runs.make_run(tmp_path / "run", epochs=3, images_each=6)
    pairs = {(pair["a"], pair["b"]): pair for pair in read_json(run / "records" / "comparison.json")["pairs"]}
    pair = pairs["given-32", "modified-32"]  # the table shows modified − given: the other way round
    text = Page(write_report(run).read_text(encoding="utf-8")).text
    row = text.split("effect of the network")[1]
    low, high = (f"{-pair[name]:+.3f}".replace("-", "−") for name in ("high", "low"))
    assert f"{-pair['difference']:+.3f}".replace("-", "−") + f"[{low}, {high}]" in row


@pytest.mark.usefixtures("no_figures")
def test_long_set_aside_lists_are_cut_and_say_so(tmp_path: Path, runs: Any) -> None:
    aside = tuple((f"benign/{number:04d}.png", "the file is empty") for number in range(250))
    run = runs.make_run(tmp_path / "run", **runs.KINDS["single"], epochs=3, patients=9, set_aside=aside)
    text = Page(write_report(run).read_text(encoding="utf-8")).text
    assert "250 files could not be used" in text and "the first 200 are listed" in text
    assert "0199.png" in text and "0200.png" not in text


def test_missing_records_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        write_report(tmp_path / "absent")
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"scores\.json does not exist"):
        write_report(tmp_path / "run")


@pytest.mark.slow
def test_report_of_nine_classes_has_a_table_for_each_class(tmp_path: Path, runs: Any) -> None:
    run = runs.make_run(tmp_path / "run", **runs.KINDS["many"], epochs=5)
    text = Page(write_report(run).read_text(encoding="utf-8")).text
    assert text.count("each class against the rest") == 2 and "macro means over the classes" in text


@pytest.mark.slow
def test_a_browser_runs_nothing_of_a_hostile_name(tmp_path: Path, runs: Any) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    run = runs.make_run(tmp_path / "run", **runs.KINDS["hostile"], epochs=5)
    page = write_report(run).read_text(encoding="utf-8")
    # Without the policy a payload would get its chance: escaping alone must hold. The title would tell of one that ran.
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    bare = bare.replace("alert(1)", "(document.title=`RAN`)")
    assert bare.count("document.title") > 5
    (run / "bare.html").write_text(bare, encoding="utf-8")
    (run / "control.html").write_text(f"<title>t</title>{runs.HOSTILE}".replace("alert(1)", "(document.title=`RAN`)"))
    flags = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
    flags += ["disable-component-update", "disable-sync", "virtual-time-budget=3000", "dump-dom"]
    seen = {}
    for name in ("bare", "control"):
        profile = f"--user-data-dir={tmp_path / name}"
        command = [chromium, *(f"--{flag}" for flag in flags), profile, (run / f"{name}.html").as_uri()]
        seen[name] = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout
    assert "<title>RAN" in seen["control"]  # the browser does run it where it is not escaped
    assert "<footer>" in seen["bare"] and "<title>RAN" not in seen["bare"]
