"""A model reads slides: end to end, killed and gone on with, with bad slides among good ones."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from cohort_runs import MPP, TILE_PX, contents, make_bundle, write_slide
from PIL import Image
from tile_geojson import read_tile_geojson
from typer.testing import CliRunner

from counterstain.cli.slides_run import app
from counterstain.errors import InputError
from counterstain.evaluation.calibration import fit_calibration
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.files import read_json
from counterstain.learning.bundle import seal
from counterstain.learning.ood_statistics import STATISTICS, features_of, fit_ood_statistics, write_ood_statistics
from counterstain.learning.predictor import load_predictor
from counterstain.progress import SlideProgress, SlidesProgress
from counterstain.slides import tile_stream as stream
from counterstain.slides.infer_cohort import SlidesResult, run_slides
from counterstain.slides.infer_slide import InferenceOptions
from counterstain.slides.reader import open_slide
from counterstain.slides.tile_files import read_tile_csv, read_tile_flags

READING = InferenceOptions(batch=4, workers=2)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    for number in range(3):
        write_slide(folder / f"S{number}.tif", number)
    return folder


@pytest.fixture(scope="module")
def done(bundle: Path, slides: Path, tmp_path_factory: pytest.TempPathFactory) -> SlidesResult:
    return run_slides(bundle, [slides], tmp_path_factory.mktemp("out"), READING)


def test_layout(done: SlidesResult) -> None:
    expected = {"failures.csv", "slides_run.json", "slide-scores/slides.csv"}
    for name in ("S0", "S1", "S2"):
        expected |= {
            f"masks/{name}.png", f"patches/{name}.h5", f"model-outputs-csv/{name}.csv", f"heatmaps/{name}.ome.tif",
            f"model-outputs-geojson/{name}.geojson", f"heatmaps/{name}.png", f"slide-records/{name}.json",
        }  # fmt: skip
    assert set(contents(done.out)) == expected
    assert done.failures == ()
    assert len(list(done.out.glob("run_metadata_*.json"))) == 1


def test_every_tile_has_what_the_model_says_of_its_pixels(done: SlidesResult, bundle: Path, slides: Path) -> None:
    corner, size, prob = read_tile_csv(done.out / "model-outputs-csv" / "S1.csv")
    assert len(corner) == done.records["S1"]["tiles"] > 20
    assert (size == TILE_PX).all()
    # An independent reading: the whole of level 0 by tifffile, cut at the table's coordinates.
    level0 = tifffile.imread(slides / "S1.tif", key=0)
    tiles = np.full((len(corner), TILE_PX, TILE_PX, 3), 255, np.uint8)
    for tile, (x, y) in zip(tiles, corner.tolist(), strict=True):
        part = level0[y : y + TILE_PX, x : x + TILE_PX]
        tile[: part.shape[0], : part.shape[1]] = part
    expected = load_predictor(bundle).probabilities(tiles)
    np.testing.assert_allclose(np.column_stack([prob["benign"], prob["tumour"]]), expected, rtol=0, atol=1e-6)
    assert np.ptp(prob["tumour"]) > 1e-3


def test_table_geojson_patches_and_map_agree(done: SlidesResult) -> None:
    corner, size, prob = read_tile_csv(done.out / "model-outputs-csv" / "S0.csv")
    again, sizes, measured = read_tile_geojson(done.out / "model-outputs-geojson" / "S0.geojson")
    assert np.array_equal(corner, again) and np.array_equal(size, sizes)
    assert np.array_equal(prob["tumour"], measured["prob_tumour"])
    with h5py.File(done.out / "patches" / "S0.h5") as file:
        assert np.array_equal(file["coords"][:], corner)
        assert file["coords"].attrs["tile_px"] == TILE_PX
        # What WSInfer asks of the file: whole level-0 px, counted on level 0.
        assert file["coords"].attrs["patch_size"] == TILE_PX and file["coords"].attrs["patch_level"] == 0
        assert file["coords"].attrs["patch_size"].dtype.kind == "i"
        assert file["coords"].attrs["patch_spacing_um_px"] == MPP
    with tifffile.TiffFile(done.out / "heatmaps" / "S0.ome.tif") as file:
        heat = file.series[0].asarray().squeeze()
    step = TILE_PX / 4
    assert heat.shape == (int(np.ceil(800 / step)), int(np.ceil(1100 / step)))
    for (x, y), p in zip(corner.tolist(), prob["tumour"].tolist(), strict=True):
        row, column = int((y + TILE_PX / 2) / step), int((x + TILE_PX / 2) / step)
        assert heat[row, column] == 1 + round(254 * p)
    with Image.open(done.out / "masks" / "S0.png") as mask, Image.open(done.out / "heatmaps" / "S0.png") as picture:
        assert (mask.mode, picture.mode) == ("L", "RGB")


def test_metadata_says_how_it_was_made(done: SlidesResult) -> None:
    [path] = done.out.glob("run_metadata_*.json")
    record = json.loads(path.read_text())
    assert record["schema"] == "counterstain.slides-run-metadata/1"
    assert record["settings"]["mpp"] == MPP and record["settings"]["batch"] == 4
    assert {name: row["state"] for name, row in record["slides"].items()} == dict.fromkeys(("S0", "S1", "S2"), "read")
    assert record["libraries"]["torch"] and len(record["bundle_sha256sums"]) == 64


def test_batches_and_threads_change_nothing_that_matters(
    done: SlidesResult, bundle: Path, slides: Path, tmp_path: Path
) -> None:
    run_slides(bundle, [slides / "S0.tif"], tmp_path, dataclasses.replace(READING, batch=5, workers=1))
    corner, _, prob = read_tile_csv(tmp_path / "model-outputs-csv" / "S0.csv")
    expected, _, before = read_tile_csv(done.out / "model-outputs-csv" / "S0.csv")
    assert np.array_equal(corner, expected)
    np.testing.assert_allclose(prob["tumour"], before["tumour"], rtol=0, atol=1e-5)


# ------------------------------------------------------------------------------------------------------ killed, resumed

KILLED = """
import os, signal, sys
from pathlib import Path
from counterstain.slides import infer_slide
from counterstain.slides.infer_cohort import SlidesProgress, run_slides
from counterstain.slides.infer_slide import InferenceOptions

bundle, slides, out, where = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def told(progress):
    if where == "reading" and progress.slide == "S1" and progress.done >= 12:
        die()

if where == "writing":
    write = infer_slide.write_heatmap
    def half(heat, path, *, slide):
        if slide == "S1":
            (path.parent / f".{path.name}.abc123.tif").write_bytes(b"half")
            die()
        write(heat, path, slide=slide)
    infer_slide.write_heatmap = half
run_slides(bundle, [slides], out, InferenceOptions(batch=4, workers=2), talk=SlidesProgress(progress=told))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.parametrize("where", ["reading", "writing"])
@pytest.mark.parametrize("torn", [b"", b"half a batch of logits"])
def test_killed_and_run_again_gives_the_same_bytes(
    done: SlidesResult, bundle: Path, slides: Path, tmp_path: Path, where: str, torn: bytes
) -> None:
    command = [sys.executable, "-c", KILLED, str(bundle), str(slides), str(tmp_path), where]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert (tmp_path / "slide-records" / "S0.json").is_file()
    assert not (tmp_path / "slide-records" / "S1.json").exists()
    partial = tmp_path / "unfinished" / "S1.logits"
    assert partial.is_file()
    with partial.open("ab") as stream:
        stream.write(torn)
    seen: list[SlideProgress] = []
    lines: list[str] = []
    result = run_slides(
        bundle, [slides], tmp_path, READING, talk=SlidesProgress(say=lines.append, progress=seen.append)
    )
    assert result.failures == ()
    assert seen[0].slide == "S1" and seen[0].done >= 12, "it goes on where it was"
    assert any("1 of 3 slides were read before" in line for line in lines)
    assert contents(tmp_path) == contents(done.out)


def test_what_a_worker_taken_for_dead_still_wrote_is_swept(
    done: SlidesResult, bundle: Path, slides: Path, tmp_path: Path
) -> None:
    def late(progress: SlideProgress) -> None:
        if progress.slide == "S2":
            (tmp_path / "unfinished" / "S0.logits").write_bytes(b"half a batch of logits")

    run_slides(bundle, [slides], tmp_path, READING, talk=SlidesProgress(progress=late))
    assert contents(tmp_path) == contents(done.out)


def test_a_flipped_bit_in_the_unfinished_file_is_read_again(
    bundle: Path, slides: Path, tmp_path: Path, done: SlidesResult
) -> None:
    def stop(progress: SlideProgress) -> None:
        if progress.done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_slides(bundle, [slides / "S0.tif"], tmp_path, READING, talk=SlidesProgress(progress=stop))
    path = tmp_path / "unfinished" / "S0.logits"
    content = bytearray(path.read_bytes())
    content[32 + 4 * 2 * 4 + 4 + 5] ^= 1  # in the second batch
    path.write_bytes(content)
    seen: list[SlideProgress] = []
    run_slides(bundle, [slides / "S0.tif"], tmp_path, READING, talk=SlidesProgress(progress=seen.append))
    assert seen[0].done == 4
    name = "model-outputs-csv/S0.csv"
    assert (tmp_path / name).read_bytes() == (done.out / name).read_bytes()


def test_a_second_run_reads_nothing(bundle: Path, slides: Path, tmp_path: Path) -> None:
    run_slides(bundle, [slides / "S0.tif"], tmp_path, READING)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "model-outputs-csv").iterdir()}
    seen: list[SlideProgress] = []
    result = run_slides(bundle, [slides / "S0.tif"], tmp_path, READING, talk=SlidesProgress(progress=seen.append))
    assert seen == [] and set(result.records) == {"S0"}
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_table_of_scales_is_the_same_setting_the_next_time(bundle: Path, slides: Path, tmp_path: Path) -> None:
    stated = dataclasses.replace(READING, mpp_table={"S0": (0.25, 0.25)})
    first = run_slides(bundle, [slides / "S0.tif"], tmp_path, stated)
    assert first.records["S0"]["mpp"] == [0.25, 0.25] and first.records["S0"]["mpp_source"] == "table"
    again = run_slides(bundle, [slides / "S0.tif"], tmp_path, stated)
    assert again.records == first.records


def test_a_damaged_result_is_made_again(bundle: Path, slides: Path, tmp_path: Path) -> None:
    run_slides(bundle, [slides / "S0.tif"], tmp_path, READING)
    expected = contents(tmp_path)
    (tmp_path / "model-outputs-csv" / "S0.csv").write_text("cut")
    run_slides(bundle, [slides / "S0.tif"], tmp_path, READING)
    assert contents(tmp_path) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [({"overlap": 0.5}, "results with overlap 0.0, and 0.5"), ({"origin": "slide"}, "results with origin bounds")],
)
def test_other_settings_need_another_folder(
    done: SlidesResult, bundle: Path, slides: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        run_slides(bundle, [slides], done.out, dataclasses.replace(READING, **change))


def test_another_slide_of_a_known_name_is_refused(bundle: Path, slides: Path, tmp_path: Path) -> None:
    run_slides(bundle, [slides / "S0.tif"], tmp_path / "out", READING)
    write_slide(tmp_path / "S0.tif", 77)
    with pytest.raises(InputError, match=r"S0\.json is of another slide called S0"):
        run_slides(bundle, [tmp_path / "S0.tif"], tmp_path / "out", READING)


# ----------------------------------------------------------------------------------------------------------- bad slides


@pytest.fixture
def mixed(tmp_path: Path, slides: Path) -> Path:
    """Two good slides, and of each kind of bad one."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("S0", "S2"):
        (folder / f"{name}.tif").write_bytes((slides / f"{name}.tif").read_bytes())
    whole = (slides / "S1.tif").read_bytes()
    (folder / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "garbage.svs").write_bytes(b"no slide at all" * 100)
    with tifffile.TiffFile(slides / "S1.tif") as file:
        page: Any = file.pages[0]
        place = page.dataoffsets[7]  # one tile in the middle of level 0: found only while reading
    (folder / "hole.tif").write_bytes(whole[:place] + bytes(200) + whole[place + 200 :])
    tifffile.imwrite(
        folder / "blank.tif", np.full((600, 600, 3), 245, np.uint8), tile=(256, 256), photometric="rgb",
        resolution=(2e4, 2e4), resolutionunit="CENTIMETER",
    )  # fmt: skip
    tifffile.imwrite(folder / "scaleless.tif", np.full((600, 600, 3), 99, np.uint8), tile=(256, 256), photometric="rgb")
    return folder


def test_bad_slides_are_set_aside_and_the_others_are_read(
    done: SlidesResult, bundle: Path, mixed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    outcome = CliRunner().invoke(
        app, ["slides", "run", str(bundle), str(mixed), "--out", str(out), "--batch", "4", "--json"]
    )
    assert outcome.exit_code == 3, outcome.output
    for name in ("S0", "S2"):
        file = f"model-outputs-geojson/{name}.geojson"
        assert (out / file).read_bytes() == (done.out / file).read_bytes()
    with (out / "failures.csv").open(newline="") as stream:
        failures = {row["slide"]: row["reason"] for row in csv.DictReader(stream)}
    assert set(failures) == {"cut", "garbage", "hole", "blank", "scaleless"}
    assert "tissue" in failures["blank"] and "--assume-mpp" in failures["scaleless"]
    assert all(("\n" not in reason and ".tif" in reason) or ".svs" in reason for reason in failures.values())
    assert not {path.stem for path in (out / "model-outputs-csv").iterdir()} & set(failures)
    assert "5 slides skipped" in outcome.output


def test_a_mended_slide_is_read_by_the_next_run(bundle: Path, slides: Path, tmp_path: Path) -> None:
    whole = (slides / "S1.tif").read_bytes()
    slide, out = tmp_path / "S1.tif", tmp_path / "out"
    slide.write_bytes(whole[: len(whole) // 2])
    assert [name for name, _, _ in run_slides(bundle, [slide], out, READING).failures] == ["S1"]
    slide.write_bytes(whole)
    assert run_slides(bundle, [slide], out, READING).failures == ()
    assert (out / "failures.csv").read_text() == "slide,path,reason\n"


# ------------------------------------------------------------------------------------------------------------ refusals


def test_scale(slides: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trained at 0\.5 µm/px .*--allow-scale"):
        run_slides(bundle, [slides], tmp_path / "a", dataclasses.replace(READING, mpp=0.6))
    allowed = dataclasses.replace(READING, mpp=1.0, allow_scale=True)
    result = run_slides(bundle, [slides / "S0.tif"], tmp_path / "b", allowed)
    assert result.records["S0"]["tile_mpp"] == [1.0, 1.0]
    _, size, _ = read_tile_csv(tmp_path / "b" / "model-outputs-csv" / "S0.csv")
    assert (size == 2 * TILE_PX).all()
    silent = make_bundle(tmp_path / "silent", mpp=None)
    with pytest.raises(InputError, match="give it with --mpp"):
        run_slides(silent, [slides], tmp_path / "c", READING)


def test_a_slide_at_another_scale_is_resampled_to_the_models(bundle: Path, tmp_path: Path) -> None:
    write_slide(tmp_path / "fine.tif", 5, mpp=0.31)
    result = run_slides(bundle, [tmp_path / "fine.tif"], tmp_path / "out", READING)
    assert result.records["fine"]["resampled"]
    assert result.records["fine"]["tile_mpp"] == pytest.approx([0.5, 0.5], rel=0.02)
    _, size, _ = read_tile_csv(tmp_path / "out" / "model-outputs-csv" / "fine.csv")
    assert (size == round(TILE_PX * 0.5 / 0.31)).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"runtime": "tensorflow"}, "no runtime is called"), ({"origin": "level"}, "origin is 'level'"),
        ({"batch": 0}, "batch is 0"), ({"precision": "fp8"}, "precision is 'fp8'"),
    ],
)  # fmt: skip
def test_a_typo_surfaces_before_anything_is_written(
    bundle: Path, slides: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        run_slides(bundle, [slides], tmp_path / "out", dataclasses.replace(READING, **change))
    with pytest.raises(InputError, match="no pooling is called 'maen'; did you mean 'mean'"):
        run_slides(bundle, [slides], tmp_path / "out", READING, pooling="maen")
    with pytest.raises(InputError, match="does not exist"):
        run_slides(bundle, [slides / "S9.tif"], tmp_path / "out", READING)
    with pytest.raises(InputError, match="have one name"):
        run_slides(bundle, [slides / "S0.tif", slides], tmp_path / "out", READING)
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------------------------- handles, calibration, truth


def test_each_thread_opens_its_own_handle_and_all_are_closed(slides: Path) -> None:
    opened, closed = [], []
    tiling = stream_tiling(slides / "S0.tif")

    def opening() -> Any:
        slide = open_slide(slides / "S0.tif")
        opened.append(slide)
        close = slide.close
        slide.close = lambda: (closed.append(slide), close())[0]  # type: ignore[method-assign]
        return slide

    batches = iter(np.arange(len(tiling)).reshape(-1, 1)[:40])
    read = list(stream.read_ahead(opening, tiling, batches, workers=3))
    assert len(read) == 40
    assert 1 <= len(opened) <= 3 and len(closed) == len(opened)


def stream_tiling(path: Path) -> Any:
    from counterstain.slides.tiling import plan_tiles

    with open_slide(path) as slide:
        return plan_tiles(slide, mpp=MPP, tile_px=TILE_PX)


def test_a_slow_consumer_holds_the_decoders_back(slides: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiling, asked = stream_tiling(slides / "S0.tif"), list[int]()
    batches = (rows for rows in np.arange(len(tiling)).reshape(-1, 1) if asked.append(int(rows[0])) is None)
    reading = stream.read_ahead(lambda: open_slide(slides / "S0.tif"), tiling, batches, workers=2)
    for number, _ in zip(range(20), reading, strict=False):
        assert len(asked) <= number + 1 + 2
    reading.close()


def test_the_bundles_calibration_and_threshold_are_applied(done: SlidesResult, slides: Path, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    rng = np.random.default_rng(0)
    p = rng.random(60)
    names = tuple(str(k) for k in range(60))
    validation = Predictions(
        image=names, patient=names, slide=("",) * 60, site=("",) * 60, label=(rng.random(60) < p**3).astype(np.int64),
        prob=np.column_stack([1 - p, p]), classes=("benign", "tumour"),
    )  # fmt: skip
    fitted = dataclasses.replace(fit_calibration(validation, method="platt"), threshold=0.2)
    (folder / "calibration.json").write_text(json.dumps(fitted.to_record()))
    seal(folder)
    run_slides(folder, [slides / "S0.tif"], tmp_path / "out", READING)
    _, _, prob = read_tile_csv(tmp_path / "out" / "model-outputs-csv" / "S0.csv")
    _, _, raw = read_tile_csv(done.out / "model-outputs-csv" / "S0.csv")
    odds = np.log(raw["tumour"] / (1 - raw["tumour"]))
    a, b = fitted.parameters["slope"], fitted.parameters["intercept"]
    np.testing.assert_allclose(prob["tumour"], 1 / (1 + np.exp(-(a * odds + b))), rtol=1e-9)
    record = json.loads((tmp_path / "out" / "model-outputs-geojson" / "S0.geojson").read_text())
    for item in record["features"]:
        called = item["properties"]["classification"]["name"]
        assert called == ("tumour" if item["properties"]["measurements"]["prob_tumour"] >= 0.2 else "benign")
    flags = read_tile_flags(tmp_path / "out" / "model-outputs-csv" / "S0.csv")
    within = np.column_stack([1 - prob["benign"], 1 - prob["tumour"]]) <= fitted.quantiles[0] + 1e-12
    assert list(flags) == ["abstained"] and np.array_equal(flags["abstained"], within.sum(axis=1) != 1)
    assert read_tile_flags(done.out / "model-outputs-csv" / "S0.csv") == {}
    run_slides(folder, [slides / "S0.tif"], tmp_path / "raw", dataclasses.replace(READING, calibrated=False))
    assert np.array_equal(read_tile_csv(tmp_path / "raw" / "model-outputs-csv" / "S0.csv")[2]["tumour"], raw["tumour"])


def test_scores_of_slides_are_a_prediction_table(done: SlidesResult, bundle: Path, slides: Path) -> None:
    table = slides / "truth.csv"
    table.write_text("slide,case_id,label\nS0.tif,P1,benign\nS1,P1,benign\nS2,P2,tumour\n")
    lines: list[str] = []
    run_slides(bundle, [slides], done.out, READING, truth=table, pooling="mean", talk=SlidesProgress(say=lines.append))
    scores = read_predictions(done.out / "slide-scores" / "predictions.csv")
    assert scores.image == ("S0", "S1", "S2") and scores.patient == ("P1", "P1", "P2")
    _, _, prob = read_tile_csv(done.out / "model-outputs-csv" / "S2.csv")
    assert scores.prob[2, 1] == pytest.approx(prob["tumour"].mean(), abs=1e-12)
    patients = read_predictions(done.out / "slide-scores" / "patients.csv")
    assert patients.image == ("P1", "P2")
    assert patients.prob[0, 1] == pytest.approx(scores.prob[:2, 1].mean())
    assert any("no validation slides" in line for line in lines)
    for name in ("predictions.csv", "patients.csv", "pooling.json"):
        (done.out / "slide-scores" / name).unlink()


def test_a_record_says_where_and_at_what_scale(done: SlidesResult) -> None:
    record = read_json(done.out / "slide-records" / "S0.json")
    assert record["extent"] == [0, 0, 1100, 800] and record["mpp"] == [MPP, MPP]
    for values in record["pooled"].values():
        assert sum(values) == pytest.approx(1)


@pytest.mark.realdata
def test_a_real_slide(bundle: Path, real_data: Path, tmp_path: Path) -> None:
    """CMU-1-Small-Region: the answers are those to OpenSlide's own pixels at the table's places."""
    import openslide

    path = real_data / "slides" / "CMU-1-Small-Region.svs"
    result = run_slides(bundle, [path], tmp_path, dataclasses.replace(READING, merged=True, compress=True))
    record = result.records["CMU-1-Small-Region"]
    assert record["mpp"] == [0.499, 0.499] and not record["resampled"]
    corner, size, prob = read_tile_csv(tmp_path / "model-outputs-csv" / "CMU-1-Small-Region.csv")
    assert 50 < len(corner) == record["tiles"] < 24 * 18 and (size == TILE_PX).all()
    with openslide.OpenSlide(path) as slide:
        regions = [slide.read_region(tuple(place), 0, (TILE_PX, TILE_PX)) for place in corner[::7].tolist()]
    tiles = np.stack([np.asarray(region.convert("RGB")) for region in regions])
    expected = load_predictor(bundle).probabilities(tiles)
    np.testing.assert_allclose(prob["tumour"][::7], expected[:, 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("strange", [False, True])
def test_tiles_unlike_the_training_images_are_counted(
    bundle: Path, slides: Path, tmp_path: Path, strange: bool
) -> None:
    """Statistics of the slide's own tiles flag about the share they state; those of noise flag every tile."""
    model = tmp_path / "model"
    shutil.copytree(bundle, model)
    predictor = load_predictor(model)
    random = np.random.default_rng(0)
    level0 = tifffile.imread(slides / "S1.tif", key=0)
    corners = random.integers(0, np.array(level0.shape[:2]) - TILE_PX, (400, 2))
    tiles = np.stack([level0[y : y + TILE_PX, x : x + TILE_PX] for y, x in corners])
    if strange:
        tiles = random.integers(0, 256, tiles.shape, dtype=np.uint8)
    features = np.concatenate(
        [features_of(predictor.network, predictor.to_tensor, tiles[start : start + 50]) for start in range(0, 400, 50)]
    )
    write_ood_statistics(fit_ood_statistics(features[:300], features[300:]), model / STATISTICS)
    seal(model)
    lines: list[str] = []
    result = run_slides(model, [slides / "S1.tif"], tmp_path / "out", READING, talk=SlidesProgress(say=lines.append))
    found = result.records["S1"]["unfamiliar"]
    told = [line for line in lines if "unlike the training images" in line]
    if strange:
        assert found["share"] == 1
        assert told == ["S1: 100% of the tiles are unlike the training images (1 % would be expected)"]
    else:
        assert found["share"] < 0.3
    plain = run_slides(bundle, [slides / "S1.tif"], tmp_path / "plain", READING)
    assert plain.records["S1"]["unfamiliar"] is None
    own, others = (tmp_path / out / "model-outputs-csv" / "S1.csv" for out in ("out", "plain"))
    assert read_tile_flags(own)["unfamiliar"].sum() == found["tiles"]
    for with_flags, without in zip(own.read_text().splitlines(), others.read_text().splitlines(), strict=True):
        assert with_flags.rpartition(",")[0] == without  # the column is all that differs
