"""Opening a slide, whatever its format: OpenSlide's formats, OME-TIFF, and plain TIFF, pyramidal or flat."""

from collections.abc import Mapping
from pathlib import Path

from counterstain.errors import InputError
from counterstain.slides.dicom import check_dicom, read_dicom_header
from counterstain.slides.guarded import GuardedSlide, guarded
from counterstain.slides.info import Level, Slide, SlideInfo
from counterstain.slides.scale import read_mpp_table

__all__ = ["READERS", "Level", "Slide", "SlideInfo", "open_slide"]

READERS = ("auto", "openslide", "tifffile")


def open_slide(
    path: Path | str,
    *,
    assume_mpp: float | None = None,
    mpp_table: Path | str | Mapping[str, tuple[float, float]] | None = None,
    reader: str = "auto",
) -> Slide:
    """Open a slide; use it as a context manager.

    Args:
        path: the slide's file; of a DICOM slide any one file, the others lie beside it.
        assume_mpp: µm/px of a slide that does not say it.
        mpp_table: CSV of slide,mpp, or the same as {name: (x, y)}; it overrules the file.
        reader: "openslide" or "tifffile" instead of the one that suits the file.

    Raises:
        InputError: If it is not a slide that can be read, or `assume_mpp` contradicts it.
    """
    from counterstain.slides.reader_openslide import OpenSlideSlide, suits
    from counterstain.slides.reader_tifffile import TiffSlide

    path = Path(path)
    if reader not in READERS:
        raise InputError(f"reader is '{reader}'; known: {', '.join(READERS)}")
    if not path.is_file():
        raise InputError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; name a slide's file")
    table = read_mpp_table(Path(mpp_table)) if isinstance(mpp_table, (str, Path)) else mpp_table
    header = read_dicom_header(path)
    if header is not None:
        check_dicom(path, header)
    with guarded(path):
        if reader == "auto":
            reader = "openslide" if suits(path) else "tifffile"
        if reader == "openslide":
            return GuardedSlide(OpenSlideSlide(path, assume_mpp=assume_mpp, mpp_table=table))
        return GuardedSlide(TiffSlide(path, assume_mpp=assume_mpp, mpp_table=table))
