"""An exported folder: every runtime answers as PyTorch does, every file is checked, and nothing in it is run."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from make_export import CALIBRATION, CLASSES, PX, copy, handover, make_bundle, seal_anew

from counterstain.errors import GateError, InputError
from counterstain.export import exported_model as exporting
from counterstain.export.exported_model import check_export, export_model, read_export
from counterstain.export.graphs import open_onnx, open_openvino
from counterstain.export.parity import Parity, check_parity, fixed_tiles
from counterstain.export.wsinfer import open_wsinfer
from counterstain.files import read_json, write_json
from counterstain.images.stain import StainRecipe
from counterstain.learning.bundle import SUMS, load_network, read_bundle
from counterstain.learning.predictor import load_predictor
from counterstain.learning.stain_pipeline import StainPipeline

# ------------------------------------------------------------------------------------------------------ it agrees


def independent(folder: Path, tiles: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities by the plainest path: float64 scaling by the published mean and spread, the network, softmax."""
    _, network = load_network(folder)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = torch.from_numpy(((tiles / 255 - mean) / std).astype(np.float32)).permute(0, 3, 1, 2).contiguous()
    with torch.inference_mode():
        logits = network(pixels).double().numpy() / temperature
    above = np.exp(logits - logits.max(1, keepdims=True))
    return above / above.sum(1, keepdims=True)


@pytest.mark.slow
def test_every_file_answers_as_the_plainest_path_does(exported: Path) -> None:
    tiles = fixed_tiles(PX)
    expected = independent(exported, tiles, 2.5)
    # The comparison says something: the answers reach far, and the calibration moves them by more than the tolerance.
    assert np.ptp(expected[:, 1]) > 0.3
    assert np.abs(independent(exported, tiles, 1.0) - expected).max() > 0.01
    runs = {
        "onnx": open_onnx(exported / "model.onnx"),
        "openvino": open_openvino(exported / "openvino_model.xml"),
        "wsinfer": open_wsinfer(exported),
    }
    for name, run in runs.items():
        for batch in (1, 3, 16):
            assert np.abs(run(tiles[:batch]) - expected[:batch]).max() < 1e-4, (name, batch)


@pytest.mark.slow
def test_record_says_what_was_measured(exported: Path) -> None:
    bundle, record = read_export(exported)
    assert bundle.classes == CLASSES
    assert [row["runtime"] for row in record["parity"]] == ["torch", "wsinfer", "onnx", "openvino"]
    assert all(row["difference"] <= record["tolerance"] == 1e-4 for row in record["parity"])
    assert all(row["tiles"] == 20 and row.keys() == {"runtime", "tiles", "difference"} for row in record["parity"])
    assert record["calibrated"] is True
    assert record["calibration"]["threshold"] == 0.4
    assert record["calibration"]["qhat"] == 0.3
    assert record["colours"] == {"benign": [86, 180, 233], "malignant": [213, 94, 0]}
    assert record["hashes"]["split"] == "5" * 64
    assert record["features"] is None
    assert "no tiles" in record["features_absent"]


@pytest.mark.slow
def test_a_signature_beside_the_list_is_no_strange_file(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "signed")
    (tmp_path / "signed" / "SHA256SUMS.sig").write_text("")
    assert read_export(tmp_path / "signed")[1] == read_export(exported)[1]


@pytest.mark.slow
def test_folder_is_a_bundle_of_ours(exported: Path) -> None:
    predictor = load_predictor(exported)
    tiles = fixed_tiles(PX)[:4]
    assert np.abs(predictor.probabilities(tiles) - independent(exported, tiles, 1.0)).max() < 1e-5
    assert read_json(exported / "calibration.json") == CALIBRATION


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "more"),
    [
        ("modified", {"classes": ("a", "b", "c"), "scale": "-1..1"}),
        ("timm/resnet18", {"tile_px": 96}),
        ("timm/tf_efficientnet_lite0", {"tile_px": 80, "input_px": 96, "fit": "crop"}),
    ],
)
def test_other_networks(tmp_path: Path, network: str, more: dict[str, Any]) -> None:
    source = make_bundle(tmp_path / "source", network, **more)
    tiles = np.random.default_rng(0).integers(0, 256, (3, *[more.get("tile_px", PX)] * 2, 3), dtype=np.uint8)
    record = export_model(source, tmp_path / "out", handover(tiles=tiles))
    assert [row["runtime"] for row in record["parity"]] == ["torch", "wsinfer", "onnx", "openvino"]
    assert {row["tiles"] for row in record["parity"]} == {23}
    assert max(row["difference"] for row in record["parity"]) <= 1e-4
    read_export(tmp_path / "out")
    assert read_json(tmp_path / "out" / "config.json")["architecture"] == network.removeprefix("timm/")


@pytest.mark.slow
def test_one_format_leaves_no_step_behind(tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "source", mpp=None)
    record = export_model(source, tmp_path / "out", handover(formats=("openvino",)))
    assert list(record["formats"]) == ["openvino"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "LICENSE.md", "README.md", "SHA256SUMS", "bundle.json", "export.json", "model.safetensors",
        "openvino_model.bin", "openvino_model.xml",
    }  # fmt: skip


@pytest.mark.slow
def test_int8_is_told_and_not_gated(tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "source", mpp=None)
    tiles = fixed_tiles(PX)
    seen = []

    def judge(quantised: Callable[..., Any], reference: Callable[..., Any]) -> dict[str, Any]:
        seen.append(np.abs(quantised(tiles[:3]) - reference(tiles[:3])).max())
        return {"words": "measured"}

    record = export_model(source, tmp_path / "out", handover(formats=(), quantise=tiles, judge_int8=judge))
    assert list(record["formats"]) == ["int8"]
    assert record["int8"] == {"words": "measured"}
    assert 0 < seen[0] < 0.5  # not the same, and not something else
    assert (tmp_path / "out" / "openvino_int8_model.xml").is_file()
    assert not (tmp_path / "out" / "openvino_model.xml").exists()
    assert (tmp_path / "out" / "openvino_int8_model.bin").stat().st_size < 0.5 * (
        source / "model.safetensors"
    ).stat().st_size


# ------------------------------------------------------------------------------------------------- the gate, by hand


def test_gate_shuts_on_a_difference_in_one_batch_size() -> None:
    tiles = np.zeros((20, 4, 4, 3), np.uint8)

    def reference(given: np.ndarray) -> np.ndarray:
        return np.tile([0.5, 0.5], (len(given), 1))

    def wrong(given: np.ndarray) -> np.ndarray:
        return reference(given) + (2e-4 if len(given) == 3 else 0)

    found = check_parity({"close": lambda given: reference(given) + 9e-5}, reference, tiles)
    assert [row.runtime for row in found] == ["torch", "close"]
    assert found[1].difference == pytest.approx(9e-5)
    with pytest.raises(GateError, match=r"wrong: a probability differs from PyTorch's by 0\.0002"):
        check_parity({"wrong": wrong}, reference, tiles)
    assert check_parity({"wrong": wrong}, reference, tiles, ungated=("wrong",))[1].difference == pytest.approx(2e-4)


def test_gate_shuts_on_what_is_no_number() -> None:
    tiles = np.zeros((16, 4, 4, 3), np.uint8)
    with pytest.raises(GateError, match="by inf"):
        check_parity({"nan": lambda given: np.full((len(given), 2), np.nan)}, lambda x: np.ones((len(x), 2)), tiles)


def test_nothing_is_left_where_the_gate_shuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_bundle(tmp_path / "source")

    def shut(*_: Any, **__: Any) -> list[Parity]:
        raise GateError("no")

    monkeypatch.setattr(exporting, "check_parity", shut)
    with pytest.raises(GateError):
        export_model(source, tmp_path / "out", handover(formats=()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_fixed_tiles_are_the_same_every_time() -> None:
    tiles = fixed_tiles(64)
    assert tiles.shape == (20, 64, 64, 3)
    assert np.array_equal(tiles, fixed_tiles(64))
    assert tiles.min() == 0
    assert tiles.max() == 255
    assert len(np.unique(tiles.mean(axis=(1, 2, 3)).round(3))) == 20


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("bundle", "asked", "said"),
    [
        ({"mpp": None}, {}, "--mpp"),
        ({}, {"mpp": 0.25}, "trained on tiles of 0.5 µm/px"),
        ({"mpp": None}, {"mpp": 500.0}, "µm per px"),
        ({}, {"formats": ("tflite",)}, "no format is called 'tflite'"),
        ({}, {"calibration": CALIBRATION | {"classes": ["malignant", "benign"]}}, "of another model"),
        ({"staining": StainPipeline(StainRecipe(method="reinhard", mean=(60.0, 20.0, 5.0), spread=(9.0, 9.0, 9.0)))},
         {}, "this model normalises stain"),
    ],
)  # fmt: skip
def test_refused_before_any_work(tmp_path: Path, bundle: dict[str, Any], asked: dict[str, Any], said: str) -> None:
    source = make_bundle(tmp_path / "source", **bundle)
    with pytest.raises(InputError, match=said) as refusal:
        check_export(source, tmp_path / "out", handover(**asked))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "source")
    (tmp_path / "out").mkdir()
    check_export(source, tmp_path / "out", handover())  # an empty one is
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        export_model(source, tmp_path / "out", handover())
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_to_is_found_out_first(tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "source")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="there is a file where a folder is needed"):
        check_export(source, tmp_path / "file" / "out", handover())
    assert (tmp_path / "file").read_text() == "mine"


def test_mpp_that_was_given_is_in_the_bundle(tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "source", mpp=None)
    record = export_model(source, tmp_path / "out", handover(formats=(), mpp=0.25))
    assert record["mpp_given"] is True
    assert read_bundle(tmp_path / "out").mpp == 0.25
    assert "0.25 µm/px (as given when exported)" in (tmp_path / "out" / "README.md").read_text()


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterstain.export import graphs

    monkeypatch.setattr(graphs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"onnx needs onnx, onnxscript, onnxruntime.*counterstain\[runtimes\]"):
        check_export(make_bundle(tmp_path / "source"), tmp_path / "out", handover(formats=("onnx",)))


# -------------------------------------------------------------------------------------------------- damage, by name


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(content)


def test_a_flipped_bit_in_any_file_is_refused(plain: Path) -> None:
    random = np.random.default_rng(0)
    for path in sorted(plain.iterdir()):
        before = path.read_bytes()
        for bit in random.integers(0, 8 * len(before), 12):
            flip(path, int(bit))
            with pytest.raises(InputError) as refusal:
                read_export(plain)
            assert path.name in str(refusal.value) or path.name == SUMS
            path.write_bytes(before)
    read_export(plain)


def test_every_bit_of_the_list_of_hashes_counts(plain: Path) -> None:
    (plain / "model.safetensors").unlink()  # which would be hashed again a thousand times
    seal_anew(plain)
    before = (plain / SUMS).read_bytes()
    first = 8 * (before.index(b"\n") + 1)
    later = np.random.default_rng(0).integers(0, 8, len(before)) + 8 * np.arange(len(before))
    for bit in (*range(first), *later[later >= first].tolist()):
        flip(plain / SUMS, bit)
        with pytest.raises(InputError):
            exporting._check_sums(plain)
        (plain / SUMS).write_bytes(before)


@pytest.mark.slow
def test_a_flipped_bit_in_a_graph_is_refused(exported: Path, tmp_path: Path) -> None:
    folder = copy(exported, tmp_path / "copy")
    for path in sorted(folder.iterdir()):
        before = path.read_bytes()
        flip(path, 4 * len(before))
        with pytest.raises(InputError):
            read_export(folder)
        if path.name != SUMS:
            with pytest.raises(InputError):
                load_predictor(folder)  # the check of every load, not of this module alone
        path.write_bytes(before)
    read_export(folder)


def test_a_missing_and_a_foreign_file_are_named(plain: Path) -> None:
    (plain / "evil.py").write_text("")
    with pytest.raises(InputError, match=r"beside what SHA256SUMS lists, evil\.py"):
        read_export(plain)
    (plain / "evil.py").unlink()
    (plain / "calibration.json").unlink()
    with pytest.raises(InputError, match=r"lacks calibration\.json"):
        read_export(plain)


@pytest.mark.parametrize(
    ("file", "key", "value", "said"),
    [
        ("bundle.json", "schema", "counterstain.bundle/99", "bundle/99; this version reads"),
        ("export.json", "schema", "counterstain.export/2", "export/2; this version reads"),
        ("export.json", "classes", ["benign"], "see 'malignant'"),
        ("bundle.json", "classes", ["benign"], "two or more different names"),
        ("bundle.json", "classes", ["benign", "other"], "see 'malignant'"),
        ("calibration.json", "classes", ["malignant", "benign"], "same classes in the same order"),
        ("export.json", "classes", None, "same classes in the same order"),
    ],
)
def test_what_was_changed_on_purpose_is_refused_by_name(
    plain: Path, file: str, key: str, value: Any, said: str
) -> None:
    record = read_json(plain / file)
    record[key] = value
    write_json(plain / file, record)
    seal_anew(plain)
    with pytest.raises(InputError, match=said):
        read_export(plain)


def test_reading_runs_nothing_of_the_folder(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("code of the folder was loaded")

    for name in ("load", "jit.load"):
        monkeypatch.setattr(f"torch.{name}", never)
    monkeypatch.setattr("pickle.loads", never)
    bundle, record = read_export(plain)
    assert record["classes"] == list(bundle.classes)
    assert load_predictor(plain).bundle == bundle
