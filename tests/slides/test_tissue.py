"""Tissue against a drawn truth: stained is kept; glass, ink of four colours and blur are not."""

import functools
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.slides.focus import sharpness
from counterstain.slides.overview import Overview, read_overview
from counterstain.slides.reader import open_slide
from counterstain.slides.tissue import TissueMask, tissue_mask

# Optical densities a stain gives R, G and B: haematoxylin with eosin, DAB; and what passes through inks.
STAINS = {
    "H&E": (0.35, 0.62, 0.20),
    "eosin": (0.05, 0.40, 0.12),
    "DAB": (0.20, 0.45, 0.60),
    "blood": (0.15, 0.75, 0.45),
}
INKS = {"green": (0.05, 0.45, 0.25), "blue": (0.08, 0.15, 0.60), "black": (0.07, 0.07, 0.08), "red": (0.80, 0.08, 0.10)}


@functools.cache
def drawn(stain: str, ink: str | None = None, blurred: bool = False, side: int = 1600) -> np.ndarray:
    """Glass with a square of stained noise in its middle half, at 0.5 µm/px; ink across the top of the tissue."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.random((side, side), dtype=np.float32), (0, 0), 4)  # nuclei of some 8 µm
    texture = (texture - texture.mean()) / texture.std()
    fine = cv2.GaussianBlur(rng.random((side, side), dtype=np.float32), (0, 0), 1)
    texture += 0.5 * (fine - fine.mean()) / fine.std()
    density = np.array(STAINS[stain], np.float32) * np.clip(1 + 0.5 * texture, 0.1, 3)[:, :, None]
    tissue = np.zeros((side, side, 1), np.float32)
    tissue[side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = 1
    light = 10 ** -(density * tissue)
    if blurred:
        light = cv2.GaussianBlur(light, (0, 0), 8)  # 4 µm
    if ink is not None:
        light[side // 4 : side // 4 + 200] *= np.array(INKS[ink], np.float32)
    return np.clip(light * 240 + rng.normal(0, 1.5, light.shape), 0, 255).astype(np.uint8)


def slide_of(make: ModuleType, image: np.ndarray) -> object:
    return make.MemorySlide([image, make.halved(image, 4), make.halved(image, 16)])


@pytest.mark.parametrize("stain", STAINS)
def test_every_stain_is_tissue_and_glass_is_not(make: ModuleType, stain: str) -> None:
    mask = tissue_mask(slide_of(make, drawn(stain)))
    side = mask.mask.shape[0]
    truth = np.zeros((side, side), bool)
    truth[side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = True
    assert (truth & mask.mask).sum() == truth.sum()
    assert truth.sum() / mask.mask.sum() > 0.88  # a rim of about one px of 8 µm
    assert mask.rejected["pen"] == mask.rejected["blur"] == 0
    assert mask.share + sum(mask.rejected.values()) == pytest.approx(1)


@pytest.mark.parametrize("ink", INKS)
def test_ink_is_rejected_on_glass_and_on_tissue(make: ModuleType, ink: str) -> None:
    mask = tissue_mask(slide_of(make, drawn("H&E", ink)))
    side = mask.mask.shape[0]
    inked, below = side // 4 + 3, side // 2
    assert mask.pen[inked].mean() > 0.95
    assert not mask.mask[inked].any()
    assert mask.mask[below, side // 4 + 1 : 3 * side // 4 - 1].all()
    kept = tissue_mask(slide_of(make, drawn("H&E", ink)), reject_pen=False)
    assert not kept.pen.any() and kept.mask[inked, side // 2]


def test_tissue_out_of_focus_is_rejected(make: ModuleType) -> None:
    mask = tissue_mask(slide_of(make, drawn("H&E", blurred=True)))
    assert mask.share < 0.01
    assert mask.rejected["blur"] > 0.2
    assert tissue_mask(slide_of(make, drawn("H&E", blurred=True)), reject_blur=False).share > 0.2


def test_a_blank_and_a_black_slide_hold_no_tissue(make: ModuleType) -> None:
    rng = np.random.default_rng(0)
    blank = np.clip(rng.normal(241, 2, (1600, 1600, 3)), 0, 255).astype(np.uint8)
    assert tissue_mask(slide_of(make, blank)).share == 0
    assert tissue_mask(slide_of(make, np.zeros((1600, 1600, 3), np.uint8))).share == 0


def test_focus_is_left_alone_where_it_cannot_be_judged(make: ModuleType) -> None:
    image = drawn("H&E", blurred=True)
    for mpp, words in [((2.0, 2.0), "too coarse"), (None, "unknown")]:
        mask = tissue_mask(make.MemorySlide([image], mpp=mpp))
        assert words in mask.notes[0]
        assert mask.share > 0.2


@pytest.mark.parametrize("levels", [1, 3])
def test_little_is_read(make: ModuleType, levels: int) -> None:
    """At most 4 Mpx at once, and in all no more than the small level and the samples of focus."""
    image = np.tile(drawn("H&E", side=800), (4, 4, 1))  # 10 Mpx
    slide = make.MemorySlide([image, make.halved(image, 4), make.halved(image, 16)][:levels])
    mask = tissue_mask(slide)
    assert max(slide.read_px) <= 4_000_000
    assert sum(slide.read_px) < (13e6 if levels == 1 else 4e6)
    assert any("no small level" in note for note in mask.notes) == (levels == 1)
    assert mask.mask.shape == (200, 200)


def test_bounds_are_the_masks_frame(make: ModuleType) -> None:
    slide = make.MemorySlide([drawn("H&E")], bounds=(400, 400, 800, 800))
    mask = tissue_mask(slide)
    assert mask.origin_level0_px == (400, 400)
    assert mask.mask.shape == (50, 50) and mask.share > 0.99
    boxes = np.array([[400.0, 400, 256, 256], [0, 0, 256, 256], [1072, 1072, 256, 256]])
    assert mask.share_of(boxes) == pytest.approx([1, 0, 0.25], abs=0.02)


@settings(max_examples=100)
@given(x=st.floats(-50, 150), y=st.floats(-50, 150), wide=st.floats(0.5, 200), high=st.floats(0.5, 200))
def test_the_share_of_a_box_is_its_area_of_mask(x: float, y: float, wide: float, high: float) -> None:
    mask = np.random.default_rng(0).random((20, 30)) < 0.5
    none = np.zeros_like(mask)
    overview = Overview(np.zeros((20, 30, 3), np.uint8), (4.0, 5.0), (10, 20), 0)
    found = TissueMask(mask, none, none, (4.0, 5.0), (10, 20), overview).share_of(np.array([[x, y, wide, high]]))[0]
    columns, rows = 10 + 4.0 * np.arange(30), 20 + 5.0 * np.arange(20)
    across = np.clip(np.minimum(columns + 4, x + wide) - np.maximum(columns, x), 0, None)
    down = np.clip(np.minimum(rows + 5, y + high) - np.maximum(rows, y), 0, None)
    assert found == pytest.approx((down[:, None] * across[None, :] * mask).sum() / (wide * high), abs=1e-9)


def test_sharpness_falls_with_blur_and_not_with_stain() -> None:
    image = drawn("H&E", side=256)[64:192, 64:192]
    values = [sharpness(cv2.GaussianBlur(image, (0, 0), sigma)) for sigma in (0.5, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    pale = (255 - (255 - image.astype(float)) * 0.5).astype(np.uint8)
    assert sharpness(pale) == pytest.approx(sharpness(image), rel=0.1)
    assert sharpness(np.full((64, 64, 3), 240, np.uint8)) == float("inf")


def test_an_overview_shows_the_whole_area_in_place(make: ModuleType) -> None:
    image = make.smooth(1003, 777)
    for largest in (4_000_000, 20_000):
        found = read_overview(make.MemorySlide([image]), finest_downsample=4, largest_px=largest)
        by = int(found.downsample[0])
        expected = make.halved(image, by)
        height, width = expected.shape[:2]
        assert np.abs(found.pixels[:height, :width].astype(int) - expected).max() <= 1
        assert found.pixels.shape[0] * found.pixels.shape[1] <= largest


@pytest.mark.realdata
def test_real_slides_hold_tissue_and_no_ink(real_data: Path) -> None:
    for name, low, high in [("CMU-1-Small-Region.svs", 0.35, 0.5), ("OS-1-detail.ome.tif", 0.9, 1.0)]:
        with open_slide(real_data / "slides" / name) as slide:
            mask = tissue_mask(slide)
        assert low <= mask.share <= high
        assert mask.rejected["pen"] == mask.rejected["blur"] == 0
