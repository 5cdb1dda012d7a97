"""From the phantom's tissue to stain: how much haematoxylin, eosin and blood pigment lies under each pixel."""

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from counterstain.phantom.anatomy import MITOSIS, Outline, Tissue

__all__ = ["Stained", "stain"]

Image = NDArray[np.float32]

_BANK_PX, _BANK_PX_PER_UM = 768, 2.0  # textures repeat after 384 µm
_BANK_PAD_PX = 576  # repeated at the right and bottom, so that few windows cross the seam: that is slow to look up
_PERIOD_UM = _BANK_PX / _BANK_PX_PER_UM
_FIELD_UM = 1.0  # µm per pixel of the coarse fields of distance
_MARGIN_UM = 24.0  # seen around a window, so that neighbouring windows agree at their border
_COMMON_CLEFT = 1.15  # level beyond which clefts are open, where no share of white is asked for
_SHIFT = 4  # cv2 draws at 1/16 of a pixel


@dataclass(frozen=True)
class Stained:
    """One window's stain and its truth.

    haematoxylin, eosin, blood: (H, W) float32, concentration; 1 is a common nucleus, common collagen, a red cell
    nuclei:                     (H, W) uint16, 0 outside nuclei, else 1 + the row in the tissue's nuclei
    glands:                     (H, W) bool, epithelium and its lumina
    """

    haematoxylin: Image
    eosin: Image
    blood: Image
    nuclei: NDArray[np.uint16]
    glands: NDArray[np.bool_]


@functools.cache
def _bank() -> dict[str, Image]:
    """Tileable textures of mean 0 and standard deviation 1, the same in every process."""
    rng = np.random.default_rng(20240229)
    fy = np.fft.fftfreq(_BANK_PX)[:, None] * _BANK_PX_PER_UM  # cycles per µm
    fx = np.fft.rfftfreq(_BANK_PX)[None, :] * _BANK_PX_PER_UM

    def coloured(gain: NDArray[np.float64]) -> Image:
        noise = fft.rfft2(rng.standard_normal((_BANK_PX, _BANK_PX)))
        gain = gain.copy()
        gain[0, 0] = 0
        image = fft.irfft2(noise * gain, s=(_BANK_PX, _BANK_PX))
        tile = ((image - image.mean()) / image.std()).astype(np.float32)
        return np.ascontiguousarray(np.pad(tile, ((0, _BANK_PAD_PX), (0, _BANK_PAD_PX)), mode="wrap"))

    def band(wavelength_um: float, width: float) -> NDArray[np.float64]:
        gain: NDArray[np.float64] = np.exp(-0.5 * (np.log((np.hypot(fx, fy) + 1e-9) * wavelength_um) / width) ** 2)
        return gain

    def strands(length_um: float, thickness_um: float) -> NDArray[np.float64]:
        across = -0.5 * (np.log((np.abs(fy) + 1e-9) * thickness_um) / 0.5) ** 2
        gain: NDArray[np.float64] = np.exp(across - 2 * (np.pi * fx * length_um) ** 2)
        return gain

    return {
        "grain": coloured(band(1.8, 0.35)),
        "clump": coloured(band(3.2, 0.35)),
        "patch": coloured(band(14.0, 0.5)),
        "cloud": coloured(band(70.0, 0.5)),
        "hair": coloured(strands(5.0, 1.5)),
        "thin": coloured(strands(9.0, 3.2)),
        "thick": coloured(strands(18.0, 10.0)),
    }


def _look_up(name: str, x_um: Image, y_um: Image, shift: int = 0) -> Image:
    """A texture at points of the plane; `shift` picks another stretch of it."""
    across, down = (
        _into_bank((um + np.float32(start * shift)) * np.float32(_BANK_PX_PER_UM))
        for um, start in ((x_um, 37.7), (y_um, 91.3))
    )
    return np.asarray(cv2.remap(_bank()[name], across, down, cv2.INTER_LINEAR), dtype=np.float32)


def _into_bank(place_px: Image) -> Image:
    """The same places of the endless texture, moved by whole periods into the stored one."""
    low, high, _, _ = cv2.minMaxLoc(place_px)
    period_start = math.floor(low / _BANK_PX) * _BANK_PX
    if high - period_start < _BANK_PX + _BANK_PAD_PX - 2:
        return place_px - np.float32(period_start)
    return np.mod(place_px, np.float32(_BANK_PX))


def _smooth_step(value: Image, low: float, high: float) -> Image:
    part = np.clip((value - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    step: Image = part * part * (3 - 2 * part)
    return step


@dataclass(frozen=True)
class _Window:
    """Where a window lies: its top-left corner in µm, its size (H, W) in px and its step in µm per px."""

    x_um: float
    y_um: float
    shape: tuple[int, int]
    mpp: float

    def grid(self, start_um: tuple[float, float]) -> tuple[Image, Image]:
        """Places for textures that begin at start_um: x and y of each pixel, (H, W) each."""
        across = (self.x_um + start_um[0]) % _PERIOD_UM + (np.arange(self.shape[1], dtype=np.float32) + 0.5) * self.mpp
        down = (self.y_um + start_um[1]) % _PERIOD_UM + (np.arange(self.shape[0], dtype=np.float32) + 0.5) * self.mpp
        x, y = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
        return x, y

    def vertices(self, points_um: NDArray[np.float64]) -> NDArray[np.int32]:
        """Points of the plane as cv2's fixed-point pixels; the centre of the first pixel is (0, 0) to cv2."""
        px = (points_um - (self.x_um, self.y_um)) / self.mpp - 0.5
        return np.round(px * (1 << _SHIFT)).astype(np.int32)


def _distance_um(outlines: list[Outline], window: _Window) -> Image:
    """Signed distance to the union of outlines for each pixel, positive inside, cut at the margin, in µm."""
    height = math.ceil((window.shape[0] * window.mpp + 2 * _MARGIN_UM) / _FIELD_UM)
    width = math.ceil((window.shape[1] * window.mpp + 2 * _MARGIN_UM) / _FIELD_UM)
    coarse = _Window(window.x_um - _MARGIN_UM, window.y_um - _MARGIN_UM, (height, width), _FIELD_UM)
    inside = np.zeros((height, width), dtype=np.uint8)
    for outline in outlines:
        cv2.fillPoly(inside, [coarse.vertices(outline.points())], 1, shift=_SHIFT)
    if not inside.any():
        return np.full(window.shape, -_MARGIN_UM, dtype=np.float32)
    within = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    without = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    field = np.clip((within - without) * _FIELD_UM, -_MARGIN_UM, _MARGIN_UM)
    field = cv2.GaussianBlur(field.astype(np.float32), (0, 0), 1.2)
    scale = window.mpp / _FIELD_UM
    start = _MARGIN_UM / _FIELD_UM + 0.5 * scale - 0.5
    matrix = np.array([[scale, 0, start], [0, scale, start]], dtype=np.float64)
    fine = cv2.warpAffine(
        field, matrix, (window.shape[1], window.shape[0]), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(fine, dtype=np.float32)


_RIM_POINTS = 20
_RIM = np.linspace(0, 2 * np.pi, _RIM_POINTS, endpoint=False)


def _draw_nuclei(tissue: Tissue, window: _Window) -> NDArray[np.uint16]:
    """(H, W) uint16 map of the nuclei: 0 or 1 + row."""
    cells = tissue.nuclei
    order = np.arange(2, 6)[:, None]
    bend = (
        1
        + (cells.shape * np.cos(cells.phase)) @ np.cos(order * _RIM)
        - (cells.shape * np.sin(cells.phase)) @ np.sin(order * _RIM)
    )
    u, v = cells.long_um[:, None] * np.cos(_RIM) * bend, cells.short_um[:, None] * np.sin(_RIM) * bend
    cos, sin = np.cos(cells.angle_rad)[:, None], np.sin(cells.angle_rad)[:, None]
    points = np.stack([cells.x_um[:, None] + u * cos - v * sin, cells.y_um[:, None] + u * sin + v * cos], axis=2)
    # A frame around the window: cv2 rounds differently where it has to cut an outline off.
    frame = 3
    fixed = window.vertices(points) + (frame << _SHIFT)
    canvas = np.zeros((window.shape[0] + 2 * frame, window.shape[1] + 2 * frame), dtype=np.uint16)
    limit = np.array(canvas.shape[::-1]) << _SHIFT
    visible = ((fixed.max(axis=1) > 0) & (fixed.min(axis=1) < limit)).all(axis=1)
    for row in np.flatnonzero(visible):
        cv2.fillPoly(canvas, [fixed[row]], int(row) + 1, shift=_SHIFT)
    return np.ascontiguousarray(canvas[frame:-frame, frame:-frame])


def _chromatin(tissue: Tissue, window: _Window, nuclei: NDArray[np.uint16], grain: Image, clump: Image) -> Image:
    """Haematoxylin within the nuclei, 0 elsewhere: membrane, clumps, a paler middle, nucleoli."""
    cells = tissue.nuclei
    flat = np.flatnonzero(nuclei)
    row = nuclei.ravel()[flat].astype(np.int64) - 1
    y_px, x_px = np.divmod(flat, nuclei.shape[1])
    dx = (window.x_um + (x_px + 0.5) * window.mpp - cells.x_um[row]).astype(np.float32)
    dy = (window.y_um + (y_px + 0.5) * window.mpp - cells.y_um[row]).astype(np.float32)

    def of(column: NDArray[np.float64]) -> Image:
        return column.astype(np.float32)[row]

    cos, sin = of(np.cos(cells.angle_rad)), of(np.sin(cells.angle_rad))
    u, v = (dx * cos + dy * sin) / of(cells.long_um), (dy * cos - dx * sin) / of(cells.short_um)
    square: Image = (u * u + v * v).astype(np.float32)
    middle = np.clip(1 - square, 0, 1)
    membrane = _smooth_step(square, 0.45, 0.85)
    clumps = np.float32(0.75) * clump.ravel()[flat] + np.float32(0.5) * grain.ravel()[flat]
    body = 0.80 + of(cells.chromatin) * clumps - 0.55 * of(cells.vesicle) * np.sqrt(middle) + 0.28 * membrane
    radius = of(cells.nucleolus_um)
    phase = of(cells.phase[:, 0])
    away = np.hypot(dx - 0.3 * of(cells.short_um) * np.cos(phase), dy - 0.3 * of(cells.short_um) * np.sin(phase))
    body += 0.65 * np.clip((radius - away) / np.float32(window.mpp) + 0.5, 0, 1) * (radius > 0)
    solid = of((cells.kind == MITOSIS).astype(np.float64))
    body = body * (1 - solid) + solid * (1.0 + 0.12 * clumps)
    out = np.zeros(nuclei.shape, dtype=np.float32)
    out.ravel()[flat] = np.clip(body, 0.15, None) * of(cells.density)
    return out


def stain(
    tissue: Tissue, x_um: float, y_um: float, shape: tuple[int, int], mpp: float, *, white: float | None = None
) -> Stained:
    """The stain of a window of `shape` (H, W) px with its top-left corner at (x_um, y_um).

    `white` is the share of the window to leave empty, lumina and fat included: clefts between fibres and cells are
    opened for the rest. By default clefts open alike everywhere, as windows of one plane need to fit together.
    """
    window = _Window(x_um, y_um, shape, mpp)
    x, y = window.grid(tissue.plane.texture_start_um(_PERIOD_UM))
    cloud, grain, clump = _look_up("cloud", x, y), _look_up("grain", x, y, 1), _look_up("clump", x, y, 2)
    patch = _look_up("patch", x, y, 3)
    soft = 0.6 * max(mpp, 0.5)
    gland = _distance_um([item.outer for item in tissue.glands], window)
    lumen = _distance_um([line for item in tissue.glands for line in item.lumina], window)
    hole = _distance_um([*tissue.vessels, *tissue.fat], window)
    nuclei = _draw_nuclei(tissue, window)
    mask = (nuclei > 0).astype(np.float32)
    border, gap = _cell_borders(nuclei, mpp)
    inside = _smooth_step(gland, -soft, soft)
    empty = _smooth_step(np.maximum(lumen, hole), -soft, soft)

    eosin, cleft = _stroma(tissue, x, y, gland, hole, cloud, patch, grain)
    haematoxylin = 0.07 + 0.03 * np.clip(cloud, -1, 2) + 0.03 * grain * eosin

    # Epithelium: grainy cytoplasm, bluer around nuclei, a clear line where it meets the stroma.
    cytoplasm = 0.46 + 0.06 * grain + 0.07 * clump + 0.09 * cloud + 0.09 * patch + 0.12 * border
    eosin += inside * (cytoplasm - eosin)
    haematoxylin += inside * (0.17 + 0.05 * clump + 0.07 * patch + 0.08 * cv2.exp(gap * -0.5) - haematoxylin)
    cleft += inside * (0.8 * patch + 1.2 * border + 0.4 * cloud - 0.9 - cleft)
    eosin += 0.22 * cv2.exp(-0.5 * ((gland + 0.6) / 0.9) ** 2) * (1 + 0.6 * patch)

    opened = _open(cleft, np.maximum(mask, empty), empty, white)
    opened *= 1 - mask
    eosin *= 1 - opened
    haematoxylin *= 1 - opened

    # Lumina and fat: white within a thin line, with secretion now and then in the lumina.
    secretion = float(np.mean([item.secretion for item in tissue.glands])) if tissue.glands else 0.0
    debris = 0.7 * _smooth_step(clump + 1.6 * patch, 2.2, 3.4)
    fluid = (lumen > hole) * (secretion * (np.clip(0.16 + 0.04 * patch + 0.12 * cloud, 0, 0.5) + debris))
    eosin += empty * (fluid - eosin) + 0.16 * cv2.exp(-0.5 * ((np.maximum(lumen, hole) + 0.7) / 0.8) ** 2)
    haematoxylin *= 1 - empty * (1 - 0.3 * debris)

    blood = _blood(tissue, window, grain)
    haematoxylin = haematoxylin * (1 - 0.8 * mask) + _chromatin(tissue, window, nuclei, grain, clump)
    eosin = eosin * (1 - 0.25 * mask) + 0.12 * mask
    return Stained(
        haematoxylin=np.maximum(haematoxylin, 0),
        eosin=np.maximum(eosin, 0) * (1 - np.minimum(blood, 1)),
        blood=blood,
        nuclei=nuclei,
        glands=gland > 0,
    )


def _open(cleft: Image, occupied: Image, empty: Image, white: float | None) -> Image:
    """How open the clefts are, 0..1: beyond one level everywhere, or beyond the level that leaves `white` empty."""
    level = _COMMON_CLEFT
    if white is not None:
        few = np.sort(np.where(occupied[1::3, 1::3] > 0.5, -9.0, cleft[1::3, 1::3]).ravel())
        missing = int((white - float(empty[1::3, 1::3].mean())) * len(few))
        level = float(np.clip(few[len(few) - 1 - max(missing, 0)], 0.3, 2.4))
    return _smooth_step(cleft, level - 0.35, level + 0.45)


def _stroma(
    tissue: Tissue, x: Image, y: Image, gland: Image, hole: Image, cloud: Image, patch: Image, grain: Image
) -> tuple[Image, Image]:
    """Eosin of collagen, in waves that run one way and bend around glands, and where its bundles part (1: likely)."""
    plane = tissue.plane
    cos, sin = math.cos(plane.flow_rad), math.sin(plane.flow_rad)
    along, across = x * cos + y * sin, y * cos - x * sin
    around = np.maximum(gland, hole)
    # Far from a gland the distance is cut off flat; near it, it leads the fibres along the border.
    bend = 13.0 * cv2.exp(np.minimum(around, 0) * (1 / 9.0))
    wave = 0.07 * plane.wave_um * np.sin(along * (2 * math.pi / plane.wave_um) + cloud) + 4.5 * cloud + 0.5 * patch
    across = across + bend + wave
    thin, thick = _look_up("thin", along, across, 4), _look_up("thick", along, across, 5)
    hair = _look_up("hair", along, across, 6)
    fibre = 0.54 + 0.11 * hair + 0.09 * thin + 0.12 * thick + 0.10 * cloud + 0.04 * grain
    cleft = (
        0.6 * thick
        + 0.5 * thin
        + 0.3 * hair
        + 0.4 * cloud
        + 0.45 * patch
        + 0.9 * _smooth_step(gland, -4.0, -0.8) * np.clip(patch, -0.5, 1.5)
    )
    return np.maximum(fibre, 0.05), cleft


def _cell_borders(nuclei: NDArray[np.uint16], mpp: float) -> tuple[Image, Image]:
    """Soft lines half-way between nuclei, 0..1, and the distance to the nearest nucleus in µm."""
    if not nuclei.any():
        return np.zeros(nuclei.shape, np.float32), np.full(nuclei.shape, 99, np.float32)
    free = (nuclei == 0).astype(np.uint8)
    distance, label = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
    edge = np.zeros(nuclei.shape, dtype=np.float32)
    edge[:, 1:] = label[:, 1:] != label[:, :-1]
    edge[1:] = np.maximum(edge[1:], label[1:] != label[:-1])
    soft = cv2.GaussianBlur(edge, (0, 0), max(0.35 / mpp, 0.5))
    return np.asarray(soft, dtype=np.float32), np.asarray(distance * np.float32(mpp), dtype=np.float32)


def _blood(tissue: Tissue, window: _Window, grain: Image) -> Image:
    canvas = np.zeros(window.shape, dtype=np.uint8)
    cells = tissue.red_cells
    centres = window.vertices(np.stack([cells.x_um, cells.y_um], axis=1).reshape(-1, 2))
    radii = np.round(cells.radius_um / window.mpp * (1 << _SHIFT)).astype(int)
    for centre, radius in zip(centres.tolist(), radii.tolist(), strict=True):
        cv2.circle(canvas, centre, radius, 220, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, centre, radius // 2, 175, -1, cv2.LINE_AA, _SHIFT)
    out: Image = canvas.astype(np.float32) * np.float32(1 / 220) * (1 + 0.08 * grain)
    return out
