"""From one size to another: the one rule of stored tiles, of tiles cut from slides and of exported graphs.

Where neither side grows each new pixel is the mean of what it covers, else it is interpolated linearly between the
centres of the old ones. Values are taken in float32 and rounded to 1/1024 of a grey level first, so that what is a half
in exact arithmetic is one here, whoever adds it up in whatever order. Halves then go to the even level; where both
sides are halved they go up, as OpenCV has it.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["STEPS", "VERSION", "resize"]

VERSION = 2  # of the rule: stores made by another one are made again
STEPS = 1024  # of a grey level, to which a value is rounded before it is rounded to a level
_EXACT_FACTOR = 20
_WHOLE_VALUES = 1 << 26  # an image of more is averaged one channel at a time, in a third of the memory


def resize(pixels: NDArray[np.uint8], *, width_px: int, height_px: int) -> NDArray[np.uint8]:
    """The whole image at another size, (height_px, width_px, 3) uint8; the image itself where it has that size.

    Args:
        pixels: (H, W, 3) uint8.
        width_px, height_px: of the result, at least 1.

    Example:
        >>> import numpy as np
        >>> from counterstain.images.resize import resize
        >>> blocks = np.array([[0, 10], [20, 30]], np.uint8)[:, :, None].repeat(3, axis=2)
        >>> resize(blocks, width_px=1, height_px=1).tolist()  # the mean of all four
        [[[15, 15, 15]]]
    """
    import cv2  # not of the core: images can be checked without it

    height, width = pixels.shape[:2]
    if (height, width) == (height_px, width_px):
        return pixels
    if width_px > width or height_px > height:
        return _to_levels(_interpolated(_interpolated(pixels, height_px, axis=0), width_px, axis=1))
    # OpenCV sums whole numbers where one whole factor serves both sides, and finds every half of a grey level.
    if width % width_px == height % height_px == 0 and width // width_px == height // height_px <= _EXACT_FACTOR:
        return np.asarray(cv2.resize(pixels, (width_px, height_px), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if pixels.size > _WHOLE_VALUES:
        channels = [_averaged(np.ascontiguousarray(pixels[:, :, c]), width_px, height_px) for c in range(3)]
        return _to_levels(np.stack(channels, axis=2))
    return _to_levels(_averaged(pixels, width_px, height_px))


def _averaged(pixels: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.float32]:
    """Means over areas; OpenCV has the weights in double precision."""
    import cv2

    found = cv2.resize(pixels.astype(np.float32), (width_px, height_px), interpolation=cv2.INTER_AREA)
    return np.asarray(found, dtype=np.float32)


def _interpolated(values: NDArray[np.uint8] | NDArray[np.float32], count: int, *, axis: int) -> NDArray[np.float32]:
    """The axis at another length; weights are quotients of whole numbers, beyond the outer centres nothing changes."""
    length = values.shape[axis]
    # Centre p of the new axis in halves of 1/count of an old px: ((p + 1/2) length / count - 1/2) 2 count.
    centre = np.clip((2 * np.arange(count) + 1) * length - count, 0, 2 * count * (length - 1))
    low = centre // (2 * count)
    share = ((centre - low * 2 * count) / (2 * count)).astype(np.float32)
    share = share.reshape([-1 if place == axis else 1 for place in range(values.ndim)])
    near, far = (values.take(index, axis=axis) for index in (low, np.minimum(low + 1, length - 1)))
    return np.asarray(near * (1 - share) + far * share, dtype=np.float32)


def _to_levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey levels, halves to the even one."""
    return np.ascontiguousarray(np.rint(np.rint(values * STEPS) / STEPS).astype(np.uint8))
