"""Every page in a real browser: it draws, obeys the keyboard, is accessible, and asks nobody else for anything."""

import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small_browser import free_port, open_browser, picture_folder, running
from small_server import add_images, small_model
from small_studies import audited_home, hundred_pairs, large_cohort, slide_home, texture

pytest.importorskip("tifffile")

from make_run import make_run

import counterstain
from counterstain.audit.decisions import DECISIONS, read_decisions
from counterstain.serving.app import make_app, served_of
from counterstain.serving.pictures import image_id
from counterstain.serving.security import Access, allowed_hosts
from counterstain.serving.server import ServeOptions
from counterstain.serving.site import write_site

pytestmark = pytest.mark.slow
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
PAGES = {
    "studies": "/", "errors": "/runs/two/errors", "cohort": "/runs/two/cohort", "audit": "/runs/r/audit",
    "live": "/runs/two/live", "predict": "/runs/two/predict", "claim": "/claim", "slides": "/slides",
    "slide": f"/slides/{image_id('s')}", "api": "/api/docs",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs, an audited run, a slide with its map, and a model."""
    home = tmp_path_factory.mktemp("browser")
    audited_home(home)
    add_images(make_run(home / "runs" / "two", arms=("given-32", "modified-200"), patients=12, images_each=20))
    slide_home(home / "slide")
    small_model(home / "model-home")
    one = home / "runs" / "two" / "arms" / "given-32" / "seed-0" / "fold-0-0"
    shutil.copytree(home / "model-home" / "model", one, dirs_exist_ok=True)
    shutil.copy(home / "runs" / "two" / "predictions" / "given-32" / "seed-0.csv", one / "predictions.csv")
    for path in (home / "images").glob("*/P0*_*.png"):
        Image.fromarray(texture(len(path.name), 128)).save(path)
    hundred_pairs(home / "runs" / "r", home / "runs" / "hundred")
    large_cohort(home / "runs" / "large")
    return home


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    listening = free_port()
    port = listening.getsockname()[1]
    access = Access(hosts=allowed_hosts("127.0.0.1", port))
    options = ServeOptions(
        model=home / "model-home" / "model", slides=(home / "slide" / "slides",), maps=(home / "slide" / "maps",)
    )
    with running(make_app(served_of(home / "runs", options), access), listening):
        yield f"http://127.0.0.1:{port}/?token={access.token}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as found:
        yield found


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page that has been let in, whose faults fail the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    made = context.new_page()
    faults: list[str] = []
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    known = (address.split("/?")[0], "data:", "blob:")
    made.on("request", lambda asked: None if asked.url.startswith(known) else faults.append(asked.url))
    made.goto(address)
    made.faults = faults
    yield made
    context.close()
    assert not faults


def until(page: Any, condition: str, timeout: float = 30_000) -> None:
    """Ask the page until a condition holds; Playwright's own waiting needs eval, which our policy forbids.

    A condition on something that isn't drawn yet raises a TypeError in the page: not yet true, and asked again.
    """
    ends = time.monotonic() + timeout / 1000
    asked = (
        f"(() => {{ try {{ return Boolean({condition}); }}"
        " catch (error) { if (error instanceof TypeError) return false; throw error; } })()"
    )
    while not page.evaluate(asked):
        assert time.monotonic() < ends, f"never came true: {condition}"
        page.wait_for_timeout(50)


def keep_picture(page: Any, name: str) -> None:
    folder = picture_folder()
    if folder is not None:
        page.screenshot(path=folder / f"{name}.png", full_page=True)


def go(page: Any, address: str, name: str) -> None:
    page.goto(address.split("/?")[0] + PAGES[name])
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_no_serious_fault_of_accessibility_and_nothing_overflows(
    page: Any, address: str, name: str, scheme: str, width: int
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    go(page, address, name)
    keep_picture(page, f"{name}-{scheme}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(AXE.read_text(encoding="utf-8"))  # through the debugger, which no policy of the page forbids
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        (one["id"], [node["target"] for node in one["nodes"]][:3])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert not serious


def test_a_cell_opens_its_tiles(page: Any, address: str) -> None:
    go(page, address, "errors")
    cell = page.locator("[data-cell='0-1']")
    count = int(cell.inner_text().split()[0])
    cell.click()
    until(page, "document.querySelector('#chosen').textContent.startsWith('benign called malignant')")
    assert page.locator("#tiles img").count() == min(count, 60)
    until(page, "[...document.querySelectorAll('#tiles img')].slice(0, 5).every((one) => one.naturalWidth > 0)")
    page.select_option("#other", "modified-200")
    assert "disagree" in page.inner_text("#chosen")
    assert page.locator("#influence tbody tr").count() > 1


def test_pairs_are_decided_by_keyboard_alone(page: Any, address: str, home: Path) -> None:
    go(page, address, "audit")
    pairs = page.evaluate("page.data.pairs.length")
    path = home / "runs" / "r" / DECISIONS
    path.unlink(missing_ok=True)
    for number in range(pairs):
        page.keyboard.press("ksd"[number % 3])
        until(page, f"document.querySelector('#told').textContent.startsWith('Pair {number + 1}:')")
    assert len(read_decisions(path)) == pairs
    page.keyboard.press("u")
    until(page, "document.querySelector('#told').textContent.endsWith('undone')")
    assert len(read_decisions(path)) == pairs + 1
    page.keyboard.press("b")
    assert page.get_attribute("#blink", "aria-pressed") == "true"
    page.fill("#reason", "kds")  # letters that are typed are no decisions
    assert len(read_decisions(path)) == pairs + 1


def test_a_hundred_pairs_by_keyboard_alone(page: Any, address: str, home: Path) -> None:
    page.goto(address.split("/?")[0] + "/runs/hundred/audit")
    page.wait_for_load_state("networkidle")
    for number in range(100):
        page.keyboard.press("ksd"[number % 3])
        until(page, f"document.querySelector('#told').textContent.startsWith('Pair {number + 1}:')")
    made = read_decisions(home / "runs" / "hundred" / DECISIONS)
    assert [one.decision for one in made] == [("keep", "same", "drop")[number % 3] for number in range(100)]
    assert "100 decided" in page.inner_text("#where")


def test_where_a_model_looks_is_shown_on_demand(page: Any, address: str) -> None:
    go(page, address, "errors")
    page.locator("#tiles button").first.click()
    until(page, "document.querySelector('#tiles canvas.evidence') !== null", timeout=120_000)
    assert page.locator("#tiles button").first.inner_text() in ("Speaks for a", "Speaks for b")
    assert page.evaluate("document.querySelector('#tiles canvas.evidence').width") > 1


def test_a_hundred_thousand_tiles_scroll_without_growing(page: Any, address: str) -> None:
    """What a frame costs doesn't depend on the number of tiles: the cells in sight are used again, none is added.

    The frames a second are measured by benchmarks/serving_pages.py.
    """
    page.goto(address.split("/?")[0] + "/runs/large/cohort")
    until(page, "document.body.dataset.ready === 'yes'")
    assert page.inner_text("#count") == "100,000 of 100,000 images"
    added = page.evaluate("""() => new Promise((done) => {
      const grid = document.querySelector('#grid');
      let frames = 0, added = 0;
      const count = (changes) => { for (const change of changes) added += change.addedNodes.length; };
      const observer = new MutationObserver(count);
      observer.observe(grid, {childList: true, subtree: true});
      const step = () => {
        grid.scrollTop += 60; frames += 1;
        if (frames < 150) requestAnimationFrame(step);
        else { count(observer.takeRecords()); observer.disconnect(); done(added); }
      };
      requestAnimationFrame(step);
    })""")
    assert added == 0
    page.evaluate("document.querySelector('#grid').scrollTop = 1e9")
    until(page, "document.querySelector('[data-row=\"99999\"] img').naturalWidth > 0")
    assert page.locator(".cell").count() < 200  # only what is in sight is in the page


def test_the_grid_scrolls_and_filters(page: Any, address: str) -> None:
    go(page, address, "cohort")
    until(page, "document.body.dataset.ready === 'yes'")
    assert page.inner_text("#count") == "240 of 240 images"
    page.evaluate("document.querySelector('#grid').scrollTop = 1e9")
    last = page.evaluate("page.data.names ? 0 : 239")
    until(page, f"document.querySelector('[data-row=\"{last}\"]') !== null")
    page.locator(f"[data-row='{last}']").click()
    page.wait_for_selector("#row img")
    page.select_option("#facet-label", label=page.locator("#facet-label option").nth(1).inner_text())
    assert page.inner_text("#count") == "120 of 240 images"


def test_a_picture_is_predicted(page: Any, address: str, home: Path) -> None:
    go(page, address, "predict")
    page.select_option("#model", "model")
    page.set_input_files("#file", next((home / "model-home" / "images" / "a").glob("*.png")))
    page.wait_for_selector("#answer:not([hidden])")
    assert "Seen in training" in page.inner_text("#said")
    assert page.evaluate("document.querySelector('#map').width") > 1


def test_a_claim_is_made_of_two_tables(page: Any, address: str, home: Path) -> None:
    go(page, address, "claim")
    for side, arm in (("a", "given-32"), ("b", "modified-200")):
        page.set_input_files(f"#file-{side}", home / "runs" / "two" / "predictions" / arm / "seed-0.csv")
    page.click("#ask")
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    assert "AUROC" in page.inner_text("#verdict")


def test_a_growing_run_is_followed(page: Any, address: str, home: Path) -> None:
    go(page, address, "live")
    history = home / "runs" / "two" / "arms" / "given-32" / "seed-0" / "fold-0-0" / "history.csv"
    text = history.read_text()
    try:
        head, first = text.splitlines()[:2]
        rows = [f"{epoch},{first.partition(',')[2]}" for epoch in range(1, 6)]
        history.write_text("\n".join([head, *rows]) + "\n")
        until(page, "document.querySelector('#curves p').textContent.startsWith('Epoch 5')", timeout=8000)
        assert page.inner_text("#curves p").startswith("Epoch 5")
    finally:
        history.write_text(text)


def test_truth_lies_within_a_pixel_at_every_zoom(page: Any, address: str) -> None:
    """Where a corner of the annotation and of the map is on the screen, against the slide's own pixels there."""
    go(page, address, "slide")
    until(page, "document.body.dataset.ready === 'yes' && document.querySelector('canvas.heat') !== null")
    worst = page.evaluate("""async () => {
      const viewer = window.slideViewer, box = document.querySelector('#viewer').getBoundingClientRect();
      const wait = () => new Promise((done) => setTimeout(done, 150));
      let worst = 0;
      for (const zoom of [0.5, 1, 2, 4, 8]) {
        viewer.viewport.zoomTo(zoom, viewer.viewport.imageToViewportCoordinates(700, 900), true);
        viewer.viewport.panTo(viewer.viewport.imageToViewportCoordinates(700, 900), true);
        viewer.forceRedraw(); await wait();
        const at = (x, y) => {
          const p = viewer.viewport.pixelFromPoint(viewer.viewport.imageToViewportCoordinates(x, y), true);
          return [p.x + box.left + 1, p.y + box.top + 1];
        };
        const svg = document.querySelector('svg.truth'), matrix = svg.getScreenCTM();
        const drawn = new DOMPoint(700, 900).matrixTransform(matrix), known = at(700, 900);
        worst = Math.max(worst, Math.abs(drawn.x - known[0]), Math.abs(drawn.y - known[1]));
        const heat = document.querySelector('canvas.heat').getBoundingClientRect(), corner = at(0, 0);
        worst = Math.max(worst, Math.abs(heat.left - corner[0]), Math.abs(heat.top - corner[1]));
      }
      return worst;
    }""")
    assert worst <= 1


def test_a_slide_is_read_from_its_page(page: Any, address: str) -> None:
    go(page, address, "slide")
    until(page, "document.body.dataset.ready === 'yes'")
    page.select_option("#model", "model")
    page.fill("#mpp", "0.5")
    page.click("#read")
    until(page, "/done|failed/.test(document.querySelector('#request').textContent)", timeout=240_000)
    assert page.inner_text("#request") == "model: done."
    until(page, "document.querySelector('#first').value.startsWith('model-')")
    until(page, "document.querySelector('canvas.heat[data-map=first]') !== null")
    page.select_option("#second", "maps")  # the curtain lies between two maps
    until(page, "document.querySelector('canvas.heat[data-map=second]')?.style.clipPath.startsWith('inset')")
    keep_picture(page, "slide-curtain")


def test_a_polygon_is_drawn(page: Any, address: str, home: Path) -> None:
    go(page, address, "slide")
    until(page, "document.body.dataset.ready === 'yes'")
    page.click("#draw")
    box = page.locator("#viewer").bounding_box()
    for x, y in ((0.45, 0.45), (0.55, 0.45), (0.5, 0.55)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_timeout(400)
    page.click("#draw")
    until(page, "document.querySelector('#told').textContent.startsWith('Kept')")
    assert (home / "runs" / "annotations" / "s.geojson").is_file()


def test_saved_pages_open_from_a_disk(browser: Any, home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "runs" / "two", tmp_path / "runs" / "two", ignore=shutil.ignore_patterns("arms"))
    shutil.copytree(home / "runs" / "r", tmp_path / "runs" / "r")
    shutil.copytree(home / "images", tmp_path / "images")
    slides, maps = (home / "slide" / "slides",), (home / "slide" / "maps",)
    write_site(tmp_path / "runs", tmp_path / "site", slides=slides, maps=maps)
    context = browser.new_context()
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    for name in ("index", "two-errors", "two-cohort", "r-audit", "two-live"):
        page.goto((tmp_path / "site" / f"{name}.html").as_uri())
        page.wait_for_load_state("networkidle")
    page.goto((tmp_path / "site" / "two-errors.html").as_uri())
    until(page, "[...document.querySelectorAll('#tiles img')].some((one) => one.naturalWidth > 0)")
    page.goto((tmp_path / "site" / "slides.html").as_uri())
    page.locator("main a").first.click()
    until(page, "document.body.dataset.ready === 'yes' && document.querySelector('canvas.heat') !== null")
    until(page, "window.slideViewer.world.getItemAt(0).getFullyLoaded()")
    keep_picture(page, "saved-slide")
    context.close()
    assert not faults


def test_a_notebook_shows_the_page_in_a_frame(browser: Any, home: Path) -> None:
    """A page of another port of this machine, as a notebook is, frames it; the cookie gets through."""
    shown = counterstain.serve(home / "runs", port=0)
    notebook = shown._repr_html_().encode()

    class Notebook(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(notebook)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Notebook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = browser.new_context()
        try:
            page = context.new_page()
            page.goto(f"http://localhost:{server.server_port}/")
            frame = page.frame_locator("iframe")
            frame.locator("#runs tbody tr").first.wait_for(timeout=60_000)
            frame.locator("a", has_text="two").first.click()
            frame.locator("#matrix [data-cell]").first.wait_for(timeout=60_000)
            assert frame.locator("#matrix [data-cell]").count() == 4
        finally:
            context.close()
            server.shutdown()
            shown.close()
