"""What is no path, no threshold or no setting is refused in one line, or taken as what it says."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import counterstain
from counterstain.api.process import yaml_texts
from counterstain.cohort.new_images import read_new_images
from counterstain.errors import InputError, says_arguments

TABLES = Path(__file__).parents[2] / "examples" / "tables"
OURS, THEIRS = TABLES / "ours.csv", TABLES / "theirs.csv"


@pytest.mark.parametrize("verb", ["cohort", "split", "audit", "init", "report", "run", "load_model", "export"])
def test_a_path_that_is_needed_and_is_none(verb: str, tmp_path: Path) -> None:
    more = {"export": {"out": tmp_path / "out"}}.get(verb, {})
    with pytest.raises(InputError, match=r"is None; the path of a file or a folder is needed"):
        getattr(counterstain, verb)(None, **more)


@pytest.mark.parametrize("tables", [[], {}, {"a": []}])
def test_findings_of_no_table(tables: object) -> None:
    with pytest.raises(InputError, match="no predictions were given"):
        counterstain.evaluate_findings(tables)  # type: ignore[arg-type]


def test_no_image_to_predict(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the list of images is empty"):
        counterstain.predict(tmp_path, [], out=tmp_path / "p.csv")


@pytest.mark.parametrize("threshold", [np.float32(0.25), [0.25], [np.float64(0.25)], ["0.25"], np.float64(0.25)])
def test_a_threshold_of_numpy_or_in_a_list(threshold: object) -> None:
    arms = {"ours": OURS, "theirs": THEIRS}
    found = counterstain.compare(arms, primary="accuracy", fixed_models=True, threshold=threshold)  # type: ignore[call-overload]
    plain = counterstain.compare(arms, primary="accuracy", fixed_models=True, threshold=0.25)
    assert found.pair("ours", "theirs").difference == plain.pair("ours", "theirs").difference


def test_groups_of_an_iterator_are_scored_and_a_number_is_refused() -> None:
    by_site = counterstain.evaluate(OURS, by=(name for name in ["site"]))  # type: ignore[call-overload]
    assert by_site.record == counterstain.evaluate(OURS, by=["site"]).record
    assert by_site.record != counterstain.evaluate(OURS).record
    with pytest.raises(InputError, match=r"by is 3; a list of names is needed"):
        counterstain.evaluate(OURS, by=3)  # type: ignore[call-overload]


def test_settings_of_numpy_and_paths() -> None:
    assert yaml_texts({"a": np.int64(5), "b": np.float64(0.5), "c": np.arange(2), "d": Path("x/y")}) == {
        "a": "5", "b": "0.5", "c": "[0, 1]", "d": str(Path("x/y")),
    }  # fmt: skip


def test_a_study_of_feature_files_is_not_begun(tmp_path: Path) -> None:
    cohort = counterstain.phantom(tmp_path / "ph", patients=6, tiles=1, tile_px=64, workers=1)
    table = cohort.table.copy()
    table["image_path"] = [f"{number}.h5" for number in range(len(table))]
    for name in table["image_path"]:
        (tmp_path / "ph" / name).write_bytes(b"\x89HDF\r\n\x1a\n")
    counterstain.write_cohort(replace(cohort, table=table), tmp_path / "ph" / "manifest.csv")
    with pytest.raises(InputError, match=r"is a feature file, not an image; .*mil/mean"):
        counterstain.init(tmp_path / "ph" / "manifest.csv", out=tmp_path / "study.yaml")
    assert not (tmp_path / "study.yaml").exists()


def test_figures_of_a_run_are_no_images_to_predict(tmp_path: Path) -> None:
    cohort = counterstain.phantom(tmp_path / "ph", patients=6, tiles=1, tile_px=64, workers=1)
    counterstain.write_cohort(cohort, tmp_path / "run" / "records" / "cohort.csv")
    with pytest.raises(InputError, match=r"run is a run, and its pictures are figures; name its images, .*cohort\.csv"):
        read_new_images([tmp_path / "run"], ["benign", "malignant"])
    assert len(read_new_images([tmp_path / "run" / "records" / "cohort.csv"], ["benign", "malignant"])) == len(cohort)


@pytest.mark.parametrize(
    ("verb", "arguments", "words"),
    [
        ("split", {"folds": "3"}, r"`folds` is a str, '3'; a whole number is needed"),
        ("split", {"seed": None}, r"`seed` is None; a whole number is needed"),
        ("split", {"test": [0.2]}, r"`test` is a list, \[0.2\]; a number is needed"),
        ("features", {"runtime": None}, r"`runtime` is None; a text is needed"),
        ("audit", {"rotated": "no"}, r"`rotated` is a str, 'no'; True or False is needed"),
    ],
)
def test_a_number_is_a_number_and_a_text_a_text(
    verb: str, arguments: dict[str, object], words: str, tmp_path: Path
) -> None:
    places = (tmp_path, tmp_path) if verb == "features" else (tmp_path,)
    with pytest.raises(counterstain.InputError, match=words):
        getattr(counterstain, verb)(*places, **arguments)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    with pytest.raises(counterstain.InputError, match="0 usable images"):
        counterstain.split(tmp_path, folds=np.int64(3), test=np.float32(0.2), preserve_sites=np.bool_(False))


def test_one_name_is_a_list_of_one() -> None:
    @says_arguments
    def listed(names: Sequence[str] = ()) -> list[str]:
        return list(names)

    assert listed(names="onnx") == ["onnx"]
    assert listed(names=("onnx", "int8")) == ["onnx", "int8"]
