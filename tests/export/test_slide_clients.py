"""A slide read as WSInfer reads it, by the patches file and the exported graph, says what our own run says of it."""

from pathlib import Path

import cv2
import h5py
import numpy as np
import openslide
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from torchvision.transforms.functional import to_tensor

from counterstain.evaluation.metrics import PROB_CLIP
from counterstain.export.graphs import TORCHSCRIPT, Calibrated, SlideGraph, TileGraph, write_torchscript
from counterstain.images.tensor import to_tensor as scaled
from counterstain.images.tile import fit_tile
from counterstain.learning.bundle import Bundle, write_bundle
from counterstain.learning.networks import build_network
from counterstain.learning.predictor import load_predictor
from counterstain.slides.infer_cohort import run_slides
from counterstain.slides.infer_slide import InferenceOptions
from counterstain.slides.tile_files import read_tile_csv

TILE_PX, MPP = 127, 0.5
BUNDLE = Bundle("given", ("benign", "tumour"), TILE_PX, "crop", "0..1", mpp=MPP)
BAR = 0.02  # a client's probability is at most this far from ours; what is found is far less
ALIKE = 1e-3

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with its TorchScript file; its weights are steep, so that a grey level here and there would show."""
    folder = tmp_path_factory.mktemp("model")
    network = build_network("given", classes=2, tile_px=TILE_PX, seed=3).eval()
    tissue = picture(1.0)
    tiles = np.stack([tissue[y : y + TILE_PX, x : x + TILE_PX] for x in (0, 90, 200, 300) for y in (0, 100, 200)])
    output = network.get_submodule("output")
    with torch.no_grad():
        output.weight.mul_(300)
        output.bias.sub_(network(scaled(tiles, scale=BUNDLE.scale)).mean(0))  # as many of one class as of the other
    write_bundle(folder, BUNDLE, network)
    graph = TileGraph(network, BUNDLE, Calibrated("none", {}, PROB_CLIP)).eval()
    write_torchscript(SlideGraph(graph), folder / TORCHSCRIPT, tile_px=TILE_PX)
    return folder


def picture(scale: float) -> NDArray[np.uint8]:
    """Blots of stain with fine texture, no whole number of tiles wide or high."""
    width, height = round(TILE_PX * scale * 3.4), round(TILE_PX * scale * 2.7)
    rng = np.random.default_rng(7)
    blots = cv2.resize(rng.uniform(60, 220, (9, 11, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    texture = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 1.0)
    return np.clip(blots + 90 * texture[..., None], 1, 255).astype(np.uint8)


def write_slide(path: Path, scale: float, *, pyramid: bool) -> None:
    """Level 0 of a pyramid is JPEG, and its smaller levels are darker than means of level 0: a scanner's own affair."""
    level = picture(scale)
    packed = {"compression": "jpeg", "compressionargs": {"level": 80}} if pyramid else {"compression": "zlib"}
    with tifffile.TiffWriter(path) as writer:
        for number in range(3 if pyramid else 1):
            writer.write(
                level, tile=(256, 256), photometric="rgb", subfiletype=int(number > 0), metadata=None,
                resolution=(1e4 * scale / (MPP * 2**number),) * 2, resolutionunit="CENTIMETER", **packed,
            )  # fmt: skip
            level = cv2.resize(level, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) // 2


def as_wsinfer(model: Path, slide: Path, patches: Path) -> NDArray[np.float64]:
    """(N, classes): square windows of level 0 at the file's coordinates, black beyond the slide, ToTensor, softmax."""
    graph = torch.jit.load(str(model / TORCHSCRIPT))
    with h5py.File(patches) as file, openslide.OpenSlide(slide) as source:
        assert file["coords"].attrs["patch_level"] == 0
        side, prob = int(file["coords"].attrs["patch_size"]), []
        for x, y in file["coords"][:].tolist():
            window = source.read_region((x, y), 0, (side, side)).convert("RGB")
            with torch.inference_mode():
                prob.append(torch.softmax(graph(to_tensor(window)[None]), 1)[0].double().numpy())
    return np.stack(prob)


@pytest.mark.parametrize("pyramid", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0, 2.7, 4.0])
def test_wsinfer_says_what_our_run_says(model: Path, tmp_path: Path, scale: float, pyramid: bool) -> None:
    write_slide(tmp_path / "S.tif", scale, pyramid=pyramid)
    options = InferenceOptions(least_tissue=None, batch=4, workers=1)
    run_slides(model, [tmp_path / "S.tif"], tmp_path / "out", options)
    corner, size, prob = read_tile_csv(tmp_path / "out" / "model-outputs-csv" / "S.csv")
    ours = np.column_stack([prob["benign"], prob["tumour"]])
    theirs = as_wsinfer(model, tmp_path / "S.tif", tmp_path / "out" / "patches" / "S.h5")
    assert len(ours) == 12 and (size == round(TILE_PX * scale)).all()
    assert sum(x + size[0, 0] > TILE_PX * scale * 3.4 for x in corner[:, 0]) == 3  # at the right edge
    assert np.ptp(ours[:, 1]) > 0.4
    assert np.abs(ours - theirs).max() <= ALIKE < BAR


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.8])
def test_wsinfer_enlarges_a_coarser_slide_as_predict_does(model: Path, tmp_path: Path, scale: float) -> None:
    """Our run refuses such a slide, WSInfer does not: the graph then does what a tile given to the model undergoes."""
    write_slide(tmp_path / "S.tif", scale, pyramid=False)
    side, level = round(TILE_PX * scale), tifffile.imread(tmp_path / "S.tif")
    corners = [(x, y) for y in range(0, level.shape[0], side) for x in range(0, level.shape[1], side)]
    with h5py.File(tmp_path / "S.h5", "w") as file:
        coords = file.create_dataset("coords", data=np.array(corners))
        coords.attrs.update({"patch_size": side, "patch_level": 0})
    tiles = np.full((len(corners), side, side, 3), 255, np.uint8)
    for tile, (x, y) in zip(tiles, corners, strict=True):
        part = level[y : y + side, x : x + side]
        tile[: part.shape[0], : part.shape[1]] = part
    fitted = np.stack([fit_tile(tile, "", tile_px=TILE_PX, fit=BUNDLE.fit) for tile in tiles])
    ours = load_predictor(model).probabilities(fitted)
    assert np.ptp(ours[:, 1]) > 0.4
    assert np.abs(ours - as_wsinfer(model, tmp_path / "S.tif", tmp_path / "S.h5")).max() <= ALIKE < BAR
