"""A trained model as an object answers as the verb does, from arrays and from files, and refuses what it must."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counterstain.errors import InputError
from counterstain.evaluation.model_output import ModelOutput
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.images.augmentation import Augmentation
from counterstain.learning.config import TrainingConfig
from counterstain.study.model import Model, load_model
from counterstain.study.one_model import train_once
from counterstain.study.predicted import PredictionOptions
from counterstain.study.predicting import predict_images

TILE_PX = 127


def make_images(folder: Path, *, patients: int = 12, each: int = 6) -> Path:
    """PNG tiles of 40 px, class b brighter; a manifest with patients P00, P01, …"""
    random = np.random.default_rng(0)
    lines = ["image_path,label,patient_id"]
    for patient in range(patients):
        label = "ab"[patient % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            pixels = random.integers(0, 140, (40, 40, 3)) + 60 * (label == "b")
            name = f"{label}/P{patient:02}-{number}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
            lines.append(f"{name},{label},P{patient:02}")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder / "cohort.csv"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cohort.csv with its images under images/, and a trained model under model/."""
    from counterstain.cohort.layouts import read_images
    from counterstain.cohort.splitters import holdout, write_split

    folder = tmp_path_factory.mktemp("model")
    cohort = make_images(folder / "images")
    write_split(holdout(read_images(cohort)), folder / "splits.csv")
    train_once(
        cohort, folder / "splits.csv", folder / "model", tile_px=TILE_PX, augmentation=Augmentation(mode="none"),
        settings=TrainingConfig(batch=8, epochs=2, learning_rate=1e-3, precision="fp32", threads=1, device="cpu"),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def model(home: Path) -> Model:
    return load_model(home / "model", device="cpu")


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_files_and_arrays_get_what_the_verb_writes(home: Path, model: Model) -> None:
    """The same fit, stain, scale, network and calibration: the same probabilities to the last bit."""
    options = PredictionOptions(runtime="torch")
    predict_images(home / "model", [home / "images" / "cohort.csv"], home / "p.csv", options=options)
    table = read_predictions(home / "p.csv")
    files = [home / "images" / name for name in table.image]
    by_file = model.predict(files)
    assert by_file.image == tuple(map(str, files))
    assert np.array_equal(by_file.prob, table.prob)
    by_array = model.predict(np.stack([pixels_of(path) for path in files]))
    assert np.array_equal(by_array.prob, table.prob) and by_array.image[:2] == ("tile 0", "tile 1")
    rows = [line.split(",") for line in (home / "p.csv").read_text().splitlines()]
    cells = {name: [row[k] for row in rows[1:]] for k, name in enumerate(rows[0])}
    assert list(by_file.decision or ()) == cells["decision"]
    assert ["|".join(names) for names in by_file.prediction_sets or ()] == cells["prediction_set"]


def test_a_folder_a_file_and_one_array(home: Path, model: Model) -> None:
    of_folder = model.predict(home / "images")
    assert len(of_folder) == 72 and of_folder.image == tuple(sorted(of_folder.image))
    name = of_folder.image[5]
    one = model.predict(name)
    assert one.image == (name,) and np.allclose(one.prob, of_folder.prob[5:6], atol=1e-6)
    assert np.allclose(model.predict(pixels_of(Path(name))).prob, one.prob, atol=1e-6)
    assert np.allclose(model.predict(str(name)).prob, one.prob, atol=0)


def test_what_a_model_says_of_itself(model: Model, home: Path) -> None:
    assert model.classes == ("a", "b") and model.positive == "b" and model.tile_px == TILE_PX
    assert model.network == "given" and model.mpp is None and model.folder == home / "model"
    assert "given" in repr(model) and len(repr(model)) < 200


def test_nothing_of_the_process_changes(home: Path) -> None:
    import cv2
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    load_model(home / "model").predict(home / "images")
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before


def test_without_statistics_there_is_no_distance_and_with_them_there_is(home: Path, model: Model) -> None:
    from dataclasses import replace

    from counterstain.learning.ood_statistics import fit_ood_statistics

    assert model.predict(home / "images").distance is None and model.predict(home / "images").unfamiliar is None
    random = np.random.default_rng(0)
    tiles = random.integers(0, 140, (120, 40, 40, 3), dtype=np.uint8)
    features = _features(model, tiles)
    knowing = replace(model, familiar=fit_ood_statistics(features[:60], features[60:]))
    near = knowing.predict(tiles)
    assert near.distance is not None and near.unfamiliar is not None and near.unfamiliar.mean() < 0.05
    white = knowing.predict(np.full((3, 40, 40, 3), 255, np.uint8))
    assert white.distance is not None and white.distance.min() > near.distance.max()
    assert "3 unlike the training tiles" in white.summary()


def _features(model: Model, tiles: np.ndarray) -> np.ndarray:
    from counterstain.images.tile import fit_tile
    from counterstain.learning.ood_statistics import features_of

    fitted = np.stack([fit_tile(tile, "", tile_px=TILE_PX, fit="stretch") for tile in tiles])
    return features_of(model.predictor.network, model.predictor.to_tensor, fitted)


@pytest.mark.parametrize(
    ("tiles", "words"),
    [
        (np.zeros((2, 40, 40, 3), np.float32), r"tiles are float32; uint8 RGB .* \(255 \* tiles\)"),
        (np.zeros((2, 40, 40, 3), np.int64), r"tiles are int64; uint8 RGB"),
        (np.zeros((2, 3, 40, 40), np.uint8), r"channels come last: tiles.transpose\(0, 2, 3, 1\)"),
        (np.zeros((2, 40, 40, 4), np.uint8), r"leave the alpha channel out"),
        (np.zeros((40, 40), np.uint8), r"tiles have shape \(40, 40\); \(N, H, W, 3\)"),
        (np.zeros((0, 40, 40, 3), np.uint8), r"one tile or more is needed"),
        ([np.zeros((40, 40, 3), np.uint8)], r"a source has a ndarray in it; .*np.stack"),
        ([], r"the list of images is empty"),
    ],
)
def test_what_is_no_tile_is_refused(model: Model, tiles: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        model.predict(tiles)


def test_a_damaged_file_is_refused_or_skipped_as_asked(home: Path, model: Model, tmp_path: Path) -> None:
    good = next((home / "images").glob("a/*.png"))
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(InputError, match=r"bad.png: .*damaged='skip'"):
        model.predict([good, bad])
    output = model.predict([good, bad], damaged="skip")
    assert output.image == (str(good),) and output.skipped[0][0] == str(bad)
    assert "1 could not be read" in output.summary()
    with pytest.raises(InputError, match="none of the 1 images can be read"):
        model.predict(bad, damaged="skip")
    with pytest.raises(InputError, match="does not exist"):
        model.predict(tmp_path / "absent.png")
    with pytest.raises(InputError, match="is in the list twice"):
        model.predict([good, good])
    with pytest.raises(InputError, match="has no image"):
        (tmp_path / "empty").mkdir()
        model.predict(tmp_path / "empty")
    with pytest.raises(InputError, match="is a table"):
        model.predict(home / "images" / "cohort.csv")
    with pytest.raises(InputError, match="did you mean 'skip'"):
        model.predict(good, damaged="skipp")  # type: ignore[arg-type]


def test_output_as_frame_json_and_predictions(home: Path, model: Model, tmp_path: Path) -> None:
    output = model.predict(home / "images")
    frame = output.to_frame()
    assert list(frame.columns) == ["image_path", "prob_a", "prob_b", "decision", "decision_rule", "prediction_set"]
    text = output.to_json(tmp_path / "o.json")
    assert (tmp_path / "o.json").read_text() == text + "\n" and '"counterstain.model_output/1"' in text
    label = [Path(name).parent.name for name in output.image]
    table = output.with_truth(label, patient=[Path(name).stem.split("-")[0] for name in output.image])
    assert table.unit == "patient" and (table.label == [name == "b" for name in label]).all()
    with pytest.raises(InputError, match="a label is 'c'"):
        output.with_truth(["c"] * len(output))
    assert len(repr(output)) < 200 and output._repr_html_().startswith("<p>72 images")


def test_sizes_are_checked() -> None:
    with pytest.raises(InputError, match="called has shape"):
        ModelOutput(image=("x",), classes=("a", "b"), prob=np.array([[0.5, 0.5]]), called=np.array([0, 1]))


def test_devices_and_unknown_folders(home: Path) -> None:
    with pytest.raises(InputError, match="device is 'gpu'"):
        load_model(home / "model", device="gpu")
    with pytest.raises(InputError, match="neither a run"):
        load_model(home / "images")
