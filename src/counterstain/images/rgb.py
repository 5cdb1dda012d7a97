"""From whatever a file holds to 8-bit RGB, by rules that are noted: depth, float, grey, palette, CMYK, alpha."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from counterstain.images.source import BadImage

__all__ = ["is_colour", "rgb_of_array", "rgb_of_image"]

_COLOUR_SPREAD = 8  # grey levels; JPEG's chroma rounding makes up to 3 of a grey image


def rgb_of_image(image: Image.Image, name: str, *, bits: int, inverted: bool) -> tuple[NDArray[np.uint8], list[str]]:
    """The pixels of a decoded image as (H, W, 3) uint8 RGB, and notes on what was done to them.

    Args:
        image: loaded, the right way up.
        name: for the message.
        bits: of a channel, as the file says.
        inverted: grey where 0 is white, and the decoder has not turned it round.

    Raises:
        BadImage: For numbers whose range is not known, and colour spaces that cannot be converted.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image), _deep(bits)
    if image.mode.startswith("I;16"):
        return _grey16(np.asarray(image), bits, inverted, "transparency" in image.info)
    if image.mode == "I":
        raise BadImage(name, "holds integers of more than 16 bits or with a sign, so their white point is not known; "
                             "save it with 8 or 16 bits")  # fmt: skip
    if image.mode == "F":
        grey, notes = _scaled_float(np.asarray(image), name)
        return _tripled(255 - grey if inverted else grey), notes
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        pixels, notes = _on_white(np.asarray(image.convert("RGBA")))
        return pixels, _deep(bits) + notes
    words = {
        "1": "black and white, 1 bit",
        "L": "grey",
        "P": "palette colours",
        "CMYK": "CMYK converted without its colour profile",
        "YCbCr": "YCbCr converted",
        "RGBX": "fourth channel dropped",
    }
    if image.mode not in words:
        raise BadImage(name, f"is in colour space {image.mode}; save it as RGB")
    return np.asarray(image.convert("RGB")), [words[image.mode]]


def rgb_of_array(array: NDArray[np.generic], name: str) -> tuple[NDArray[np.uint8], list[str]]:
    """A stored array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) as (H, W, 3) uint8 RGB, and notes.

    Raises:
        BadImage: For another shape, whole numbers other than 8 or 16 bits without sign, floats outside [0, 1].
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise BadImage(name, f"has shape {array.shape}; an image is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    notes: list[str] = []
    if array.dtype == np.uint16:
        pixels, notes = _scaled(array, 16), ["16 bits scaled to 8"]
    elif array.dtype.kind == "f":
        pixels, notes = _scaled_float(array, name)
    elif array.dtype == np.uint8:
        pixels = array.astype(np.uint8, copy=False)
    else:
        raise BadImage(
            name, f"holds {array.dtype}, so its white point is not known; store uint8, uint16 or floats from 0 to 1"
        )
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels, more = _on_white(pixels)
        return pixels, notes + more
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return _tripled(pixels.reshape(pixels.shape[:2])), [*notes, "grey"]
    return np.ascontiguousarray(pixels), notes


def is_colour(pixels: NDArray[np.uint8]) -> bool:
    """Whether any pixel's channels differ by more than 8 levels; pixels (H, W, 3) uint8."""
    # Colour images show it in a few pixels, so the thin sample nearly always decides.
    return any(_spread(part) > _COLOUR_SPREAD for part in (pixels[::16, ::16], pixels))


def _spread(pixels: NDArray[np.uint8]) -> int:
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    high = np.maximum(np.maximum(red, green), blue)
    return int((high - np.minimum(np.minimum(red, green), blue)).max())


def _deep(bits: int) -> list[str]:
    return [f"{bits} bits per channel, of which the upper 8 were read"] if bits > 8 else []


def _grey16(array: NDArray[Any], bits: int, inverted: bool, keyed: bool) -> tuple[NDArray[np.uint8], list[str]]:
    bits = bits if 8 < bits <= 16 else 16
    grey = _scaled(array, bits)
    notes = [f"grey, {bits} bits scaled to 8"]
    if bits == 16 and 0 < int(array.max()) < 4096:
        notes.append(f"its brightest value is {int(array.max())}: 12 bits stored as 16 come out dark")
    if keyed:
        notes.append("transparent grey level ignored")
    return _tripled(255 - grey if inverted else grey), notes


def _scaled(array: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Whole numbers of `bits` bits scaled so that the largest becomes 255, rounded."""
    top = (1 << bits) - 1
    return ((array.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)


def _scaled_float(array: NDArray[Any], name: str) -> tuple[NDArray[np.uint8], list[str]]:
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # a NaN anywhere fails both
        raise BadImage(
            name, f"holds floats from {low:g} to {high:g}; floats must lie in 0 to 1, or save it with 8 bits"
        )
    return np.rint(array * 255).astype(np.uint8), ["floats from 0 to 1 scaled to 8 bits"]


def _tripled(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _on_white(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], list[str]]:
    """RGBA laid on white; noted where anything shows through."""
    alpha = pixels[:, :, 3:]
    through = float((alpha < 255).mean())
    if through == 0:
        return np.ascontiguousarray(pixels[:, :, :3]), []
    opaque = pixels[:, :, :3].astype(np.uint32) * alpha + 255 * (255 - alpha.astype(np.uint32))
    return ((opaque + 127) // 255).astype(np.uint8), [f"transparent in {through:.1%} of its pixels, laid on white"]
