"""What a model was trained on is known again, by patient, name, file and pixels, and nothing else is."""

import json
from pathlib import Path

import numpy as np
import pytest

from counterstain.audit.training_set import MEMBERS, member_record, overlap, read_members
from counterstain.errors import InputError
from counterstain.files import write_json

TILES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
RECORD = member_record(
    salt="s", patient=("p1", "p1", "p2", ""), image=("a", "b", "c", "d"), file=("f1", "f2", "f3", "f4"), tiles=TILES
)


def test_what_was_seen_is_told_by_each_of_its_marks() -> None:
    found = overlap(
        RECORD,
        patient=("p2", "p9", "p9"),
        image=("x", "b", "z"),
        file=("f9", "f8", "f3"),
        tiles=(TILES[0], 255 - TILES[1], 255 - TILES[2]),
    )
    assert found.seen == {"patient": 1, "image": 1, "file": 1, "pixels": 1}
    assert found.examples == {"patient": ("p2",), "image": ("b",), "file": ("z",), "pixels": ("x",)}
    assert len(found.words) == 4


def test_the_same_file_is_not_told_twice() -> None:
    """Its pixels are the same because its bytes are; only another file with these pixels is news."""
    same = overlap(RECORD, image=("x", "y"), file=("f1", "f2"), tiles=TILES[:2])
    assert same.seen["file"] == same.seen["pixels"] == 2 and same.rows["pixels"] == (0, 1)
    assert len(same.words) == 1 and "byte for byte" in same.words[0] and "x, y" in same.words[0]
    resaved = overlap(RECORD, image=("x", "y"), file=("f1", "other"), tiles=TILES[:2])
    assert len(resaved.words) == 2 and "1 image has the pixels" in resaved.words[1]
    assert "in another file (y)" in resaved.words[1]


def test_what_is_new_is_new() -> None:
    found = overlap(RECORD, patient=("p3", ""), image=("x", "y"), file=("f9", "g"), tiles=255 - TILES[:2])
    assert found.words == ()


def test_the_record_holds_no_name_and_another_salt_makes_another_record() -> None:
    other = member_record(salt="t", patient=("p1",), image=("a",), file=("f1",), tiles=TILES[:1])
    assert not set(other["patient"]) & set(RECORD["patient"])
    assert "p1" not in json.dumps(RECORD["patient"])
    assert len(RECORD["patient"]) == 2  # p1 once, the unknown one not at all


def test_a_bundle_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a bundle"):
        read_members(tmp_path)
    write_json(tmp_path / MEMBERS, RECORD | {"schema": "other/9"})
    with pytest.raises(InputError, match="schema other/9"):
        read_members(tmp_path)
    write_json(tmp_path / MEMBERS, RECORD)
    assert read_members(tmp_path) == RECORD
