"""Fetching from a server on this machine: whole, cut off, moved, wrong, missing, no space; and without any network."""

import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counterstain.datasets import catalogue, download, fetch
from counterstain.datasets.catalogue import PublicCohort, RemoteFile
from counterstain.datasets.download import PIECE
from counterstain.datasets.fetch import fetch_cohort, gdc_files, verify_cohort
from counterstain.datasets.unpack import unpack
from counterstain.errors import InputError

CONTENT = np.random.default_rng(0).bytes(300_000)


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"


@pytest.fixture
def row(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a cohort `made` of one file, by default the right one, the only row of the list."""

    def make(checksum: str = md5(CONTENT), *, url: str | None = "/tiles.bin", size: int | None = None) -> PublicCohort:
        server.files["/tiles.bin"] = CONTENT
        address = "" if url is None else server.url + url
        file = RemoteFile("tiles.bin", address, checksum, size)
        made = PublicCohort("made", "Made", "https://example.org/page", "", "CC0", "none is named", (file,))
        monkeypatch.setattr(catalogue, "COHORTS", (made,))
        return made

    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    return make


def test_a_whole_file_is_fetched_checked_and_recorded(server: Any, row: Any, tmp_path: Path) -> None:
    row(size=len(CONTENT))
    found = fetch_cohort("made", tmp_path)
    assert found and (tmp_path / "tiles.bin").read_bytes() == CONTENT
    assert found.files[0].sha256 == f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert json.loads((tmp_path / "fetched.json").read_text())["files"][0]["published"] == md5(CONTENT)
    assert not list(tmp_path.glob("*.part"))
    assert fetch_cohort("made", tmp_path) and len(server.asked) == 1, "what is whole is not fetched again"


def test_a_wrong_checksum_keeps_nothing(server: Any, row: Any, tmp_path: Path) -> None:
    row(md5(b"other"))
    with pytest.raises(InputError, match=r"does not have the published checksum md5:.*nothing was kept"):
        fetch_cohort("made", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cut_goes_on_from_where_it_was(server: Any, row: Any, tmp_path: Path) -> None:
    row()
    server.cuts["/tiles.bin"] = [2 * PIECE + 100, PIECE]
    assert fetch_cohort("made", tmp_path)
    assert [asked for _, asked in server.asked] == ["", f"bytes={2 * PIECE}-", f"bytes={3 * PIECE}-"]
    assert (tmp_path / "tiles.bin").read_bytes() == CONTENT


def test_after_three_cuts_the_next_command_goes_on(server: Any, row: Any, tmp_path: Path) -> None:
    row()
    server.cuts["/tiles.bin"] = [PIECE, PIECE, PIECE]
    with pytest.raises(InputError, match=r"broke 3 times .*after 196,608 bytes; they are kept.*--from FOLDER"):
        fetch_cohort("made", tmp_path)
    assert (tmp_path / "tiles.bin.part").stat().st_size == 3 * PIECE
    assert fetch_cohort("made", tmp_path) and server.asked[-1][1] == f"bytes={3 * PIECE}-"


def test_a_server_without_ranges_sends_all_anew(server: Any, row: Any, tmp_path: Path) -> None:
    row()
    server.ranges = False
    server.cuts["/tiles.bin"] = [100_000]
    assert fetch_cohort("made", tmp_path)
    assert (tmp_path / "tiles.bin").read_bytes() == CONTENT


def test_a_cut_that_the_server_does_not_admit_is_found_by_the_checksum(server: Any, row: Any, tmp_path: Path) -> None:
    row()
    server.says_length = False
    server.cuts["/tiles.bin"] = [100_000]
    with pytest.raises(InputError, match="does not have the published checksum"):
        fetch_cohort("made", tmp_path)


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server: Any, row: Any, tmp_path: Path) -> None:
    row()
    (tmp_path / "tiles.bin.part").write_bytes(b"x" * 400_000)
    assert fetch_cohort("made", tmp_path)


def test_a_redirect_is_followed(server: Any, row: Any, tmp_path: Path) -> None:
    row(url="/old")
    server.moved["/old"] = server.url + "/tiles.bin"
    assert fetch_cohort("made", tmp_path)
    assert [path for path, _ in server.asked] == ["/old", "/tiles.bin"]


def test_a_redirect_in_a_circle_is_one_line(server: Any, row: Any, tmp_path: Path) -> None:
    row(url="/old")
    server.moved["/old"] = server.url + "/old"
    with pytest.raises(InputError, match=r"cannot be fetched .*redirects.*example\.org"):
        fetch_cohort("made", tmp_path)


def test_404_names_the_page_and_the_way_round(server: Any, row: Any, tmp_path: Path) -> None:
    row(url="/gone")
    with pytest.raises(InputError, match=r"answered 404 .*example\.org/page, fetch the file by hand.*--from"):
        fetch_cohort("made", tmp_path)


def test_no_server_at_all(row: Any, tmp_path: Path, server: Any) -> None:
    server.url = "http://127.0.0.1:9"
    row()
    with pytest.raises(InputError, match=r"broke 3 times \(ConnectionError\), after 0 bytes"):
        fetch_cohort("made", tmp_path)


def test_too_small_a_disk_is_said_before_the_first_byte(
    row: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(InputError, match=r"tiles\.bin needs 300,000 bytes, 1,000 are free"):
        fetch_cohort("made", tmp_path)
    assert not (tmp_path / "tiles.bin.part").exists()


def test_a_disk_that_fills_up_is_one_line(row: Any, tmp_path: Path) -> None:
    row()
    (tmp_path / "tiles.bin.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"tiles\.bin\.part: .*(full|space)"):
        fetch_cohort("made", tmp_path)


def test_without_a_published_checksum_the_first_is_held_to(server: Any, row: Any, tmp_path: Path) -> None:
    row("")
    found = fetch_cohort("made", tmp_path)
    assert "1 without a published checksum" in found.summary()
    (tmp_path / "tiles.bin").unlink()
    server.files["/tiles.bin"] = CONTENT[::-1]
    with pytest.raises(InputError, match=r"another SHA-256 .* than when it was first fetched"):
        fetch_cohort("made", tmp_path)


def test_files_fetched_elsewhere(server: Any, row: Any, tmp_path: Path) -> None:
    row(url=None)
    with pytest.raises(InputError, match=r"cannot be fetched by a program: get it from https.*--from"):
        fetch_cohort("made", tmp_path / "out")
    usb = tmp_path / "usb"
    usb.mkdir()
    with pytest.raises(InputError, match=r"usb has no tiles\.bin; put it there"):
        fetch_cohort("made", tmp_path / "out", source=usb)
    (usb / "tiles.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match=r"tiles\.bin has md5:.*, published is md5:"):
        fetch_cohort("made", tmp_path / "out", source=usb)
    (usb / "tiles.bin").write_bytes(CONTENT)
    assert fetch_cohort("made", tmp_path / "out", source=usb)
    assert fetch_cohort("made", usb, source=usb), "the folder itself"
    assert server.asked == []


def test_the_stated_size_is_held_to(row: Any, tmp_path: Path) -> None:
    row("", size=len(CONTENT) + 1)
    with pytest.raises(InputError, match="300,000 bytes, 300,001 are published"):
        fetch_cohort("made", tmp_path)


def test_verify_tells_changed_and_missing(row: Any, tmp_path: Path) -> None:
    row()
    fetch_cohort("made", tmp_path)
    assert verify_cohort(tmp_path)
    (tmp_path / "tiles.bin").write_bytes(CONTENT[:-1] + b"x")
    assert verify_cohort(tmp_path).summary() == "made: 0 of 1 files whole: tiles.bin changed"
    (tmp_path / "tiles.bin").unlink()
    assert [file.state for file in verify_cohort(tmp_path).files] == ["missing"]
    with pytest.raises(InputError, match=r"no fetched\.json"):
        verify_cohort(tmp_path / "elsewhere")


@pytest.mark.parametrize("wrong", [{"files": 7}, {"files": [{"name": 1}]}, {"name": "other"}, {"files": ["a"]}])
def test_a_damaged_record_is_one_line(row: Any, tmp_path: Path, wrong: dict[str, Any]) -> None:
    row()
    fetch_cohort("made", tmp_path)
    record = json.loads((tmp_path / "fetched.json").read_text()) | wrong
    (tmp_path / "fetched.json").write_text(json.dumps(record))
    with pytest.raises(InputError):
        fetch_cohort("made", tmp_path)


def test_a_record_cannot_name_a_place_outside(row: Any, tmp_path: Path) -> None:
    row()
    fetch_cohort("made", tmp_path)
    record = json.loads((tmp_path / "fetched.json").read_text())
    record["files"][0]["name"] = "../secret"
    (tmp_path / "fetched.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="outside its folder"):
        verify_cohort(tmp_path)


MANIFEST = "id\tfilename\tmd5\tsize\tstate\n{}\t{}\t{}\t{}\treleased\n"
UUID = "0123abcd-0123-4abc-8abc-0123456789ab"


def test_slides_of_a_manifest(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files[f"/{UUID}"] = CONTENT
    monkeypatch.setattr(fetch, "GDC", server.url + "/")
    path = tmp_path / "manifest.txt"
    path.write_text(MANIFEST.format(UUID, "TCGA-AA-0001-01Z-00-DX1.svs", md5(CONTENT)[4:], len(CONTENT)))
    found = fetch_cohort("tcga", tmp_path / "out", manifest=path)
    assert found and (tmp_path / "out" / "TCGA-AA-0001-01Z-00-DX1.svs").read_bytes() == CONTENT
    assert verify_cohort(tmp_path / "out")


@pytest.mark.parametrize(
    "cells",
    [("x", "a.svs", "0" * 32, 1), (UUID, "../a.svs", "0" * 32, 1), (UUID, ".a", "0" * 32, 1),
     (UUID, "a.svs", "0", 1), (UUID, "a.svs", "0" * 32, -1), (UUID, "a/b.svs", "0" * 32, 1)],
)  # fmt: skip
def test_rows_that_are_none_of_a_manifest(tmp_path: Path, cells: tuple[Any, ...]) -> None:
    path = tmp_path / "manifest.txt"
    path.write_text(MANIFEST.format(*cells))
    with pytest.raises(InputError, match="line 2 is no row of a GDC manifest"):
        gdc_files(path)


def test_a_manifest_is_asked_for_and_refused_where_it_has_no_use(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="press Manifest"):
        fetch_cohort("tcga", tmp_path)
    with pytest.raises(InputError, match="--manifest is of tcga"):
        fetch_cohort("pcam", tmp_path, manifest=tmp_path / "m.txt")
    with pytest.raises(InputError, match="did you mean 'pcam'"):
        fetch_cohort("pcamm", tmp_path)


def zipped(names: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(names: dict[str, bytes], link: str | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        if link is not None:
            entry = tarfile.TarInfo("link")
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry)
    return out.getvalue()


@pytest.mark.parametrize(("name", "pack"), [("a.zip", zipped), ("a.tar.gz", tarred), ("a.tgz", tarred)])
def test_archives_unpack(tmp_path: Path, name: str, pack: Any) -> None:
    (tmp_path / name).write_bytes(pack({"set/benign/1.png": b"one", "set/malignant/2.png": b"two"}))
    assert unpack(tmp_path / name, tmp_path / "images") == 2
    assert (tmp_path / "images/set/malignant/2.png").read_bytes() == b"two"


@pytest.mark.parametrize("outside", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "C:/evil.txt"])
@pytest.mark.parametrize(("name", "pack"), [("a.zip", zipped), ("a.tar.gz", tarred)])
def test_nothing_is_written_outside(tmp_path: Path, name: str, pack: Any, outside: str) -> None:
    (tmp_path / name).write_bytes(pack({outside: b"x"}))
    with pytest.raises(InputError, match="a place outside its folder"):
        unpack(tmp_path / name, tmp_path / "images")
    assert not list(tmp_path.rglob("evil.txt"))


def test_links_in_an_archive_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(tarred({"a.png": b"x"}, link="/etc/passwd"))
    assert unpack(tmp_path / "a.tar.gz", tmp_path / "images") == 1
    assert not (tmp_path / "images/link").is_symlink()


def test_a_bomb_and_damage_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterstain.datasets import unpack as module

    monkeypatch.setattr(module, "SMALL", 1000)
    (tmp_path / "a.zip").write_bytes(zipped({"a": bytes(1_000_000)}))
    with pytest.raises(InputError, match="it is no set of images"):
        unpack(tmp_path / "a.zip", tmp_path / "images")
    for name, content in (
        ("b.zip", zipped({"a": CONTENT})),
        ("b.tar.gz", tarred({"a": CONTENT})),
        ("b.h5.gz", b"no gzip"),
    ):
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(InputError, match="is damaged"):
            unpack(tmp_path / name, tmp_path / "images")
