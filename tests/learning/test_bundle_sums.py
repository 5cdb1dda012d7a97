"""A bundle's list of hashes is read byte for byte: no flipped bit of any of its files goes unseen."""

from pathlib import Path

import pytest

from counterstain.errors import InputError
from counterstain.learning.bundle import RECORD, SUMS, WEIGHTS, Bundle, read_bundle, write_bundle
from counterstain.learning.networks import build_network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network = build_network("given", classes=2, tile_px=127, seed=0)
    write_bundle(tmp_path, Bundle("given", ("a", "b"), 127, "exact", "-1..1"), network)
    return tmp_path


def test_every_flipped_bit_of_the_list_is_refused(folder: Path) -> None:
    whole = (folder / SUMS).read_bytes()
    for place in range(0, len(whole), 3):
        for bit in range(8):
            broken = bytearray(whole)
            broken[place] ^= 1 << bit
            (folder / SUMS).write_bytes(broken)
            with pytest.raises(InputError):
                read_bundle(folder)
    (folder / SUMS).write_bytes(whole)
    assert read_bundle(folder).classes == ("a", "b")


@pytest.mark.parametrize("name", [RECORD, WEIGHTS])
def test_a_list_without_the_record_or_the_weights_is_refused(folder: Path, name: str) -> None:
    lines = (folder / SUMS).read_text().splitlines(keepends=True)
    (folder / SUMS).write_text("".join(line for line in lines if name not in line))
    with pytest.raises(InputError, match="not the file that was written"):
        read_bundle(folder)


def test_a_record_without_classes_is_refused_by_name(folder: Path) -> None:
    import json

    from counterstain.learning.bundle import seal

    record = json.loads((folder / RECORD).read_text())
    del record["classes"]
    (folder / RECORD).write_text(json.dumps(record))
    seal(folder)
    with pytest.raises(InputError, match="'classes'"):
        read_bundle(folder)
    record |= {"classes": ["a", "b"], "schema": "counterstain.bundle/1"}
    (folder / RECORD).write_text(json.dumps(record))
    seal(folder)
    with pytest.raises(InputError, match=r"bundle/1; this version reads counterstain\.bundle/2"):
        read_bundle(folder)
