"""µm per pixel, where an image file says it and it can be believed."""

import re

from PIL import Image, TiffImagePlugin

__all__ = ["CREDIBLE_MPP", "mpp_of"]

CREDIBLE_MPP = (0.05, 20.0)  # from oil immersion to a flat-bed scan; the 72 dpi of most files is 353 µm/px

_UM_PER_UNIT = {2: 25_400.0, 3: 10_000.0}  # TIFF ResolutionUnit: inch, cm
_APERIO = re.compile(r"\bMPP\s*=\s*([0-9.]{1,12})")


def mpp_of(image: Image.Image) -> float | None:
    """µm per pixel, or None where the file does not say, says it twice differently, or says what no microscope does.

    Source:
        TIFF 6.0 tags 282, 283, 296; Aperio's "MPP = …" in the description; PNG pHYs and JFIF density through Pillow.
    """
    found: tuple[float, float] | None = None
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        aperio = _APERIO.search(str(tags.get(270, "")))
        if aperio is not None:
            found = (_number(aperio[1]), _number(aperio[1]))
        elif 282 in tags and 283 in tags and tags.get(296, 2) in _UM_PER_UNIT:
            unit_um = _UM_PER_UNIT[tags.get(296, 2)]
            found = (_per(unit_um, tags[282]), _per(unit_um, tags[283]))
    elif "dpi" in image.info:
        found = (_per(25_400.0, image.info["dpi"][0]), _per(25_400.0, image.info["dpi"][1]))
    if found is None or abs(found[0] - found[1]) > 0.01 * found[0]:
        return None
    return found[0] if CREDIBLE_MPP[0] <= found[0] <= CREDIBLE_MPP[1] else None


def _per(unit_um: float, resolution: object) -> float:
    value = _number(resolution)
    return unit_um / value if value > 0 else 0.0


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
