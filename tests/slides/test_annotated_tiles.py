"""Annotations that miss their slide, classes spelled in several ways, and reasons that are told instead of the last."""

import json
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from counterstain.errors import InputError
from counterstain.slides.extract_tiles import ExtractedTiles, ExtractionOptions, extract_tiles

Box = tuple[str, int, int, int, int]


def drawn(*boxes: Box) -> str:
    return json.dumps({
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature", "properties": {"classification": {"name": name}},
                "geometry": {"type": "Polygon", "coordinates": [[[x, y], [a, y], [a, b], [x, b], [x, y]]]},
            }
            for name, x, y, a, b in boxes
        ],
    })  # fmt: skip


@pytest.fixture
def slide(make: ModuleType, tmp_path: Path) -> Path:
    """512 × 512 px of tissue at 0.5 µm/px: 8 × 8 tiles of 64 px."""
    image = (200 + 0.1 * make.picture(512, 512) - np.array([20, 90, 10])).astype(np.uint8)
    return Path(make.write_pyramid(tmp_path / "S1.tif", [image], mpp=(0.5, 0.5), compression="deflate"))


def cut(slide: Path, content: str, *, classes: dict[str, str] | None = None) -> ExtractedTiles:
    (slide.parent / "S1.geojson").write_text(content, encoding="utf-8")
    settings = ExtractionOptions(
        mpp=0.5, tile_px=64, annotations=slide.parent, classes=classes or {"Tumor": "m"}, rest="b", tissue=False
    )
    return extract_tiles([slide], slide.parent / "out", settings)


def labels(cut: ExtractedTiles) -> Counter[str]:
    return Counter(pd.read_csv(cut.cohort)["label"])


@pytest.mark.parametrize("box", [(9000, 9000, 9200, 9200), (-400, -400, -100, -100), (400, 0, 900, 512)])
def test_annotations_that_miss_the_slide_are_refused(slide: Path, box: tuple[int, int, int, int]) -> None:
    """What was drawn as tumour would otherwise be cut as the rest."""
    with pytest.raises(InputError, match=r"lies outside of the slide \(512 × 512 px\): it reaches from x"):
        cut(slide, drawn(("Tumor", *box)))


def test_annotations_that_stick_out_are_said(slide: Path) -> None:
    found = cut(slide, drawn(("Tumor", 256, 0, 556, 512)))  # 44 of 300 px
    assert any("15% of what S1.geojson holds lies outside" in note for note in found.notes)
    assert labels(found) == {"m": 32, "b": 32}


@pytest.mark.parametrize("other", ["tumor", "TUMOR ", "Tu\u200bmor", "tumor\n"])
def test_one_class_in_two_spellings_is_one(slide: Path, other: str) -> None:
    """The second area was cut as the rest."""
    found = cut(slide, drawn(("Tumor", 0, 0, 128, 512), (other, 256, 0, 384, 512)))
    assert labels(found) == {"m": 32, "b": 32}


def test_a_class_is_asked_for_in_any_case(slide: Path) -> None:
    assert labels(cut(slide, drawn(("tumor", 0, 0, 128, 512)))) == {"m": 16, "b": 48}


def test_one_class_has_one_label(slide: Path) -> None:
    with pytest.raises(InputError, match="class 'tumor' is to be 'x' and 'm'"):
        cut(slide, drawn(("Tumor", 0, 0, 128, 512)), classes={"Tumor": "m", "tumor": "x"})


def test_areas_of_other_classes_in_the_rest_are_counted(slide: Path) -> None:
    found = cut(slide, drawn(("Tumor", 0, 0, 128, 512), ("Necrosis", 256, 0, 320, 512)))
    assert labels(found) == {"m": 16, "b": 48}
    (note,) = [note for note in found.notes if "other classes" in note]
    assert "8 tiles in areas of other classes (Necrosis) are labelled b" in note


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"shapes": [], "version": "5"}', "LabelMe"), ('{"images": [], "categories": []}', "COCO"),
        ("{", "not GeoJSON"), (drawn(), "holds no area with a class"), (drawn(("", 0, 0, 9, 9)), "1 areas without"),
    ],
)  # fmt: skip
def test_why_no_class_was_found_is_told(slide: Path, content: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        cut(slide, content)
