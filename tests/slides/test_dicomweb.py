"""Slides from a DICOMweb server: from Orthanc, which is one, and from servers that answer as none should."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from cohort_runs import tissue_pixels
from orthanc_server import USER, Orthanc, started

pytest.importorskip("pydicom", reason="the extra dicom is not installed")

from dicom_series import ROOT, make_sparse, split_instance, write_series

import counterstain
from counterstain.errors import InputError
from counterstain.slides import dicomweb
from counterstain.slides.dicomweb import TOKEN, fetch_slides, read_address, send_instances
from counterstain.slides.reader import open_slide

STUDY, SERIES, LEVEL0 = f"{ROOT}.1.1", f"{ROOT}.1.2", f"{ROOT}.1.3.1"


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of one slide: three levels of JPEG, and its label."""
    return write_series(tmp_path_factory.mktemp("slide"), tissue_pixels(1), levels=3, tile=256, jpeg=True)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSTAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


# ---------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dicomweb://localhost:8042/dicom-web", ("http://localhost:8042/dicom-web", "", "")),
        ("dicomweb://localhost:8042/dicom-web/", ("http://localhost:8042/dicom-web", "", "")),
        ("dicomwebs://pacs.example/rs/studies/1.2", ("https://pacs.example/rs", "1.2", "")),
        ("dicomweb://h/rs/studies/1.2/series/1.3/", ("http://h/rs", "1.2", "1.3")),
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_an_address_is_read_as_text_and_as_the_path_that_the_command_line_makes_of_it(
    text: str, expected: tuple[str, str, str], kind: Callable[[str], Path | str]
) -> None:
    found = read_address(kind(text))
    assert (found.service, found.study, found.series) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://localhost/dicom-web", "is no address"),
        ("dicomweb://anna:secret@host/rs", "netrc"),
        ("dicomweb://host/rs/studies/../../etc", "no UID"),
        ("dicomweb://host/rs/studies/1.2/series/x", "no UID"),
    ],
)
def test_what_is_no_address_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_address(text)


# ------------------------------------------------------------------------------------------------------------ Orthanc


def test_a_slide_from_a_server_is_the_slide_that_was_put_there(orthanc: Orthanc, slide: list[Path]) -> None:
    orthanc.store(slide)
    said: list[str] = []
    [path] = fetch_slides(orthanc.address, say=said.append)
    assert path.name == f"{SERIES}.dcm" and len(said) == 1 and "3 of 3 files" in said[0]
    fetched = sorted(one.read_bytes() for one in path.parent.iterdir())
    assert fetched == sorted(one.read_bytes() for one in slide[:3])  # to the byte; the label stays on the server
    with open_slide(path) as ours, open_slide(slide[0]) as theirs:
        assert ours.info.levels == theirs.info.levels and ours.info.mpp_x == 0.5
        where = {"level": 0, "width_px": 500, "height_px": 400}
        assert np.array_equal(ours.read_region(300, 200, **where), theirs.read_region(300, 200, **where))


def test_what_is_in_the_cache_is_not_fetched_again(orthanc: Orthanc, slide: list[Path]) -> None:
    orthanc.store(slide)
    address = f"{orthanc.address}/studies/{STUDY}/series/{SERIES}"
    [path] = fetch_slides(address)
    before = {one: one.stat().st_mtime_ns for one in path.parent.iterdir()}
    (lost := min(before)).unlink()
    said: list[str] = []
    assert fetch_slides(address, say=said.append) == [path]
    assert "1 of 3 files" in said[0] and lost.is_file()
    assert all(one.stat().st_mtime_ns == time for one, time in before.items() if one != lost)


def test_every_slide_of_a_server_or_of_one_study(orthanc: Orthanc, slide: list[Path], tmp_path: Path) -> None:
    orthanc.store(slide)
    orthanc.store(write_series(tmp_path / "other", tissue_pixels(2), tile=256, study=2))
    assert [path.stem for path in fetch_slides(orthanc.address)] == [SERIES, f"{ROOT}.2.2"]
    assert [path.stem for path in fetch_slides(f"{orthanc.address}/studies/{ROOT}.2.1")] == [f"{ROOT}.2.2"]
    with pytest.raises(InputError, match="has no slide"):
        fetch_slides(f"{orthanc.address}/studies/1.2.3")


@pytest.mark.parametrize(("codec", "study"), [("", 7), ("jpeg", 8), ("jpeg2000", 9)])
def test_pixels_in_each_packing_that_is_read(orthanc: Orthanc, tmp_path: Path, codec: str, study: int) -> None:
    image = tissue_pixels(1)
    files = write_series(tmp_path / "slide", image, tile=256, codec=codec, study=study)
    orthanc.store(files)
    [path] = fetch_slides(f"{orthanc.address}/studies/{ROOT}.{study}.1")
    assert path.read_bytes() == files[0].read_bytes()
    with open_slide(path) as slide:
        found = slide.read_region(0, 0, level=0, width_px=image.shape[1], height_px=image.shape[0])
    assert np.abs(found.astype(int) - image).max() <= (60 if codec == "jpeg" else 0)


def test_a_level_in_two_files(orthanc: Orthanc, tmp_path: Path) -> None:
    """A concatenation: no file of it holds the level, and none is taken for a level of its own."""
    image = tissue_pixels(1)
    files = write_series(tmp_path / "slide", image, tile=256, study=4)
    orthanc.store(split_instance(files[0]) + files[1:])
    said: list[str] = []
    [path] = fetch_slides(f"{orthanc.address}/studies/{ROOT}.4.1", say=said.append)
    assert "3 of 3 files" in said[0]
    with open_slide(path) as slide:
        assert [level.width_px for level in slide.info.levels] == [image.shape[1], image.shape[1] // 2]
        found = slide.read_region(0, 0, level=0, width_px=image.shape[1], height_px=image.shape[0])
    assert np.array_equal(found, image)


def test_tiles_that_were_not_scanned_are_white(orthanc: Orthanc, tmp_path: Path) -> None:
    image = tissue_pixels(1)
    files = write_series(tmp_path / "slide", image, levels=1, tile=256, codec="jpeg2000", study=5)
    make_sparse(files[0], [7, 1, 5], tile=256)
    orthanc.store(files)
    [path] = fetch_slides(f"{orthanc.address}/studies/{ROOT}.5.1")
    across = -(-image.shape[1] // 256)
    expected = np.full_like(image, 255)
    for number in (7, 1, 5):
        x, y = number % across * 256, number // across * 256
        expected[y : y + 256, x : x + 256] = image[y : y + 256, x : x + 256]
    with open_slide(path) as slide:
        found = slide.read_region(0, 0, level=0, width_px=image.shape[1], height_px=image.shape[0])
    assert np.array_equal(found, expected)


def test_of_a_slide_that_nothing_decodes_the_coarsest_level_is_fetched(orthanc: Orthanc, tmp_path: Path) -> None:
    """It is refused by name, without the gigabytes of its finest level; the other slide of the study is read."""
    orthanc.store(write_series(tmp_path / "slide", tissue_pixels(1), levels=3, tile=256, codec="jpeg-ls", study=6))
    address = f"{orthanc.address}/studies/{ROOT}.6.1"
    for _ in range(2):  # the second time nothing is fetched
        [path] = fetch_slides(address)
        assert [one.name for one in path.parent.iterdir()] == [path.name] == [f"{ROOT}.6.3.3.dcm"]
    with pytest.raises(InputError, match="packed as JPEG-LS, which OpenSlide does not decode"):
        open_slide(path)


def test_verbs_of_slides_take_addresses(orthanc: Orthanc, slide: list[Path], tmp_path: Path) -> None:
    orthanc.store(slide)
    address = f"{orthanc.address}/studies/{STUDY}"
    found = counterstain.inspect(address)
    local = counterstain.inspect(slide[0])
    assert found.slides[0].tiles == local.slides[0].tiles and found.slides[0].mpp == (0.5, 0.5)
    cut = counterstain.slides_tiles(address, tmp_path / "a", tile_px=128)
    same = counterstain.slides_tiles(slide[0], tmp_path / "b", tile_px=128)
    ours = sorted((tmp_path / "a" / "tiles" / SERIES).iterdir())
    theirs = sorted((tmp_path / "b" / "tiles" / "level-0").iterdir())
    assert cut.tiles == same.tiles and len(ours) == sum(cut.tiles.values()) > 10
    assert [one.read_bytes() for one in ours] == [one.read_bytes() for one in theirs]


def test_a_server_that_asks_for_a_password(slide: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dicomweb_client")
    with started(tmp_path, password=True) as server:
        with pytest.raises(InputError, match=r"answered 401.*\.netrc"):
            send_instances(server.address, slide[:1])
        name, word = next(iter(USER.items()))
        (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login {name} password {word}\n")
        send_instances(server.address, slide)
        assert fetch_slides(server.address)[0].stem == SERIES
        monkeypatch.setenv(TOKEN, "no such token")  # and not the name in the file beside it
        with pytest.raises(InputError, match="answered 401"):
            fetch_slides(server.address)


# -------------------------------------------------------------------------------------- servers that do as none should


@contextmanager
def serving(answer: Callable[[str], tuple[int, str, bytes]]) -> Iterator[str]:
    """The address of a server that answers a path with (status, content type, content)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, dict(self.headers)))
            status, kind, content = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    asked: list[tuple[str, dict[str, str]]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"dicomweb://127.0.0.1:{server.server_address[1]}/rs/studies/{STUDY}/series/{SERIES}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def level(uid: str = LEVEL0, *, kind: str = "VOLUME", modality: str = "SM") -> dict[str, object]:
    values = {"00080008": ["ORIGINAL", "PRIMARY", kind, "NONE"], "00080018": [uid], "00080060": [modality],
              "00480006": [1100], "00480007": [800]}  # fmt: skip
    return {tag: {"vr": "XX", "Value": value} for tag, value in values.items()}


def fake(
    rows: object, kind: str = "", content: bytes = b"", status: int = 200
) -> Callable[[str], tuple[int, str, bytes]]:
    """A server of one series: its metadata, and what it sends as the instance."""

    def answer(path: str) -> tuple[int, str, bytes]:
        if path.endswith("/metadata"):
            return 200, "application/dicom+json", json.dumps(rows).encode()
        return status, kind, content

    return answer


PART = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"
KIND = 'multipart/related; type="application/dicom"; boundary=edge'


@pytest.mark.parametrize("way", ["multipart", "bare"])
def test_a_part_is_taken_out_of_its_envelope(slide: list[Path], way: str) -> None:
    """Of a multipart answer, and of one that some servers send without: the same bytes."""
    content = slide[0].read_bytes()
    kind, sent = (KIND, PART + content + b"\r\n--edge--\r\n") if way == "multipart" else ("application/dicom", content)
    with serving(fake([level()], kind, sent)) as address:
        [path] = fetch_slides(address)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("rows", "kind", "content", "status", "words"),
    [
        pytest.param([level("../../evil")], KIND, b"", 200, "which is no UID", id="a path as a UID"),
        pytest.param([level(kind="LABEL", modality="CT")], KIND, b"", 200, r"no slide \(CT\)", id="no slide"),
        pytest.param([], KIND, b"", 200, "no slide", id="nothing"),
        pytest.param([level()], KIND, PART + b"half", 200, "broke off", id="no closing boundary"),
        pytest.param([level()], KIND, b"", 200, "broke off", id="empty"),
        pytest.param([level()], KIND, PART + b"<html>\r\n--edge--", 200, "something else", id="no DICOM"),
        pytest.param([level()], "text/html", b"<html>", 200, "something else", id="a page"),
        pytest.param([level()], KIND, b"", 500, "answered 500", id="a fault of the server"),
        pytest.param([level()], KIND, b"", 403, "netrc", id="forbidden"),
        pytest.param([level()], KIND, b"", 404, "answered 404 .*look at the address", id="one instance is gone"),
        pytest.param([level()], KIND, b"", 406, "as it keeps them", id="only converted pixels"),
        pytest.param(
            [level()], KIND, PART + b"DICM\r\n" + PART + b"DICM\r\n--edge--", 200, "more than", id="two parts"
        ),
        pytest.param([{**level(), "00480006": {"vr": "UL"}}], KIND, b"", 200, "how large", id="no size"),
    ],
)
def test_an_answer_that_is_none_leaves_nothing_behind(
    rows: object, kind: str, content: bytes, status: int, words: str, tmp_path: Path
) -> None:
    pytest.importorskip("dicomweb_client")
    with serving(fake(rows, kind, content, status)) as address, pytest.raises(InputError, match=words):
        fetch_slides(address)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert not (tmp_path.parent / "evil.dcm").exists()


def test_a_server_that_stops_answering_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an instance, then nothing: what was fetched of it is not kept, and the command ends."""
    monkeypatch.setattr(dicomweb, "_TIMEOUT_S", (10, 0.5))
    ended = threading.Event()

    def answer(path: str) -> tuple[int, str, bytes]:
        if not path.endswith("/metadata"):
            ended.wait(30)
        return fake([level()], KIND, PART)(path)

    with serving(answer) as address:
        try:
            with pytest.raises(InputError, match="did not answer to the end"):
                fetch_slides(address)
        finally:
            ended.set()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_boundary_across_two_pieces(tmp_path: Path) -> None:
    """Wherever the network cuts an answer, the part is the same."""
    sent = PART + b"\r\n--edg\r\n" * 3 + b"\r\n--edge--\r\n"
    for size in range(1, len(sent) + 1):
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        with (tmp_path / "part").open("wb") as stream:
            dicomweb._one_part(iter(pieces), KIND, stream, "url")
        assert (tmp_path / "part").read_bytes() == b"\r\n--edg\r\n" * 3


def test_a_server_that_is_not_there() -> None:
    pytest.importorskip("dicomweb_client")
    with pytest.raises(InputError, match="is it running"):
        fetch_slides("dicomweb://127.0.0.1:9/dicom-web")
