"""What the tests of the server share: a small study that was run once, and a client that passes the door."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="pip install 'counterstain[web]'")
sys.path.insert(0, str(Path(__file__).parent.parent / "reports"))

from make_run import make_run
from PIL import Image
from starlette.testclient import TestClient

from counterstain.serving.app import make_app, served_of
from counterstain.serving.security import Access, allowed_hosts
from counterstain.serving.server import ServeOptions

TOKEN = "the-token-of-these-tests"
PORT = 8765


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run of drawn numbers, whose images are there."""
    home = tmp_path_factory.mktemp("served")
    run = make_run(home / "runs" / "two", arms=("given-32", "modified-200"), patients=10, images_each=6, seeds=(0, 1))
    add_images(run)
    return home / "runs"


def add_images(run: Path) -> None:
    """A grey tile for every image of the cohort, where the run says that they are."""
    import csv

    from counterstain.cohort.image_paths import write_location

    root = run.parent.parent / "images"
    with (run / "records" / "cohort.csv").open(encoding="utf-8", newline="") as stream:
        names = [row["image_path"] for row in csv.DictReader(stream)]
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 24), (number % 256, 90, 140)).save(path)
    write_location(run, root)


@pytest.fixture(scope="session")
def access() -> Access:
    return Access(token=TOKEN, hosts=allowed_hosts("127.0.0.1", PORT), session="the-session")


@pytest.fixture
def client(runs: Path, access: Access) -> Iterator[TestClient]:
    """A program with the bearer token."""
    app = make_app(served_of(runs, ServeOptions()), access)
    with TestClient(app, base_url=f"http://127.0.0.1:{PORT}", raise_server_exceptions=True) as made:
        made.headers["Authorization"] = f"Bearer {TOKEN}"
        yield made


def small_model(home: Path) -> Path:
    """cohort.csv with its images under images/, and a model of them, trained for two epochs, under model/."""
    from counterstain.cohort.layouts import read_images
    from counterstain.cohort.splitters import holdout, write_split
    from counterstain.images.augmentation import Augmentation
    from counterstain.learning.config import TrainingConfig
    from counterstain.study.one_model import train_once

    sys.path.insert(0, str(Path(__file__).parent.parent / "study"))
    from make_study import make_images

    cohort = make_images(home / "images")
    (home / "runs").mkdir()
    write_split(holdout(read_images(cohort)), home / "splits.csv")
    train_once(
        cohort, home / "splits.csv", home / "model", tile_px=128, augmentation=Augmentation(mode="none"),
        settings=TrainingConfig(batch=8, epochs=2, learning_rate=1e-3, precision="fp32", threads=1, device="cpu"),
    )  # fmt: skip
    return home
