"""From a phantom slide's layout to its pixels: blocks of tissue, fitted together without a seam, strip by strip.

A block is a square of one class's tissue as light, before the scanner. A small slide has a block of its own at every
place, each a window of one endless plane. A large one has a stock of blocks, laid out at random, turned and mirrored.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.phantom.anatomy import hash_share
from counterstain.phantom.optics import Budget, Scanner, focus, scan, transmit, wanted_moments
from counterstain.phantom.slide_layout import INKS, Layout, Window, cover
from counterstain.phantom.stain_amounts import stain
from counterstain.phantom.tiles import Patient, Phantom, draw_plane, vary_grade
from counterstain.phantom.tissue_plane import grow

__all__ = ["BLOCK_PX", "Painter", "paint_strips"]

Light = NDArray[np.float32]

BLOCK_PX = 512  # from one block to the next
_MARGIN_PX = 24  # a block is larger by this on each side; the seam runs in here
_SIDE_PX = BLOCK_PX + 2 * _MARGIN_PX
_START_PX = -2 * _MARGIN_PX  # where block 0 begins: the seam in front of it lies off the slide
_BRIGHTEST = 1.1  # the scanner cuts off what is brighter
_STEPS = np.float32(255 / _BRIGHTEST)  # blocks are kept as bytes

# Half the width of a seam in px. Neighbours from one plane agree on what stands there, and only their tone is faded
# over; those from the stock do not, and a short fade leaves fewer ghosts.
_HALF_SOFT_ANEW, _HALF_SOFT_STOCK = 16, 4

# How soft edges are, in µm (standard deviation), and how far out of focus a blurred patch is.
_RIM_UM, _BORDER_UM, _INK_UM, _PATCH_UM, _DEFOCUS_UM = 2.5, 2.0, 5.0, 15.0, 4.0


@dataclass(frozen=True, kw_only=True)
class Painter:
    """What a slide is painted with.

    who:    the patient, whose staining, scanner and tissue these are
    grades: of benign and of malignant tissue
    budget: the slide's colour, whatever the class
    key:    whole numbers that seed everything on the slide
    stock:  number of different blocks per class; 0: every place has its own
    blocks: the blocks drawn so far, by class and number or by class and place
    """

    phantom: Phantom
    who: Patient
    grades: tuple[float, float]
    budget: Budget
    layout: Layout
    key: tuple[int, ...]
    stock: int
    blocks: dict[tuple[int, ...], NDArray[np.uint8]] = field(default_factory=dict)


def paint_strips(
    painter: Painter, size_px: tuple[int, int], progress: Callable[[int, int], None] | None = None
) -> Iterator[NDArray[np.uint8]]:
    """(h, W, 3) uint8 RGB strips of a slide of size_px (width, height) from top to bottom, h 512 or less.

    They are as yet uncompressed: JPEG is the file's part.
    """
    width, height = size_px
    glass = replace(painter.who.scanner, jpeg_quality=100)
    columns, rows = -(-width // BLOCK_PX), -(-height // BLOCK_PX)
    for row in range(rows):
        top = row * BLOCK_PX
        strip = np.empty((min(BLOCK_PX, height - top), width, 3), dtype=np.uint8)
        for column in range(columns):
            left = column * BLOCK_PX
            window = Window(left, top, min(BLOCK_PX, width - left), strip.shape[0])
            strip[:, left : left + BLOCK_PX] = _paint(painter, window, glass)
            if progress is not None:
                progress(row * columns + column + 1, rows * columns)
        yield strip
        if not painter.stock:  # blocks of their own are needed as long as a strip touches them
            for old in [place for place in painter.blocks if place[2] < row]:
                del painter.blocks[old]


def _paint(painter: Painter, window: Window, scanner: Scanner) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a window, as scanned."""
    mpp = painter.phantom.mpp
    rng = np.random.default_rng([*painter.key, 0, window.x_px, window.y_px])
    patch = cover(painter.layout.blur, window, _PATCH_UM / mpp)
    if patch is None:
        light = _transmitted(painter, window)
    else:
        sigma = _DEFOCUS_UM / mpp
        reach = int(np.ceil(3 * sigma))
        wide = _transmitted(painter, window.grown(reach))
        blurred = np.asarray(cv2.GaussianBlur(wide, (2 * reach + 1, 2 * reach + 1), sigma), dtype=np.float32)
        inner = (slice(reach, -reach), slice(reach, -reach))
        light = _mix(wide[inner], blurred[inner], patch)
    for number, stroke in enumerate(painter.layout.pen):
        ink = cover((stroke,), window, _INK_UM / mpp)
        if ink is not None:
            colour = INKS[int(_share(painter, 9, number, 0) * len(INKS))].astype(np.float32)
            light = light * (1 - ink[:, :, None] * (1 - colour))
    return scan(np.ascontiguousarray(light, dtype=np.float32), scanner, rng)


def _mix(first: Light, second: Light, share: NDArray[np.float32]) -> Light:
    """`second` in the share of each pixel that `share` (H, W) says, and `first` in the rest."""
    out: Light = first + (second - first) * share[:, :, None]
    return out


def _transmitted(painter: Painter, window: Window) -> Light:
    """(H, W, 3) light through the slide before pen and defocus; 1 is bare glass."""
    mpp = painter.phantom.mpp
    glass = np.ones((window.height_px, window.width_px, 3), dtype=np.float32)
    tissue = cover(painter.layout.tissue, window, _RIM_UM / mpp)
    if tissue is None:
        return glass
    tumour = cover(painter.layout.tumour, window, _BORDER_UM / mpp)
    if tumour is None:
        light = _fit_blocks(painter, 0, window)
    elif tumour.min() >= 1:
        light = _fit_blocks(painter, 1, window)
    else:
        light = _mix(_fit_blocks(painter, 0, window), _fit_blocks(painter, 1, window), tumour)
    # Where the section is a little thicker, every stain is stronger.
    thicker = cv2.exp(cv2.log(np.maximum(light, 1e-3)) * (1 + _thickness(painter, window))[:, :, None])
    return _mix(glass, np.asarray(thicker, dtype=np.float32), tissue)


def _thickness(painter: Painter, window: Window) -> NDArray[np.float32]:
    """(H, W) how much thicker than its mean the section is: waves of some millimetres, 5 % strong."""
    mpp = painter.phantom.mpp
    rng = np.random.default_rng([*painter.key, 1])
    x = (window.x_px + np.arange(window.width_px)) * mpp
    y = (window.y_px + np.arange(window.height_px)) * mpp
    total = np.zeros((window.height_px, window.width_px), dtype=np.float32)
    for _ in range(5):
        turn, phase = rng.uniform(0, 2 * np.pi, 2)
        wave = 2 * np.pi / rng.uniform(900, 4000)
        across, down = wave * np.cos(turn) * x + phase, wave * np.sin(turn) * y
        # cos(a + b) from rows and columns.
        total += (np.outer(np.cos(down), np.cos(across)) - np.outer(np.sin(down), np.sin(across))).astype(np.float32)
    total *= np.float32(0.05 / np.sqrt(2.5))
    return total


def _fit_blocks(painter: Painter, label: int, window: Window) -> Light:
    """(H, W, 3) light of one class's tissue over a window: blocks cut along wavy lines, softly."""
    light = np.zeros((window.height_px, window.width_px, 3), dtype=np.float32)
    x0, y0 = window.x_px, window.y_px
    first_column, last_column = _span(x0, window.width_px)
    first_row, last_row = _span(y0, window.height_px)
    across = [_seam(painter, 0, c, x0, y0, window) for c in range(first_column, last_column + 2)]
    down = [_seam(painter, 1, r, x0, y0, window) for r in range(first_row, last_row + 2)]
    for row in range(first_row, last_row + 1):
        for column in range(first_column, last_column + 1):
            left, top = column * BLOCK_PX + _START_PX, row * BLOCK_PX + _START_PX
            x_from, x_to = max(left, x0), min(left + _SIDE_PX, x0 + window.width_px)
            y_from, y_to = max(top, y0), min(top + _SIDE_PX, y0 + window.height_px)
            part = (slice(y_from - y0, y_to - y0), slice(x_from - x0, x_to - x0))
            j, i = row - first_row, column - first_column
            weight = across[i][part] * (1 - across[i + 1][part]) * down[j][part] * (1 - down[j + 1][part])
            if weight.max() > 0:
                block = _block(painter, label, column, row)[y_from - top : y_to - top, x_from - left : x_to - left]
                light[part] += block * (weight / _STEPS)[:, :, None]
    return light


def _span(start: int, length: int) -> tuple[int, int]:
    """The first and last block along one axis that reach into [start, start + length)."""
    return (start - _START_PX - _SIDE_PX) // BLOCK_PX + 1, (start + length - 1 - _START_PX) // BLOCK_PX


def _seam(painter: Painter, axis: int, number: int, x0: int, y0: int, window: Window) -> Light:
    """(H, W) 0 before the seam in front of block `number` along an axis, 1 behind it."""
    before, along = (x0, y0) if axis == 0 else (y0, x0)
    deep, long = (window.width_px, window.height_px) if axis == 0 else (window.height_px, window.width_px)
    half = _HALF_SOFT_STOCK if painter.stock else _HALF_SOFT_ANEW
    place = np.arange(deep)[None, :] + (before - number * BLOCK_PX - _START_PX - _MARGIN_PX)
    t = np.arange(long)[:, None] + along
    phase = [2 * np.pi * _share(painter, 10 + wave, number, axis) for wave in range(3)]
    sway = np.sin(t / 5 + phase[0]) + np.sin(t / 11 + phase[1]) + np.sin(t / 23 + phase[2])
    part = np.clip((place - sway * (_MARGIN_PX - half - 1) / 3) / (2 * half) + 0.5, 0, 1).astype(np.float32)
    seam: Light = part * part * (3 - 2 * part)
    return seam if axis == 0 else seam.T


def _share(painter: Painter, channel: int, i: int, j: int) -> float:
    """A number in [0, 1) that belongs to a place."""
    return float(hash_share(painter.key, np.array([i]), np.array([j]), channel)[0])


def _block(painter: Painter, label: int, column: int, row: int) -> NDArray[np.uint8]:
    """(560, 560, 3) the block of a class at a place, as bytes of light."""
    if not painter.stock:
        place = (label, column, row)
        if place not in painter.blocks:
            corner = (column * BLOCK_PX + _START_PX, row * BLOCK_PX + _START_PX)
            painter.blocks[place] = _draw_block(painter, label, 0, *corner)
        return painter.blocks[place]
    choice, turn = (_share(painter, 20 + label + 2 * k, column, row) for k in range(2))
    number = (label, int(choice * painter.stock))
    if number not in painter.blocks:
        painter.blocks[number] = _draw_block(painter, *number, 0, 0)
    block = np.rot90(painter.blocks[number], int(turn * 8) % 4)
    return block[:, ::-1] if turn >= 0.5 else block


def _draw_block(painter: Painter, label: int, number: int, x_px: int, y_px: int) -> NDArray[np.uint8]:
    """Draw the window of a plane with its corner at x_px, y_px; each `number` is a plane of its own."""
    phantom, who = painter.phantom, painter.who
    key = (*painter.key, 2, label, number)
    rng = np.random.default_rng(key)
    plane = draw_plane(who, key, vary_grade(phantom, painter.grades[label], rng), rng)
    left_um, top_um = (place * phantom.mpp for place in (x_px, y_px))
    side_um = _SIDE_PX * phantom.mpp
    tissue = grow(plane, left_um, top_um, side_um, side_um)
    stained = stain(tissue, left_um, top_um, (_SIDE_PX, _SIDE_PX), phantom.mpp, white=painter.budget.white)
    light = transmit(stained, who.staining, painter.budget)
    target = wanted_moments(who.staining, painter.budget)
    light = focus(light, who.scanner, target, mpp=phantom.mpp, defocus_um=float(rng.gamma(1.5, 0.12)))
    return np.round(np.clip(light, 0, _BRIGHTEST) * _STEPS).astype(np.uint8)
