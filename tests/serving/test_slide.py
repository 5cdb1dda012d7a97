"""The page of slides: DeepZoom tiles are the slide's pixels, maps and annotations lie where they belong."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_server import PORT, TOKEN
from small_studies import HEIGHT, WIDTH, huge_colour, huge_slide, slide_home
from starlette.testclient import TestClient

pytest.importorskip("tifffile")
pytest.importorskip("shapely")

from counterstain.serving.app import make_app, served_of
from counterstain.serving.pictures import image_id
from counterstain.serving.security import Access
from counterstain.serving.server import ServeOptions
from counterstain.serving.slide_view import deepest
from counterstain.slides.annotations import read_annotations


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide, its annotation, and a map of two tiles."""
    return slide_home(tmp_path_factory.mktemp("slides"))


@pytest.fixture(scope="module")
def looking(home: Path, access: Access) -> TestClient:
    options = ServeOptions(slides=(home / "slides",), maps=(home / "maps",))
    app = make_app(served_of(home / "runs", options), access)
    return TestClient(app, base_url=f"http://127.0.0.1:{PORT}", headers={"Authorization": f"Bearer {TOKEN}"})


ID = image_id("s")


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


def test_every_tile_of_every_level_shows_its_place(looking: TestClient) -> None:
    """The middle of each tile has the colour that the slide has there, within JPEG's loss."""
    levels = deepest(WIDTH, HEIGHT)
    seen = 0
    for level in range(8, levels + 1):
        scale = 2 ** (levels - level)
        for column in range(-(-WIDTH // (256 * scale))):
            for row in range(-(-HEIGHT // (256 * scale))):
                answer = looking.get(f"/api/slides/{ID}/tiles/{level}/{column}_{row}.jpg")
                tile = picture(answer.content)
                height, width = tile.shape[:2]
                x, y = column * 256 * scale + width * scale / 2, row * 256 * scale + height * scale / 2
                found = tile[height // 2, width // 2]
                assert abs(found[0] - 255 * x / WIDTH) < 4 + scale / 4, (level, column, row)
                assert abs(found[1] - 255 * y / HEIGHT) < 4 + scale / 4, (level, column, row)
                seen += 1
    assert seen > 30


@pytest.mark.slow
def test_a_slide_of_100_000_px(tmp_path: Path, access: Access) -> None:
    """From its own pixels to the whole in one tile, what is shown is what lies there."""
    huge_slide(tmp_path / "slides" / "huge.tif")
    (tmp_path / "runs").mkdir()
    app = make_app(served_of(tmp_path / "runs", ServeOptions(slides=(tmp_path / "slides",))), access)
    asked = TestClient(app, base_url=f"http://127.0.0.1:{PORT}", headers={"Authorization": f"Bearer {TOKEN}"})
    data = asked.get(f"/api/slides/{image_id('huge')}").json()
    assert (data["width"], data["height"], data["levels"]) == (100_000, 80_000, 17)
    for x, y in ((300, 300), (41_000, 66_000), (99_000, 79_000)):
        for level in range(8, 18):
            scale = 2 ** (17 - level)
            column, row = x // (256 * scale), y // (256 * scale)
            answer = asked.get(f"/api/slides/{image_id('huge')}/tiles/{level}/{column}_{row}.jpg")
            assert answer.status_code == 200, (level, answer.text)
            tile = picture(answer.content)
            at = tile[min(y // scale - 256 * row, len(tile) - 1), min(x // scale - 256 * column, tile.shape[1] - 1)]
            expected = huge_colour(x // 8192, y // 8192).astype(int)
            if min(x % 8192, 8192 - x % 8192, y % 8192, 8192 - y % 8192) > 4 * scale:  # not on a border of two squares
                assert abs(at - expected).max() <= 6, (x, y, level)


@pytest.mark.parametrize("place", ["11/6_0", "11/0_5", "12/0_0", "-1/0_0", "11/-1_0", "11/0_x", "99999/0_0"])
def test_tiles_that_are_none(looking: TestClient, place: str) -> None:
    assert looking.get(f"/api/slides/{ID}/tiles/{place}.jpg").status_code in (404, 422)
    assert looking.get(f"/api/slides/{'0' * 16}/tiles/8/0_0.jpg").status_code == 404


def test_the_map_lies_on_its_tiles(looking: TestClient) -> None:
    map_ = looking.get(f"/api/slides/{ID}/maps/maps").json()
    values = np.frombuffer(base64.b64decode(map_["values"][0]), np.uint8).reshape(map_["height"], map_["width"])
    assert (map_["x"], map_["y"], map_["step"]) == (0, 0, 64)
    assert map_["names"] == ["malignant"]
    expected = np.zeros_like(values)
    expected[8:12, 4:8], expected[8:12, 8:12] = 1 + round(254 * 0.25), 255
    assert np.array_equal(values, expected)
    assert looking.get(f"/api/slides/{ID}/maps/nothing").status_code == 404


def test_what_lies_beside_it(looking: TestClient) -> None:
    data = looking.get(f"/api/slides/{ID}").json()
    assert (data["width"], data["height"], data["mpp"]) == (WIDTH, HEIGHT, 0.5)
    assert data["annotations"][0]["name"] == "tumour"
    assert sorted(map(tuple, data["annotations"][0]["rings"][0][:3])) == [(100, 200), (700, 200), (700, 900)]
    for path in ("/slides", f"/slides/{ID}"):
        assert looking.get(path).status_code == 200


def test_a_drawn_polygon_is_read_as_an_annotation(looking: TestClient, home: Path) -> None:
    points = [[10, 10], [210, 10], [210, 110]]
    made = looking.post("/api/polygons", json={"slide": ID, "label": "necrosis", "points": points})
    assert made.status_code == 201
    looking.post("/api/polygons", json={"slide": ID, "label": "stroma", "points": [[300, 300], [400, 300], [400, 400]]})
    regions = {one.name: one.shape for one in read_annotations(home / "runs" / "annotations" / "s.geojson")}
    assert set(regions) == {"necrosis", "stroma"}
    assert regions["necrosis"].area == 200 * 100 / 2


@pytest.mark.parametrize(
    "drawn",
    [
        {"points": [[0, 0], [10, 10]]},
        {"points": [[0, 0], [10, 10], [0, 10], [10, 0]]},  # crosses itself
        {"points": [[0, 0], [10, 0], [10, 10**9]]},
        {"points": [[0, 0], [10, 0], [10, None]]},
        {"points": [[0, 0], [10, 0], [10, 10]], "label": ""},
        {"points": [[0, 0], [10, 0], [10, 10]], "label": "../x"},
        {"points": [[0, 0], [10, 0], [10, 10]], "slide": "../x"},
    ],
)
def test_polygons_that_are_none(looking: TestClient, drawn: dict[str, object]) -> None:
    assert looking.post("/api/polygons", json={"slide": ID, "label": "x", **drawn}).status_code in (404, 422)


def test_labels_and_macros_are_not_served(looking: TestClient) -> None:
    for name in ("label", "macro", "associated_images/label", "thumbnail"):
        assert looking.get(f"/api/slides/{ID}/{name}").status_code == 404
