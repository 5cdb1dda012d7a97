"""Files that are unusual rather than damaged: carried out rightly, or refused by what they are."""

import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tifffile

from counterstain.errors import InputError
from counterstain.slides.declared_size import declared_size
from counterstain.slides.guarded import GuardedSlide, require_readers
from counterstain.slides.reader import open_slide
from counterstain.slides.scale import check_scale, require_mpp, unused_rows

WIDTH, HEIGHT = 192, 130
TILES: dict[str, Any] = {"tile": (64, 64), "metadata": None}


def whole(path: Path, **options: Any) -> Any:
    with open_slide(path, **options) as slide:
        return slide.read_region(0, 0, level=0, width_px=WIDTH, height_px=HEIGHT)


@pytest.mark.parametrize("reader", ["auto", "openslide", "tifffile"])
@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_a_turned_slide_is_refused(make: ModuleType, tmp_path: Path, reader: str, orientation: int) -> None:
    path = tmp_path / "a.tif"
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(path, make.picture(WIDTH, HEIGHT), photometric="rgb", extratags=tags, **TILES)
    with pytest.raises(InputError, match=f"TIFF orientation {orientation}"):
        open_slide(path, reader=reader)


@pytest.mark.parametrize("reader", ["auto", "openslide", "tifffile"])
def test_cmyk_is_refused_by_name(make: ModuleType, tmp_path: Path, reader: str) -> None:
    path = tmp_path / "a.tif"
    cmyk = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    tifffile.imwrite(path, cmyk, photometric="separated", compression="deflate", **TILES)
    with pytest.raises(InputError, match=r"CMYK.*profile"):
        open_slide(path, reader=reader)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("stated", ["ome", "tag", "not"])
def test_fewer_bits_in_16_are_scaled_by_their_own_white(
    make: ModuleType, tmp_path: Path, bits: int, stated: str
) -> None:
    image = make.picture(WIDTH, HEIGHT)
    image[:64, :64] = 255  # glass
    white = (1 << bits) - 1
    deep = np.rint(image.astype(float) * white / 255).astype(np.uint16)
    path = tmp_path / "a.ome.tif"
    if stated == "ome":
        words = {"axes": "YXS", "SignificantBits": bits}
        tifffile.imwrite(path, deep, ome=True, photometric="rgb", compression="deflate", tile=(64, 64), metadata=words)
    else:
        tags = [(281, "H", 3, (white,) * 3, True)] if stated == "tag" else []
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, deep, photometric="rgb", compression="deflate", extratags=tags, **TILES)
    np.testing.assert_array_equal(whole(path), image)
    with open_slide(path) as slide:
        assert any(f"{white:,} is white" in note for note in slide.info.notes)


@pytest.mark.parametrize(("unit", "um"), [("micron", 1.0), ("\\u00B5m", 1.0), ("mm", 1e3), ("nm", 1e-3)])
def test_imagej_keeps_the_unit_in_its_own_words(make: ModuleType, tmp_path: Path, unit: str, um: float) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, make.picture(WIDTH, HEIGHT), imagej=True, resolution=(um / 0.5, um / 0.25), metadata={"unit": unit}
    )
    with open_slide(path) as slide:
        assert (slide.info.mpp_x, slide.info.mpp_y) == pytest.approx((0.5, 0.25), rel=1e-4)
        assert slide.info.mpp_source == "file"


def test_imagej_in_px_says_nothing_of_um(make: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, make.picture(WIDTH, HEIGHT), imagej=True, resolution=(2, 2), metadata={"unit": "pixel"})
    with open_slide(path) as slide:
        assert slide.info.mpp_x is None


def test_ome_with_one_axis_given(make: ModuleType, tmp_path: Path) -> None:
    path = make.write_ome(tmp_path / "a.ome.tif", [make.picture(WIDTH, HEIGHT)], mpp=(0.25, 0.25))
    content = path.read_bytes()
    assert b'PhysicalSizeY="0.25"' in content
    path.write_bytes(content.replace(b'PhysicalSizeY="0.25"', b'PhysicalSizeQ="0.25"'))
    with open_slide(path) as slide:
        assert (slide.info.mpp_x, slide.info.mpp_y) == (0.25, 0.25)
        assert any("along X alone" in note for note in slide.info.notes)


def test_channels_and_stacks_are_refused_by_name(make: ModuleType, tmp_path: Path) -> None:
    planes = np.zeros((4, HEIGHT, WIDTH), np.uint16)
    fluorescence = tmp_path / "f.ome.tif"
    tifffile.imwrite(fluorescence, planes, ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    pages, imagej = tmp_path / "pages.tif", tmp_path / "imagej.tif"
    tifffile.imwrite(pages, planes, photometric="minisblack", metadata=None)
    tifffile.imwrite(imagej, planes, imagej=True, metadata={"axes": "CYX"})
    for path, words in ((fluorescence, "4 channels.*fluorescence"), (pages, "4 grey"), (imagej, "4 grey")):
        with pytest.raises(InputError, match=words):
            open_slide(path)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", ["separate", "contig"])
def test_four_grey_samples_of_a_px_are_channels(tmp_path: Path, kind: type, planar: str) -> None:
    """In one page, and read as RGB with opacity: a slide that was white all over."""
    shape = (4, 256, 256) if planar == "separate" else (256, 256, 4)
    tifffile.imwrite(tmp_path / "f.tif", np.zeros(shape, kind), tile=(128, 128), photometric="minisblack",
                     planarconfig=planar)  # fmt: skip
    with pytest.raises(InputError, match="4 channels, as fluorescence is stored"):
        open_slide(tmp_path / "f.tif")
    if planar == "contig" and kind is np.uint8:
        tifffile.imwrite(tmp_path / "rgba.tif", np.zeros(shape, kind), tile=(128, 128), photometric="rgb",
                         extrasamples=["unassalpha"])  # fmt: skip
        with open_slide(tmp_path / "rgba.tif") as slide:
            assert slide.info.levels[0].width_px == 256


DICOM = {
    "another storage": (b"1.2.840.10008.5.1.4.1.1.77.1.6", b"1.2.840.10008.5.1.4.1.1.77.1.4", "another kind"),
    "JPEG-LS": (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.80\0\0", "JPEG-LS"),
    "16 bits": (struct.pack("<HH2sHH", 0x28, 0x100, b"US", 2, 8), struct.pack("<HH2sHH", 0x28, 0x100, b"US", 2, 16),
                "16 bits"),
    "one channel": (struct.pack("<HH2sHH", 0x28, 2, b"US", 2, 3), struct.pack("<HH2sHH", 0x28, 2, b"US", 2, 1),
                    "fluorescence"),
    "no ImageType": (struct.pack("<HH2s", 8, 8, b"CS"), struct.pack("<HH2s", 8, 9, b"CS"), "without ImageType"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DICOM)
def test_dicom_that_cannot_be_read_is_named(make: ModuleType, tmp_path: Path, kind: str) -> None:
    path = make.write_dicom(tmp_path / "a.dcm", make.picture(WIDTH, HEIGHT))
    found, instead, words = DICOM[kind]
    content = path.read_bytes()
    assert found in content
    content = content.replace(found, instead)
    if len(instead) > len(found):  # the value's own length
        place = content.index(instead) - 2
        content = content[:place] + struct.pack("<H", len(instead)) + content[place + 2 :]
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as refused:
        open_slide(path)
    assert "damaged" not in str(refused.value)


def test_a_reader_may_raise_anything_and_it_is_the_slides_line(
    make: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = make.MemorySlide([make.picture(WIDTH, HEIGHT)])
    guarded = GuardedSlide(slide)
    for error in (
        struct.error("x"),
        KeyError("x"),
        ZeroDivisionError(),
        MemoryError(),
        TypeError("x"),
        OverflowError(),
    ):

        def fail(*_: Any, error: Exception = error, **__: Any) -> Any:
            raise error

        monkeypatch.setattr(slide, "read_region", fail)
        with pytest.raises(InputError, match=r"memory\.tif cannot be read"):
            guarded.read_region(0, 0, level=0, width_px=8, height_px=8)
    monkeypatch.setattr(slide, "read_region", lambda *_, **__: np.zeros((7, 8, 3), np.uint8))
    with pytest.raises(InputError, match=r"unpacks to \(7, 8, 3\)"):
        guarded.read_region(0, 0, level=0, width_px=8, height_px=8)


def test_a_block_that_claims_more_than_it_stands_for_is_not_unpacked(make: ModuleType, tmp_path: Path) -> None:
    path = make.write_pyramid(tmp_path / "a.tif", [make.smooth(WIDTH, HEIGHT)], compression="jpeg")
    with tifffile.TiffFile(path) as file:
        start, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    content = bytearray(path.read_bytes())
    frame = content.index(b"\xff\xc0", start, start + count)
    assert declared_size(bytes(content[start : start + count])) == (64, 64)
    content[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(InputError, match="claims 65,535 × 65,535 px"):
        whole(path, reader="tifffile")


def test_no_message_suggests_a_scale_that_nobody_knows() -> None:
    with pytest.raises(InputError, match="--assume-mpp") as refused:
        require_mpp(Path("S1.tif"), None, None)
    assert not any(sign.isdigit() for sign in str(refused.value).replace("S1", ""))
    with pytest.raises(InputError, match="after any resizing"):
        check_scale(0.5, 1.0)


def test_rows_of_a_table_that_name_no_slide_are_said() -> None:
    table = {"S1.tif": (0.5, 0.5), "S01": (0.5, 0.5)}
    assert "1 of 2 rows" in (note := unused_rows(table, [Path("S1.tif")])) and note.endswith("S01")
    assert unused_rows(table, [Path("S1.tif"), Path("S01.svs")]) == ""


def test_a_missing_extra_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(InputError, match=r"tifffile.*pip install 'counterstain\[slides\]'"):
        require_readers()


@pytest.mark.parametrize("pages", [2, 3])
def test_further_pictures_of_one_size_are_said(make: ModuleType, tmp_path: Path, pages: int) -> None:
    """OpenSlide shows the first of a stack without a word."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for seed in range(pages):
            file.write(make.picture(WIDTH, HEIGHT, seed=seed), photometric="rgb", compression="deflate", **TILES)
    with open_slide(path) as slide:
        assert f"{pages - 1} more pictures of the same size are not read" in slide.info.notes
    assert np.array_equal(whole(path), make.picture(WIDTH, HEIGHT, seed=0))


def test_numbers_without_a_white_point_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.full((HEIGHT, WIDTH, 3), 99, np.int16), photometric="rgb", **TILES)
    with pytest.raises(InputError, match="holds int16, so its white point is not known") as refusal:
        whole(path)
    assert "damaged" not in str(refusal.value)


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(InputError, match="pointer of Git LFS"):
        open_slide(path)
