"""Feature files: the backbone's own features, where their tiles lie, what is made again, and a study on top."""

import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
import timm
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from counterstain.cli import app
from counterstain.cohort.layouts import read_images
from counterstain.errors import InputError
from counterstain.files import hash_file, read_json, write_csv
from counterstain.learning.bundle import Bundle, write_bundle
from counterstain.learning.encoder import choose_encoder_runtime, load_encoder
from counterstain.learning.features import read_features
from counterstain.learning.mil_networks import build_bag_network
from counterstain.learning.networks import build_network
from counterstain.learning.runtimes import RUNTIMES, Runtime
from counterstain.progress import Progress
from counterstain.slides.feature_files import encode_tiles
from counterstain.study.run import run_study

NETWORK = "timm/test_resnet"
TILE_PX = 64


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def make_tiles(folder: Path, *, slides: int = 4, each: int = 5, mixed: bool = False) -> Path:
    """Noise tiles of 64 px; x and y count on; the slides' ids need another file name."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for slide in range(slides):
        for tile in range(each):
            name = f"{slide}-{tile}.png"
            Image.fromarray(random.integers(0, 256, (TILE_PX, TILE_PX, 3), dtype=np.uint8)).save(folder / name)
            label = "ab"[(slide + (mixed and tile == 2)) % 2]
            rows.append((name, label, f"P{slide}", f"case {slide}/A", "X", 0.5, 100 * tile, 7))
    write_csv(folder / "tiles.csv", ("image_path", "label", "patient_id", "slide_id", "site", "mpp", "x", "y"), rows)
    return folder / "tiles.csv"


def test_a_cohort_of_tiles_becomes_a_file_a_slide_with_the_backbones_own_features(tmp_path: Path) -> None:
    table = make_tiles(tmp_path / "tiles")
    done = call("features", NETWORK, table, "--tile-px", "64", "--weights", "random", "--out", tmp_path / "made",
                "--device", "cpu")  # fmt: skip
    assert done.exit_code == 0, done.output
    bag = read_features(tmp_path / "made/case_1_A.h5")
    assert bag.coords.tolist() == [[100 * tile, 7] for tile in range(5)]
    assert bag.attributes["patch_size"] == TILE_PX
    assert bag.attributes["mpp"] == 0.5
    assert bag.attributes["encoder"] == "timm/test_resnet@random"
    # The same by timm and PIL alone: ImageNet's mean and spread, as timm names them for this network.
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=0).eval()
    pixels = np.stack([np.asarray(Image.open(tmp_path / f"tiles/1-{tile}.png")) for tile in range(5)])
    mean, spread = (torch.tensor(network.pretrained_cfg[name])[:, None, None] for name in ("mean", "std"))
    with torch.inference_mode():
        expected = network((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / spread)
    np.testing.assert_allclose(bag.features, expected, atol=1e-4)
    manifest = pd.read_csv(tmp_path / "made/manifest.csv")
    assert manifest["image_path"].tolist() == [f"case_{slide}_A.h5" for slide in range(4)]
    assert manifest["label"].tolist() == ["a", "b", "a", "b"]
    assert manifest["slide_id"].tolist() == [f"case {slide}/A" for slide in range(4)]
    assert read_json(tmp_path / "made/features.json")["tiles"] == 20


def test_only_what_changed_is_made_again(tmp_path: Path) -> None:
    table = make_tiles(tmp_path / "tiles")
    encoder = load_encoder(NETWORK, tile_px=TILE_PX, weights="random")
    first = encode_tiles(encoder, read_images(table), tmp_path / "made", fit="exact")
    assert (first.slides, first.before, first.tiles) == (4, 0, 20)
    made = {path.name: hash_file(path) for path in (tmp_path / "made").glob("*.h5")}
    Image.new("RGB", (TILE_PX, TILE_PX)).save(tmp_path / "tiles/2-0.png")
    (tmp_path / "made/case_3_A.h5").unlink()
    assert encode_tiles(encoder, read_images(table), tmp_path / "made", fit="exact").before == 2
    again = {path.name: hash_file(path) for path in (tmp_path / "made").glob("*.h5")}
    assert [name for name in made if made[name] != again[name]] == ["case_2_A.h5"]
    other = load_encoder(NETWORK, tile_px=TILE_PX, weights="random", precision="bf16")
    assert encode_tiles(other, read_images(table), tmp_path / "made", fit="exact").before == 0


def test_another_runtime_gives_the_same_features_and_is_taken_again(tmp_path: Path) -> None:
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    table = make_tiles(tmp_path / "tiles")
    command = ("features", NETWORK, table, "--tile-px", "64", "--weights", "random", "--device", "cpu")
    assert call(*command, "--runtime", "torch", "--out", tmp_path / "torch").exit_code == 0
    assert call(*command, "--runtime", "openvino", "--out", tmp_path / "made").exit_code == 0
    ours, other = (read_features(tmp_path / name / "case_1_A.h5").features for name in ("torch", "made"))
    np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-5)
    assert "runtime" not in read_json(tmp_path / "torch/features.json")["encoded_by"]
    assert read_json(tmp_path / "made/features.json")["encoded_by"]["runtime"] == "openvino"
    # Twenty tiles alone would be PyTorch's: what was begun with another runtime is finished with it.
    kept = hash_file(tmp_path / "made/case_1_A.h5")
    (tmp_path / "made/case_2_A.h5").unlink()
    done = call(*command, "--runtime", "auto", "--out", tmp_path / "made")
    assert done.exit_code == 0, done.output
    assert hash_file(tmp_path / "made/case_1_A.h5") == kept
    assert read_json(tmp_path / "made/features.json")["encoded_by"]["runtime"] == "openvino"
    # Another precision is another encoder, of which nothing was begun.
    done = call(*command, "--precision", "bf16", "--out", tmp_path / "made")
    assert done.exit_code == 0, done.output
    assert "runtime" not in read_json(tmp_path / "made/features.json")["encoded_by"]


def test_a_runtime_that_is_unknown_or_changes_the_features_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = call("features", NETWORK, tmp_path, "--tile-px", "64", "--runtime", "openvimo", "--out", tmp_path / "made")
    assert done.exit_code == 2
    assert "openvino" in done.output
    wrong = Runtime((), ("fp32",), 0, lambda *_: lambda tiles: np.ones((len(tiles), 96), np.float32))
    monkeypatch.setitem(RUNTIMES, "openvino", wrong)
    encoder = load_encoder(NETWORK, tile_px=TILE_PX, weights="random")
    with pytest.raises(InputError, match=r"the features .* of openvino differ from torch's"):
        choose_encoder_runtime(encoder, "openvino", images=20)


def test_a_slide_with_tiles_of_both_classes_is_positive_and_it_is_said(tmp_path: Path) -> None:
    lines: list[str] = []
    encoder = load_encoder(NETWORK, tile_px=TILE_PX, weights="random")
    cohort = read_images(make_tiles(tmp_path / "tiles", mixed=True))
    encode_tiles(encoder, cohort, tmp_path / "made", fit="exact", talk=Progress(say=lines.append))
    assert set(pd.read_csv(tmp_path / "made/manifest.csv")["label"]) == {"b"}
    assert any("4 slides have tiles of several classes" in line and "count as positive" in line for line in lines)


def test_a_bundle_gives_what_its_last_layer_takes(tmp_path: Path) -> None:
    network = build_network("given", classes=2, tile_px=127, seed=0).eval()
    write_bundle(tmp_path, Bundle("given", ("a", "b"), 127, "stretch", "-1..1", mpp=0.5), network)
    encoder = load_encoder(str(tmp_path))
    assert (encoder.tile_px, encoder.fit, encoder.mpp) == (127, "stretch", 0.5)
    tiles = np.random.default_rng(0).integers(0, 256, (3, 127, 127, 3), dtype=np.uint8)
    found = encoder.features(tiles)
    assert found.shape == (3, 1000)
    with torch.inference_mode():
        logits = network(torch.from_numpy(tiles).permute(0, 3, 1, 2) / 127.5 - 1)
        np.testing.assert_allclose(network.output(torch.from_numpy(found)), logits, atol=1e-4)
    with pytest.raises(InputError, match="leave --tile-px out"):
        load_encoder(str(tmp_path), tile_px=64)


def test_what_is_no_encoder_is_refused_in_one_line(tmp_path: Path) -> None:
    network = build_bag_network("mil/mean", width=4, classes=2, seed=0)
    layout = network.layout() | {"encoder": ""}
    write_bundle(tmp_path / "bags", Bundle("mil/mean", ("a", "b"), 0, "features", "-1..1", layout=layout), network)
    for model, words in ((str(tmp_path / "bags"), "model of whole slides"), ("given", "no weights of its own"),
                         ("mil/mean", "no weights of its own"), ("timm/test_resnett", "did you mean"),
                         (NETWORK, "--tile-px")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            load_encoder(model, weights="random")
    table = make_tiles(tmp_path / "tiles")
    encoder = load_encoder(NETWORK, tile_px=TILE_PX, weights="random")
    lines = table.read_text().replace("case 1/A", "case 0 A").splitlines()
    table.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"'case 0/A' and 'case 0 A' would both be case_0_A\.h5"):
        encode_tiles(encoder, read_images(table), tmp_path / "made", fit="exact")
    table.write_text("\n".join(lines).replace("case 0 A", "case 1/A").replace("2-0.png,a,P2", "2-0.png,a,P9") + "\n")
    with pytest.raises(InputError, match=r"slide 'case 2/A' have several values of patient_id: P2, P9"):
        encode_tiles(encoder, read_images(table), tmp_path / "made", fit="exact")
    table.write_text("\n".join(line.replace("case 2/A", "") for line in lines) + "\n")
    with pytest.raises(InputError, match=r"2-0\.png has no slide_id"):
        encode_tiles(encoder, read_images(table), tmp_path / "made", fit="exact")


# ------------------------------------------------------------------------------------------------------------- slides


def write_slide(path: Path, *, seed: int, mpp: float | None = 0.5) -> np.ndarray:
    """A TIFF of 512 × 320 px at 0.5 µm/px with noise of tissue's colours."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 90, (320, 512, 3), dtype=np.uint8) + np.array([140, 40, 120], np.uint8)
    own = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", metadata=None, **own)
    return pixels


def test_slides_become_files_whose_features_are_those_of_their_tiles(tmp_path: Path) -> None:
    pixels = write_slide(tmp_path / "one.tif", seed=0)
    write_slide(tmp_path / "two.tif", seed=1, mpp=None)
    command = ["features", NETWORK, tmp_path / "one.tif", tmp_path / "two.tif", "--mpp", "1", "--tile-px", "64",
               "--weights", "random", "--least-tissue", "0", "--device", "cpu", "--out", tmp_path / "made"]  # fmt: skip
    done = call(*command)
    assert done.exit_code == 3
    assert "does not say its µm/px" in (tmp_path / "made/failures.csv").read_text()
    bag = read_features(tmp_path / "made/one.h5")
    assert bag.attributes["patch_size"] == 64
    assert bag.attributes["patch_size_level0"] == 128
    assert (bag.attributes["level0_width"], bag.attributes["level0_height"]) == (512, 320)
    assert bag.attributes["mpp"] == 1
    assert sorted(map(tuple, bag.coords.tolist())) == [(x, y) for x in range(0, 512, 128) for y in range(0, 320, 128)]
    # Two px to one, halved by hand, through the encoder.
    encoder = load_encoder(NETWORK, tile_px=64, weights="random")
    for row in np.flatnonzero(bag.coords[:, 1] < 256):
        x, y = bag.coords[row]
        block = pixels[y : y + 128, x : x + 128].reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(
            bag.features[row], encoder.features((block + 0.5).astype(np.uint8)[None])[0], atol=0.1
        )
    done = call(*command, "--assume-mpp", "0.5")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "made/two.h5").is_file()
    assert read_features(tmp_path / "made/one.h5").features.tobytes() == bag.features.tobytes()


@pytest.mark.slow
def test_from_slides_to_a_study_of_them(tmp_path: Path) -> None:
    rows = []
    for slide in range(12):
        write_slide(tmp_path / f"s{slide}.tif", seed=slide)
        rows.append((f"s{slide}.tif", "ab"[slide % 2], f"P{slide}", f"S{slide}"))
    write_csv(tmp_path / "slides.csv", ("image_path", "label", "patient_id", "slide_id"), rows)
    done = call("features", NETWORK, tmp_path / "slides.csv", "--mpp", "0.5", "--tile-px", "64", "--weights", "random",
                "--least-tissue", "0", "--device", "cpu", "--out", tmp_path / "made", "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    (tmp_path / "study.yaml").write_text(
        "name: slides\ncohort: {path: made/manifest.csv}\ntraining: {epochs: 2, batch: 4, device: cpu, threads: 1}\n"
        "arms: {mean: {network: mil/mean}, abmil: {network: mil/abmil}}\nseeds: [0]\n"
    )
    run = run_study(tmp_path / "study.yaml")
    assert (run / "report.html").is_file()
    with h5py.File(tmp_path / "made/s0.h5") as file:
        assert file["features"].shape[0] == 40
