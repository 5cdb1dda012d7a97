"""One page of a TIFF as a grid of separately packed blocks: only the blocks under a region are read and unpacked."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.slides.declared_size import declared_size
from counterstain.slides.guarded import GREATEST_BLOCK_PX
from counterstain.slides.info import reading

if TYPE_CHECKING:
    import tifffile

__all__ = ["PageGrid", "check_colours", "open_grid"]

_CACHE_BYTES = 48 << 20  # unpacked blocks kept for the neighbouring tile, for each page in use

_JPEG = 7
_MIN_IS_WHITE, _RGB, _PALETTE, _YCBCR = 0, 2, 3, 6
_GREYS = (_MIN_IS_WHITE, 1)
_COLOURS = {
    _PALETTE: "palette colours", 4: "a transparency mask", 5: "CMYK colours", 8: "CIE L*a*b* colours",
    9: "ICC L*a*b* colours", 10: "ITU L*a*b* colours", 32803: "raw camera colours", 32844: "LogL colours",
    32845: "LogLuv colours",
}  # fmt: skip
_PLAIN = (1, 5, 8, 32946, 32773, 50000, 34925)  # packings that keep numbers as they are: YCbCr stays YCbCr
_SEPARATE = 2


class PageGrid:
    """A page's blocks (tiles, or strips as wide as the page), read as RGB.

    width_px, height_px: of the page; block_px: (width, height) of a block; jpeg: whether the blocks are JPEG.

    Threads may share it: the file is read at offsets, and the blocks kept are guarded.
    """

    def __init__(self, path: Path, pages: list[Any], *, bits: int = 0) -> None:
        page = pages[0]
        self.path = path
        self.width_px, self.height_px = int(page.imagewidth), int(page.imagelength)
        tiled = bool(page.is_tiled)
        self.block_px = (
            (int(page.tilewidth), int(page.tilelength))
            if tiled
            else (self.width_px, min(int(page.rowsperstrip), self.height_px))
        )
        if min(*self.block_px, self.width_px, self.height_px) < 1:
            raise InputError(
                f"{path} says that it has {self.width_px} × {self.height_px} px in blocks of {self.block_px[0]} × "
                f"{self.block_px[1]}; its header is damaged: copy or scan it again"
            )
        self.columns = -(-self.width_px // self.block_px[0])
        self.rows = -(-self.height_px // self.block_px[1])
        self.jpeg = tiled and page.compression == _JPEG and len(pages) == 1 and page.planarconfig != _SEPARATE
        self._decode = _jpeg_decoder(page) if self.jpeg and _plain_jpeg(page) else _page_decoder(path, pages, bits)
        # A colour plane of its own is either a page of its own or the second and third part of one list of blocks.
        self._planes = [
            (np.array(plane.dataoffsets, np.int64), np.array(plane.databytecounts, np.int64)) for plane in pages
        ]  # fmt: skip
        if page.planarconfig == _SEPARATE and page.samplesperpixel > 1:
            offsets, counts = self._planes[0]
            each = self.columns * self.rows
            self._planes = [
                (offsets[n * each : (n + 1) * each], counts[n * each : (n + 1) * each])
                for n in range(page.samplesperpixel)
            ]
        needed = self.columns * self.rows
        if any(min(len(offsets), len(counts)) < needed for offsets, counts in self._planes):
            raise InputError(
                f"{path} lists {len(self._planes[0][0]):,} blocks, and {self.width_px:,} × {self.height_px:,} px need "
                f"{needed:,}; its header is damaged: copy or scan it again"
            )
        self._size = path.stat().st_size
        self.complete = all(bool((counts > 0).all()) for _, counts in self._planes)
        self._cache: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._cache_blocks = max(4, _CACHE_BYTES // (3 * self.block_px[0] * self.block_px[1]))
        self._lock = threading.Lock()

    def read(self, handle: int, x: int, y: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """A region (height_px, width_px, 3) uint8 RGB at (x, y) of this page, white outside of it.

        Args:
            handle: file descriptor to read from.

        Raises:
            InputError: If a block under it is damaged.
        """
        wide, high = self.block_px
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width_px, self.width_px), min(y + height_px, self.height_px)
        inside = (x, y, x + width_px, y + height_px) == (left, top, right, bottom)
        if inside and (width_px, height_px) == (wide, high) and x % wide == y % high == 0:
            return self._block(handle, x // wide, y // high, keep=False)  # one whole block: nothing to lay together
        region = np.full((height_px, width_px, 3), 255, np.uint8)
        if right <= left or bottom <= top:
            return region
        aligned = x % wide == y % high == (x + width_px) % wide == (y + height_px) % high == 0
        for row in range(top // high, -(-bottom // high)):
            for column in range(left // wide, -(-right // wide)):
                block = self._block(handle, column, row, keep=not aligned)
                x_from, x_to = max(left, column * wide), min(right, (column + 1) * wide)
                y_from, y_to = max(top, row * high), min(bottom, (row + 1) * high)
                region[y_from - y : y_to - y, x_from - x : x_to - x] = block[
                    y_from - row * high : y_to - row * high, x_from - column * wide : x_to - column * wide
                ]
        return region

    def block(self, handle: int, index: int) -> NDArray[np.uint8]:
        """Block number `index`, row by row, as it is unpacked; errors as `read`."""
        return self._unpack(handle, index)

    def _block(self, handle: int, column: int, row: int, *, keep: bool) -> NDArray[np.uint8]:
        index = row * self.columns + column
        if keep:
            with self._lock:
                if index in self._cache:
                    self._cache.move_to_end(index)
                    return self._cache[index]
        block = self._unpack(handle, index)
        if keep:
            with self._lock:
                self._cache[index] = block
                while len(self._cache) > self._cache_blocks:
                    self._cache.popitem(last=False)
        return block

    def _unpack(self, handle: int, index: int) -> NDArray[np.uint8]:
        packed = []
        for offsets, counts in self._planes:
            if counts[index] == 0:  # a block that was never written
                return np.full((self.block_px[1], self.block_px[0], 3), 255, np.uint8)
            if not 0 <= int(offsets[index]) <= int(offsets[index]) + int(counts[index]) <= self._size:
                raise InputError(f"{self.path} ends before its block {index}; it was cut off: copy it again")
            packed.append(read_at(handle, int(counts[index]), int(offsets[index])))
            self._check_declared(packed[-1], index)
            if len(packed[-1]) != counts[index]:
                raise InputError(f"{self.path} ends before its block {index}; it was cut off: copy it again")
        with reading(self.path, RuntimeError, ValueError, TypeError):  # what imagecodecs and tifffile raise
            return self._decode(packed, index)

    def _check_declared(self, packed: bytes, index: int) -> None:
        """Refuse a block whose own header claims far more px than it stands for, before memory is asked for them."""
        size = declared_size(packed)
        if size is not None and size[0] * size[1] > 4 * self.block_px[0] * self.block_px[1] + (1 << 16):
            raise InputError(
                f"{self.path} cannot be read (block {index} claims {size[0]:,} × {size[1]:,} px and stands for "
                f"{self.block_px[0]:,} × {self.block_px[1]:,}); the file is damaged: copy or scan it again"
            )


_seek_lock = threading.Lock()


def read_at(handle: int, count: int, offset: int) -> bytes:
    """Bytes of an open file at an offset, whatever other threads read meanwhile."""
    if hasattr(os, "pread"):
        return os.pread(handle, count, offset)
    with _seek_lock:  # Windows
        os.lseek(handle, offset, os.SEEK_SET)
        return os.read(handle, count)


def check_colours(page: "tifffile.TiffPage", path: Path, *, samples: int) -> None:
    """Refuse by name what is not RGB or grey: to convert it would be a guess.

    Raises:
        InputError: With what the file holds.
    """
    kind = _COLOURS.get(int(page.photometric))
    # Four of RGB are red, green, blue and opacity; four of grey are four stains.
    if kind is None and (samples not in (1, 3, 4) or (samples == 4 and page.photometric in _GREYS)):
        kind = f"{samples} channels, as fluorescence is stored"
    if kind is None and page.photometric == _YCBCR and page.compression in _PLAIN:
        kind = "YCbCr colours without JPEG"
    if kind is not None:
        raise InputError(
            f"{path} has {kind}; a slide for this toolkit is RGB or grey: save it as RGB"
            + (", by its colour profile" if kind.startswith("CMYK") else "")
        )


def open_grid(path: Path, pages: list["tifffile.TiffPage"], *, bits: int = 0) -> PageGrid:
    """The grid of a page, or of the pages that are one colour each.

    Args:
        path: of the file.
        pages: tifffile's.
        bits: of a channel that 16 bits hold, where it is known to be fewer; 0 where it is 16.

    Raises:
        InputError: If its pixels are no colours, or are packed in blocks too large to unpack.
    """
    page = pages[0]
    check_colours(page, path, samples=int(page.samplesperpixel) * len(pages))
    grid = PageGrid(path, pages, bits=bits)
    if grid.block_px[0] * grid.block_px[1] > GREATEST_BLOCK_PX:
        raise InputError(
            f"{path} is packed in blocks of {grid.block_px[0]:,} × {grid.block_px[1]:,} px, each of which would have "
            "to be unpacked whole; save it as a tiled TIFF"
        )
    return grid


def _plain_jpeg(page: Any) -> bool:
    return bool(page.photometric in (_RGB, _YCBCR) and page.samplesperpixel == 3 and page.bitspersample == 8)


def _jpeg_decoder(page: Any) -> Callable[[list[bytes], int], NDArray[np.uint8]]:
    """JPEG blocks by libjpeg-turbo with the page's tables, as OpenSlide decodes them."""
    from imagecodecs import jpeg8_decode

    tables = page.jpegtables
    says_rgb = page.photometric == _RGB

    def decode(packed: list[bytes], _: int) -> NDArray[np.uint8]:
        # Aperio packs RGB as it is; where a block calls itself JFIF it holds YCbCr, whatever the page says.
        colours = "RGB" if says_rgb and packed[0][6:10] != b"JFIF" else "YCBCR"
        block: NDArray[np.uint8] = jpeg8_decode(packed[0], tables=tables, colorspace=colours, outcolorspace="RGB")
        return block

    return decode


def _page_decoder(path: Path, pages: list[Any], bits: int) -> Callable[[list[bytes], int], NDArray[np.uint8]]:
    """Whatever tifffile unpacks, laid on white and brought to 8 bits."""
    from counterstain.images.rgb import rgb_of_array

    page = pages[0]
    decode_page = page.decode
    tables = page.jpegtables
    inverted = page.photometric == _MIN_IS_WHITE

    def decode(packed: list[bytes], index: int) -> NDArray[np.uint8]:
        parts = []
        for data in packed:
            part, _, _ = decode_page(data, index, jpegtables=tables)
            if part is None:
                raise ValueError(f"block {index} is empty")
            parts.append(part[0] if part.ndim == 4 else part)
        block = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        if bits and block.dtype == np.uint16:  # 12 bits in 16: their white is 4,095
            white = (1 << bits) - 1
            block = ((np.minimum(block, white).astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
        rgb, _ = rgb_of_array(block, path.name)
        return np.ascontiguousarray(255 - rgb if inverted else rgb)

    return decode
