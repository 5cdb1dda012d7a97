"""From slides to a cohort: inspect and slides tiles, through the command line."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.cohort.manifest import read_manifest
from counterstain.errors import InputError
from counterstain.slides.extract_tiles import ExtractionOptions, extract_tiles, find_slides
from counterstain.slides.inspection import inspect_slide


def tissue(make: ModuleType, width: int = 640, height: int = 512, seed: int = 0) -> np.ndarray:
    """Stained noise on glass: the left 256 px are bare."""
    density = 0.3 + 0.5 * make.picture(width, height, seed=seed)[:, :, :1] / 255
    image = 240 * 10 ** -(density * np.array([0.5, 0.9, 0.3]))
    image[:, :256] = 240
    return image.astype(np.uint8)


def drawn(*rings: tuple[str, int, int, int, int]) -> str:
    features = [
        {
            "type": "Feature", "properties": {"classification": {"name": name}},
            "geometry": {"type": "Polygon", "coordinates": [[[x, y], [a, y], [a, b], [x, b], [x, y]]]},
        }
        for name, x, y, a, b in rings
    ]  # fmt: skip
    return json.dumps({"type": "FeatureCollection", "features": features})


@pytest.fixture
def slides(make: ModuleType, tmp_path: Path) -> Path:
    """Two slides with annotations, in a folder."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for number, mpp in ((1, (0.5, 0.5)), (2, (0.25, 0.25))):
        image = tissue(make, seed=number)
        make.write_pyramid(folder / f"P{number}-A.tif", [image, make.halved(image)], mpp=mpp, compression="deflate")
        (folder / f"P{number}-A.geojson").write_text(drawn(("tumour", 256, 0, 448, 512)))
    return folder


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_cohort_that_a_study_can_read(make: ModuleType, slides: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    done = run(
        "slides", "tiles", slides, "--mpp", 0.5, "--tile-px", 64, "--annotations", slides,
        "--class", "tumour=malignant", "--rest", "benign", "--pattern", r"(?P<patient_id>P\d)", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    cohort = read_manifest(out / "cohort.csv")
    assert cohort.classes == ("benign", "malignant")
    assert set(cohort.patient) == {"P1", "P2"}
    assert set(cohort.table["slide_id"]) == {"P1-A", "P2-A"}
    for _, row in cohort.table.iterrows():
        size = 64 if row["slide_id"] == "P1-A" else 128  # level-0 px of a tile
        assert row["label"] == ("malignant" if 448 - row["x"] >= size / 2 else "benign")
        assert row["x"] >= 256 and row["mpp"] == 0.5
        image = tissue(make, seed=int(row["slide_id"][1]))
        expected = image[int(row["y"]) :, int(row["x"]) :][:size, :size]
        with Image.open(out / row["image_path"]) as opened:
            tile = np.asarray(opened)
        np.testing.assert_array_equal(tile, expected if size == 64 else make.halved(image)[
            int(row["y"]) // 2 :, int(row["x"]) // 2 :][:64, :64])  # fmt: skip
    assert len(cohort) == 6 * 8 + 3 * 4
    assert (out / "previews" / "P1-A.png").is_file()
    record = json.loads((out / "cutting.json").read_text())
    assert record["settings"]["rest"] == "benign" and len(record["slides"]) == 2


def test_without_annotations_labels_come_from_a_table(slides: Path, tmp_path: Path) -> None:
    table = tmp_path / "slides.csv"
    table.write_text(
        "slide_id,patient_id,label,site,split\nP1-A,p1,benign,north,train\nP2-A.tif,p2,malignant,south,test\n"
    )
    out = tmp_path / "tiles"
    done = run("slides", "tiles", slides, "--tile-px", 64, "--slide-table", table, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["tiles"] == {"benign": 48, "malignant": 12}
    cohort = read_manifest(out / "cohort.csv")
    assert set(zip(cohort.table["patient_id"], cohort.table["site"], cohort.table["split"], strict=True)) == {
        ("p1", "north", "train"), ("p2", "south", "test"),
    }  # fmt: skip


def test_one_bad_slide_is_set_aside(slides: Path, tmp_path: Path) -> None:
    (slides / "P0.tif").write_text("no slide")
    out = tmp_path / "tiles"
    done = run("slides", "tiles", slides, "--tile-px", 64, "--annotations", slides, "--out", out, "--json")
    assert done.exit_code == 3
    assert list(json.loads(done.stdout)["failures"]) == ["P0"]
    assert (out / "cohort.csv").is_file()
    again = run("slides", "tiles", slides, "--tile-px", 64, "--annotations", slides, "--out", out)
    assert again.exit_code == 2 and "holds a cohort already" in again.output


def test_slips_are_found_before_anything_is_cut(slides: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    table = tmp_path / "slides.csv"
    table.write_text("slide_id,patient_id\nP1-A,p1\n")
    for words, change in [
        ("did you mean 'tumour'", {"annotations": slides, "classes": {"tumor": "x"}}),
        ("no row for slide 'P2-A'", {"slide_table": table}),
        ("is no folder", {"annotations": slides / "no", "classes": {"tumour": "x"}}),
        ("misses|matches none", {"pattern": "(?P<patient_id>X)"}),
    ]:
        with pytest.raises(InputError, match=words):
            extract_tiles(find_slides([slides]), out, ExtractionOptions(mpp=0.5, tile_px=64, **change))
        assert not out.exists()
    with pytest.raises(InputError, match="holds no slide"):
        find_slides([tmp_path])
    with pytest.raises(InputError, match="one name"):
        find_slides([slides, slides / "P1-A.tif"])


def test_inspect_says_what_is_there_and_what_would_be_done(make: ModuleType, slides: Path, tmp_path: Path) -> None:
    done = run("inspect", slides / "P2-A.tif", "--tile-px", 64, "--out", tmp_path / "pictures")
    assert done.exit_code == 0
    for words in (
        "µm/px: 0.25 × 0.25 (from: tiff resolution)",
        "level 1: 320 × 256 px, 0.5 µm/px, own tiles of 64 × 64 px",
        "12 of 20 tiles of 64 px (32 µm) hold enough tissue; level 0 (0.25 µm/px) is read and averaged over 2 × 2 px",
    ):
        assert words in done.output
    with Image.open(tmp_path / "pictures" / "P2-A.tif.png") as picture:
        assert picture.size == (640, 512)
        assert picture.getpixel((384, 100)) == (0, 130, 0)  # the left edge of a tile that is kept
        assert picture.getpixel((100, 100)) == (240, 240, 240)
    record = inspect_slide(slides / "P1-A.tif", mpp=1.5, tile_px=32)
    assert record["plan"]["level"] == 0 and record["plan"]["factor"] == (3, 3)
    assert record["tissue"]["tissue"] == pytest.approx(0.6, abs=0.03)
    path = make.write_pyramid(tmp_path / "none.tif", [tissue(make)], compression="deflate")
    unknown = run("inspect", path, slides / "P1-A.tif", "--json")
    assert unknown.exit_code == 0
    first, second = json.loads(unknown.stdout)["slides"]
    assert first["plan"] is None and "--assume-mpp" in first["refused"]
    assert second["plan"]["tiles"] >= 1
    assert run("inspect", path, "--assume-mpp", 0.5).output.count("from: --assume-mpp") == 1


def test_inspect_of_what_is_no_slide(slides: Path, tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_text("no slide")
    alone = run("inspect", tmp_path / "a.svs")
    assert alone.exit_code == 2 and "not a slide" in alone.output
    among = run("inspect", tmp_path / "a.svs", slides / "P1-A.tif", "--json")
    assert among.exit_code == 3
    record = json.loads(among.stdout)
    assert len(record["slides"]) == len(record["failures"]) == 1


@pytest.mark.realdata
def test_inspect_of_a_real_slide(real_data: Path) -> None:
    record = inspect_slide(real_data / "slides" / "CMU-1-Small-Region.svs", mpp=1.0, tile_px=256)
    assert record["plan"]["grid"] == [4, 5] and record["plan"]["factor"] == (2.0, 2.0)
    assert 5 <= record["plan"]["tiles"] <= 15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--overlap", 1], "overlap is 1"), (["--mpp", "nan"], "nan µm/px were requested"),
        (["--least-tissue", 2], "least share of tissue is 2"), (["--class", "a"], "--class is of annotations"),
        (["--rest", "a"], "--rest is of annotations"), (["--class", "=a"], "--class is '=a'"),
        (["--rest", " "], "--rest is empty"), (["--origin", "middle"], "origin is 'middle'"),
        (["--least-overlap", 0], "--least-overlap is 0"), (["--least-overlap", 2], "--least-overlap is 2"),
    ],
)  # fmt: skip
def test_what_no_slide_could_meet_is_refused_before_one_is_opened(
    slides: Path, tmp_path: Path, options: list[object], message: str
) -> None:
    out = tmp_path / "tiles"
    done = run("slides", "tiles", slides, "--tile-px", 64, *options, "--out", out)
    assert done.exit_code == 2 and message in done.output and not out.exists()
    if options[0] in ("--overlap", "--mpp", "--least-tissue"):
        looked = run("inspect", slides, "--tile-px", 64, *options)
        assert looked.exit_code == 2 and message in looked.output
