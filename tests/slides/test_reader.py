"""Every reader gives the same pixels, from many kinds of file, and says in one line what it cannot read."""

import multiprocessing
import os
import pickle
import threading
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.errors import InputError
from counterstain.slides import tiff_grid
from counterstain.slides.openslide_grids import paint
from counterstain.slides.reader import Slide, open_slide
from counterstain.slides.reader_openslide import OpenSlideSlide
from counterstain.slides.tiling import plan_tiles, read_tile

WIDTH, HEIGHT = 331, 205  # no multiple of the file's tiles of 64


def region(slide: Slide, x: int, y: int, wide: int, high: int, level: int = 0) -> Any:
    return slide.read_region(x, y, level=level, width_px=wide, height_px=high)


REGIONS = [
    (0, 0, 64, 64),
    (64, 128, 64, 64),
    (17, 5, 90, 130),
    (256, 128, 128, 128),
    (-20, -7, 50, 40),
    (400, 300, 9, 9),
]

LOSSLESS = {
    "deflate": {"compression": "deflate"},
    "uncompressed": {"compression": None},
    "lzw with predictor": {"compression": "lzw", "predictor": True},
    "zstd": {"compression": "zstd"},
    "jpeg 2000": {"compression": "jpeg2000", "compressionargs": {"level": 0}},
    "strips": {"tile": None, "rowsperstrip": 16, "compression": "deflate"},
    "one strip": {"tile": None, "compression": None},
    "planes apart": {"compression": "deflate", "planarconfig": "separate"},
    "bigtiff": {"compression": "deflate"},
    "tiles that are not square": {"tile": (32, 80), "compression": "deflate"},
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_are_read_exactly(make: ModuleType, tmp_path: Path, kind: str) -> None:
    image = make.picture(WIDTH, HEIGHT)
    options = LOSSLESS[kind]
    data = np.moveaxis(image, 2, 0) if kind == "planes apart" else image
    path = make.write_pyramid(tmp_path / "a.tif", [data], **options)
    with open_slide(path) as slide:
        assert slide.info.size_px == (WIDTH, HEIGHT)
        for x, y, wide, high in REGIONS:
            np.testing.assert_array_equal(region(slide, x, y, wide, high), make.cut(image, x, y, wide, high))


def test_the_same_slide_through_every_reader(make: ModuleType, tmp_path: Path) -> None:
    image = make.picture(WIDTH, HEIGHT)
    path = make.write_pyramid(tmp_path / "a.tif", [image, make.halved(image)], compression="deflate")
    for reader in ("auto", "openslide", "tifffile"):
        with open_slide(path, reader=reader) as slide:
            for x, y, wide, high in REGIONS:
                np.testing.assert_array_equal(region(slide, x, y, wide, high), make.cut(image, x, y, wide, high))


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
@pytest.mark.parametrize("description", [None, "aperio"])
def test_jpeg_tiles_come_out_as_openslide_decodes_them(
    make: ModuleType, tmp_path: Path, subsampling: tuple[int, int], description: str | None
) -> None:
    image = make.smooth(WIDTH, HEIGHT)
    words = make.APERIO.format(w=WIDTH, h=HEIGHT) if description else None
    path = make.write_pyramid(
        tmp_path / "a.svs", [image, make.halved(image)], compression="jpeg", compressionargs={"level": 80},
        subsampling=subsampling, description=words,
    )  # fmt: skip
    with OpenSlideSlide(path) as direct, OpenSlideSlide(path, direct=False) as plain:
        assert all(direct._grids), "nothing was decoded directly, so nothing was compared"
        assert not any(plain._grids)
        with open_slide(path, reader="tifffile") as other:
            for box in REGIONS:
                np.testing.assert_array_equal(region(direct, *box), region(plain, *box))
                np.testing.assert_array_equal(region(direct, *box), region(other, *box))
    # Against the picture that went in, JPEG is off by its own loss and no more.
    assert np.abs(region(open_slide(path), 0, 0, WIDTH, HEIGHT).astype(int) - image).mean() < 3


def test_a_level_of_odd_size_is_read_px_by_px(make: ModuleType, tmp_path: Path) -> None:
    """331 / 165 is 2.006: OpenSlide drifts by a px and interpolates; the factor that the writer used is 2."""
    image = make.picture(WIDTH, HEIGHT)
    half = make.halved(image)
    path = make.write_pyramid(tmp_path / "a.tif", [image, half], compression="deflate")
    for reader in ("openslide", "tifffile"):
        with open_slide(path, reader=reader) as slide:
            assert slide.info.levels[1].downsample_x == 2
            np.testing.assert_array_equal(region(slide, 200, 100, 60, 50, level=1), make.cut(half, 100, 50, 60, 50))
            np.testing.assert_array_equal(region(slide, 201, 101, 60, 50, level=1), make.cut(half, 101, 51, 60, 50))


@settings(max_examples=60)
@given(x=st.integers(-300, 700), y=st.integers(-300, 700), wide=st.integers(1, 300), high=st.integers(1, 300))
def test_any_region_of_any_grid(
    make: ModuleType, tmp_path_factory: pytest.TempPathFactory, x: int, y: int, wide: int, high: int
) -> None:
    image = make.picture(WIDTH, HEIGHT)
    path = tmp_path_factory.getbasetemp() / "any.tif"
    if not path.exists():
        make.write_pyramid(path, [image], compression="deflate")
    with open_slide(path, reader="tifffile") as slide:
        np.testing.assert_array_equal(region(slide, x, y, wide, high), make.cut(image, x, y, wide, high))


def test_16_bits_are_scaled_and_agree_with_openslide(make: ModuleType, tmp_path: Path) -> None:
    image = make.picture(WIDTH, HEIGHT)
    deep = image.astype(np.uint16) * 257
    path = make.write_pyramid(tmp_path / "a.tif", [deep], compression="deflate")
    with open_slide(path) as slide:
        assert slide.info.reader.startswith("tifffile")
        np.testing.assert_array_equal(region(slide, 10, 20, 100, 90), image[20:110, 10:110])
    deep = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    path = make.write_pyramid(tmp_path / "b.tif", [deep], compression="deflate")
    pair = [region(open_slide(path, reader=name), 10, 20, 100, 90).astype(int) for name in ("openslide", "tifffile")]
    assert np.abs(pair[0] - pair[1]).max() <= 1
    np.testing.assert_array_equal(pair[1], np.rint(deep[20:110, 10:110] / 257).astype(int))


def test_grey_alpha_and_inverted_pages(make: ModuleType, tmp_path: Path) -> None:
    grey = make.picture(WIDTH, HEIGHT)[:, :, 0]
    for name, stored in (("minisblack", grey), ("miniswhite", 255 - grey)):
        path = make.write_pyramid(tmp_path / f"{name}.tif", [stored], photometric=name, compression="deflate")
        with open_slide(path, reader="tifffile") as slide:
            np.testing.assert_array_equal(region(slide, 3, 4, 70, 60), np.repeat(grey[4:64, 3:73, None], 3, axis=2))
    colour = make.picture(WIDTH, HEIGHT)
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:, :100], alpha[:, 100:200] = 0, 51
    path = make.write_pyramid(
        tmp_path / "rgba.tif",
        [np.concatenate([colour, alpha], axis=2)],
        compression="deflate",
        extrasamples=["UNASSALPHA"],
    )
    found = region(open_slide(path, reader="tifffile"), 0, 0, WIDTH, HEIGHT)
    assert (found[:, :100] == 255).all()
    np.testing.assert_array_equal(found[:, 100:200], np.rint(colour[:, 100:200] * 0.2 + 255 * 0.8).astype(np.uint8))
    np.testing.assert_array_equal(found[:, 200:], colour[:, 200:])


def test_openslides_alpha_is_laid_on_white() -> None:
    class Stub:
        level_downsamples = (1.0,)

        def read_region(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> Any:
            return np.full((size[1], size[0], 4), (100, 0, 200, 51), np.uint8)

    np.testing.assert_array_equal(paint(Stub(), 0, 0, level=0, width_px=2, height_px=1)[0, 0], [224, 204, 244])


def test_ome_tiff_with_sub_ifds(make: ModuleType, tmp_path: Path) -> None:
    image = make.picture(WIDTH, HEIGHT)
    half = make.halved(image)
    path = make.write_ome(tmp_path / "a.ome.tif", [image, half, make.halved(half)], mpp=(250.0, 251.0), unit="nm")
    with open_slide(path) as slide:
        info = slide.info
        assert (info.mpp_x, info.mpp_y, info.mpp_source) == (0.25, 0.251, "file")
        assert [(one.width_px, one.downsample_x) for one in info.levels] == [(331, 1), (165, 2), (82, 4)]
        np.testing.assert_array_equal(region(slide, 40, 60, 80, 70, level=1), half[30:100, 20:100])


def test_ome_tiff_with_a_page_a_colour(make: ModuleType, tmp_path: Path) -> None:
    image = make.picture(WIDTH, HEIGHT)
    path = make.write_ome(tmp_path / "a.ome.tif", [np.moveaxis(image, 2, 0)], photometric="minisblack", axes="CYX")
    with open_slide(path) as slide:
        np.testing.assert_array_equal(region(slide, 40, 60, 80, 70), image[60:130, 40:120])


def test_dicom_whole_slide_of_two_levels(make: ModuleType, tmp_path: Path) -> None:
    image = make.picture(320, 192)
    half = make.halved(image)
    path = make.write_dicom(tmp_path / "a.dcm", image, mpp=(0.25, 0.26))
    make.write_dicom(tmp_path / "b.dcm", half, mpp=(0.5, 0.52), number=2)
    with open_slide(path) as slide:
        info = slide.info
        assert (info.vendor, info.mpp_source) == ("dicom", "file")
        assert (info.mpp_x, info.mpp_y) == pytest.approx((0.25, 0.26))
        assert [one.width_px for one in info.levels] == [320, 160]
        for x, y, wide, high in REGIONS:
            np.testing.assert_array_equal(region(slide, x, y, wide, high), make.cut(image, x, y, wide, high))
            found = region(slide, 2 * x, 2 * y, wide, high, level=1)
            np.testing.assert_array_equal(found, make.cut(half, x, y, wide, high))


def test_label_and_macro_are_not_levels(make: ModuleType, tmp_path: Path) -> None:
    image = make.smooth(WIDTH, HEIGHT)
    path = tmp_path / "a.svs"
    words = make.APERIO.format(w=WIDTH, h=HEIGHT)
    tiles, strips = {"tile": (64, 64), "metadata": None}, {"rowsperstrip": 16, "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(image, description=words, compression="jpeg", **tiles)
        file.write(make.smooth(165, 102), description="thumbnail", compression="jpeg", **strips)
        file.write(make.halved(image), description=words, compression="jpeg", **tiles)
        file.write(make.smooth(80, 49), description=f"{words}\nmacro 80x49", compression="jpeg", **tiles)
        file.write(make.smooth(90, 90), description=f"{words}\nlabel 90x90", compression="lzw", **strips)
    with open_slide(path, reader="tifffile") as slide:
        assert [one.width_px for one in slide.info.levels] == [331, 165]


def test_bounds_come_from_openslide(make: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make.write_pyramid(tmp_path / "a.tif", [make.picture(WIDTH, HEIGHT)], compression="deflate")
    bounds = {"x": 10, "y": 20, "width": 200, "height": 100}

    class Bounded(openslide.OpenSlide):
        @property
        def properties(self) -> Any:
            return {**super().properties, **{f"openslide.bounds-{name}": str(value) for name, value in bounds.items()}}

    monkeypatch.setattr(openslide, "OpenSlide", Bounded)
    with open_slide(path) as slide:
        assert slide.info.bounds == slide.info.area == (10, 20, 200, 100)


@pytest.mark.parametrize("reader", ["openslide", "tifffile"])
def test_a_slide_travels_as_its_path(make: ModuleType, tmp_path: Path, reader: str) -> None:
    image = make.picture(WIDTH, HEIGHT)
    path = make.write_pyramid(tmp_path / "a.tif", [image], compression="deflate")
    slide = open_slide(path, reader=reader, assume_mpp=0.5)
    parcel = pickle.dumps(slide)
    assert len(parcel) < 1000
    there = pickle.loads(parcel)
    assert there.info == slide.info
    np.testing.assert_array_equal(region(there, 5, 6, 90, 80), image[6:86, 5:95])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.parametrize("direct", [True, False])
def test_worker_processes_read_the_same(make: ModuleType, tmp_path: Path, method: str, direct: bool) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    image = make.picture(WIDTH, HEIGHT)
    path = make.write_pyramid(tmp_path / "a.tif", [image], compression="deflate")
    slide = OpenSlideSlide(path, assume_mpp=0.5, direct=direct)
    tiling = plan_tiles(slide, mpp=0.5, tile_px=70)
    region(slide, 0, 0, 64, 64)
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.starmap(read_tile, [(slide, tiling, row) for row in range(len(tiling))])
    for (x, y), tile in zip(tiling.coords.tolist(), found, strict=True):
        np.testing.assert_array_equal(tile, make.cut(image, x, y, 70, 70))


@pytest.mark.parametrize("reader", ["openslide", "tifffile"])
def test_threads_share_a_slide(make: ModuleType, tmp_path: Path, reader: str) -> None:
    image = make.picture(700, 700)
    path = make.write_pyramid(tmp_path / "a.tif", [image], compression="deflate")
    wrong: list[tuple[int, int]] = []
    with open_slide(path, reader=reader) as slide:

        def read(seed: int) -> None:
            for x, y in np.random.default_rng(seed).integers(0, 600, (60, 2)).tolist():
                if not np.array_equal(region(slide, x, y, 90, 70), make.cut(image, x, y, 90, 70)):
                    wrong.append((x, y))

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


@pytest.mark.slow
def test_memory_and_reading_do_not_grow_with_the_slide(
    make: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make.write_pyramid(
        tmp_path / "a.tif", [np.full((12_000, 12_000, 3), 200, np.uint8)], compression="deflate", tile=(256, 256)
    )
    read = []
    plain = tiff_grid.read_at
    monkeypatch.setattr(tiff_grid, "read_at", lambda *a: read.append(a[1]) or plain(*a))
    tracemalloc.start()
    with open_slide(path, reader="tifffile") as slide:
        assert not read
        for x in range(0, 11_000, 500):
            region(slide, x, 5000, 256, 256)
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(read) <= 4 * 22, "each tile touches four blocks at most"
    assert peak < 80e6, "the level is 432 MB"


REFUSED = {
    "words": ("words.svs", lambda path, _: path.write_text("no slide"), "not a slide"),
    "an empty file": ("empty.tif", lambda path, _: path.write_bytes(b""), "not a slide"),
    "a PNG": ("a.png", lambda path, make: tifffile_png(path, make), "verbs for tiles"),
    "five channels": ("five.tif", lambda path, make: five(path), "5 channels"),
    "a palette": ("palette.tif", lambda path, make: palette(path), "palette"),
    "a stack": ("z.ome.tif", lambda path, make: stack(path), "stack"),
    "half a file": ("half.tif", lambda path, make: half_a_file(path, make), "not a slide|cannot be|cut off"),
    "one huge block": ("huge.tif", lambda path, make: huge(path), "tiled TIFF"),
}


def tifffile_png(path: Path, make: ModuleType) -> None:
    from PIL import Image

    Image.fromarray(make.picture(64, 64)).save(path)


def five(path: Path) -> None:
    tifffile.imwrite(
        path, np.zeros((80, 80, 5), np.uint8), tile=(64, 64), planarconfig="contig", photometric="minisblack"
    )


def palette(path: Path) -> None:
    colours = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(path, np.zeros((80, 80), np.uint8), photometric="palette", colormap=colours)


def stack(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((4, 80, 80, 3), np.uint8), ome=True, photometric="rgb", metadata={"axes": "ZYXS"})


def half_a_file(path: Path, make: ModuleType) -> None:
    make.write_pyramid(path, [make.picture(WIDTH, HEIGHT)], compression="deflate")
    path.write_bytes(path.read_bytes()[:3000])


def huge(path: Path) -> None:
    image = np.zeros((8200, 8200, 3), np.uint8)
    tifffile.imwrite(path, image, compression="deflate", rowsperstrip=8200, photometric="rgb")


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_slide_is_refused_in_one_line(make: ModuleType, tmp_path: Path, kind: str) -> None:
    name, write, words = REFUSED[kind]
    path = tmp_path / name
    write(path, make)
    with pytest.raises(InputError, match=words) as refused:
        region(open_slide(path), 0, 0, WIDTH, HEIGHT)
    assert "\n" not in str(refused.value)
    assert name in str(refused.value)


def test_a_missing_file_a_folder_and_an_unknown_reader(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_slide(tmp_path / "no.svs")
    with pytest.raises(InputError, match="is a folder"):
        open_slide(tmp_path)
    with pytest.raises(InputError, match="reader is 'vips'"):
        open_slide(tmp_path, reader="vips")


@pytest.mark.parametrize("compression", ["jpeg", "deflate"])
def test_a_damaged_tile_is_named_and_the_rest_still_read(make: ModuleType, tmp_path: Path, compression: str) -> None:
    image = make.smooth(WIDTH, HEIGHT)
    path = make.write_pyramid(tmp_path / "a.tif", [image], compression=compression)
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = os.urandom(count)
    path.write_bytes(content)
    with open_slide(path) as slide:
        with pytest.raises(InputError, match=r"a\.tif cannot be read .*damaged"):
            region(slide, 0, 0, 64, 64)
        region(slide, 64, 64, 64, 64)


@pytest.mark.realdata
def test_a_real_aperio_slide(real_data: Path) -> None:
    path = real_data / "slides" / "CMU-1-Small-Region.svs"
    plain = openslide.OpenSlide(path)
    rng = np.random.default_rng(0)
    boxes = [(240 * column, 240 * row, 240, 240) for column in range(10) for row in range(13)]
    boxes += [(int(x), int(y), 333, 257) for x, y in rng.integers(-100, 2900, (40, 2))]
    with open_slide(path) as slide, open_slide(path, reader="tifffile") as other:
        info = slide.info
        assert (info.mpp_x, info.objective, info.mpp_source, info.size_px) == (0.499, 20, "file", (2220, 2967))
        assert len(info.levels) == len(other.info.levels) == 1
        assert (other.info.mpp_x, other.info.objective) == (0.499, 20)
        for x, y, wide, high in boxes:
            rgba = np.asarray(plain.read_region((x, y), 0, (wide, high))).astype(int)
            white = rgba[:, :, :3] + 255 - rgba[:, :, 3:]
            np.testing.assert_array_equal(region(slide, x, y, wide, high), white)
            np.testing.assert_array_equal(region(other, x, y, wide, high), white)


@pytest.mark.realdata
def test_a_real_ome_tiff_whose_jpeg_says_rgb_and_means_ycbcr(real_data: Path) -> None:
    path = real_data / "slides" / "OS-1-detail.ome.tif"
    whole = tifffile.imread(path)
    with open_slide(path) as slide:
        assert slide.info.mpp_x == pytest.approx(0.2271, abs=1e-4)
        np.testing.assert_array_equal(region(slide, 0, 0, 1101, 1101), whole)
        np.testing.assert_array_equal(region(slide, 400, 500, 300, 200), whole[500:700, 400:700])
