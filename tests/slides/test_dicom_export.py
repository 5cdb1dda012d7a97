"""Slides in from a DICOM server, results out to it, through the commands; read back and equal."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cohort_runs import contents, tissue_pixels
from orthanc_server import Orthanc
from typer.testing import CliRunner

pytest.importorskip("highdicom", reason="the extra dicom is not installed")

import highdicom as hd
import pydicom
import shapely
import tifffile
from dicom_series import ROOT, write_series

import counterstain
from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.evaluation.calibration import Calibration
from counterstain.files import write_json
from counterstain.learning.bundle import seal
from counterstain.slides.dicom_export import read_codes
from counterstain.slides.tile_files import read_tile_csv

NAME = f"{ROOT}.1.2"
CODE = "21594007^SCT^Malignant"


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUNTERSTAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("slide")
    files = write_series(folder, tissue_pixels(1), levels=3, tile=256, jpeg=True)
    return [files[0].rename(folder / f"{NAME}.dcm"), *files[1:]]  # as the cache calls it


@pytest.fixture(scope="module")
def maps(slide: list[Path], bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's results on the slide as a file."""
    out = tmp_path_factory.mktemp("maps") / "out"
    counterstain.slides_run(bundle, slide[0], out, runtime="torch", regions=True, device="cpu")
    return out


def test_both_ways_through_a_server(
    orthanc: Orthanc, slide: list[Path], bundle: Path, maps: Path, tmp_path: Path
) -> None:
    orthanc.store(slide)
    run = CliRunner()
    where = [str(bundle), f"{orthanc.address}/studies/{ROOT}.1.1"]
    options = ["--out", str(tmp_path / "maps"), "--runtime", "torch", "--regions", "--device", "cpu"]
    done = run.invoke(app, ["slides", "run", *where, *options])
    assert done.exit_code == 0, done.output
    assert contents(tmp_path / "maps") == contents(maps)  # from the server as from the file, to the byte
    options = ["--maps", str(tmp_path / "maps"), "--out", str(tmp_path / "dicom"), "--send", orthanc.address]
    done = run.invoke(app, ["slides", "dicom", *where, *options, "--code", f"tumour={CODE}", "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    files = [Path(name) for name in record["slides"][NAME]]
    assert [path.name for path in files] == ["heatmap.dcm", "regions.dcm", "report.dcm"]
    series = orthanc.ask("/series?expand")
    assert sorted(one["MainDicomTags"]["Modality"] for one in series) == ["ANN", "OT", "SM", "SR"]
    assert len(orthanc.ask("/studies")) == 1  # all in the study of the slide
    for path in files:
        kept = orthanc.instance(pydicom.dcmread(path).SOPInstanceUID)
        (tmp_path / f"back-{path.name}").write_bytes(kept)
        assert pydicom.dcmread(tmp_path / f"back-{path.name}") == pydicom.dcmread(path)
    check_values(tmp_path, maps)
    stored = len(orthanc.ask("/instances"))
    again = run.invoke(app, ["slides", "dicom", *where, *options, "--code", f"tumour={CODE}"])
    assert again.exit_code == 0 and len(orthanc.ask("/instances")) == stored  # the same instances


def regions_of(path: Path) -> dict[str, shapely.Geometry]:
    """The union of each class's polygons in an annotation file."""
    groups = hd.ann.annread(path).get_annotation_groups()
    return {
        group.label: shapely.union_all([shapely.Polygon(ring) for ring in group.get_graphic_data("2D")])
        for group in groups
    }


def drawn_regions(maps: Path) -> dict[str, shapely.Geometry]:
    """The regions of each class in the GeoJSON of a run."""
    features = json.loads((maps / "model-outputs-geojson" / f"{NAME}.geojson").read_text())["features"]
    return {
        one["properties"]["classification"]["name"]: shapely.geometry.shape(one["geometry"])
        for one in features
        if one["properties"]["objectType"] == "annotation"
    }


def check_values(back: Path, maps: Path) -> None:
    """What came back from the server is what `slides run` wrote: map, regions, scores."""
    heat = tifffile.imread(maps / "heatmaps" / f"{NAME}.ome.tif")
    assert np.array_equal(
        hd.imread(back / "back-heatmap.dcm").get_total_pixel_matrix(apply_real_world_transform=False), heat
    )
    found, drawn = regions_of(back / "back-regions.dcm"), drawn_regions(maps)
    assert set(found) == set(drawn) and all(found[name].equals(drawn[name]) for name in drawn)
    with (maps / "slide-scores" / "slides.csv").open() as stream:
        [mean] = [row for row in csv.DictReader(stream) if row["pooling"] == "mean"]
    verdict, *each = hd.sr.srread(back / "back-report.dcm").content.get_image_measurement_groups()
    found = [group.get_measurements()[0].value for group in each]
    assert found == pytest.approx([float(mean["prob_benign"]), float(mean["prob_tumour"])], abs=1e-12)
    called = verdict.get_qualitative_evaluations()[0].value
    assert called.value == ("21594007" if found[1] > found[0] else "benign")


def test_pooling_and_threshold_are_those_that_the_run_froze(slide: list[Path], bundle: Path, tmp_path: Path) -> None:
    """With a truth the run chooses its pooling and calibrates it: the report has the same number as predictions.csv."""
    folder = tmp_path / "slides"
    for number in range(1, 7):
        write_series(folder / str(number), tissue_pixels(number), tile=256, study=number)
    names = [f"{number}-level-0" for number in range(1, 7)]
    for number, name in enumerate(names, start=1):
        (folder / str(number) / "level-0.dcm").rename(folder / str(number) / f"{name}.dcm")
    rows = [
        f"{name},p{n},{'tumour' if n % 2 else 'benign'},{'val' if n < 5 else 'test'}" for n, name in enumerate(names, 1)
    ]
    (tmp_path / "truth.csv").write_text("\n".join(["slide_id,patient_id,label,split", *rows]) + "\n")
    places = [folder / str(number) for number in range(1, 7)]
    counterstain.slides_run(
        bundle, places, tmp_path / "maps", truth=tmp_path / "truth.csv", runtime="torch", device="cpu"
    )
    done = counterstain.slides_dicom(bundle, places, tmp_path / "maps", tmp_path / "dicom")
    with (tmp_path / "maps" / "slide-scores" / "predictions.csv").open() as stream:
        expected = {row["slide_id"]: float(row["prob_tumour"]) for row in csv.DictReader(stream)}
    pooling = json.loads((tmp_path / "maps" / "slide-scores" / "pooling.json").read_text())["pooling"]
    for name, prob in expected.items():
        report = done.files[name][-1]
        _, *each = hd.sr.srread(report).content.get_image_measurement_groups()
        assert each[1].get_measurements()[0].value == pytest.approx(prob, abs=1e-9)
        assert f"pooling {pooling}".encode() in report.read_bytes()
    assert len(expected) == 2


def test_tiles_are_called_at_the_threshold_of_the_model(slide: list[Path], bundle: Path, tmp_path: Path) -> None:
    """Frozen so that a third of the tiles is called positive: the regions are those of the run's GeoJSON."""
    plain = counterstain.slides_run(bundle, slide[0], tmp_path / "plain", runtime="torch", device="cpu")
    _, _, prob = read_tile_csv(plain.out / "model-outputs-csv" / f"{NAME}.csv")
    model = Path(shutil.copytree(bundle, tmp_path / "model"))
    threshold = float(np.quantile(prob["tumour"], 2 / 3))
    fitted = Calibration("none", {}, threshold, "a third", 0.1, 1.0, ("benign", "tumour"), 9, 9, "patient")
    write_json(model / "calibration.json", fitted.to_record())
    seal(model)
    counterstain.slides_run(model, slide[0], tmp_path / "maps", runtime="torch", device="cpu", regions=True)
    done = counterstain.slides_dicom(model, slide[0], tmp_path / "maps", tmp_path / "dicom")
    found = regions_of(done.files[NAME][1])
    drawn = drawn_regions(tmp_path / "maps")
    assert set(found) == set(drawn) == {"benign", "tumour"}
    assert all(found[name].equals(drawn[name]) for name in drawn)


def test_what_does_not_belong_together_is_refused_or_skipped(
    slide: list[Path], bundle: Path, maps: Path, tmp_path: Path
) -> None:
    run = CliRunner()

    def dicom(place: Path, *options: str, folder: Path = maps) -> tuple[int, str]:
        words = ["slides", "dicom", str(bundle), str(place), "--maps", str(folder), "--out", str(tmp_path / "out")]
        done = run.invoke(app, [*words, *options])
        return done.exit_code, done.output

    other = write_series(tmp_path / "other", tissue_pixels(2, width=900), tile=256, study=2)
    code, words = dicom(other[0])
    assert code == 3 and "no results of level-0" in words
    code, words = dicom(other[0].rename(tmp_path / "other" / f"{NAME}.dcm"))
    assert code == 3 and "name that slide" in words  # of another size
    assert not list((tmp_path / "out").rglob("*.dcm"))
    code, words = dicom(slide[0], "--code", "tumor=1^SCT^x")
    assert code == 2 and "tumour" in words
    code, words = dicom(slide[0], folder=tmp_path)
    assert code == 2 and "slides_run.json" in words


def test_results_of_another_model_or_changed_tables(
    slide: list[Path], bundle: Path, maps: Path, tmp_path: Path
) -> None:
    from cohort_runs import make_bundle

    shutil.copytree(maps, tmp_path / "maps")
    strange = make_bundle(tmp_path / "strange", mpp=0.51)
    with pytest.raises(InputError, match="another model"):
        counterstain.slides_dicom(strange, slide[0], maps, tmp_path / "out")
    table = tmp_path / "maps" / "model-outputs-csv" / f"{NAME}.csv"
    table.write_text(table.read_text().replace("0.5", "0.6", 1))
    done = counterstain.slides_dicom(bundle, slide[0], tmp_path / "maps", tmp_path / "out")
    assert not done.files and "not what was written" in done.failures[0][1]


@pytest.mark.parametrize("text", ["21594007", "1^SCT", "1^^x", "1^ASCHEMETHATISTOOLONG^x", f"1^SCT^{'x' * 65}"])
def test_codes_of_three_parts(text: str) -> None:
    with pytest.raises(InputError, match=r"VALUE\^SCHEME\^MEANING"):
        read_codes({"tumour": text}, ["benign", "tumour"])
