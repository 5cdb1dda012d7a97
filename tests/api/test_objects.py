"""What a verb returned another takes: an object gives the same files as the path of what it stands for."""

import inspect
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import counterstain
from counterstain.errors import InputError, _kinds
from counterstain.evaluation.findings_result import FindingScores
from counterstain.files import hash_file, read_json

TABLES = Path(__file__).parents[2] / "examples" / "tables"
WRITTEN = {"out", "sheet", "attention", "export", "ledger", "folder@run", "folder@search", "folder@lr_find"}


class Placed:
    """Something that stands for a file or a folder, as results do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def places() -> list[tuple[str, str]]:
    """Every argument of every verb that takes the path of something to read."""
    found = []
    for verb in counterstain._VERBS:
        for name, one in inspect.signature(counterstain._load(verb)).parameters.items():
            if _kinds(one.annotation) and not {name, f"{name}@{verb}"} & WRITTEN:
                found.append((verb, name))
    return found


def call(verb: str, argument: str, value: object, folder: Path) -> str:
    """What the verb says of this value, where everything else that it needs is not there."""
    function = counterstain._load(verb)
    needed = {
        name: folder / name
        for name, one in inspect.signature(function).parameters.items()
        if one.default is inspect.Parameter.empty and one.kind is not inspect.Parameter.POSITIONAL_ONLY
    }
    known: dict[str, Any] = {"name": "breakhis", "to": "mlflow"}
    options = {**needed, **{name: known[name] for name in needed if name in known}, argument: value}
    first: tuple[object, ...] = ()
    if verb in ("evaluate", "compare"):
        first = ([0, 1] * 4, [0.1, 0.9] * 4) if verb == "evaluate" else ({"a": TABLES / "ours.csv"},)
    try:
        function(*first, **options)
    except InputError as error:
        return str(error)
    return "done"


def test_there_are_many_such_arguments() -> None:
    assert {("train", "splits"), ("robustness", "model"), ("slides_run", "truth"), ("run", "study")} <= set(places())
    assert len(places()) > 60


@pytest.mark.parametrize(("verb", "argument"), places())
def test_what_stands_for_a_path_is_that_path(verb: str, argument: str, tmp_path: Path) -> None:
    path = tmp_path / "nothing"
    assert call(verb, argument, Placed(path), tmp_path / "a") == call(verb, argument, path, tmp_path / "a")


@pytest.mark.parametrize(("verb", "argument"), places())
def test_what_stands_for_no_path_is_refused(verb: str, argument: str, tmp_path: Path) -> None:
    scores = counterstain.evaluate([0, 1] * 4, [0.1, 0.9] * 4)
    said = call(verb, argument, scores, tmp_path)
    assert said.startswith(f"`{argument}` is a Scores, not the path of a file or a folder"), said
    annotation = inspect.signature(counterstain._load(verb)).parameters[argument].annotation
    for noun in (counterstain.Cohort, counterstain.Split):
        assert (f"or a {noun.__name__}" in said) == (noun in _kinds(annotation))


def test_what_a_verb_returns_has_a_public_name() -> None:
    for verb in counterstain._VERBS:
        told = str(inspect.signature(counterstain._load(verb)).return_annotation)
        classes = set(re.findall(r"\b[A-Z]\w+", told.replace("pathlib.Path", ""))) - {"Path"}
        assert classes <= set(counterstain.__all__), verb


# ------------------------------------------------------------------------------------------- the objects of a notebook


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/ with cohort.csv: class b brighter, patients P00 to P11, two sites."""
    folder = tmp_path_factory.mktemp("objects")
    random = np.random.default_rng(0)
    rows = []
    for patient in range(12):
        label = "ab"[patient % 2]
        (folder / "images" / label).mkdir(parents=True, exist_ok=True)
        for number in range(3):
            pixels = random.integers(0, 140, (40, 40, 3)) + 60 * (label == "b")
            name = f"{label}/P{patient:02}-{number}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / name)
            rows.append([name, label, f"P{patient:02}", f"S{patient:02}", "XY"[patient // 6]])
    table = pd.DataFrame(rows, columns=["image_path", "label", "patient_id", "slide_id", "site"])
    table.to_csv(folder / "images" / "cohort.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def cohort(home: Path) -> counterstain.Cohort:
    return counterstain.cohort(home / "images" / "cohort.csv", decode=False)


@pytest.fixture(scope="module")
def split(home: Path, cohort: counterstain.Cohort) -> counterstain.Split:
    return counterstain.split(cohort, folds=2, out=home / "splits.csv")


def train(images: object, splits: object, out: Path) -> Path:
    return counterstain.train(
        images, splits, out, batch=8, epochs=2, tile_px=127, learning_rate=1e-3, device="cpu", precision="fp32",
        threads=1, fold="0-1",
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.fixture(scope="module")
def trained(home: Path, cohort: counterstain.Cohort, split: counterstain.Split) -> Path:
    return train(cohort, split, home / "model")


@pytest.fixture(scope="module")
def model(trained: Path) -> counterstain.Model:
    return counterstain.load_model(trained, device="cpu")


Given = tuple[object, object, object]
Do = Callable[[object, object, object, Path], object]


def card(model: Any, images: Any, splits: Any, out: Path) -> object:
    found = counterstain.robustness(model, images, splits=splits, out=out, only=["blur_px"], runtime="torch")
    return {name: value for name, value in found.record.items() if name != "bundle"}


def explained(model: Any, images: Any, splits: Any, out: Path) -> object:
    with suppress(counterstain.GateError):  # the record is written all the same
        counterstain.explain(model, images, splits=splits, out=out, trials=4, each=1, device="cpu")
    return {name: value for name, value in read_json(out / "explanation.json").items() if name != "source"}


def predicted(model: Any, images: Any, splits: Any, out: Path) -> object:
    table = out / "predictions.csv"
    counterstain.predict(model, images, splits=splits, out=table, runtime="torch")
    return hash_file(table)


def all_predicted(model: Any, images: Any, _: Any, out: Path) -> object:
    return predicted(model, images, None, out)


def audited(_: Any, images: Any, splits: Any, out: Path) -> object:
    return counterstain.audit(images, splits, out=out, rotated=False).record


def tables_audited(_: Any, images: Any, splits: Any, out: Path) -> object:
    return counterstain.audit(images, splits, out=out, tables_only=True).record


def encoded(model: Any, images: Any, _: Any, out: Path) -> object:
    found = counterstain.features(model, images, out=out, device="cpu")
    assert os.fspath(found) == str(out / "manifest.csv")
    return [hash_file(path) for path in sorted(out.glob("*.h5"))], found.tiles


def exported(model: Any, images: Any, _: Any, out: Path) -> object:
    found = counterstain.export(model, out / "export", formats=(), mpp=0.5, cohort=images)
    assert counterstain.load_model(found, device="cpu").mpp == 0.5 and counterstain.verify(found)
    return {name: value for name, value in found.record.items() if name not in ("images_per_s",)}


def sheet(_: Any, images: Any, __: Any, out: Path) -> object:
    return hash_file(counterstain.augment(images, out=out / "sheet.png", tile_px=64))


def written(_: Any, images: Any, __: Any, out: Path) -> object:
    return counterstain.cohort(images, out=out / "cohort.csv").to_json()


@pytest.mark.parametrize(
    "do",
    [
        tables_audited,
        predicted,
        all_predicted,
        encoded,
        explained,
        sheet,
        written,
        pytest.param(audited, marks=pytest.mark.slow),
        pytest.param(card, marks=pytest.mark.slow),
        pytest.param(exported, marks=pytest.mark.slow),
    ],
)
def test_objects_give_what_their_files_give(
    do: Do, home: Path, cohort: counterstain.Cohort, split: counterstain.Split, model: counterstain.Model,
    tmp_path: Path,
) -> None:  # fmt: skip
    by_path = do(model.folder, home / "images" / "cohort.csv", home / "splits.csv", tmp_path / "a" / "out")
    assert do(model, cohort, split, tmp_path / "b" / "out") == by_path


def test_a_model_is_the_same_whatever_its_cohort_and_split_came_as(home: Path, trained: Path, tmp_path: Path) -> None:
    again = train(home / "images" / "cohort.csv", home / "splits.csv", tmp_path / "model")
    assert hash_file(again / "model.safetensors") == hash_file(trained / "model.safetensors")
    assert hash_file(again / "predictions.csv") == hash_file(trained / "predictions.csv")


def test_predictions_are_what_predict_returned(
    model: counterstain.Model, cohort: counterstain.Cohort, tmp_path: Path
) -> None:
    table = counterstain.predict(model, cohort, out=tmp_path / "p.csv", runtime="torch")
    of_file = counterstain.evaluate(tmp_path / "p.csv", model=model.folder).to_json()
    assert counterstain.evaluate(table, model=model).to_json() == of_file
    rows = np.array([int(name[1:]) < 4 for name in cohort.patient])
    validation = counterstain.predict(model, cohort.subset(rows), out=tmp_path / "val.csv", runtime="torch")
    test = counterstain.predict(model, cohort.subset(~rows), out=tmp_path / "test.csv", runtime="torch")
    frozen = counterstain.evaluate(test, threshold="youden", threshold_from=validation)
    files = counterstain.evaluate(test.out, threshold="youden", threshold_from=[validation.out])
    assert frozen.to_json() == files.to_json()
    output = model.predict(cohort)
    assert np.array_equal(output.prob, table.prob)
    truth, patient = cohort.table["label"].tolist(), cohort.patient
    in_memory = counterstain.evaluate(truth, output, groups=patient)
    assert in_memory["auroc"] == counterstain.evaluate(table)["auroc"]
    assert in_memory["auroc"] == counterstain.evaluate(output.with_truth(truth, patient=patient))["auroc"]
    pair = counterstain.compare({"a": table, "b": tmp_path / "p.csv"}, fixed_models=True).pairs[0]
    assert pair.difference == 0
    seeds = [output, replace(output, prob=output.prob[:, ::-1])]
    arrays = counterstain.compare(truth, {"a": seeds, "b": [own.prob for own in seeds[::-1]]}, groups=patient)
    assert arrays.pairs[0].difference == 0


def test_a_split_knows_its_unit_and_what_it_is_of(
    cohort: counterstain.Cohort, split: counterstain.Split, tmp_path: Path
) -> None:
    by_image = counterstain.split(cohort, unit="image")
    found = counterstain.audit(cohort, by_image, out=tmp_path / "a", tables_only=True)
    assert not found.clean
    with pytest.raises(InputError, match="unit is 'image', and the split was made by patient; leave it out"):
        counterstain.train(cohort, split, tmp_path / "m", unit="image")
    with pytest.raises(
        InputError, match=r"the split names .*, which is not in the cohort; the split is of other images"
    ):
        counterstain.train(cohort.subset(np.arange(6)), split, tmp_path / "m")
    with pytest.raises(InputError, match="the split has no fold 0-7; it has 0-0, 0-1"):
        counterstain.train(cohort, split, tmp_path / "m", fold="0-7", tile_px=127)


def test_of_a_cohort_only_the_positive_class_can_be_said(cohort: counterstain.Cohort) -> None:
    assert counterstain.split(cohort, positive="a").image == cohort.image
    turned = counterstain.cohort(cohort, positive="a", decode=False)
    assert turned.positive == "a" and turned.classes == ("b", "a") and cohort.positive == "b"
    with pytest.raises(InputError, match="pattern is of a folder or a manifest, and the images are a Cohort"):
        counterstain.split(cohort, pattern="x")
    with pytest.raises(InputError, match="positive class 'c' is not among the labels"):
        counterstain.split(cohort, positive="c")


def test_a_study_names_files(cohort: counterstain.Cohort, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`images` is a Cohort, .*; write it, counterstain.write_cohort\("):
        counterstain.init(cohort, out=tmp_path / "study.yaml")  # type: ignore[arg-type]


def test_arrays_and_other_things_are_refused_with_a_way_out(
    model: counterstain.Model, cohort: counterstain.Cohort
) -> None:
    tiles: Any = np.zeros((2, 40, 40, 3), np.uint8)
    with pytest.raises(InputError, match=r"`sources` is an ndarray.*load_model\(…\)\.predict takes arrays of tiles"):
        counterstain.predict(model, tiles)
    other: Any = counterstain.Cohort(cohort.table.assign(label=["c", "a"] * 18), ("a", "c"), cohort.root, "c")
    with pytest.raises(InputError, match="the cohort has label 'c', but the model was trained on a, b"):
        counterstain.predict(model, other)


def test_findings_are_taken_as_data_frames() -> None:
    table = pd.DataFrame({
        "image": [f"i{k}" for k in range(16)], "patient_id": [f"p{k // 2}" for k in range(16)],
        "label_x": [0, 1] * 8, "prob_x": [0.2, 0.7, 0.6, 0.4] * 4,
        "label_y": [0, 0, 1, 1] * 4, "prob_y": [0.1, 0.3, 0.4, 0.9] * 4,
    })  # fmt: skip
    found = counterstain.evaluate_findings({"a": table, "b": [table, table]})
    assert isinstance(found, FindingScores) and found.record["units"] == 8
    with pytest.raises(InputError, match="a Scores was given; a path or a data frame with label_<finding>"):
        counterstain.evaluate_findings(counterstain.evaluate([0, 1] * 4, [0.1, 0.9] * 4))  # type: ignore[arg-type]
