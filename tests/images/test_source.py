"""Files that are traps: links that lead out, pipes, devices, what is missing."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from counterstain.images.decode import BadImage, decode


@pytest.fixture
def root(tmp_path: Path, picture: NDArray[np.uint8]) -> Path:
    folder = tmp_path / "cohort"
    folder.mkdir()
    Image.fromarray(picture).save(folder / "x.png")
    Image.fromarray(picture).save(tmp_path / "outside.png")
    return folder


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("../outside.png", "leads out of the cohort's folder"),
        ("/dev/zero", "leads out of the cohort's folder"),
        ("link.png", "cannot be found"),
        ("gone.png", "does not exist"),
    ],
)
def test_links_out_of_the_root_and_in_circles_are_refused(root: Path, target: str, words: str) -> None:
    (root / "link.png").symlink_to(target)
    with pytest.raises(BadImage, match=words):
        decode("link.png", root=root)


def test_link_to_a_folder_outside_is_refused(root: Path) -> None:
    (root / "sub").symlink_to("..")
    with pytest.raises(BadImage, match="leads out"):
        decode("sub/outside.png", root=root)


def test_links_within_the_root_and_a_linked_root_are_followed(root: Path) -> None:
    (root / "link.png").symlink_to("x.png")
    (root.parent / "other").symlink_to("cohort")
    assert decode("link.png", root=root).pixels.shape == (48, 64, 3)
    assert decode("link.png", root=root.parent / "other").pixels.shape == (48, 64, 3)


def test_paths_out_of_the_root_are_refused(root: Path) -> None:
    for name in ("../outside.png", str(root.parent / "outside.png")):
        with pytest.raises(BadImage, match="leads out"):
            decode(name, root=root)


def test_a_neighbour_whose_name_begins_alike_is_outside(root: Path, picture: NDArray[np.uint8]) -> None:
    twin = root.parent / "cohort2"
    twin.mkdir()
    Image.fromarray(picture).save(twin / "x.png")
    with pytest.raises(BadImage, match="leads out"):
        decode("../cohort2/x.png", root=root)


@pytest.mark.parametrize("kind", ["named pipe", "socket", "folder"])
def test_what_is_no_file_is_refused_at_once(root: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)  # a socket's path may have 100 characters only
    if kind == "named pipe":
        os.mkfifo("trap.png")
    elif kind == "folder":
        Path("trap.png").mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("trap.png")
    with pytest.raises(BadImage, match=f"is a {kind}, not an image file"):
        decode("trap.png", root=root)


def test_device_is_refused() -> None:
    with pytest.raises(BadImage, match="is a device"):
        decode("/dev/zero")


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_refused(root: Path) -> None:
    (root / "x.png").chmod(0)
    with pytest.raises(BadImage, match="cannot be opened"):
        decode("x.png", root=root)


@pytest.mark.parametrize("name", ["gone.png", "x.png/y.png", "n" * 300 + ".png", "a\0b.png", ""])
def test_impossible_names_are_refused(root: Path, name: str) -> None:
    with pytest.raises(BadImage):
        decode(name, root=root)


@pytest.mark.parametrize(
    "name", ["café.png", "cafe\u0301.png", "-rf.png", "a#b.png", "x.h5.png", "🔬.png", "new\nline.png", "'\".png"]
)
def test_odd_names_are_read(root: Path, name: str) -> None:
    (root / "x.png").rename(root / name)
    assert decode(name, root=root).pixels.shape == (48, 64, 3)
