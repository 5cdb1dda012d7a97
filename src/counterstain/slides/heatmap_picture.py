"""The frame of a heat-map picture: what is seen, how large it is, and which colour is which probability."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from counterstain.slides.heatmap import ALPHA

__all__ = ["framed_heatmap", "scale_bar_um"]

Picture = NDArray[np.uint8]

INK, PAPER = (31, 35, 40), (255, 255, 255)
SHARE = 0.25  # of the picture's width that the scale bar has at most
LEAST_PX = 320  # a narrower picture gets white beside it, so that its words have room
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def scale_bar_um(width_um: float) -> float:
    """Length of a scale bar for a picture of this width, µm: 1, 2 or 5 times a power of ten, at most a quarter."""
    most = SHARE * width_um
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9)))


def framed_heatmap(picture: Picture, *, title: str, legend: str, um_per_px: float) -> Picture:
    """The picture with a title above, a colour bar at its right, and a scale bar below it.

    The colour bar is the same for every slide: it goes from 0 to 1 whatever a slide's own probabilities are, so that
    pictures of a cohort can be compared. Its colours are shown on white as strongly as those of the map.

    Args:
        picture: (H, W, 3) uint8 RGB: a thumbnail under the colours of `heatmap.overlay`.
        title: what is seen.
        legend: what the colours are, such as "probability of malignant".
        um_per_px: µm of one pixel of the picture.

    Returns:
        (H', W', 3) uint8 RGB, larger by the frame.
    """
    height, width = picture.shape[:2]
    font_px = int(np.clip(max(width, height) // 60, 14, 40))
    font: Any = ImageFont.load_default(size=font_px)
    pad, bar = font_px, max(font_px, 16)
    right = pad + bar + 4 * font_px
    room = max(width, LEAST_PX)
    tall = max(height, 12 * font_px)
    sheet = Image.new("RGB", (pad + room + right + pad, 3 * pad + tall + 3 * font_px), PAPER)
    sheet.paste(Image.fromarray(picture), (pad, 2 * pad + font_px // 2))
    pen, top = ImageDraw.Draw(sheet), 2 * pad + font_px // 2
    pen.text((pad, pad), _fitting(title, pen, font, room + right), fill=INK, font=font, anchor="lm")
    _colour_bar(sheet, pen, font, (2 * pad + room, top, bar, tall))
    below = top + tall + font_px
    length = scale_bar_um(width * um_per_px)
    end = pad + length / um_per_px
    pen.rectangle((pad, below, end, below + max(3, font_px // 5)), fill=INK)
    middle, label = below + font_px // 10, _length_words(length)
    pen.text((end + font_px / 2, middle), label, fill=INK, font=font, anchor="lm")
    space_px = sheet.width - pad - (end + 1.5 * font_px + pen.textlength(label, font=font))
    pen.text((sheet.width - pad, middle), _fitting(legend, pen, font, space_px), fill=INK, font=font, anchor="rm")
    return np.array(sheet)


def _colour_bar(sheet: Image.Image, pen: ImageDraw.ImageDraw, font: Any, box: tuple[int, int, int, int]) -> None:
    """From 1 on top to 0 at the foot of the box (left, top, width, height)."""
    left, top, width, height = box
    table = cv2.applyColorMap(np.linspace(255, 0, height).astype(np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, :, ::-1]
    mixed = np.rint((1 - ALPHA) * 255 + ALPHA * table.astype(np.float32)).astype(np.uint8)
    sheet.paste(Image.fromarray(np.ascontiguousarray(np.repeat(mixed, width, axis=1))), (left, top))
    pen.rectangle((left, top, left + width - 1, top + height - 1), outline=INK)
    for tick in TICKS:
        y = top + (1 - tick) * (height - 1)
        pen.line((left + width, y, left + width + width // 3, y), fill=INK)
        pen.text((left + width + width // 2, y), f"{tick:g}", fill=INK, font=font, anchor="lm")


def _length_words(um: float) -> str:
    return f"{um / 1000:g} mm"  # Pillow's own font has no letter µ


def _fitting(text: str, pen: ImageDraw.ImageDraw, font: Any, width: float) -> str:
    """The text, its middle left out where it is too long."""
    shortened = text
    while pen.textlength(shortened, font=font) > width and len(shortened) > 8:
        shortened = f"{shortened[: len(shortened) // 2 - 2]}…{shortened[len(shortened) // 2 + 1 :]}"
    return shortened
