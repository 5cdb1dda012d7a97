"""Ids, coordinates, labels, quality, shortcuts, the record and the proposal."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from counterstain.audit.duplicates import Duplicate, find_duplicates
from counterstain.audit.ids import divided, last_digits, near_ids, overlapping
from counterstain.audit.proposal import clusters, propose_split
from counterstain.audit.quality import conflicts, look_at, poor_tiles, thin_classes, unplaced
from counterstain.audit.report import audit_lines, audit_record
from counterstain.audit.shortcuts import baselines, colour_features
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.splitters import Fold, Split, folds, holdout
from counterstain.errors import InputError
from counterstain.images.store import build_store


def table(**columns: list[object]) -> Cohort:
    """A cohort of as many images as the longest column; what is not given is empty."""
    count = max(map(len, columns.values()))
    filled: dict[str, list[object]] = {
        "image_path": [f"{k}.png" for k in range(count)],
        "label": ["ab"[k % 2] for k in range(count)],
        **{name: [""] * count for name in ("patient_id", "slide_id", "site", "split")},
        **{name: [float("nan")] * count for name in ("mpp", "x", "y")},
    }
    return Cohort(pd.DataFrame(filled | columns), classes=("a", "b"), root=Path(), positive="b")


def test_divided_patients_are_leaks_where_a_test_part_is_concerned() -> None:
    cohort = table(patient_id=["p", "p", "q", "q", "r", "r"])
    found = {one.parts: one for one in divided(cohort, [["train", "test", "train", "val", "test", "test"]])}
    assert found["test", "train"].severity == "leak"
    assert found["test", "train"].examples == (("p",),)
    assert found["train", "val"].severity == "warning"
    assert divided(cohort, [["train", "", "val", "val", "test", "test"]]) == []


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (["18842", "18842D", "19979"], [("18842", "18842D")]),
        (["14-22549AB", "14-22549CD", "14-22549G"], [("14-22549AB", "14-22549CD", "14-22549G")]),
        (["P01", "p_1", "P-1"], [("P-1", "P01", "p_1")]),
        (["P1", "P2", "P10", "P11", "P100"], []),
        (["TCGA-AA-0001", "TCGA-AA-0002", "TCGA-AB-0001"], []),
        (["A", "B", "AB"], []),
    ],
)
def test_near_ids(names: list[str], alike: list[tuple[str, ...]]) -> None:
    found = near_ids(table(patient_id=list(names)))
    assert [set(group) for one in found for group in one.examples] == [set(group) for group in alike]


def test_near_ids_on_two_sides_of_a_test_part_are_a_leak() -> None:
    cohort = table(patient_id=["18842", "18842D", "5", "6"])
    severity = {
        parts: [one.severity for one in near_ids(cohort, [parts])]
        for parts in (("train", "test", "train", "val"), ("train", "val", "train", "test"), ("test",) * 4)
    }
    assert list(severity.values()) == [["leak"], ["warning"], ["warning"]]


def test_tiles_that_overlap_on_their_slide() -> None:
    """Squares of 100 px: 0 and 1 share half; 2 touches 1 at its seam; 3 is at the place of 0 on another slide."""
    cohort = table(slide_id=["s", "s", "s", "t"], x=[0.0, 50.0, 150.0, 0.0], y=[0.0, 0.0, 0.0, 0.0])
    side = np.full(4, 100.0)
    found = overlapping(cohort, side, [["train", "test", "train", "test"]])
    assert [(one.severity, one.examples) for one in found] == [("leak", (("0.png", "1.png"),))]
    assert overlapping(cohort, side, [["train", "train", "test", "test"]]) == []


def test_copies_with_two_labels_and_patients_of_two_classes() -> None:
    cohort = table(patient_id=["p", "p", "q", "r"])
    pair = Duplicate(0, 1, "turned", 1.0, "flipped")
    same = Duplicate(0, 2, "near", 1.0, "as it is")
    found = {one.tier: one for one in conflicts(cohort, cohort.image, [pair, same])}
    assert found["conflict"].count == 1
    assert found["conflict"].severity == "leak"
    assert found["mixed-patient"].examples == (("p",),)
    # A field seen in a turned crop may hold another thing.
    assert "conflict" not in {one.tier for one in conflicts(cohort, cohort.image, [replace(pair, tier="rotated")])}


def test_classes_that_hang_on_one_patient_or_site() -> None:
    cohort = table(patient_id=["p", "q", "p", "r"], site=["x", "y", "x", "y"])
    assert {one.tier for one in thin_classes(cohort)} == {"lone-patient", "lone-site"}
    fine = table(patient_id=["p", "q", "r", "s"], site=["x", "x", "y", "y"])
    assert thin_classes(fine) == []


@pytest.mark.parametrize(
    ("ids", "groups"),
    [
        (["14-2523-R3", "14-2523-R4"], [("14-2523-R3", "14-2523-R4")]),
        (["18842B1", "18842B2", "18843B1"], [("18842B1", "18842B2")]),
        (["P07_S1", "P07-S2", "P08_S1", "P07_S3"], [("P07_S1", "P07_S3")]),
        (["2019-3", "2019-4"], [("2019-3", "2019-4")]),
        (["P1", "P2", "P3"], []),
        (["P01", "P02"], []),
        (["case 1", "case 2"], []),
        (["14-2523", "14-2524"], []),
        (["TCGA-A2-A0C1", "TCGA-A2-A0C2"], []),
        (["10253", "10254"], []),
    ],
)
def test_ids_that_differ_in_a_last_digit_are_asked_about(ids: list[str], groups: list[tuple[str, ...]]) -> None:
    cohort = table(patient_id=[ids[k % len(ids)] for k in range(12)])
    found = last_digits(cohort)
    assert [example for one in found for example in one.examples] == groups
    assert all(one.severity == "warning" for one in found)


@pytest.fixture
def images(tmp_path: Path) -> Cohort:
    """24 images of 12 patients: class b is redder; the last two are glass, the two before them are out of focus."""
    rng = np.random.default_rng(0)
    for k in range(24):
        fine = rng.integers(0, 120, (48, 48, 3)) + np.array([80 + 50 * (k % 2), 40, 60])
        if k >= 22:
            fine = np.full((48, 48, 3), 245)
        elif k >= 20:
            fine = np.full((48, 48, 3), [150, 60, 120]) + rng.integers(0, 4, (48, 48, 3))
        Image.fromarray(fine.astype(np.uint8)).save(tmp_path / f"{k}.png")
    return replace(table(patient_id=[f"p{k // 2}" for k in range(24)]), root=tmp_path)


def test_blank_and_blurred_tiles(images: Cohort, tmp_path: Path) -> None:
    store = build_store(images, tmp_path / "store", tile_px=48)
    found = {one.tier: {name for (name,) in one.examples} for one in poor_tiles(images, store.image, look_at(store))}
    assert found == {"blank": {"22.png", "23.png"}, "blurred": {"20.png", "21.png"}}


def test_baselines_are_fitted_on_the_training_part_and_find_a_colour(images: Cohort, tmp_path: Path) -> None:
    store = build_store(images, tmp_path / "store", tile_px=48)
    words = ["test" if 8 <= k < 16 else "train" for k in range(24)]
    found = baselines(images, store, words, unit="patient")
    assert set(found) == {"majority", "mean-rgb", "colour-histogram", "file"}
    assert found["majority"].prob == pytest.approx(0.5)
    assert found["mean-rgb"].image == tuple(f"{k}.png" for k in range(8, 16))
    assert (found["mean-rgb"].prob.argmax(axis=1) == found["mean-rgb"].label).all()
    assert found["mean-rgb"].unit == "patient"
    assert baselines(images, store, words, unit="image")["majority"].unit == "image"
    mean, _ = colour_features(images, store)
    train = np.array(words) == "train"
    scaler = StandardScaler().fit(mean[train])
    other = LogisticRegression(max_iter=2000).fit(scaler.transform(mean[train]), images.label_index[train])
    assert found["mean-rgb"].prob == pytest.approx(other.predict_proba(scaler.transform(mean[~train])))


def test_the_record_and_its_lines(images: Cohort, tmp_path: Path) -> None:
    Image.open(tmp_path / "0.png").transpose(Image.Transpose.ROTATE_90).save(tmp_path / "10.png")
    store = build_store(images, tmp_path / "store", tile_px=48)
    copies = find_duplicates(store)
    split = Split(images.image, (Fold(0, 0, tuple("test" if k < 8 else "train" for k in range(24))),), "patient")
    record = audit_record(images, split, store, copies)
    assert record["verdict"] == "leaks"
    assert record["copies"]["turned"] == 1
    # The two glass tiles are one file under two labels: that is a leak, too.
    assert {one["tier"] for one in record["findings"] if one["severity"] == "leak"} == {"turned", "conflict"}
    leak = next(one for one in record["findings"] if one["tier"] == "turned")
    assert leak["parts"] == ("test", "train")
    assert leak["examples"][0] == ("0.png", "10.png")
    assert record["findings"][0]["severity"] == "leak"
    lines = audit_lines(record)
    assert "flips or rotations by 90°" in lines[0]
    # Without a split the same copy is only noted.
    alone = audit_record(images, None, store, copies)
    assert next(one for one in alone["findings"] if one["tier"] == "turned")["severity"] == "note"


def test_the_proposal_keeps_clusters_whole() -> None:
    cohort = table(patient_id=[f"p{k // 2}" for k in range(40)], label=["ab"[(k // 2) % 2] for k in range(40)])
    copies = [
        Duplicate(0, 5, "near", 1.0, ""),
        Duplicate(5, 39, "rotated", 0.9, ""),
        Duplicate(10, 21, "bytes", 1.0, ""),
    ]
    own = clusters(cohort, cohort.image, copies)
    assert own[0] == own[1] == own[4] == own[5] == own[38] == own[39] != own[2]
    for given in (holdout(cohort, unit="image"), folds(cohort, k=4, unit="image")):
        made = propose_split(cohort, cohort.image, copies, given)
        assert len(made.parts) == len(given.parts)
        for part in made.parts:
            for cluster in set(own.tolist()):
                assert len({part.assignment[row] for row in np.flatnonzero(own == cluster)}) == 1


def test_near_ids_are_one_cluster_unless_said_to_be_distinct() -> None:
    cohort = table(patient_id=["18842", "18842D", "5", "6"])
    assert len(set(clusters(cohort, cohort.image, []).tolist())) == 3
    assert len(set(clusters(cohort, cohort.image, [], distinct_ids=True).tolist())) == 4


def test_one_giant_cluster_is_told() -> None:
    cohort = table(patient_id=["p"] * 30 + [f"q{k}" for k in range(10)])
    with pytest.raises(InputError, match="30 of 40 images hang together"):
        propose_split(cohort, cohort.image, [], holdout(cohort, unit="image"))


def test_a_refused_proposal_names_patients_and_no_cluster_numbers() -> None:
    names, slides = ["P1", "P1", "P9", "P2", "P3", "P4", "P5", ""], ["S1", "S1", "S1", *[""] * 5]
    cohort = table(patient_id=names, slide_id=slides, label=["b", "a", "b", "a", "a", "a", "a", "a"])
    given = Split(cohort.image, (Fold(0, 0, ("train",) * 4 + ("val", "val", "test", "test")),), "image")
    with pytest.raises(InputError, match=r"class 'b' has 1 patient \(P1 \+ P9\)") as refused:
        propose_split(cohort, cohort.image, [], given)
    assert "cluster" not in str(refused.value)


def test_images_in_no_part_are_told() -> None:
    """A split of half the images was audited as if it were of all."""
    cohort = table(patient_id=["P1", "P1", "P2", "P2"], label=["a", "b", "a", "b"])
    half = Split(cohort.image, (Fold(0, 0, ("train", "test", "", "")),), "image")
    (found,) = unplaced(cohort, half)
    assert (found.count, found.words) == (2, "2 of 4 images are in no part of the split")
    folds = Split(cohort.image, (*half.parts, Fold(0, 1, ("", "", "test", "train"))), "image")
    assert unplaced(cohort, folds) == [] == unplaced(cohort, None)
