"""The decoder on good images, on odd ones that it puts right, and on those that it refuses."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from decode_images import png_of, refusal, saved
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from counterstain.errors import InputError
from counterstain.images.decode import BadImage, decode, decode_content, decoder_version, hash_content, read_content

Picture = NDArray[np.uint8]
Tiff = Callable[..., bytes]


# ---- what is plain


@pytest.mark.parametrize(("kind", "name"), [("PNG", "x.png"), ("TIFF", "x.tif"), ("BMP", "x.BMP")])
def test_lossless_formats_give_back_the_pixels(picture: Picture, kind: str, name: str) -> None:
    decoded = decode_content(saved(picture, kind), name)
    assert np.array_equal(decoded.pixels, picture)
    assert decoded.pixels.dtype == np.uint8 and decoded.pixels.flags.c_contiguous
    assert decoded.notes == () and decoded.colour and decoded.mpp is None


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_gives_back_the_pixels(picture: Picture, compression: str) -> None:
    assert np.array_equal(decode_content(saved(picture, "TIFF", compression=compression), "x.tif").pixels, picture)


def test_jpeg_is_what_pillow_makes_of_it(picture: Picture) -> None:
    content = saved(picture, "JPEG", quality=90)
    assert np.array_equal(decode_content(content, "x.jpg").pixels, np.asarray(Image.open(io.BytesIO(content))))


def test_decode_reads_below_the_root(tmp_path: Path, picture: Picture) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.png").write_bytes(saved(picture, "PNG"))
    assert np.array_equal(decode("a/b/x.png", root=tmp_path).pixels, picture)
    assert np.array_equal(decode(tmp_path / "a" / "b" / "x.png").pixels, picture)


def test_content_hash_is_that_of_the_bytes_or_the_numbers(tmp_path: Path, picture: Picture) -> None:
    (tmp_path / "x.png").write_bytes(saved(picture, "PNG"))
    assert hash_content(read_content("x.png", root=tmp_path)) == hash_content(saved(picture, "PNG"))
    assert hash_content(picture) == hash_content(picture.copy()) != hash_content(picture.reshape(64, 48, 3))


def test_decoder_version_names_what_decodes() -> None:
    assert "pillow" in decoder_version() and "libjpeg_turbo" in decoder_version()


# ---- rows 1 to 4: damage


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.jpeg", "x.tif", "x.bmp"])
def test_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(BadImage, match=r"is empty \(0 bytes\)"):
        decode(name, root=tmp_path)


@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "TIFF", "TIFF lzw", "BMP"])
def test_cut_file_is_refused_unless_every_row_is_there(picture: Picture, kind: str) -> None:
    options: dict[str, object] = {"compression": "tiff_lzw"} if "lzw" in kind else {}
    options |= {"progressive": True} if "progressive" in kind else {}
    content = saved(picture, kind.replace("progressive ", "").split()[0], **options)
    whole = decode_content(content, "x").pixels
    cuts = {len(content) * percent // 100 for percent in range(5, 100, 5)} | {len(content) - n for n in range(1, 20)}
    refused = 0
    for cut in sorted(cuts):
        try:
            pixels = decode_content(content[:cut], "x").pixels
        except BadImage:
            refused += 1
        else:  # only what stands behind the pixels was cut
            assert cut > 0.95 * len(content) and np.array_equal(pixels, whole), cut
    assert refused >= 19


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "TIFF lzw", "BMP"])
def test_flipped_bits_never_crash_and_never_pass_for_the_same_file(picture: Picture, kind: str) -> None:
    options = {"compression": "tiff_lzw"} if "lzw" in kind else {}
    content = saved(picture, kind.split()[0], **options)
    original = hash_content(content)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        bad = bytearray(content)
        bad[rng.integers(len(bad) if rng.random() < 0.5 else 200)] ^= 1 << int(rng.integers(8))
        assert hash_content(bytes(bad)) != original
        try:
            decoded = decode_content(bytes(bad), "x")
        except BadImage as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert decoded.pixels.ndim == 3 and decoded.pixels.shape[2] == 3
    assert refused > 0


def test_random_bytes_behind_a_right_beginning_never_crash() -> None:
    rng = np.random.default_rng(1)
    for magic in (
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"II*\x00\x08\x00\x00\x00",
        b"MM\x00+\x00\x08\x00\x00",
        b"BM",
    ):
        for _ in range(30):
            assert refusal(magic + rng.bytes(int(rng.integers(0, 400)))).startswith("x.png: ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"just some text, no image", "not an image"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"GIF89a" + bytes(40), "a GIF"),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(40), "a WebP"),
        (b"SIMPLE  =                    T" + bytes(60), "a FITS file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "an EPS"),
        (b"8BPS\0\1" + bytes(40), "Photoshop"),
        (b"icns" + bytes(40), "an icon"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(40), "JPEG 2000"),
        (b"\x00\x00\x01\x00\x01\x00" + bytes(40), "not an image"),
        (b"P6 16 16 255\n" + bytes(768), "not an image"),
        (b"PK\x03\x04" + bytes(40), "a ZIP archive"),
        (bytes(300), "not an image"),
    ],
)
def test_other_files_are_refused_by_content(content: bytes, words: str) -> None:
    message = refusal(content)
    assert words in message and "PNG, JPEG, TIFF and BMP are read" in message


# ---- row 5: the wrong suffix


@pytest.mark.parametrize(("kind", "name"), [("PNG", "x.jpg"), ("JPEG", "x.png"), ("TIFF", "x.bmp"), ("BMP", "x")])
def test_type_goes_by_content_and_the_suffix_is_noted(picture: Picture, kind: str, name: str) -> None:
    decoded = decode_content(saved(picture, kind), name)
    assert any(note.startswith(f"{kind} by content, named") for note in decoded.notes)


# ---- rows 10 to 12: depth


RAMP = np.tile(np.linspace(0, 65_535, 256).round().astype(np.uint16), (32, 1))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(kind: str) -> None:
    decoded = decode_content(saved(Image.fromarray(RAMP), kind), "x.png")
    check_ramp(decoded.pixels)
    assert any("16 bits scaled to 8" in note for note in decoded.notes) and not decoded.colour


def check_ramp(pixels: NDArray[np.uint8]) -> None:
    wanted = np.arange(256)
    assert all(np.abs(pixels[5, :, channel].astype(int) - wanted).max() <= 1 for channel in range(3))
    assert abs(pixels.mean() - 127.5) < 1.275
    assert np.corrcoef(pixels[0, :, 0], wanted)[0, 1] > 0.999


def test_16_bit_grey_is_rounded_not_cut() -> None:
    pixels = decode_content(saved(Image.fromarray(RAMP), "PNG"), "x.png").pixels
    assert np.array_equal(pixels[0, :, 0], np.rint(RAMP[0] / 257).astype(np.uint8))


def test_16_bit_grey_with_white_as_zero_is_turned_round(tiff: Tiff) -> None:
    pixels = decode_content(tiff(65_535 - RAMP, photometric=0), "x.tif").pixels
    check_ramp(pixels)
    assert (pixels.min(), pixels.max()) == (RAMP.min() // 257, RAMP.max() // 257)


def test_12_bit_numbers_in_16_bits_are_noted() -> None:
    decoded = decode_content(saved(Image.fromarray(RAMP // 16), "PNG"), "x.png")
    assert decoded.pixels.max() == 16 and any("12 bits stored as 16" in note for note in decoded.notes)


def test_16_bit_rgb_is_scaled_and_noted(tiff: Tiff) -> None:
    deep = np.stack([RAMP] * 3, axis=2)
    by_hand = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    for content, name in ((tiff(deep), "x.tif"), (png_of(256, 32, depth=16, colour=2, data=by_hand), "x.png")):
        decoded = decode_content(content, name)
        check_ramp(decoded.pixels)
        assert any("16 bits a channel" in note for note in decoded.notes), name


def test_float_from_0_to_1_is_scaled(tiff: Tiff) -> None:
    decoded = decode_content(tiff((RAMP / 65_535).astype(np.float32)), "x.tif")
    check_ramp(decoded.pixels)
    assert decoded.pixels.max() > 250 and "floats" in decoded.notes[0]


def test_float_with_white_as_zero_is_turned_round(tiff: Tiff) -> None:
    pixels = decode_content(tiff((1 - RAMP / 65_535).astype(np.float32), photometric=0), "x.tif").pixels
    check_ramp(pixels)
    assert pixels.max() > 250


@pytest.mark.parametrize("high", [255.0, 1.5, np.nan, np.inf])
def test_float_of_another_range_is_refused(tiff: Tiff, high: float) -> None:
    values = (RAMP / 65_535).astype(np.float32)
    values[3, 3] = high
    assert "floats must lie in 0 to 1" in refusal(tiff(values), "x.tif")


def test_negative_float_is_refused(tiff: Tiff) -> None:
    assert "floats must lie in 0 to 1" in refusal(tiff((RAMP / 65_535 - 0.5).astype(np.float32)), "x.tif")


@pytest.mark.parametrize("dtype", [np.int16, np.uint32])
def test_signed_and_32_bit_numbers_are_refused(tiff: Tiff, dtype: type) -> None:
    assert "white is not known" in refusal(tiff((RAMP // 4).astype(dtype)), "x.tif")


# ---- rows 13 to 15, 21: colour


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted_and_noted(picture: Picture, kind: str) -> None:
    decoded = decode_content(
        saved(Image.fromarray(picture).convert("CMYK"), kind, **{"quality": 95} if kind == "JPEG" else {}), "x"
    )
    assert np.abs(decoded.pixels.astype(int) - picture).mean() < 12
    assert any("CMYK" in note for note in decoded.notes)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "RGB"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_every_mode_becomes_three_channels(picture: Picture, mode: str, kind: str) -> None:
    if kind == "BMP" and mode == "LA":
        pytest.skip("BMP has no such mode")
    decoded = decode_content(saved(Image.fromarray(picture).convert(mode), kind), f"x.{kind.lower()}")
    assert decoded.pixels.shape == (48, 64, 3) and decoded.pixels.dtype == np.uint8
    assert decoded.colour == (mode in ("P", "RGB", "RGBA"))
    assert mode not in ("1", "L", "P") or decoded.notes != ()


def test_transparency_is_laid_on_white() -> None:
    pixels = np.zeros((20, 20, 4), np.uint8)
    pixels[:, 10:, 3] = 255
    pixels[0, 0] = (100, 0, 200, 51)
    decoded = decode_content(saved(pixels, "PNG"), "x.png")
    assert (decoded.pixels[5, :10] == 255).all() and (decoded.pixels[5, 10:] == 0).all()
    assert decoded.pixels[0, 0].tolist() == [224, 204, 244]  # a fifth of the colour and four fifths of 255
    assert decoded.notes == ("transparent in 50.0% of its pixels, laid on white",)


def test_wholly_transparent_is_white_and_opaque_alpha_is_no_note(picture: Picture) -> None:
    clear = np.dstack([picture, np.zeros(picture.shape[:2], np.uint8)])
    assert (decode_content(saved(clear, "PNG"), "x.png").pixels == 255).all()
    opaque = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    decoded = decode_content(saved(opaque, "PNG"), "x.png")
    assert np.array_equal(decoded.pixels, picture) and decoded.notes == ()


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_transparent_colour_of_a_png_is_laid_on_white(mode: str) -> None:
    image = Image.new(mode, (20, 20), 0)
    image.paste(Image.new(mode, (20, 10), 1 if mode == "P" else "red" if mode == "RGB" else 90))
    decoded = decode_content(saved(image, "PNG", transparency=(0, 0, 0) if mode == "RGB" else 0), "x.png")
    assert (decoded.pixels[15] == 255).all() and not (decoded.pixels[5] == 255).all()
    assert any("laid on white" in note for note in decoded.notes)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_colour_profile_is_noted(picture: Picture, kind: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert "colour profile ignored" in decode_content(saved(picture, kind, icc_profile=profile), "x").notes


def test_lab_is_refused(picture: Picture) -> None:
    lab = ImageCms.profileToProfile(
        Image.fromarray(picture), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None and "colour space LAB" in refusal(saved(lab, "TIFF"), "x.tif")


def test_colour_needs_a_spread_that_jpeg_does_not_make(picture: Picture) -> None:
    grey = np.repeat(picture[:, :, :1], 3, axis=2)
    assert not decode_content(saved(grey, "JPEG", quality=60), "x.jpg").colour
    assert not decode_content(saved(grey + np.array([0, 8, 0], np.uint8) * (grey < 240), "PNG"), "x.png").colour
    one = grey.copy()
    one[17, 33] = (200, 100, 100)  # a single pixel
    assert decode_content(saved(one, "PNG"), "x.png").colour


# ---- row 16: orientation


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_carried_out(picture: Picture, kind: str, orientation: int) -> None:
    # What a camera held so would have stored: the inverse of what is to be carried out (EXIF 2.3, tag 274).
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, 1),
        7: np.rot90(picture, 2).transpose(1, 0, 2),
        8: np.rot90(picture, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    content = saved(
        np.ascontiguousarray(stored), kind, exif=exif, **({"quality": 98, "subsampling": 0} if kind == "JPEG" else {})
    )
    decoded = decode_content(content, "x")
    assert decoded.pixels.shape == picture.shape
    assert np.abs(decoded.pixels.astype(int) - picture).max() <= (12 if kind == "JPEG" else 0)
    assert any("orientation" in note for note in decoded.notes) == (orientation > 1)


def test_damaged_exif_does_not_lose_the_image(picture: Picture) -> None:
    content = saved(picture, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, as while building a store
        assert decode_content(content, "x.jpg").pixels.shape == (48, 64, 3)
    assert "Corrupt EXIF data" in refusal(content, "x.jpg")  # where warnings are errors, as here


# ---- rows 17 to 19: shape


def test_several_pages_are_refused(picture: Picture) -> None:
    image = Image.fromarray(picture)
    other = Image.fromarray(picture[::-1].copy())
    five = saved(image, "TIFF", save_all=True, append_images=[other] * 4)
    assert "holds 5 pages, the first of 48 × 64 px" in refusal(five, "x.tif")
    assert "holds 2 pages" in refusal(saved(image, "PNG", save_all=True, append_images=[other]), "x.png")
    many = saved(Image.new("L", (16, 16)), "TIFF", save_all=True, append_images=[Image.new("L", (16, 16))] * 149)
    assert "holds at least 100 pages" in refusal(many, "x.tif")


def test_five_channels_are_refused_with_their_shape(tiff: Tiff, picture: Picture) -> None:
    five = np.dstack([picture, picture[:, :, :2]])
    assert "shape (48, 64, 5)" in refusal(tiff(five, photometric=1), "x.tif")
    assert "shape (48, 64, 7), whole numbers of 16 bits" in refusal(
        tiff(np.dstack([five, picture[:, :, :2]]).astype(np.uint16), photometric=1), "x.tif"
    )


def test_first_picture_of_a_jpeg_with_several_is_read_and_noted(picture: Picture) -> None:
    two = saved(Image.fromarray(picture), "MPO", save_all=True, append_images=[Image.fromarray(picture[::-1].copy())])
    decoded = decode_content(two, "x.jpg")
    assert np.abs(decoded.pixels.astype(int) - picture).mean() < 8
    assert "holds further pictures, the first was read" in decoded.notes


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (15, 40), (16, 321), (321, 16)])
def test_too_small_or_too_long_is_refused(size: tuple[int, int]) -> None:
    assert " px; " in refusal(saved(Image.new("RGB", size), "PNG"))


@pytest.mark.parametrize("size", [(16, 16), (16, 320), (320, 16)])
def test_smallest_and_longest_are_read(size: tuple[int, int]) -> None:
    assert decode_content(saved(Image.new("RGB", size), "PNG"), "x.png").pixels.shape == (size[1], size[0], 3)


def test_no_rows_at_all_is_refused() -> None:
    for content in (png_of(0, 10), png_of(10, 0)):
        assert "damaged or cut off PNG" in refusal(content)


def test_blank_tile_and_trailing_archive_are_read(picture: Picture) -> None:
    assert not decode_content(saved(np.full((64, 64, 3), 255, np.uint8), "PNG"), "x.png").colour
    content = saved(picture, "JPEG")
    assert np.array_equal(
        decode_content(content + b"PK\x03\x04zip", "x.jpg").pixels, decode_content(content, "x.jpg").pixels
    )


# ---- µm per pixel


def test_resolution_is_read_where_it_can_be_believed(picture: Picture) -> None:
    image = Image.fromarray(picture)
    at_half = {"resolution": 20_000.0, "resolution_unit": "cm"}
    assert decode_content(saved(image, "TIFF", **at_half), "x.tif").mpp == pytest.approx(0.5)
    assert decode_content(saved(image, "PNG", dpi=(50_800, 50_800)), "x.png").mpp == pytest.approx(0.5, rel=1e-3)
    assert decode_content(saved(image, "JPEG", dpi=(72, 72)), "x.jpg").mpp is None
    assert (
        decode_content(
            saved(image, "TIFF", x_resolution=20_000, y_resolution=10_000, resolution_unit="cm"), "x.tif"
        ).mpp
        is None
    )
    aperio = decode_content(saved(image, "TIFF", description="Aperio Image|AppMag = 20|MPP = 0.4990"), "x.tif")
    assert aperio.mpp == 0.499


def test_text_of_a_png_does_not_matter(picture: Picture) -> None:
    text = PngInfo()
    text.add_text("patient", "Jane Doe")
    assert decode_content(saved(picture, "PNG", pnginfo=text), "x.png").notes == ()


def test_bad_image_is_the_users_to_mend() -> None:
    assert issubclass(BadImage, InputError)
