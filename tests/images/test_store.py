"""The tile store: right pixels, the same bytes always, whole or not there, and opened rather than built again."""

import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from stored import flip_byte

from counterstain.cohort.cohort import Cohort
from counterstain.errors import InputError
from counterstain.images import store_build, store_check, store_files
from counterstain.images.decode import decode
from counterstain.images.store import Store, build_store, open_store, read_batch
from counterstain.images.tile import fit_tile

Make = Callable[[int], Any]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def age(images: Any, seconds: float = 3600) -> None:
    """Let the files look as if written long ago."""
    then = time.time() - seconds
    for path in images.root.iterdir():
        os.utime(path, (then, then))


def without(images: Any, *names: str) -> Any:
    keep = ~images.table["image_path"].isin(names)
    return dataclasses.replace(images, table=images.table[keep].reset_index(drop=True))


def test_tiles_are_the_decoded_and_fitted_images(images: Make, tmp_path: Path) -> None:
    cohort = images(7)
    store = build_store(cohort, tmp_path / "store", tile_px=40)
    assert store.image == tuple(cohort.table["image_path"]) and store.set_aside == ()
    for name, tile in zip(store.image, store.tiles, strict=True):
        pixels = decode(name, root=cohort.root).pixels
        assert np.array_equal(tile, fit_tile(pixels, name, tile_px=40, fit="stretch"))
    assert store.tiles.dtype == np.uint8 and store.tiles.shape == (7, 40, 40, 3)
    assert store.colour.all() and store.size_px.tolist() == [[48, 64]] * 7 and np.isnan(store.mpp).all()
    with pytest.raises(ValueError, match="read-only"):
        store.tiles[0] = 0


def test_thread_count_and_time_change_no_byte(images: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_build, "_CHUNK_IMAGES", 3)
    cohort = images(20)
    (cohort.root / "005.png").write_bytes(b"no image")
    age(cohort)
    stores = [build_store(cohort, tmp_path / str(n), tile_px=32, threads=n, max_bad=0.1) for n in (1, 4)]
    assert files_of(stores[0].folder) == files_of(stores[1].folder)


def test_progress_counts_every_image(images: Make, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    build_store(images(40), tmp_path / "store", tile_px=16, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (40, 40) and seen == sorted(seen) and len(seen) > 1


# ---- opened, not built


def test_opening_again_decodes_nothing_and_reads_nothing(
    images: Make, tmp_path: Path, built: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = images(5)
    age(cohort)
    monkeypatch.setattr(store_files, "_RACY_NS", 0)  # the time of change cannot be set back
    first = build_store(cohort, tmp_path / "store", tile_px=32)
    monkeypatch.setattr(store_files, "read_content", lambda *_, **__: pytest.fail("an unchanged image was read"))
    again = build_store(cohort, tmp_path / "store", tile_px=32)
    assert len(built) == 5 and again.key == first.key and np.array_equal(again.tiles, first.tiles)
    assert open_store(first.folder).image == first.image


def test_a_touched_image_is_hashed_once_and_nothing_is_built(images: Make, tmp_path: Path, built: list[int]) -> None:
    cohort = images(5)
    age(cohort)
    first = build_store(cohort, tmp_path / "store", tile_px=32)
    os.utime(cohort.root / "003.png", (1e9, 1e9))
    again = build_store(cohort, tmp_path / "store", tile_px=32)
    assert again.key == first.key and len(built) == 5
    assert "1000000000000000000" in (first.folder / "index.csv").read_text()


def test_a_file_changed_at_once_after_the_build_is_noticed(images: Make, tmp_path: Path) -> None:
    """Same size, same time of change: only the freshness of that time says that it cannot be relied on."""
    cohort = images(5)
    path = cohort.root / "003.bmp"
    Image.new("RGB", (48, 48), "red").save(path)
    cohort.table.loc[3, "image_path"] = "003.bmp"
    found = path.stat()
    first = build_store(cohort, tmp_path / "store", tile_px=32)
    Image.new("RGB", (48, 48), "blue").save(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    again = build_store(cohort, tmp_path / "store", tile_px=32)
    assert again.key != first.key and again.tiles[3, 0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("change", ["content", "order", "name", "fewer", "tile_px", "fit"])
def test_whatever_decides_the_tiles_decides_the_key(images: Make, tmp_path: Path, change: str) -> None:
    cohort = images(5)
    options: dict[str, Any] = {"tile_px": 32, "fit": "stretch"}
    first = build_store(cohort, tmp_path / "store", **options)
    if change == "content":
        Image.new("RGB", (50, 50)).save(cohort.root / "002.png")
    elif change == "order":
        cohort = dataclasses.replace(cohort, table=cohort.table[::-1].reset_index(drop=True))
    elif change == "name":
        (cohort.root / "002.png").rename(cohort.root / "other.png")
        cohort.table.loc[2, "image_path"] = "other.png"
    elif change == "fewer":
        cohort = without(cohort, "002.png")
    else:
        options[change] = {"tile_px": 33, "fit": "crop"}[change]
    other = build_store(cohort, tmp_path / "store", **options)
    assert other.key != first.key and open_store(first.folder).key == first.key
    assert (other.data_hash == first.data_hash) == (change in ("order", "tile_px", "fit"))


def test_a_moved_cohort_keeps_its_store(images: Make, tmp_path: Path, built: list[int]) -> None:
    cohort = images(5)
    first = build_store(cohort, tmp_path / "store", tile_px=32)
    cohort.root.rename(tmp_path / "elsewhere")
    moved = dataclasses.replace(cohort, root=tmp_path / "elsewhere")
    assert build_store(moved, tmp_path / "store", tile_px=32).key == first.key and len(built) == 5
    assert str(tmp_path) not in (first.folder / "index.csv").read_text() + (first.folder / "store.json").read_text()


# ---- bad images


def test_bad_images_are_set_aside_with_their_reason(images: Make, tmp_path: Path) -> None:
    cohort = images(40)
    (cohort.root / "003.png").write_bytes((cohort.root / "003.png").read_bytes()[:900])
    (cohort.root / "030.png").unlink()
    store = build_store(cohort, tmp_path / "store", tile_px=32)
    assert [name for name, _ in store.set_aside] == ["003.png", "030.png"]
    assert "cut off PNG" in store.set_aside[0][1] and "does not exist" in store.set_aside[1][1]
    assert len(store.image) == len(store.tiles) == 38 == len(store.colour)
    clean = build_store(without(cohort, "003.png", "030.png"), tmp_path / "store", tile_px=32)
    assert np.array_equal(store.tiles, clean.tiles) and store.data_hash == clean.data_hash
    with pytest.raises(InputError, match=r"'003\.png' is not in the tile store; it was skipped: damaged"):
        store.rows(["000.png", "003.png"])


def test_too_many_bad_images_are_refused_with_the_first_and_the_count(images: Make, tmp_path: Path) -> None:
    cohort = images(12)
    for number in (2, 5, 7):
        (cohort.root / f"{number:03d}.png").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        build_store(cohort, tmp_path / "store", tile_px=32)
    assert str(caught.value) == (
        "3 of 12 images cannot be read (25 %; at most 5 % may be skipped): "
        "first 002.png: is empty (0 bytes); copy it again from its origin"
    )
    assert len(build_store(cohort, tmp_path / "store", tile_px=32, max_bad=0.25).image) == 9


def test_no_usable_image_is_refused_whatever_is_allowed(images: Make, tmp_path: Path) -> None:
    cohort = images(2)
    for path in cohort.root.iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="2 of 2 images cannot be read"):
        build_store(cohort, tmp_path / "store", tile_px=32, max_bad=1)


def test_a_mended_image_comes_back(images: Make, tmp_path: Path) -> None:
    cohort = images(3)
    good = (cohort.root / "001.png").read_bytes()
    (cohort.root / "001.png").write_bytes(b"")
    assert len(build_store(cohort, tmp_path / "store", tile_px=32, max_bad=0.5).image) == 2
    (cohort.root / "001.png").write_bytes(good)
    assert len(build_store(cohort, tmp_path / "store", tile_px=32, max_bad=0.5).image) == 3


def test_exact_refuses_other_sizes(images: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"3 of 3 .* first 000\.png: is 64 × 48 px, not 32 × 32"):
        build_store(images(3), tmp_path / "store", tile_px=32, fit="exact")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fit": "strech"}, "did you mean 'stretch'"),
        ({"tile_px": 8}, "tile_px is 8"),
        ({"max_bad": 5}, "max_bad is 5"),
    ],
)
def test_wrong_settings_are_refused(images: Make, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_store(images(2), tmp_path / "store", **{"tile_px": 32, **options})


# ---- whole or not there


@pytest.mark.parametrize("lock", [True, False])
def test_builders_at_once_agree(
    images: Make, tmp_path: Path, built: list[int], monkeypatch: pytest.MonkeyPatch, lock: bool
) -> None:
    cohort = images(40)
    if not lock:  # as on file systems without locks: both build, the first to finish wins
        monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError("no locks")))
    stores: list[Any] = []
    threads = [
        threading.Thread(target=lambda: stores.append(build_store(cohort, tmp_path / "store", tile_px=32)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({store.key for store in stores}) == 1 and len(stores) == 3
    assert not lock or len(built) == 40
    assert not list((tmp_path / "store").glob(".building-*"))


def exchange_rows(path: Path) -> None:
    head, one, other, *rest = path.read_text().splitlines()
    path.write_text("\n".join([head, other, one, *rest]) + "\n")


def change_record(folder: Path, **values: object) -> None:
    record = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(record | values))


HARMS: dict[str, Callable[[Path], object]] = {
    "a name in the index": lambda f: (f / "index.csv").write_text(
        (f / "index.csv").read_text().replace("001.png", "00l.png")
    ),
    "half an index": lambda f: (f / "index.csv").write_text((f / "index.csv").read_text()[:150]),
    "other tiles": lambda f: np.save(f / "tiles.npy", np.zeros((2, 32, 32, 3), np.uint8)),
    "another schema": lambda f: (f / "store.json").write_text(
        (f / "store.json").read_text().replace("store/2", "store/1")
    ),
    "an empty record": lambda f: (f / "store.json").write_text("{}"),
    "no JSON": lambda f: (f / "store.json").write_text("{"),
    "wrong types": lambda f: (f / "store.json").write_text(
        (f / "store.json").read_text().replace('"tile_px": 32', '"tile_px": [32]')
    ),
    "one bit of the tiles": lambda f: flip_byte(f / "tiles.npy", -1),
    "one bit of the header": lambda f: flip_byte(f / "tiles.npy", 60),
    "tiles cut off": lambda f: os.truncate(f / "tiles.npy", 200),
    "no tiles": lambda f: (f / "tiles.npy").unlink(),
    "two tiles exchanged": lambda f: np.save(f / "tiles.npy", np.load(f / "tiles.npy")[[1, 0, 2]]),
    "two rows exchanged": lambda f: exchange_rows(f / "index.csv"),
    "tiles and more": lambda f: (f / "tiles.npy").write_bytes((f / "tiles.npy").read_bytes() + bytes(99)),
    "no hashes of blocks": lambda f: change_record(f, blocks=[]),
    "a hash too many": lambda f: change_record(f, blocks=[*json.loads((f / "store.json").read_text())["blocks"], "0"]),
    "another number type": lambda f: np.save(f / "tiles.npy", np.load(f / "tiles.npy").view(np.int8)),
    "Fortran order": lambda f: np.save(f / "tiles.npy", np.asfortranarray(np.load(f / "tiles.npy"))),
}


# A store without its record is none; one with another's pixels is rebuilt, and that is said.
OF_THE_RECORD = ("a name in the index", "half an index", "another schema", "an empty record", "no JSON", "wrong types",
                 "two rows exchanged")  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_store_is_refused_by_name_and_made_again(images: Make, tmp_path: Path, harm: str) -> None:
    cohort = images(3)
    first = build_store(cohort, tmp_path / "store", tile_px=32)
    right = np.array(first.tiles)
    HARMS[harm](first.folder)
    with pytest.raises(InputError, match=r"delete (that|its) folder|not JSON"):
        open_store(first.folder)
    again = build_store(cohort, tmp_path / "store", tile_px=32)
    assert again.folder == first.folder and np.array_equal(again.tiles, right)
    assert bool(again.rebuilt) == (harm not in OF_THE_RECORD)
    assert not build_store(cohort, tmp_path / "store", tile_px=32).rebuilt


def test_damage_beyond_the_first_block_is_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_check, "BLOCK_BYTES", 1000)
    path = tmp_path / "tiles.npy"
    path.write_bytes(os.urandom(4500))
    sums = store_check.block_sums(path)
    assert len(sums) == 5 and sums == store_check.block_sums(path, threads=1)
    store_check.check_blocks(path, sums)
    flip_byte(path, 3500)
    with pytest.raises(InputError, match=r"block 4 of 5 differs .* 4,500 bytes"):
        store_check.check_blocks(path, sums)


def store_then_replaced(cohort: Cohort, folder: Path) -> Store:
    """A store of a cohort, of which then an image is replaced by another of equal size and time."""
    path = cohort.root / "001.bmp"
    Image.new("RGB", (48, 48), "red").save(path)
    os.utime(path, (1e9, 1e9))
    cohort.table.loc[1, "image_path"] = "001.bmp"
    first = build_store(cohort, folder, tile_px=32)
    Image.new("RGB", (48, 48), "blue").save(path)
    os.utime(path, (1e9, 1e9))
    return first


def test_a_file_replaced_with_equal_size_and_time_is_noticed(images: Make, tmp_path: Path) -> None:
    cohort = images(3)
    first = store_then_replaced(cohort, tmp_path / "store")
    again = build_store(cohort, tmp_path / "store", tile_px=32)
    assert again.key != first.key and again.tiles[1, 0, 0].tolist() == [0, 0, 255]


def test_every_image_is_read_again_on_request(images: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = images(3)
    age(cohort)
    monkeypatch.setattr(store_files, "_RACY_NS", 0)
    build_store(cohort, tmp_path / "store", tile_px=32)
    read: list[str] = []
    plain = store_files.read_content
    monkeypatch.setattr(store_files, "read_content", lambda name, **more: read.append(name) or plain(name, **more))
    build_store(cohort, tmp_path / "store", tile_px=32)
    assert read == []
    store_files.forget_times(tmp_path / "store")
    build_store(cohort, tmp_path / "store", tile_px=32)
    assert len(read) == 3
    build_store(cohort, tmp_path / "store", tile_px=32)
    assert len(read) == 3  # their times are known again


def test_a_file_replaced_without_a_trace_is_found_on_request(
    images: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on file systems that keep no time of change: size and both times are as they were."""
    cohort = images(2)
    age(cohort)
    monkeypatch.setattr(store_files, "_RACY_NS", 0)
    plain = store_files.stat_file
    for module in (store_files, store_build):
        monkeypatch.setattr(module, "stat_file", lambda root, name: (*plain(root, name)[:2], 7))
    first = store_then_replaced(cohort, tmp_path / "store")
    assert build_store(cohort, tmp_path / "store", tile_px=32).key == first.key  # nothing shows
    store_files.forget_times(tmp_path / "store")
    (tmp_path / "store" / "damaged").mkdir()
    (tmp_path / "store" / "damaged" / "store.json").write_text("{}", encoding="utf-8")
    again = build_store(cohort, tmp_path / "store", tile_px=32)
    assert again.key != first.key and again.tiles[1, 0, 0].tolist() == [0, 0, 255]


# ---- reading


def test_rows_and_batches(images: Make, tmp_path: Path) -> None:
    store = build_store(images(9), tmp_path / "store", tile_px=32)
    rows = store.rows(["007.png", "000.png", "007.png"])
    assert rows.tolist() == [7, 0, 7] and rows.dtype == np.int64
    batch = read_batch(store, rows)
    assert np.array_equal(batch, store.tiles[rows]) and batch.flags.c_contiguous and batch.flags.writeable
    out = np.empty((3, 32, 32, 3), np.uint8)
    assert read_batch(store, rows[::-1], out) is out and np.array_equal(out, batch[::-1])
    assert read_batch(store, np.array([], np.int64)).shape == (0, 32, 32, 3)
    with pytest.raises(InputError, match=r"'x\.png' is not in the tile store; build"):
        store.rows(["x.png"])
    for bad in ([-1], [9]):
        with pytest.raises(IndexError):
            read_batch(store, np.array(bad))
    with pytest.raises(ValueError, match="out must be"):
        read_batch(store, rows, np.empty((2, 32, 32, 3), np.uint8))


def test_batches_without_preadv_are_the_same(images: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = build_store(images(9), tmp_path / "store", tile_px=32)
    rows = np.array([8, 1, 1, 4])
    expected = read_batch(store, rows)
    monkeypatch.delattr(os, "preadv")
    assert np.array_equal(read_batch(store, rows), expected)


def test_rows_of_a_container_are_images(images: Make, tmp_path: Path) -> None:
    cohort = images(1)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    with h5py.File(cohort.root / "x.h5", "w") as file:
        file["x"] = pixels
    table = pd.DataFrame({"image_path": [f"x.h5#x/{row}" for row in range(51)]})
    store = build_store(dataclasses.replace(cohort, table=table), tmp_path / "store", tile_px=32, fit="exact")
    assert np.array_equal(store.tiles, pixels)
    assert store.set_aside == (("x.h5#x/50", "'x' has 50 rows, numbered from 0"),)
    assert len(set(store.content)) == 50


@pytest.mark.realdata
def test_real_tiles_are_what_opencv_reads(real_data: Path, tmp_path: Path) -> None:
    """PNG and TIFF are lossless: another library must see the same pixels."""
    names = sorted(path.relative_to(real_data).as_posix() for path in real_data.glob("breakhis_100x/*/*-00[1-3].png"))
    names += sorted(path.relative_to(real_data).as_posix() for path in real_data.glob("colorectal_tissue/*/*/*.tif"))[
        :20
    ]
    for name in names[::4]:
        assert np.array_equal(decode(name, root=real_data).pixels[:, :, ::-1], cv2.imread(str(real_data / name)))
