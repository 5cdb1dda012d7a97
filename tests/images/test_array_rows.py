"""Rows of HDF5 and NumPy containers."""

import io
import pickle
import threading
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from counterstain.images.decode import BadImage, decode, hash_content, read_content

ROWS = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["x"] = ROWS
        file["deep/er/x"] = ROWS[:, :, :, 0]
        file.create_dataset("packed", data=ROWS, chunks=(7, 32, 32, 3), compression="gzip")
        file["label"] = np.arange(20)
        file["text"] = "words"
    np.savez(tmp_path / "plain.npz", train_images=ROWS, grey=ROWS[..., 0], deep=ROWS.astype(np.uint16) * 257)
    np.savez_compressed(tmp_path / "packed.npz", train_images=ROWS, unit=(ROWS / 255).astype(np.float32))
    return tmp_path


@pytest.mark.parametrize(
    "name", ["file.h5#x/{}", "file.h5#packed/{}", "plain.npz#train_images/{}", "packed.npz#train_images/{}"]
)
def test_rows_come_back_in_any_order_and_from_any_thread(root: Path, name: str) -> None:
    found: dict[int, NDArray[np.uint8]] = {}

    def read(rows: list[int]) -> None:
        for row in rows:
            found[row] = decode(name.format(row), root=root).pixels

    threads = [threading.Thread(target=read, args=(list(range(start, 20, 3))[::-1],)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[row], ROWS[row]) for row in range(20))


@pytest.mark.parametrize("name", ["file.h5#deep/er/x/3", "plain.npz#grey/3"])
def test_grey_rows_become_three_channels(root: Path, name: str) -> None:
    decoded = decode(name, root=root)
    assert np.array_equal(decoded.pixels, np.repeat(ROWS[3, :, :, :1], 3, axis=2)) and "grey" in decoded.notes


@pytest.mark.parametrize("name", ["plain.npz#deep/3", "packed.npz#unit/3"])
def test_deep_and_float_rows_are_scaled(root: Path, name: str) -> None:
    assert np.array_equal(decode(name, root=root).pixels, ROWS[3])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file.h5#x/20", "has 20 rows, numbered from 0"),
        ("file.h5#x/-1", "needs an array and a row"),
        ("file.h5#12", "needs an array and a row"),
        ("file.h5#y/0", "there is no 'y' in the file; there is: deep, label, packed, text, x"),
        ("file.h5#x//0", "there is no 'x/'"),
        ("file.h5#./x/0", "there is no"),
        ("file.h5#x/x/0", "there is no"),
        ("file.h5#/0", "needs an array and a row"),
        ("file.h5#deep/0", "is not an array"),
        ("file.h5#label/0", "int64 of shape \\(20,\\)"),
        ("file.h5#text/0", "of shape"),
        ("plain.npz#y/0", "there is no 'y' in the file; there is: deep, grey, train_images"),
        ("gone.h5#x/0", "does not exist"),
    ],
)
def test_wrong_addresses_are_refused(root: Path, name: str, words: str) -> None:
    with pytest.raises(BadImage, match=words):
        decode(name, root=root)


def test_a_container_by_itself_is_refused_with_the_way_out(root: Path) -> None:
    with pytest.raises(BadImage, match="is an HDF5 container: name a row of it"):
        decode("file.h5", root=root)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_damaged_containers_are_refused(root: Path, suffix: str) -> None:
    source = root / ("file.h5" if suffix == ".h5" else "packed.npz")
    content = source.read_bytes()
    for cut in (0, 10, len(content) // 2, len(content) - 10):
        (root / f"bad{cut}{suffix}").write_bytes(content[:cut])
        with pytest.raises(BadImage):
            decode(f"bad{cut}{suffix}#{'x' if suffix == '.h5' else 'train_images'}/19", root=root)


def test_damaged_member_of_an_npz_is_refused(root: Path) -> None:
    content = bytearray((root / "packed.npz").read_bytes())
    content[2000] ^= 0xFF
    (root / "bad.npz").write_bytes(content)
    with pytest.raises(BadImage, match=r"damaged|should hold"):
        decode("bad.npz#train_images/19", root=root)


class Payload:
    """What a pickle would run."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.canary,)


def test_nothing_is_unpickled(root: Path) -> None:
    canary = root / "canary"
    np.savez(root / "evil.npz", x=np.array([Payload(canary)] * 3, dtype=object))
    raw = io.BytesIO()
    np.lib.format.write_array_header_1_0(raw, {"descr": "|u1", "fortran_order": False, "shape": (1, 32, 32, 3)})
    with zipfile.ZipFile(root / "evil2.npz", "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Payload(canary)))
        archive.writestr("y.npy", raw.getvalue() + pickle.dumps(Payload(canary)))
    for name in ("evil.npz#x/0", "evil2.npz#x/0", "evil2.npz#y/0"):
        with pytest.raises(BadImage):
            decode(name, root=root)
    assert not canary.exists()
    with pytest.raises(BadImage, match="holds Python objects"):
        decode("evil.npz#x/0", root=root)


def test_header_that_promises_more_than_it_holds_is_refused(root: Path) -> None:
    raw = io.BytesIO()
    np.lib.format.write_array_header_1_0(raw, {"descr": "|u1", "fortran_order": False, "shape": (10**5, 32, 32, 3)})
    with zipfile.ZipFile(root / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", raw.getvalue() + bytes(1000))
    with pytest.raises(BadImage, match="should hold"):
        decode("bomb.npz#x/0", root=root)


def test_bombs_are_refused_before_anything_is_unpacked(root: Path) -> None:
    """An archive that promises a thousand times its size, and HDF5 pieces that are larger than memory."""
    raw = io.BytesIO()
    np.lib.format.write_array_header_1_0(raw, {"descr": "|u1", "fortran_order": False, "shape": (10**7, 32, 32, 3)})
    with zipfile.ZipFile(root / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", raw.getvalue() + bytes(1000))
    with pytest.raises(BadImage, match=r"would unpack from [\d,]+ bytes to 30,720,000,000"):
        decode("bomb.npz#x/0", root=root)
    with h5py.File(root / "bomb.h5", "w") as file:  # one piece of 3 GB, of which nothing was ever written
        file.create_dataset("x", (10**6, 32, 32, 3), "u1", chunks=(10**6, 32, 32, 3), compression="gzip")
    with pytest.raises(BadImage, match="packed in pieces of"):
        decode("bomb.h5#x/0", root=root)


def test_links_to_other_hdf5_files_are_not_followed(root: Path) -> None:
    with h5py.File(root / "links.h5", "w") as file:
        file["out"] = h5py.ExternalLink("file.h5", "/x")
        file["group/out"] = h5py.ExternalLink("file.h5", "/deep")
        file["soft"] = h5py.SoftLink("/out")
        layout = h5py.VirtualLayout(shape=(20, 32, 32, 3), dtype="u1")
        layout[:] = h5py.VirtualSource(str(root / "file.h5"), "x", shape=(20, 32, 32, 3))
        file.create_virtual_dataset("virtual", layout)
    for key in ("out", "group/out/er/x", "soft", "virtual"):
        with pytest.raises(BadImage, match="an array held in this file itself"):
            decode(f"links.h5#{key}/0", root=root)


def test_a_container_that_changes_is_opened_anew(root: Path) -> None:
    first = hash_content(read_content("plain.npz#grey/0", root=root))
    np.savez(root / "plain.npz", grey=255 - ROWS[:10, :, :, 0])
    assert np.array_equal(decode("plain.npz#grey/0", root=root).pixels[..., 0], 255 - ROWS[0, :, :, 0])
    assert hash_content(read_content("plain.npz#grey/0", root=root)) != first
