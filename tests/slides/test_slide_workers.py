"""Slides read by several processes, or by a cluster, leave the bytes that one process leaves."""

import importlib.util
import os
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from cohort_runs import MPP, TILE_PX, contents, write_slide

from counterstain.engine import Engine
from counterstain.errors import InputError
from counterstain.learning.device import prepare_device
from counterstain.learning.encoder import load_encoder
from counterstain.learning.features import read_features
from counterstain.progress import SlidesProgress
from counterstain.slides import outputs
from counterstain.slides.extract_tiles import ExtractionOptions, extract_tiles
from counterstain.slides.feature_files import TileGrid, encode_slides
from counterstain.slides.infer_cohort import run_slides
from counterstain.slides.infer_slide import InferenceOptions
from counterstain.slides.outputs import SlideJob, paths_of
from counterstain.slides.slide_workers import each_slide, threads_of

READING = InferenceOptions(batch=4, workers=2, threads=1, runtime="torch")


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slides, one of them damaged."""
    folder = tmp_path_factory.mktemp("slides")
    for number in range(3):
        write_slide(folder / f"S{number}.tif", number)
    (folder / "damaged.tif").write_bytes((folder / "S0.tif").read_bytes()[:3000])
    return folder


@pytest.fixture(scope="module")
def by_one(bundle: Path, slides: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("one")
    run_slides(bundle, [slides], out, READING)
    return contents(out)


@pytest.mark.parametrize(
    ("asked", "engine", "threads"),
    [
        (1, Engine(jobs=4), 1),
        (None, Engine(jobs=1000), 1),
        (None, Engine(scheduler="tcp://host:1"), 1),
        (3, Engine(scheduler="tcp://host:1"), 3),
    ],
)
def test_threads_are_settled_before_anything_is_sent(
    asked: int | None, engine: Engine, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads_of(asked, engine) == threads


def test_omp_num_threads_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads_of(None, Engine(jobs=1000)) == 5


def test_jobs_and_a_scheduler_are_checked_first(bundle: Path, slides: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="jobs is 0"):
        run_slides(bundle, [slides], tmp_path, READING, engine=Engine(jobs=0))
    for seconds in (0, -1, float("nan")):
        with pytest.raises(InputError, match="time_limit is"):
            run_slides(bundle, [slides], tmp_path, READING, engine=Engine(time_limit_s=seconds))
    with pytest.raises(InputError, match="scheduler is 'nowhere'"):
        run_slides(bundle, [slides], tmp_path, READING, engine=Engine(scheduler="nowhere"))


@pytest.mark.slow
def test_two_processes_leave_the_bytes_of_one(
    bundle: Path, slides: Path, by_one: dict[str, bytes], tmp_path: Path
) -> None:
    lines: list[str] = []
    result = run_slides(
        bundle, [slides], tmp_path, READING, engine=Engine(jobs=2), talk=SlidesProgress(say=lines.append)
    )
    assert contents(tmp_path) == by_one
    assert [name for name, _, _ in result.failures] == ["damaged"]
    assert "4 slides, 2 at a time" in lines
    assert any(line.startswith("S1 (") and "tiles in" in line for line in lines)


@pytest.mark.parametrize("engine", [Engine(), Engine(jobs=2), Engine(scheduler="tcp://nowhere:1")])
def test_where_nothing_is_left_to_do_nobody_is_asked(engine: Engine) -> None:
    lines: list[str] = []
    assert list(each_slide(len, {}, engine, say=lines.append)) == lines == []


def test_a_job_for_another_folder_has_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = SlideJob(Path("S.tif"), "S", paths_of(Path("out"), "S", compress=False), "key").absolute()
    assert job.path == tmp_path / "S.tif"
    assert job.paths == paths_of(tmp_path / "out", "S", compress=False)


@pytest.mark.slow
def test_with_a_time_limit_the_bytes_are_the_same(
    bundle: Path, slides: Path, by_one: dict[str, bytes], tmp_path: Path
) -> None:
    run_slides(bundle, [slides], tmp_path, READING, engine=Engine(time_limit_s=600))
    assert contents(tmp_path) == by_one


@pytest.mark.slow
def test_tiles_cut_by_two_processes_are_those_of_one(slides: Path, tmp_path: Path) -> None:
    settings = ExtractionOptions(mpp=MPP, tile_px=TILE_PX)
    paths = sorted(slides.iterdir())
    one, two = (
        extract_tiles(paths, tmp_path / name, settings, engine=engine)
        for name, engine in (("one", Engine()), ("two", Engine(jobs=2)))
    )
    assert one.failures == two.failures
    assert [name for name, _ in one.failures] == ["damaged"]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_features_by_two_processes_are_those_of_one(bundle: Path, slides: Path, tmp_path: Path, runtime: str) -> None:
    if runtime == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    for name, engine in (("one", Engine()), ("two", Engine(jobs=2))):
        prepare_device(device="cpu", threads=threads_of(None, Engine(jobs=2)))
        encoder, grid = load_encoder(str(bundle)), TileGrid(mpp=MPP)
        made = encode_slides(encoder, [slides], tmp_path / name, grid, runtime=runtime, engine=engine)
        assert (made.slides, [name for name, _ in made.failures]) == (3, ["damaged"])
    for file in ("S0.h5", "S1.h5", "S2.h5"):
        one, two = (read_features(tmp_path / name / file) for name in ("one", "two"))
        np.testing.assert_array_equal(one.features, two.features)
        np.testing.assert_array_equal(one.coords, two.coords)
    again = encode_slides(load_encoder(str(bundle)), [slides], tmp_path / "two", TileGrid(mpp=MPP), runtime=runtime)
    assert again.before == 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_leaves_the_bytes_of_one_though_a_worker_is_killed(
    bundle: Path,
    slides: Path,
    by_one: dict[str, bytes],
    cluster: tuple[str, list[subprocess.Popen[bytes]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model and the results have relative paths: workers start in a folder of their own."""
    address, workers = cluster
    monkeypatch.chdir(bundle)
    killed: list[str] = []

    def say(line: str) -> None:
        if "tiles in" in line and not killed:
            killed.append(line)
            workers[0].send_signal(signal.SIGKILL)

    out = Path(os.path.relpath(tmp_path / "out"))
    result = run_slides(Path(), [slides], out, READING, engine=Engine(scheduler=address), talk=SlidesProgress(say=say))
    assert killed
    assert contents(tmp_path / "out") == by_one
    assert set(result.records) == {"S0", "S1", "S2"}


def test_a_slide_that_does_not_answer_is_listed_all_the_same(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first bytes are read where the work is given out; a disk that never answers must not stop the others."""
    monkeypatch.setattr(outputs, "_STAMP_S", 0.2)
    answers = threading.Event()
    stamp = outputs._stamp
    monkeypatch.setattr(outputs, "_stamp", lambda path: answers.wait() if path.stem == "S1" else stamp(path))
    try:
        jobs = outputs.find_jobs([slides], tmp_path, {}, compress=False, time_limit_s=60)
    finally:
        answers.set()
    assert [job.name for job in jobs] == ["S0", "S1", "S2", "damaged"]
    assert len({job.key for job in jobs}) == 4
