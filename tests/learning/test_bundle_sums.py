"""A bundle's list of hashes is read byte for byte: no flipped bit of any of its files goes unseen."""

import json
from pathlib import Path
from typing import Any

import pytest

from counterstain.errors import InputError
from counterstain.learning.bundle import RECORD, SUMS, WEIGHTS, Bundle, load_network, read_bundle, seal, write_bundle
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


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("network", 5, "network"), ("network", None, "network"), ("network", "", "network"),
        ("network", "nope", "nope"), ("classes", "ab", "classes"), ("classes", ["a"], "classes"),
        ("classes", ["a", "a"], "classes"), ("classes", [1, 2], "classes"), ("classes", {"a": 1}, "classes"),
        ("classes", 7, "classes"), ("preprocessing", None, "is damaged"), ("preprocessing", [], "is damaged"),
        ("preprocessing.tile_px", -1, "tile_px"), ("preprocessing.tile_px", 10**9, "tile_px"),
        ("preprocessing.tile_px", 127.5, "tile_px"), ("preprocessing.tile_px", "127", "tile_px"),
        ("preprocessing.tile_px", True, "tile_px"), ("preprocessing.tile_px", 0, "tile_px"),
        ("preprocessing.fit", "squash", "fit"), ("preprocessing.fit", ["exact"], "fit"),
        ("preprocessing.mpp", -1, "mpp"), ("preprocessing.mpp", 0, "mpp"), ("preprocessing.mpp", "0.5", "mpp"),
        ("preprocessing.mpp", True, "mpp"), ("preprocessing.mpp", 1e9, "mpp"), ("preprocessing.scale", "loud", "loud"),
        ("preprocessing.scale", 5, "scale|int"), ("preprocessing.scale", [], "scale|list"), ("stamp", 5, "stamp"),
        ("layout", [1], "layout"), ("layout", {"width": -1}, "layout"), ("layout", {"input_px": 1e6}, "layout"),
        ("layout", {"views": 10**9}, "layout"), ("stain", [1], "damaged|stain"), ("stain", {"schema": "x"}, "stain"),
        ("provenance", "x", "provenance"),
    ],
)  # fmt: skip
def test_wrong_values_under_right_hashes_are_refused_by_name(folder: Path, key: str, value: Any, said: str) -> None:
    """What somebody wrote who knew how to write the hashes, too: one line, and nothing is built of it."""
    record = json.loads((folder / RECORD).read_text())
    *parents, last = key.split(".")
    part = record[parents[0]] if parents else record
    part[last] = value
    (folder / RECORD).write_text(json.dumps(record))
    seal(folder)
    with pytest.raises(InputError, match=said) as refused:
        load_network(folder)
    assert "bundle.json" in str(refused.value) or "nope" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("missing", ["input_px", "head", "levels", "views"])
def test_a_backbone_without_its_layout_is_refused(folder: Path, missing: str) -> None:
    layout = {"input_px": 96, "head": {"kind": "linear"}, "levels": False, "views": 1}
    del layout[missing]
    record = json.loads((folder / RECORD).read_text()) | {"network": "timm/resnet18", "layout": layout}
    (folder / RECORD).write_text(json.dumps(record))
    seal(folder)
    with pytest.raises(InputError, match=rf"no timm/resnet18 can be built of this layout \('{missing}'\)"):
        load_network(folder)


def test_any_value_anywhere_in_the_record_is_used_or_refused(folder: Path) -> None:
    """Every value of the record exchanged for every kind of value: read, or one line; never anything else."""
    whole = json.loads((folder / RECORD).read_text())
    places = [(key,) for key in whole] + [(key, inner) for key in whole if isinstance(whole[key], dict)
                                          for inner in whole[key]]  # fmt: skip
    refused = 0
    for place in places:
        for value in (None, True, -1, 0, 1.5, 1e308, float("inf"), "", "x" * 300, [], [None], {}, {"a": {}}):
            record = json.loads(json.dumps(whole))
            part = record
            for step in place[:-1]:
                part = part[step]
            part[place[-1]] = value
            (folder / RECORD).write_text(json.dumps(record))
            seal(folder)
            try:
                assert isinstance(read_bundle(folder), Bundle)
            except InputError as error:
                refused += 1
                assert "\n" not in str(error), (place, value)
    assert refused > 80
