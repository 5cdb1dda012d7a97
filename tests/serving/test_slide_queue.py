"""Slides that wait for a model: the queue is its folder, so it outlives the server."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_server import PORT, TOKEN, small_model
from small_studies import slide_home
from starlette.testclient import TestClient

pytest.importorskip("tifffile")

from counterstain.serving.app import make_app, served_of
from counterstain.serving.pictures import image_id
from counterstain.serving.problems import ServingError
from counterstain.serving.security import Access
from counterstain.serving.server import ServeOptions
from counterstain.serving.slide_queue import SlideQueue
from counterstain.slides.infer_cohort import run_slides
from counterstain.slides.infer_slide import InferenceOptions
from counterstain.slides.tile_files import read_tile_csv
from counterstain.study.completion import lock


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.fixture
def still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlideQueue:
    """A queue whose thread reads nothing."""
    queue = SlideQueue(tmp_path / "requests", tmp_path / "maps")
    monkeypatch.setattr(queue, "_work", lambda: None)
    return queue


def test_a_request_is_a_record_that_another_server_finds(still: SlideQueue, tmp_path: Path) -> None:
    first = still.add("a" * 16, tmp_path / "a.tif", "m", tmp_path / "model")
    second = still.add("b" * 16, tmp_path / "b.tif", "m", tmp_path / "model", mpp=0.5)
    assert still.add("a" * 16, tmp_path / "a.tif", "m", tmp_path / "model") == first  # it waits already
    again = SlideQueue(still.folder, still.maps)
    assert {one.id: one for one in again.requests()} == {first.id: first, second.id: second}
    assert again.find(second.id).mpp == 0.5
    told = again.told(first)
    assert told["state"] == "waiting" and not any(str(tmp_path) in str(value) for value in told.values())
    assert again.cancel(first.id).state == "cancelled"
    assert still.find(first.id).state == "cancelled"
    assert still.add("a" * 16, tmp_path / "a.tif", "m", tmp_path / "model").id != first.id


@pytest.mark.parametrize("identity", ["", "../x", "20260101000000-0000000g", "20260101000000-00000000"])
def test_requests_that_are_none(still: SlideQueue, identity: str) -> None:
    with pytest.raises(ServingError, match="no request"):
        still.find(identity)


def test_a_record_that_is_damaged_is_left_out(still: SlideQueue, tmp_path: Path) -> None:
    kept = still.add("a" * 16, tmp_path / "a.tif", "m", tmp_path / "model")
    (still.folder / "20260101000000-00000000.json").write_text("{")
    (still.folder / "20260101000000-00000001.json").write_text('{"schema": "x", "more": 1}')
    assert still.requests() == [kept]


def test_a_second_server_of_the_same_runs_reads_nothing(tmp_path: Path) -> None:
    queue = SlideQueue(tmp_path / "requests", tmp_path / "maps")
    (tmp_path / "requests").mkdir()
    with lock(tmp_path / "requests"):
        request = queue.add("a" * 16, tmp_path / "a.tif", "m", tmp_path / "model")
        until(lambda: queue._thread is not None and not queue._thread.is_alive())
    assert queue.find(request.id).state == "waiting"
    queue.close()


# --------------------------------------------------------------------------------------------------- real slides, read


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model/ and slides/ with one slide, runs/ empty."""
    home = tmp_path_factory.mktemp("queue")
    small_model(home)
    (home / "runs").rmdir()
    return slide_home(home)


@pytest.mark.slow
def test_a_slide_is_read_and_its_map_shown(home: Path, access: Access) -> None:
    options = ServeOptions(slides=(home / "slides",), model=home / "model")
    base, identity = f"http://127.0.0.1:{PORT}", image_id("s")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(make_app(served_of(home / "runs", options), access), base_url=base, headers=headers) as asked:
        made = asked.post(f"/api/slides/{identity}/requests", json={"mpp": 0.5})
        assert made.status_code == 202, made.text
        place = f"/api/slide-requests/{made.json()['id']}"
        until(lambda: asked.get(place).json()["state"] in ("done", "failed"))
        done = asked.get(place).json()
        assert done["state"] == "done", done
        assert asked.get(f"/api/slides/{identity}").json()["maps"] == [done["words"]]
        assert asked.get(f"/api/slides/{identity}/maps/{done['words']}").json()["names"] == ["b"]
        assert [one["state"] for one in asked.get("/api/slide-requests").json()] == ["done"]
        assert asked.post(f"{place}/cancel", json={}).json()["state"] == "done"
        assert asked.post(f"/api/slides/{identity}/requests", json={"model": "nothing"}).status_code == 404
        assert asked.post(f"/api/slides/{'0' * 16}/requests", json={}).status_code == 404
        assert asked.post(f"/api/slides/{identity}/requests", json={"mpp": 0}).status_code == 422


@pytest.mark.slow
def test_a_server_that_is_killed_is_gone_on_with_by_the_next(home: Path, tmp_path: Path) -> None:
    """Killed while its worker reads: the worker ends, the request still waits, and the next queue ends it alike."""
    import tifffile

    pixels = np.tile(tifffile.imread(home / "slides" / "s.tif", key=0), (2, 2, 1))
    slide = tmp_path / "large.tif"
    tifffile.imwrite(slide, pixels, tile=(256, 256), photometric="rgb", compression="zlib",
                     resolution=(20000, 20000), resolutionunit="CENTIMETER")  # fmt: skip
    words = json.dumps({key: str(value) for key, value in {
        "slide": slide, "model": home / "model", "queue": tmp_path / "requests",
        "maps": tmp_path / "maps"}.items()})  # fmt: skip
    code = (
        "import json, sys, time; from pathlib import Path; from counterstain.serving.slide_queue import SlideQueue\n"
        "given = {key: Path(value) for key, value in json.loads(sys.argv[1]).items()}\n"
        "queue = SlideQueue(given['queue'], given['maps'])\n"
        "request = queue.add('a' * 16, given['slide'], 'm', given['model'], mpp=0.5)\n"
        "while queue.told(request)['tiles'] == 0 and queue.find(request.id).state == 'waiting': time.sleep(0.01)\n"
        "print(queue._process.pid, flush=True); time.sleep(600)"
    )
    server = subprocess.Popen([sys.executable, "-c", code, words], stdout=subprocess.PIPE, text=True)
    with server:
        assert server.stdout is not None
        worker = int(server.stdout.readline())
        os.kill(server.pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{worker}/stat").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text())
    queue = SlideQueue(tmp_path / "requests", tmp_path / "maps")
    (request,) = queue.requests()
    assert request.state == "waiting"
    queue.start()
    until(lambda: queue.find(request.id).state != "waiting")
    queue.close()
    ended = queue.find(request.id)
    assert ended.state == "done", ended.words
    run_slides(home / "model", [slide], tmp_path / "direct", InferenceOptions(mpp=0.5))
    found, direct = (read_tile_csv(out / "model-outputs-csv" / "large.csv") for out in (
        tmp_path / "maps" / ended.words, tmp_path / "direct"))  # fmt: skip
    assert (found[0] == direct[0]).all()
    assert found[2]["b"] == pytest.approx(direct[2]["b"], abs=1e-6)
