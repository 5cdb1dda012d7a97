"""Where things lie on a phantom slide: outlines of tissue, tumour, pen and blur, as polygons in level-0 px."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError

__all__ = ["INKS", "Layout", "Ring", "Window", "cover", "draw_layout"]

Ring = NDArray[np.float64]

# What passes through a pen's ink in R, G and B, 0..1.
INKS = np.array([[0.04, 0.42, 0.26], [0.06, 0.14, 0.62], [0.07, 0.07, 0.09], [0.70, 0.08, 0.10]])

_RASTER, _MOST_RASTER = 160, 1024  # cells along the shorter and the longer side of the map on which places are found
_SHIFT = 4  # cv2 draws at 1/16 of a pixel
_LINES = 4


@dataclass(frozen=True)
class Layout:
    """A slide's regions, each a tuple of rings (N, 2): x, y in level-0 px, not closed, free of crossings.

    A ring is one piece of its kind: pieces of tissue are apart from each other, tumours lie within tissue and apart
    from each other, pen strokes and blurred patches lie anywhere.
    """

    tissue: tuple[Ring, ...]
    tumour: tuple[Ring, ...]
    pen: tuple[Ring, ...]
    blur: tuple[Ring, ...]


@dataclass(frozen=True)
class Window:
    """A part of the slide: top-left corner x_px, y_px and size, in level-0 px."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int

    def grown(self, by_px: int) -> "Window":
        """The window with by_px more on each side."""
        return Window(
            self.x_px - by_px, self.y_px - by_px, self.width_px + 2 * by_px, self.height_px + 2 * by_px
        )  # fmt: skip


def draw_layout(
    rng: np.random.Generator, size_px: tuple[int, int], mpp: float, *, pieces: int, tumours: int, pen: int, blur: int
) -> Layout:
    """Draw the outlines of a slide of size_px (width, height).

    Raises:
        InputError: If the slide is too small for so many tumours.
    """
    tissue = tuple(_tissue(rng, size_px, piece, pieces, mpp) for piece in range(pieces))
    tumour = _tumours(rng, size_px, tissue, tumours)
    # Streams of their own: a pen mark must not move the tissue, nor a blurred patch the pen.
    pen_rng, blur_rng = rng.spawn(2)
    strokes = tuple(_stroke(pen_rng, number, size_px, tumour or tissue, mpp) for number in range(pen))
    patches = tuple(_patch(blur_rng, tissue[number % pieces]) for number in range(blur))
    return Layout(tissue, tumour, strokes, patches)


def _angles(count: int) -> Ring:
    return np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)


def _bumps(rng: np.random.Generator, angles: Ring, orders: Ring, size: float, fall: float) -> Ring:
    """A sum of waves around the circle; wave k has amplitudes of about size / k**fall."""
    amplitude = rng.normal(size=len(orders)) * size / orders**fall
    phase = rng.uniform(0, 2 * np.pi, len(orders))
    total: Ring = (amplitude[:, None] * np.cos(orders[:, None] * angles + phase[:, None])).sum(axis=0)
    return total


def _rounded(ring: Ring) -> Ring:
    """A tenth of a pixel is what is drawn and what is written down."""
    out: Ring = np.round(ring, 1)
    return out


def _tissue(rng: np.random.Generator, size_px: tuple[int, int], piece: int, pieces: int, mpp: float) -> Ring:
    """One piece of tissue, in its share of the slide along the longer side."""
    long = int(size_px[1] > size_px[0])
    room = np.array(size_px, dtype=np.float64)
    room[long] /= pieces
    centre = room / 2
    centre[long] += room[long] * piece
    around_um = 3.0 * float(room.min()) * mpp
    angles = _angles(int(np.clip(around_um / 12, 120, 900)))
    # A rounded box fills the glass better than an ellipse; a ragged rim on top, whose teeth measure some 100 µm.
    box = (np.abs(np.cos(angles)) ** 2.6 + np.abs(np.sin(angles)) ** 2.6) ** (-1 / 2.6)
    coarse = _bumps(rng, angles, np.arange(2.0, 8.0), 0.16, 0.9)
    teeth = np.arange(9.0, max(min(around_um / 90, len(angles) / 4), 12.0))
    line = box * (1 + coarse) * (1 + _bumps(rng, angles, teeth, 0.09, 1.0))
    line = np.clip(line, 0.35, None)
    ring = np.stack([line * np.cos(angles), line * np.sin(angles)], axis=1)
    # Stretched to the share of the room it takes, whatever its bumps came to.
    low, high = ring.min(axis=0), ring.max(axis=0)
    ring = (ring - (low + high) / 2) / (high - low) * room * rng.uniform(0.78, 0.9, 2)
    return _rounded(ring + centre + (rng.random(2) - 0.5) * 0.06 * room)


def _tumours(
    rng: np.random.Generator, size_px: tuple[int, int], tissue: tuple[Ring, ...], count: int
) -> tuple[Ring, ...]:
    """Smooth blobs within the tissue that do not touch each other."""
    step = max(min(size_px) / _RASTER, max(size_px) / _MOST_RASTER)
    shape = (int(np.ceil(size_px[1] / step)), int(np.ceil(size_px[0] / step)))
    free = np.zeros(shape, dtype=np.uint8)
    for ring in tissue:
        cv2.fillPoly(free, [_fixed(ring / step)], 1, cv2.LINE_8, _SHIFT)
    for ring in tissue:  # a notch narrower than a cell is an edge, too
        cv2.polylines(free, [_fixed(ring / step)], isClosed=True, color=0, lineType=cv2.LINE_8, shift=_SHIFT)
    rings: list[Ring] = []
    for _ in range(count):
        # How far each place is from whatever it must not touch, the slide's rim included.
        depth = cv2.distanceTransform(np.pad(free, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        deepest = float(depth.max())
        if deepest < 6:
            raise InputError(f"a phantom slide has no room for {count} tumours; ask for {len(rings)} or fewer")
        rows, columns = np.nonzero(depth >= 0.75 * deepest)
        pick = int(rng.integers(len(rows)))
        row, column = int(rows[pick]), int(columns[pick])
        reach = (float(depth[row, column]) - 1.5) * step
        ring = _blob(rng, (column + 0.5) * step, (row + 0.5) * step, reach)
        rings.append(_rounded(ring))
        cv2.fillPoly(free, [_fixed(ring / step)], 0, cv2.LINE_8, _SHIFT)
        # A rim of tissue between two tumours.
        free = np.asarray(cv2.erode(free, np.ones((3, 3), np.uint8)), dtype=np.uint8)
    return tuple(rings)


def _blob(rng: np.random.Generator, x: float, y: float, reach: float) -> Ring:
    """A smooth closed line whose farthest point is `reach` from (x, y)."""
    angles = _angles(180)
    line = np.clip(1 + _bumps(rng, angles, np.arange(2.0, 7.0), 0.28, 0.8), 0.4, 1.8)
    line *= reach / line.max()
    return np.stack([x + line * np.cos(angles), y + line * np.sin(angles)], axis=1)


def _patch(rng: np.random.Generator, tissue: Ring) -> Ring:
    """A patch that is out of focus: a blob somewhere on the tissue."""
    low, high = tissue.min(axis=0), tissue.max(axis=0)
    x, y = low + (high - low) * rng.uniform(0.3, 0.7, 2)
    return _rounded(_blob(rng, float(x), float(y), 0.24 * float((high - low).min())))


def _stroke(
    rng: np.random.Generator, number: int, size_px: tuple[int, int], regions: tuple[Ring, ...], mpp: float
) -> Ring:
    """A pen stroke as a ribbon: by turns around a region, over the tissue, and as a scrawl on bare glass."""
    width = min(float(rng.uniform(0.02, 0.03)) * min(size_px), 500 / mpp)
    if number % 2 == 0:
        ring = regions[(number // 2) % len(regions)]
        centre = (ring.min(axis=0) + ring.max(axis=0)) / 2
        half = (ring.max(axis=0) - ring.min(axis=0)) / 2 + 1.2 * width
        turn = rng.uniform(0, 2 * np.pi) + np.linspace(0, 1.88 * np.pi, 160)
        # Hand-drawn: the line wanders, and its ends do not meet.
        wander = 1 + 0.05 * np.sin(2 * turn + rng.uniform(0, 6)) + np.linspace(0, 0.05, 160)
        line = centre + half * np.stack([np.cos(turn), np.sin(turn)], axis=1) * wander[:, None]
    else:
        along = np.linspace(0, 1, 160)
        length = 0.3 * size_px[0]
        x = rng.uniform(0.05, 0.6) * size_px[0] + along * length
        edge = 0.035 * size_px[1] + width
        y = (edge if rng.random() < 0.5 else size_px[1] - edge) + 0.7 * width * np.sin(along * rng.uniform(9, 14))
        line = np.stack([x, y], axis=1)
    return _rounded(_ribbon(line, width))


def _ribbon(line: Ring, width: float) -> Ring:
    """The outline of a stroke of a given width along an open line (N, 2), thinner at its ends."""
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    half = (
        width / 2 * np.sqrt(np.clip(np.minimum(np.arange(len(line)) + 1, len(line) - np.arange(len(line))) / 6, 0, 1))
    )
    return np.concatenate([line + across * half[:, None], (line - across * half[:, None])[::-1]])


def _fixed(ring: Ring) -> NDArray[np.int32]:
    """Points as cv2's fixed-point pixels; the centre of the first pixel is (0, 0) to cv2."""
    return np.round((ring - 0.5) * (1 << _SHIFT)).astype(np.int32)


def cover(rings: tuple[Ring, ...], window: Window, soft_px: float) -> NDArray[np.float32] | None:
    """(H, W) float32, 0..1: how much of each pixel the rings cover, softened by a Gaussian; None: nothing."""
    margin = int(np.ceil(3 * soft_px)) + 1
    wide = window.grown(margin)
    corner = np.array([wide.x_px, wide.y_px], dtype=np.float64)
    shape = (wide.height_px, wide.width_px)
    near = [
        ring for ring in rings if (ring.max(axis=0) > corner).all() and (ring.min(axis=0) < corner + shape[::-1]).all()
    ]
    if not near:
        return None
    mask = np.clip(sum(_coverage(ring - corner, shape) for ring in near), 0, 1).astype(np.float32)
    low, high, _, _ = cv2.minMaxLoc(mask)
    if high < 1e-6:
        return None
    if low > 1 - 1e-6:
        return np.ones((window.height_px, window.width_px), dtype=np.float32)
    # The kernel ends where the margin ends, so that windows that overlap agree.
    side = 2 * margin + 1
    soft = np.asarray(cv2.GaussianBlur(mask, (side, side), soft_px), dtype=np.float32)
    return soft[margin:-margin, margin:-margin]


def _coverage(ring: Ring, shape: tuple[int, int]) -> Ring:
    """(H, W) how much of each pixel a ring covers: exact along x, from _LINES lines a pixel along y.

    cv2's own filling draws every pixel that an edge touches, and draws an edge otherwise where the window cuts it.
    """
    height, width = shape
    x, y = ring[:, 0], ring[:, 1] * _LINES - 0.5  # line k lies at y = k
    x_to, y_to = np.roll(x, -1), np.roll(y, -1)
    low, high = np.minimum(y, y_to), np.maximum(y, y_to)
    first = np.clip(np.ceil(low), 0, height * _LINES).astype(np.int64)
    count = np.maximum(np.clip(np.ceil(high), 0, height * _LINES).astype(np.int64) - first, 0)
    edge = np.repeat(np.arange(len(ring)), count)
    line = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    slope = (x_to[edge] - x[edge]) / (y_to[edge] - y[edge])
    across = np.clip(x[edge] + (line - y[edge]) * slope, 0, width)
    # Behind an edge that goes up the ring begins, behind one that goes down it ends, or the other way round.
    turn = np.sign(y_to - y)[edge]
    column = np.minimum(across.astype(np.int64), width - 1)
    part = across - column
    place = line // _LINES * (width + 1) + column
    begins = np.bincount(place, turn * (1 - part), height * (width + 1))
    begins += np.bincount(place + 1, turn * part, height * (width + 1))
    covered: Ring = np.abs(np.cumsum(begins.reshape(height, width + 1), axis=1)[:, :width]) / _LINES
    return covered
