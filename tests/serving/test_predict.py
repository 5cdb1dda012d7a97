"""The models behind REST: the same numbers as `counterstain predict`, whatever else is asked at the same time."""

import base64
import csv
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_server import PORT, TOKEN, small_model
from starlette.testclient import TestClient

from counterstain.serving.app import make_app, served_of
from counterstain.serving.inference import BATCH
from counterstain.serving.security import Access
from counterstain.serving.server import ServeOptions
from counterstain.study.predicting import PredictionOptions, predict_images

HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cohort.csv with its images under images/, and a trained model under model/; runs/ is empty."""
    return small_model(tmp_path_factory.mktemp("predict"))


@pytest.fixture(scope="module")
def asked(home: Path, access: Access) -> TestClient:
    app = make_app(served_of(home / "runs", ServeOptions(model=home / "model")), access)
    return TestClient(app, base_url=f"http://127.0.0.1:{PORT}", headers=HEADERS)


def test_one_picture_is_answered_bit_for_bit_as_the_verb_does(home: Path, asked: TestClient, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((home / "images").glob("*/*.png"))[:4]):
        out = tmp_path / f"{number}.csv"
        predict_images(home / "model", [path], out, options=PredictionOptions(runtime="torch"))
        with out.open(newline="") as stream:
            row = next(csv.DictReader(stream))
        record = asked.post("/api/predict?exact=true", content=path.read_bytes()).json()
        for name in ("prob_a", "prob_b"):
            assert record[name] == float(row[name])
        assert record["decision"] == row["decision"] and record["decision_rule"] == row["decision_rule"]
        assert "|".join(record["prediction_set"]) == row["prediction_set"]
        assert record["seen_in_training"] == (row["seen_in_training"] == "yes")


def test_the_whole_cohort_at_once_gets_each_its_own_answer(home: Path, asked: TestClient) -> None:
    """Answers of gathered batches aren't mixed up, and differ from the ones alone in the last digits at most."""
    paths = sorted((home / "images").glob("*/*.png"))
    assert len(paths) > BATCH
    one = [asked.post("/api/predict?exact=true", content=path.read_bytes()).json() for path in paths]
    with ThreadPoolExecutor(16) as pool:
        many = list(pool.map(lambda path: asked.post("/api/predict", content=path.read_bytes()).json(), paths))
    assert len({record["prob_b"] for record in one}) > len(paths) // 2
    for alone, gathered in zip(one, many, strict=True):
        assert gathered["prob_b"] == pytest.approx(alone["prob_b"], abs=1e-6)
        assert gathered["seen_in_training"] == alone["seen_in_training"]


def test_the_map_of_where_it_looks(home: Path, asked: TestClient) -> None:
    picture = next((home / "images" / "b").glob("*.png")).read_bytes()
    found = np.array(asked.post("/api/predict?evidence=true", content=picture).json()["evidence"])
    assert found.ndim == 2 and found.shape[0] == found.shape[1] and found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 422, "empty"),
        (b"not a picture", 422, "picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", 422, "web page"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, 422, "picture"),
        (b"GIF89a" + b"\0" * 100, 422, "GIF"),
        (b"http://127.0.0.1/secret.png", 422, "picture"),
    ],
)
def test_what_is_no_picture_is_refused(asked: TestClient, content: bytes, status: int, words: str) -> None:
    answer = asked.post("/api/predict", content=content)
    assert answer.status_code == status and words in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(asked: TestClient, tmp_path: Path) -> None:
    Image.new("1", (8000, 8000)).save(tmp_path / "large.png")
    content = (tmp_path / "large.png").read_bytes()
    assert len(content) < 100_000
    answer = asked.post("/api/predict", content=content)
    assert answer.status_code == 422 and "8000" in answer.json()["detail"].replace(",", "")


def test_open_inference(home: Path, asked: TestClient) -> None:
    assert asked.get("/v2/health/live").json() == {"live": True}
    assert asked.get("/v2/health/ready").json() == {"ready": True}
    about = asked.get("/v2/models/model").json()
    assert about["inputs"][0]["datatype"] == "UINT8" and about["parameters"]["classes"] == ["a", "b"]
    path = next((home / "images" / "a").glob("*.png"))
    pixels = np.asarray(Image.open(path))
    alone = asked.post("/api/predict?exact=true", content=path.read_bytes()).json()
    tiles = {"name": "tiles", "shape": [2, *pixels.shape], "datatype": "UINT8",
             "data": np.stack([pixels, pixels]).ravel().tolist()}  # fmt: skip
    text = base64.b64encode(path.read_bytes()).decode()
    files = {"name": "tiles", "shape": [2], "datatype": "BYTES", "data": [text, text]}
    for tensor in (tiles, files):
        made = asked.post("/v2/models/model/infer", json={"id": "7", "inputs": [tensor]}, headers=JSON).json()
        outputs = {output["name"]: output for output in made["outputs"]}
        assert made["id"] == "7" and outputs["prob"]["shape"] == [2, 2]
        assert outputs["prob"]["data"][1] == pytest.approx(alone["prob_b"], abs=1e-6)
        assert outputs["decision"]["data"] == [alone["decision"]] * 2


def test_open_inference_of_bytes_behind_the_json(home: Path, asked: TestClient) -> None:
    """As Triton's client sends tensors: the same answer as for the same numbers in JSON."""
    path = next((home / "images" / "a").glob("*.png"))
    pixels, file = np.asarray(Image.open(path)), path.read_bytes()
    expected = asked.post("/api/predict?exact=true", content=file).json()
    framed = struct.pack("<I", len(file)) + file
    for datatype, shape, behind in (("UINT8", [1, *pixels.shape], pixels.tobytes()), ("BYTES", [1], framed)):
        tensor = {"name": "tiles", "shape": shape, "datatype": datatype}
        tensor["parameters"] = {"binary_data_size": len(behind)}
        head = json.dumps({"inputs": [tensor]}).encode()
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
        made = asked.post("/v2/models/model/versions/1/infer", content=head + behind, headers=headers)
        assert made.status_code == 200, made.text
        assert made.json()["outputs"][0]["data"][1] == pytest.approx(expected["prob_b"], abs=1e-6)
        for more in (b"x", b"\xff" * 9):  # more bytes than were announced
            assert (
                asked.post("/v2/models/model/infer", content=head + behind + more, headers=headers).status_code == 422
            )
        headers["Inference-Header-Content-Length"] = "99999999"
        assert asked.post("/v2/models/model/infer", content=head + behind, headers=headers).status_code == 422


@pytest.mark.parametrize(
    "tensor",
    [
        {"shape": [1, 4, 4, 3], "datatype": "UINT8", "data": [0] * 47},
        {"shape": [1, 4, 4, 4], "datatype": "UINT8", "data": [0] * 64},
        {"shape": [65, 1, 1, 3], "datatype": "UINT8", "data": [0] * 195},
        {"shape": [1, 2, 2, 3], "datatype": "UINT8", "data": [256] * 12},
        {"shape": [1, 2, 2, 3], "datatype": "UINT8", "data": [0.5] * 12},
        {"shape": [1, 2, 2, 3], "datatype": "UINT8", "data": ["a"] * 12},
        {"shape": [1, 2, 2, 3], "datatype": "UINT8", "data": [10**30] * 12},
        {"shape": [1], "datatype": "BYTES", "data": ["%%%"]},
        {"shape": [1], "datatype": "BYTES", "data": [1]},
        {"shape": [], "datatype": "UINT8", "data": []},
        {"shape": [1, 2, 2, 3], "datatype": "FP32", "data": [0] * 12},
    ],
)
def test_tensors_that_are_none(asked: TestClient, tensor: dict[str, object]) -> None:
    answer = asked.post("/v2/models/model/infer", json={"inputs": [{"name": "tiles", **tensor}]}, headers=JSON)
    assert answer.status_code == 422, answer.text


def test_models_that_are_none(asked: TestClient) -> None:
    for path in ("/v2/models/nothing", "/v2/models/..%2f..%2fetc", "/v2/models/nothing/ready"):
        assert asked.get(path).status_code == 404
    assert asked.post("/api/predict?model=nothing", content=b"x").status_code == 404
