"""The page of slides: DeepZoom tiles are the slide's pixels, maps and annotations lie where they belong."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_server import PORT, TOKEN
from small_studies import HEIGHT, WIDTH, slide_home
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
