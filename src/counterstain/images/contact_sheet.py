"""Contact sheets: what each transformation does to real tiles, and what a model called each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from counterstain.images.augment import augment_batch, expand_batch
from counterstain.images.augmentation import Augmentation
from counterstain.images.counter_rng import image_keys

__all__ = ["CalledTile", "called_sheet", "contact_sheet"]

_GAP_PX = 6
_INK = (40, 40, 40)


def contact_sheet(
    tiles: NDArray[np.uint8],
    settings: Augmentation,
    *,
    keys: NDArray[np.uint64] | None = None,
    seed: int = 0,
    tile_px: int = 160,
    draws: int = 2,
) -> NDArray[np.uint8]:
    """A picture (H, W, 3) uint8 RGB: one row per tile; columns: the original, each transformation, all together.

    Each transformation is shown as the "expand" way draws it, whatever `settings.mode`; the last columns are the first
    epochs of the "on the fly" way.

    Args:
        tiles: (B, H, W, 3) uint8 RGB, B >= 1; they are transformed at their own size and then shown smaller or larger.
        settings: what is switched on, and how far it goes.
        keys: (B,) uint64 of the tiles' images, to see what training makes of them; None numbers the tiles instead.
        seed: of the draws.
        tile_px: width of a shown tile, pixels.
        draws: columns of all transformations together.
    """
    if keys is None:
        keys = image_keys([str(number) for number in range(len(tiles))])
    names = ("original", *settings.transformations())
    columns = [
        (_caption(name, settings), expand_batch(tiles, keys, np.full(len(tiles), which), settings=settings, seed=seed))
        for which, name in enumerate(names)
    ]
    if len(names) > 1:
        columns += [
            (f"all, epoch {epoch + 1}", augment_batch(tiles, keys, settings=settings, seed=seed, epoch=epoch))
            for epoch in range(draws)
        ]
    return _laid_out(columns, tile_px)


def _caption(name: str, settings: Augmentation) -> str:
    ranges = {
        "rotation": f" ±{settings.rotation_deg:g}°",
        "translation": f" ±{100 * settings.translation:g} %",
        "shear": f" ±{settings.shear_deg:g}°",
    }
    return name.replace("_", " ") + ranges.get(name, "")


def _laid_out(columns: list[tuple[str, NDArray[np.uint8]]], tile_px: int) -> NDArray[np.uint8]:
    """Columns of tiles under their captions, on white."""
    count, height, width = columns[0][1].shape[:3]
    height_px = max(1, round(tile_px * height / width))
    font_px = max(11, tile_px // 10)
    caption_px = font_px + 2 * _GAP_PX
    size = (caption_px + count * (height_px + _GAP_PX), _GAP_PX + len(columns) * (tile_px + _GAP_PX), 3)
    sheet = np.full(size, 255, np.uint8)
    for column, (_, shown) in enumerate(columns):
        left = _GAP_PX + column * (tile_px + _GAP_PX)
        for row, tile in enumerate(shown):
            top = caption_px + row * (height_px + _GAP_PX)
            sheet[top : top + height_px, left : left + tile_px] = _sized(tile, tile_px, height_px)
    image = Image.fromarray(sheet)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=font_px)
    for column, (words, _) in enumerate(columns):
        middle = _GAP_PX + column * (tile_px + _GAP_PX) + tile_px / 2
        pen.text((middle, caption_px / 2), words, fill=_INK, font=font, anchor="mm")
    return np.array(image)


def _sized(tile: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    smaller = width <= tile.shape[1] and height <= tile.shape[0]
    sized = cv2.resize(tile, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_NEAREST)
    return np.asarray(sized, dtype=np.uint8)


@dataclass(frozen=True)
class CalledTile:
    """What stands under a tile: its name, what was called and how surely, and the (r, g, b) of its frame."""

    name: str
    words: str
    colour: tuple[int, int, int]


_FRAME_PX, _ACROSS = 5, 6


def called_sheet(
    tiles: NDArray[np.uint8],
    captions: Sequence[CalledTile],
    legend: Sequence[tuple[str, tuple[int, int, int]]],
    *,
    tile_px: int = 160,
) -> NDArray[np.uint8]:
    """A picture (H, W, 3) uint8 RGB: each tile in a frame of its class's colour with its caption below.

    Args:
        tiles: (N, H, W, 3) uint8 RGB, N >= 1.
        captions: N of them.
        legend: the classes and their colours, shown on top.
        tile_px: side of a shown tile, pixels.
    """
    font_px = max(11, tile_px // 14)
    line_px, top_px = font_px + 3, font_px + 4 * _GAP_PX
    wide, high = tile_px + 2 * _FRAME_PX + _GAP_PX, tile_px + 2 * _FRAME_PX + _GAP_PX + 3 * line_px
    across = min(_ACROSS, max(len(tiles), 3))
    down = -(-len(tiles) // across)
    sheet = np.full((top_px + down * high + _GAP_PX, across * wide + _GAP_PX, 3), 255, np.uint8)
    places = [(_GAP_PX + number % across * wide, top_px + number // across * high) for number in range(len(tiles))]
    for tile, caption, (left, top) in zip(tiles, captions, places, strict=True):
        side = tile_px + 2 * _FRAME_PX
        sheet[top : top + side, left : left + side] = caption.colour
        inner = slice(top + _FRAME_PX, top + _FRAME_PX + tile_px), slice(left + _FRAME_PX, left + _FRAME_PX + tile_px)
        sheet[inner] = _sized(tile, tile_px, tile_px)
    image = Image.fromarray(sheet)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=font_px)
    at = float(_GAP_PX)
    for name, colour in legend:
        pen.rectangle((at, 2 * _GAP_PX, at + font_px, 2 * _GAP_PX + font_px), fill=colour)
        pen.text((at + font_px + _GAP_PX, 2 * _GAP_PX), name, fill=_INK, font=font)
        at += font_px + 4 * _GAP_PX + pen.textlength(name, font=font)
    for caption, (start, top) in zip(captions, places, strict=True):
        below = top + tile_px + 2 * _FRAME_PX + 2
        for number, line in enumerate(_wrapped(caption, pen, font, tile_px + 2 * _FRAME_PX)):
            pen.text((start, below + number * line_px), line, fill=_INK, font=font)
    return np.array(image)


def _wrapped(caption: CalledTile, pen: ImageDraw.ImageDraw, font: Any, width: int) -> list[str]:
    """The call in at most two lines, and the name, shortened in its middle, in another."""

    def fits(text: str) -> bool:
        return pen.textlength(text, font=font) <= width

    name = caption.name
    while not fits(name) and len(name) > 8:
        name = f"{name[: len(name) // 2 - 2]}…{name[len(name) // 2 + 1 :]}"
    lines = [""]
    for word in caption.words.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        lines[-1:] = [longer] if fits(longer) or not lines[-1] else [lines[-1], word]
    return [*lines[:2], name]
