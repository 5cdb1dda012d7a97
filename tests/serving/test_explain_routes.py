"""Where a model of a run looks in a test image: the model of that arm and seed, in the fold that tested the image."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from make_run import make_run
from PIL import Image
from small_server import PORT, TOKEN, add_images, small_model
from small_studies import texture
from starlette.testclient import TestClient

from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.explanation.saliency import make_explainer, sensitivity
from counterstain.serving.app import make_app, served_of
from counterstain.serving.pictures import image_id
from counterstain.serving.security import Access
from counterstain.serving.server import ServeOptions
from counterstain.study.model import load_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose arm given-32 has a model, in the one fold of its first seed."""
    home = tmp_path_factory.mktemp("explain")
    run = make_run(
        home / "runs" / "two", classes=("a", "b"), arms=("given-32", "modified-200"), patients=10, images_each=4
    )
    add_images(run)
    small_model(home / "trained")
    fold = run / "arms" / "given-32" / "seed-0" / "fold-0-0"
    shutil.copytree(home / "trained" / "model", fold, dirs_exist_ok=True)
    shutil.copy(run / "predictions" / "given-32" / "seed-0.csv", fold / "predictions.csv")
    return home


def test_the_map_is_that_of_the_arm_and_seed(home: Path, access: Access) -> None:
    app = make_app(served_of(home / "runs", ServeOptions()), access)
    asked = TestClient(app, base_url=f"http://127.0.0.1:{PORT}", headers={"Authorization": f"Bearer {TOKEN}"})
    name = read_predictions(home / "runs" / "two" / "predictions" / "given-32" / "seed-0.csv").image[0]
    pixels = texture(3)
    Image.fromarray(pixels).save(home / "images" / name)
    question = {"run": "two", "arm": "given-32", "seed": "seed-0", "image": image_id(name)}
    answer = asked.post("/api/explain", json=question)
    assert answer.status_code == 200, answer.text
    model = load_model(home / "runs" / "two" / "arms" / "given-32" / "seed-0" / "fold-0-0")
    called = model.predict(pixels).calls[0]
    found = np.array(answer.json()["evidence"])
    expected = sensitivity(
        make_explainer(model.predictor, "hirescam"), pixels[None], np.array([model.classes.index(called)])
    )[0]
    assert answer.json()["called"] == called
    np.testing.assert_allclose(found, expected / max(expected.max(), 1e-12), atol=1e-4)
    trained = next(path.name for path in (home / "images" / "a").iterdir() if f"a/{path.name}" != name)
    for wrong in ({"arm": "modified-200"}, {"seed": "seed-1"}, {"seed": "seed-0-repeat-1"}, {"image": "0" * 16},
                  {"run": "x"}, {"arm": "../.."}, {"image": image_id(f"a/{trained}x")}):  # fmt: skip
        assert asked.post("/api/explain", json=question | wrong).status_code == 404, wrong
