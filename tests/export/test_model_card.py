"""The card of an exported model: YAML that the hub reads, words for people, and the licences."""

import json
from pathlib import Path

import pytest
import yaml
from make_export import CALIBRATION, handover, make_bundle

from counterstain.export.exported_model import EXPORT, export_model
from counterstain.export.model_card import hub_licence
from counterstain.files import read_json


def test_card_is_yaml_and_words(plain: Path) -> None:
    text = (plain / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    header = yaml.safe_load(front)
    assert header["license"] == "other"
    assert header["license_name"] == "not-stated"
    assert header["license_link"] == "LICENSE.md"
    assert "has not stated a licence" in (plain / "LICENSE.md").read_text()
    assert header["pipeline_tag"] == "image-classification"
    for words in (
        "not a medical device", "0.5 µm/px", "calibrated (temperature) on 40 images of 12 validation patients",
        "predicted as malignant from a calibrated probability of 0.4", "quantile (0.3)", "a note", "Not available:",
    ):  # fmt: skip
        assert words in body
    assert read_json(plain / EXPORT)["hashes"]["weights"] in body


@pytest.mark.parametrize(
    ("licence", "keys"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("CC BY-NC-ND 4.0", {"license": "cc-by-nc-nd-4.0"}),
        ("", {"license": "other", "license_name": "not-stated", "license_link": "LICENSE.md"}),
        ("Ours alone!", {"license": "other", "license_name": "ours-alone", "license_link": "LICENSE.md"}),
    ],
)
def test_licence_has_the_hub_name(licence: str, keys: dict[str, str]) -> None:
    assert hub_licence(licence) == keys


def test_the_hub_reads_the_scores(tmp_path: Path) -> None:
    """huggingface_hub's own parser of a card, which is what the hub's table of results is drawn from."""
    from huggingface_hub import ModelCard

    judged = {
        "name": "run small (arm given, seed 3, fold 0-0)", "images": 84, "patients": 6, "method": "a method",
        "warnings": ["only 6 patients"],
        "scores": [
            {"metric": "auroc", "level": "image", "class": None, "value": 0.9125, "low": 0.8, "high": 0.97},
            {"metric": "auroc", "level": "patient", "class": None, "value": float("nan"), "low": None, "high": None},
            {"metric": "recall", "level": "image", "class": "malignant", "value": 0.5, "low": 0.1, "high": 0.9},
        ],
    }  # fmt: skip
    source = make_bundle(tmp_path / "source")
    export_model(source, tmp_path / "out", handover(formats=(), licence="mit", scores=judged))
    assert not (tmp_path / "out" / "LICENSE.md").exists()
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "mit"
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.task_type) == ("roc_auc", 0.9125, "image-classification")
    assert result.dataset_name == "test part of run small (arm given, seed 3, fold 0-0)"
    assert card.data.model_name.startswith("counterstain-given-")
    assert "Scores of this exported model on 84 test images of 6 patients of run small" in card.text
    assert "| auroc | image | 0.912 | 0.800 to 0.970 |" in card.text
    assert "- only 6 patients" in card.text


@pytest.mark.slow
def test_two_exports_of_one_model_are_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    """Every file, and none tells where it was made; how fast a runtime is here goes to the caller alone."""
    record = export_model(
        exported.parent / "source", tmp_path / "out", handover(calibration=CALIBRATION, hashes={"split": "5" * 64})
    )
    assert set(record["images_per_s"]) == {"torch", "wsinfer", "onnx", "openvino"}
    assert all(rate > 0 for rate in record["images_per_s"].values())
    names = {path.name for path in exported.iterdir()}
    assert names == {path.name for path in (tmp_path / "out").iterdir()}
    for name in names:
        content = (exported / name).read_bytes()
        assert content == (tmp_path / "out" / name).read_bytes(), name
        for place in (exported.parent, Path(__file__).parents[2]):
            assert str(place).encode() not in content, name


def test_backbone_licence_is_on_the_card(tmp_path: Path) -> None:
    weights = {"source": "some/where", "sha256": "0" * 64, "licence": "CC BY-NC-ND 4.0"}
    source = make_bundle(tmp_path / "source", provenance={"weights": weights, "data": {"cohort": "c" * 64}})
    record = export_model(source, tmp_path / "out", handover(formats=(), licence="mit"))
    assert record["licence"] == {"model": "mit", "backbone": weights}
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "weights of some/where, licence: CC BY-NC-ND 4.0" in text
    assert "c" * 64 in text
    assert json.loads((tmp_path / "out" / EXPORT).read_text())["hashes"]["data (cohort)"] == "c" * 64
