"""How the local page feels in a real browser: first paint, frames per second, click to tiles, slides of 100,000 px.

    python benchmarks/serving_pages.py

Needs Debian's chromium and playwright. Prints one JSON line. Times are of the clock; `cpu` ones are what the page's own
thread worked, which other programs on the machine do not change.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).parent.parent / "tests"
sys.path[:0] = [str(TESTS / "serving"), str(TESTS / "reports")]
SECONDS = 4.0


def main() -> None:
    import shutil

    from make_run import make_run
    from small_browser import free_port, open_browser, running
    from small_server import add_images
    from small_studies import huge_slide, large_cohort

    from counterstain.serving.app import make_app, served_of
    from counterstain.serving.pictures import image_id
    from counterstain.serving.security import Access, allowed_hosts
    from counterstain.serving.server import ServeOptions

    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        one = make_run(home / "runs" / "run-000", arms=("given-32", "modified-200"), patients=20, images_each=30)
        add_images(one)
        for number in range(1, 200):
            shutil.copytree(one, home / "runs" / f"run-{number:03}")
        large_cohort(home / "runs" / "large")
        huge_slide(home / "slides" / "huge.tif")
        listening = free_port()
        port = listening.getsockname()[1]
        access = Access(hosts=allowed_hosts("127.0.0.1", port))
        served = served_of(home / "runs", ServeOptions(slides=(home / "slides",)))
        with running(make_app(served, access), listening), open_browser() as browser:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            root = f"http://127.0.0.1:{port}"
            page.goto(f"{root}/?token={access.token}")
            record = {
                "load": round(os.getloadavg()[0], 1), **studies(page, root), **cohort(page, root), **errors(page, root),
                **slide(page, f"{root}/slides/{image_id('huge')}"),
            }  # fmt: skip
    print(json.dumps(record))


def wait(page: Any, condition: str) -> None:
    while not page.evaluate(condition):
        page.wait_for_timeout(5)


def paint_ms(page: Any) -> float:
    return float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))


def studies(page: Any, root: str) -> dict[str, float]:
    """200 runs: from the request until the table is there, the first time and again."""
    found = []
    for _ in range(3):
        begun = time.perf_counter()
        page.goto(f"{root}/")
        wait(page, "document.querySelectorAll('#runs tbody tr').length >= 200")
        found.append(1000 * (time.perf_counter() - begun))
    return {"studies_200_ms": round(min(found)), "studies_200_first_ms": round(found[0])}


def cohort(page: Any, root: str) -> dict[str, float]:
    """100,000 tiles: first paint, tiles in sight, and scrolling through them."""
    begun = time.perf_counter()
    page.goto(f"{root}/runs/large/cohort")
    wait(
        page, "[...document.querySelectorAll('.cell:not([hidden]) img')].filter((one) => one.naturalWidth).length > 10"
    )
    ready = 1000 * (time.perf_counter() - begun)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def worked() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

    before = worked()
    frames = page.evaluate(SCROLL, SECONDS)
    cpu = worked() - before
    return {
        "cohort_first_paint_ms": round(paint_ms(page)), "cohort_tiles_seen_ms": round(ready),
        "scroll_frames_s": round(len(frames) / SECONDS, 1),
        "scroll_cpu_ms_per_frame": round(1000 * cpu / len(frames), 2),
        "scroll_frame_median_ms": round(float(np.median(np.diff(frames))), 1),
    }  # fmt: skip


SCROLL = """(seconds) => new Promise((done) => {
  const grid = document.querySelector('#grid'), frames = [], ends = performance.now() + 1000 * seconds;
  const step = (now) => {
    frames.push(now); grid.scrollTop += 60;
    if (now < ends) requestAnimationFrame(step); else done(frames);
  };
  requestAnimationFrame(step);
})"""


def errors(page: Any, root: str) -> dict[str, float]:
    """From the click on a cell of the matrix until its tiles are elements, and until the first are drawn."""
    page.goto(f"{root}/runs/run-000/errors")
    wait(page, "document.querySelectorAll('[data-cell]').length > 0")
    taken = []
    for cell in ("0-1", "1-0", "0-0", "1-1"):
        taken.append(page.evaluate(CLICK, cell))
    return {"click_to_tiles_ms": round(float(np.median([one[0] for one in taken])), 1),
            "click_to_pictures_ms": round(float(np.median([one[1] for one in taken])), 1)}  # fmt: skip


CLICK = """async (cell) => {
  const begun = performance.now();
  document.querySelector(`[data-cell='${cell}']`).click();
  await new Promise(requestAnimationFrame);
  const tiles = performance.now() - begun;
  const first = [...document.querySelectorAll('#tiles img')].slice(0, 6);
  const loaded = (one) => one.complete ? null : new Promise((done) => { one.onload = one.onerror = done; });
  await Promise.all(first.map(loaded));
  return [tiles, performance.now() - begun];
}"""


def slide(page: Any, address: str) -> dict[str, float]:
    """A slide of 100,000 px: until it is drawn, and until its own pixels are after zooming in."""
    begun = time.perf_counter()
    page.goto(address)
    loaded = "document.body.dataset.ready === 'yes' && window.slideViewer.world.getItemAt(0)?.getFullyLoaded()"
    wait(page, loaded)
    whole = 1000 * (time.perf_counter() - begun)
    begun = time.perf_counter()
    page.evaluate("window.slideViewer.viewport.zoomTo(window.slideViewer.viewport.imageToViewportZoom(1), null, true)")
    page.wait_for_timeout(50)
    wait(page, loaded)
    return {"slide_100000_px_ms": round(whole), "slide_own_pixels_ms": round(1000 * (time.perf_counter() - begun))}


if __name__ == "__main__":
    main()
