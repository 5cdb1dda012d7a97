"""The frame of a heat-map picture: the slide's own pixels inside it, a true scale bar, one colour scale for all."""

import numpy as np
import pytest

from counterstain.slides.heatmap import HeatMap, overlay
from counterstain.slides.heatmap_picture import framed_heatmap, scale_bar_um

RED = np.array([200, 30, 30], np.uint8)


@pytest.mark.parametrize(
    ("width_um", "bar"), [(4000, 1000), (3999, 500), (10_000, 2000), (21_000, 5000), (90, 20), (8, 2)]
)
def test_a_scale_bar_is_a_round_length_of_at_most_a_quarter(width_um: float, bar: float) -> None:
    assert scale_bar_um(width_um) == pytest.approx(bar)


@pytest.mark.parametrize("size", [(300, 500), (40, 90), (1200, 700)])
def test_the_picture_is_whole_inside_its_frame(size: tuple[int, int]) -> None:
    picture = np.empty((*size, 3), np.uint8)
    picture[:] = RED
    framed = framed_heatmap(picture, title="S1" * 200, legend="probability of tumour" * 9, um_per_px=4.0)
    rows, columns = np.nonzero((framed == RED).all(axis=2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == size and len(rows) == size[0] * size[1]
    assert (framed[0] == 255).all() and (framed[:, -1] == 255).all()  # nothing runs over the edge


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    picture = np.full((300, 500, 3), 255, np.uint8)
    framed = framed_heatmap(picture, title="", legend="", um_per_px=8.0)
    dark = framed[330:].sum(axis=2) < 150  # below the picture
    lines = ["".join("x" if pixel else " " for pixel in row) for row in dark]
    longest = max(len(run) for line in lines for run in line.split(" "))
    assert longest == pytest.approx(scale_bar_um(4000) / 8.0, abs=2)


def test_the_colour_bar_is_that_of_the_overlay_on_white_whatever_the_slide_has() -> None:
    value = np.linspace(1, 255, 255).astype(np.uint8)[None, :, None]
    heat = HeatMap(value=value, names=("prob_t",), corner=(0, 0), step=(1.0, 1.0), mpp=(1.0, 1.0))
    colours = overlay(heat, np.full((255, 1, 3), 255, np.uint8), downsample=(1.0, 1.0))[:, 0]
    framed = framed_heatmap(np.full((255, 400, 3), 255, np.uint8), title="", legend="", um_per_px=1.0)
    found = {tuple(pixel) for pixel in framed.reshape(-1, 3)}
    shown = [tuple(colour) in found for colour in colours]
    assert np.mean(shown) > 0.95
