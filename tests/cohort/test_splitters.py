"""Splits: no patient on two sides, every class in every part, shares as asked for, the same for the same seed."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.cohort.cohort import Cohort, assemble
from counterstain.cohort.manifest import read_manifest
from counterstain.cohort.splitters import (
    Fold,
    Split,
    check,
    count_parts,
    draw_missing_val,
    folds,
    holdout,
    official,
    read_divisions,
    read_split,
    split_lines,
    write_split,
)
from counterstain.errors import InputError


def cohort_of(patients: dict[str, dict[str, int]]) -> Cohort:
    """A cohort of {patient: {class: images}}."""
    rows = [
        (f"{patient}/{label}/{number}.png", label, patient)
        for patient, classes in patients.items()
        for label, count in classes.items()
        for number in range(count)
    ]
    names, labels, owners = zip(*rows, strict=True)
    return assemble({"image_path": names, "label": labels, "patient_id": owners}, root=Path())


def plain(per_class: int = 10, images: int = 4) -> Cohort:
    return cohort_of({f"{label}{number}": {label: images} for label in "ab" for number in range(per_class)})


def sides(split: Split, cohort: Cohort) -> list[dict[str, set[str]]]:
    """For each part of the split, the names of the sides that each patient is on."""
    found = []
    for part in split.parts:
        where: dict[str, set[str]] = {}
        for patient, word in zip(cohort.patient, part.assignment, strict=True):
            where.setdefault(patient, set()).add(word)
        found.append(where)
    return found


def random_patients(seed: int) -> dict[str, dict[str, int]]:
    """5 to 25 patients with 1 to 9 images each in one to three classes, classes of unlike frequency."""
    rng = np.random.default_rng(seed)
    often = 0.1 + 0.9 * rng.random(3)
    found = {}
    for number in range(rng.integers(5, 26)):
        has = rng.random(3) < often
        has[rng.integers(3)] |= not has.any()
        found[f"P{number}"] = {
            label: int(rng.integers(1, 10)) for label, there in zip("abc", has, strict=True) if there
        }
    return found


# Drawn from a seed: hypothesis' own strategies for nested dictionaries take longer than all the splits.
cohorts = st.integers(0, 2**32).map(random_patients)


@pytest.mark.slow
@settings(max_examples=1000)
@given(cohorts, st.integers(0, 2**32), st.sampled_from([0.1, 0.2, 0.5]))
def test_no_patient_on_two_sides_in_1000_random_cohorts(
    patients: dict[str, dict[str, int]], seed: int, share: float
) -> None:
    having = {label: sum(label in classes for classes in patients.values()) for label in "abc"}
    present = [label for label in "abc" if having[label]]
    if len(present) < 2:
        return
    cohort = cohort_of(patients)
    try:
        split = holdout(cohort, test=share, val=share, seed=seed)
    except InputError as error:
        # Only where a class has too few patients, or patients of several classes leave no way.
        mixed = any(len(classes) > 1 for classes in patients.values())
        assert mixed or min(having[label] for label in present) < 3, error
        return
    assert all(len(where) == 1 for where in sides(split, cohort)[0].values())
    labels = np.array(cohort.table["label"])
    for name in ("train", "val", "test"):
        assert set(labels[split.parts[0].rows(name)]) == set(present)


@settings(max_examples=100)
@given(cohorts, st.integers(0, 2**32), st.integers(2, 4), st.integers(1, 2))
def test_folds_test_each_patient_once_a_repeat(
    patients: dict[str, dict[str, int]], seed: int, k: int, repeats: int
) -> None:
    present = {label for classes in patients.values() for label in classes}
    if len(present) < 2:
        return
    cohort = cohort_of(patients)
    try:
        split = folds(cohort, k=k, repeats=repeats, seed=seed)
    except InputError:
        return
    assert len(split.parts) == k * repeats
    assert all(len(where) == 1 for part in sides(split, cohort) for where in part.values())
    labels = np.array(cohort.table["label"])
    for part in split.parts:
        for name in ("train", "val", "test"):
            assert set(labels[part.rows(name)]) == present
    for repeat in range(repeats):
        tested = np.concatenate([part.rows("test") for part in split.parts if part.repeat == repeat])
        assert sorted(tested) == list(range(len(cohort)))


@settings(max_examples=8)
@given(st.randoms(use_true_random=False), st.sampled_from(["patient", "image"]))
def test_row_order_and_positive_class_change_nothing(random, unit: str) -> None:  # type: ignore[no-untyped-def]
    cohort = cohort_of({f"P{n}": {"a": n + 1, "b": 3} if n % 3 else {"a": 2} for n in range(9)})
    order = list(range(len(cohort)))
    random.shuffle(order)
    mixed = cohort.subset(order)
    for make in (holdout, lambda given, **more: folds(given, k=3, repeats=2, **more)):
        first = make(cohort, unit=unit, seed=3)
        second = make(mixed, unit=unit, seed=3)
        for one, other in zip(first.parts, second.parts, strict=True):
            assert dict(zip(first.image, one.assignment, strict=True)) == dict(
                zip(second.image, other.assignment, strict=True)
            )
    other = assemble(
        {name: cohort.table[name] for name in ("image_path", "label", "patient_id")}, root=Path(), positive="a"
    )
    assert holdout(other, seed=3) == holdout(cohort, seed=3)


def test_seed_decides() -> None:
    cohort = plain(30)
    assert holdout(cohort, seed=1) == holdout(cohort, seed=1)
    assert len({holdout(cohort, seed=seed).parts[0].assignment for seed in range(10)}) == 10
    repeats = folds(cohort, k=5, repeats=4)
    tested = {tuple(part.rows("test")) for part in repeats.parts}
    assert len(tested) == 20  # no repeat comes twice


@pytest.mark.parametrize("patients", [60, 3000])
def test_shares_are_near_those_asked_for_when_patients_are_many(patients: int) -> None:
    rng = np.random.default_rng(5)
    cohort = cohort_of({f"P{n}": {"ab"[int(n % 3 == 0)]: int(rng.integers(1, 20))} for n in range(patients)})
    record = count_parts(holdout(cohort), cohort)["parts"][0]["counts"]
    totals = {label: sum(part["per_class"][label]["images"] for part in record.values()) for label in "ab"}
    people = {label: sum(part["per_class"][label]["patients"] for part in record.values()) for label in "ab"}
    for name, share in (("test", 0.2), ("val", 0.16), ("train", 0.64)):
        for label in "ab":
            found = record[name]["per_class"][label]
            assert found["images"] / totals[label] == pytest.approx(share, abs=0.03)
            assert found["patients"] / people[label] == pytest.approx(share, abs=0.04)


def test_the_best_of_all_divisions_is_nearly_reached() -> None:
    """Against every possible dealing of 8 patients of one size to two parts: no better one exists."""
    sizes = [9, 7, 5, 4, 3, 2, 2, 1]
    cohort = cohort_of({f"a{n}": {"a": size} for n, size in enumerate(sizes)} | {f"b{n}": {"b": 1} for n in range(8)})
    split = holdout(cohort, test=0.25, val=1 / 3)
    record = count_parts(split, cohort)["parts"][0]["counts"]
    of_a = [record[name]["per_class"]["a"] for name in ("test", "val")]
    found = [(part["images"] / sum(sizes) + part["patients"] / 8) / 2 for part in of_a]
    best = min(abs(sum(sizes[n] for n in chosen) / sum(sizes) - 0.25) for chosen in itertools.combinations(range(8), 2))
    assert found == pytest.approx([0.25, 0.25], abs=best / 2 + 0.02)


def test_a_class_with_one_patient_is_refused_by_name() -> None:
    cohort = cohort_of({"P7": {"benign": 9}, **{f"P{n}": {"malignant": 4} for n in range(6)}})
    with pytest.raises(InputError, match=r"class 'benign' has 1 patient \(P7\); train, val and test each need one"):
        holdout(cohort)
    with pytest.raises(InputError, match=r"class 'benign' has 1 patient \(P7\); 5 folds .* need 5"):
        folds(cohort, k=5)


def test_fewer_patients_than_folds_need() -> None:
    three = plain(3)
    assert len(folds(three, k=3).parts) == 3
    with pytest.raises(InputError, match=r"2 folds .* need 4"):
        folds(three, k=2)
    with pytest.raises(InputError, match=r"5 folds .* need 5"):
        folds(plain(4), k=5)


def test_three_images_are_too_few() -> None:
    cohort = assemble({"image_path": ["a", "b", "c"], "label": ["x", "y", "y"]}, root=Path())
    with pytest.raises(InputError, match=r"class 'x' has 1 image \(a\)"):
        holdout(cohort, unit="image")


def test_unknown_patients_need_unit_image() -> None:
    cohort = assemble({"image_path": [f"{n}.png" for n in range(40)], "label": list("ab") * 20}, root=Path())
    for make in (holdout, folds):
        with pytest.raises(InputError, match="unit: image"):
            make(cohort)
    split = holdout(cohort, unit="image")
    assert split.unit == "image"
    partly = cohort_of({f"P{n}": {"a": 2, "b": 2} for n in range(9)})
    partly = Cohort(partly.table.assign(patient_id=["", *partly.table["patient_id"][1:]]), ("a", "b"), Path(), "b")
    with pytest.raises(InputError, match=r"1 of 36 images have no patient id \(first: P0/a/0.png\)"):
        holdout(partly)


def test_image_level_split_of_known_patients_is_stamped_by_its_unit() -> None:
    cohort = plain()
    split = holdout(cohort, unit="image")
    assert split.unit == "image"
    assert any(len(where) > 1 for where in sides(split, cohort)[0].values())


@pytest.mark.parametrize(
    "call",
    [{"test": 0.0}, {"test": 1.0}, {"val": 1.5}, {"unit": "slide"}, {"seed": -1}],
)
def test_wrong_arguments(call: dict[str, object]) -> None:
    with pytest.raises(InputError, match="needed"):
        holdout(plain(), **call)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="k is 1"):
        folds(plain(), k=1)


def given_split(cohort: Cohort, words: dict[str, str]) -> Cohort:
    return cohort.with_split([words.get(patient, "train") for patient in cohort.patient])


def test_official_split_is_kept_and_val_comes_from_train() -> None:
    cohort = given_split(plain(), {"a0": "test", "b0": "test", "a1": "test_other", "b1": "test_other", "a2": ""})
    split = official(cohort)
    before, after = list(cohort.table["split"]), split.parts[0].assignment
    for old, new in zip(before, after, strict=True):
        assert new == old or (old == "train" and new == "val")
    assert split.parts[0].names == ("train", "val", "test", "test_other")
    assert all(len(where) == 1 for where in sides(split, cohort)[0].values())
    with_val = given_split(plain(), {"a0": "test", "b0": "test", "a1": "val", "b1": "val"})
    assert official(with_val).parts[0].assignment == tuple(with_val.table["split"])


def test_unused_images_of_training_patients_stay_unused() -> None:
    cohort = given_split(plain(), {"a0": "test", "b0": "test"})
    words = ["" if path.endswith("/0.png") and word == "train" else word
             for path, word in zip(cohort.image, cohort.table["split"], strict=True)]  # fmt: skip
    split = official(cohort.with_split(words))
    assert [word == "" for word in split.parts[0].assignment] == [word == "" for word in words]


def test_official_splits_that_cannot_be_used() -> None:
    cohort = plain()
    with pytest.raises(InputError, match="names nothing"):
        official(cohort)
    with pytest.raises(InputError, match="names train, val; needed: train and test"):
        official(given_split(cohort, {"a0": "val", "b0": "val"}))
    with pytest.raises(InputError, match="no image of class 'b' in test; it has 10 patients"):
        official(given_split(cohort, {"a0": "test"}))
    words = list(given_split(cohort, {"a0": "test", "b0": "test"}).table["split"])
    words[0] = "train"
    with pytest.raises(InputError, match=r"divides 1 patient \(first: a0, in test and train\)"):
        official(cohort.with_split(words))
    assert official(cohort.with_split(words), unit="image").unit == "image"


@pytest.mark.parametrize(
    "make", [holdout, lambda cohort: folds(cohort, k=3, repeats=2), lambda c: holdout(c, unit="image")]
)
def test_written_and_read_back(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    cohort = plain()
    split = make(cohort)
    write_split(split, tmp_path / "splits.csv")
    assert read_split(tmp_path / "splits.csv", cohort, unit=split.unit) == split
    first = (tmp_path / "splits.csv").read_bytes()
    write_split(split, tmp_path / "splits.csv")
    assert first == (tmp_path / "splits.csv").read_bytes()


def test_a_users_split_is_checked(tmp_path: Path) -> None:
    cohort = plain()
    path = tmp_path / "splits.csv"
    rows = list(zip(*(holdout(cohort).image, holdout(cohort).parts[0].assignment), strict=True))

    def read(lines: list[tuple[str, ...]], header: str = "image_path,split") -> Split:
        path.write_text("\n".join([header, *map(",".join, lines)]) + "\n", encoding="utf-8")
        return read_split(path, cohort)

    assert read(rows[::-1]) == holdout(cohort)
    test_row = next(number for number, row in enumerate(rows) if row[1] == "test")
    leak = [*rows[:test_row], (rows[test_row][0], "train"), *rows[test_row + 1 :]]
    with pytest.raises(InputError, match="divides 1 patient"):
        read(leak)
    with pytest.raises(InputError, match=r"names stranger\.png"):
        read([*rows, ("stranger.png", "train")])
    assert read_split(path, cohort, aside=["stranger.png"]) == holdout(cohort)
    with pytest.raises(InputError, match="lists an image twice"):
        read([*rows, rows[0]])
    with pytest.raises(InputError, match="has split 'tset'"):
        read([*rows[:-1], (rows[-1][0], "tset")])
    with pytest.raises(InputError, match="no column 'split'"):
        read(rows, "image_path,part")
    with pytest.raises(InputError, match="no image of class 'b'"):
        read([(name, "" if name.startswith("b") and word == "val" else word) for name, word in rows])
    without_val = read([(name, "train" if word == "val" else word) for name, word in rows])
    assert set(without_val.parts[0].names) == {"train", "val", "test"}
    three = folds(cohort, k=3)
    fold_of = np.argmax([np.array(part.assignment) == "test" for part in three.parts], axis=0)
    numbers = read([(name, str(fold)) for name, fold in zip(cohort.image, fold_of, strict=True)], "image_path,fold")
    assert [list(part.rows("test")) for part in numbers.parts] == [list(part.rows("test")) for part in three.parts]
    with pytest.raises(InputError, match="fold 'one'"):
        read([(name, "one") for name in cohort.image], "image_path,fold")


@pytest.mark.parametrize(
    ("header", "separator", "change"),
    [
        ("filename,partition", ",", lambda name: name),
        ("File Name;Split", ";", lambda name: name),
        ("image\tSubset", "\t", lambda name: f"./{name}"),
        ("path,split", ",", lambda name: name.replace("/", "\\")),
        ("path,split", ",", lambda name: str(Path("images").absolute() / name)),
    ],
)
def test_a_split_is_read_as_a_manifest_is(tmp_path: Path, header: str, separator: str, change) -> None:  # type: ignore[no-untyped-def]
    cohort = plain()
    table = cohort.table.assign(image_path=[f"d/{name}" for name in cohort.image])
    cohort = replace(cohort, table=table, root=Path("images"))
    split = holdout(cohort)
    rows = [separator.join((change(n), w)) for n, w in zip(split.image, split.parts[0].assignment, strict=True)]
    (tmp_path / "s.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    assert read_split(tmp_path / "s.csv", cohort) == split


def numbered(path: Path, lines: list[str], header: str) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_fold_numbers_are_counted_within_their_repeat(tmp_path: Path) -> None:
    """Images that a repeat doesn't list are in none of its parts; the file's order doesn't matter."""
    cohort = plain()
    lines = [f"{name},{repeat},{(k + repeat) % 3}" for k, name in enumerate(cohort.image) for repeat in (1, 0)]
    lines = [line for line in lines if line != f"{cohort.image[5]},1,0"]
    parts = read_divisions(numbered(tmp_path / "f.csv", lines[::-1], "image_path,repeat,fold"), cohort)
    assert [(part.repeat, part.fold) for part in parts] == [(r, f) for r in (0, 1) for f in range(3)]
    for part in parts:
        for k, word in enumerate(part.assignment):
            tested = "test" if (k + part.repeat) % 3 == part.fold else "train"
            assert word == ("" if (part.repeat, k) == (1, 5) else tested)


def test_divisions_of_a_file_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    cohort = plain(2, 1)
    words = {(r, f): ["train", "val", "test", ""][r + f :] + ["train"] * (r + f) for r in (0, 1) for f in (0, 1)}
    lines = [f"{n},{r},{f},{w}" for (r, f), own in words.items() for n, w in zip(cohort.image, own, strict=True)]
    parts = read_divisions(numbered(tmp_path / "f.csv", lines[::-1], "image_path,repeat,fold,split"), cohort)
    assert parts == tuple(Fold(r, f, tuple(own)) for (r, f), own in words.items())
    with pytest.raises(InputError, match=r"^f\.csv lists an image twice in one part \(1 such rows\)"):
        read_divisions(numbered(tmp_path / "f.csv", [*lines, lines[0]], "image_path,repeat,fold,split"), cohort)


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        ("image_path,split", "a0/a/0.png,tset", r"^f\.csv has split 'tset'"),
        ("image_path,fold,split", "a0/a/0.png,0,tset", r"^f\.csv has split 'tset'"),
        ("image_path,fold", "a0/a/0.png,-1", r"^f\.csv has repeat or fold '-1'; needed: whole numbers from 0"),
        ("image_path,repeat,fold", "a0/a/0.png,1.5,0", r"^f\.csv has repeat or fold '1.5'"),
        ("image_path,fold", "a0/a/0.png,²", r"^f\.csv has repeat or fold '²'"),
        ("image_path,repeat", "a0/a/0.png,0", r"^f\.csv has no column 'split'; .*It has image_path, repeat; .*split="),
        ("name of it,fold", "a0/a/0.png,0", r"^f\.csv has no column 'image_path'; .* say --columns image_path="),
        ("image_path,split", "c/0.png,train", r"^f\.csv names c/0\.png, which is not in the cohort"),
    ],
)
def test_what_is_wrong_with_a_split_is_said_with_its_file(tmp_path: Path, header: str, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_divisions(numbered(tmp_path / "f.csv", [line], header), plain())


def test_images_set_aside_may_stand_in_the_file_unless_they_are_in_the_cohort(tmp_path: Path) -> None:
    cohort = plain(2, 1)
    lines = ["gone.png,train", *(f"{name},train" for name in cohort.image)]
    path = numbered(tmp_path / "f.csv", lines, "image_path,split")
    (part,) = read_divisions(path, cohort, aside=["gone.png", cohort.image[0]])
    assert part.assignment == ("train",) * 4


def test_a_name_that_begins_with_a_blank_is_its_own(tmp_path: Path) -> None:
    cohort = plain(2, 1)
    names = [f" {cohort.image[0]}", *cohort.image[1:]]
    cohort = replace(cohort, table=cohort.table.assign(image_path=names))
    path = numbered(tmp_path / "f.csv", [f"{name},  train " for name in names], "image_path,split")
    assert read_divisions(path, cohort)[0].assignment == ("train",) * 4


def test_val_is_drawn_from_the_share_and_seed_that_were_asked_for(tmp_path: Path) -> None:
    """10 patients of a class, 2 of them tested: of the other 8 a half is val, differently for every seed and fold."""
    cohort = plain()
    lines = [f"{name},{int(name[1:].split('/')[0]) // 2}" for name in cohort.image]
    path = numbered(tmp_path / "f.csv", lines, "image_path,fold")
    half = read_split(path, cohort, val=0.5)
    for part in half.parts:
        assert [len(set(np.array(cohort.patient)[part.rows(word)])) for word in ("train", "val", "test")] == [8, 8, 4]
    assert len({part.assignment for part in half.parts}) == 5
    assert read_split(path, cohort, val=0.5) == half
    assert read_split(path, cohort, val=0.5, seed=1) != half
    by_image = read_split(path, cohort, val=0.5, unit="image")
    assert by_image.unit == "image"
    assert [len(by_image.parts[0].rows(word)) for word in ("train", "val", "test")] == [32, 32, 16]
    given = half.parts[0]
    assert draw_missing_val(cohort, given) is given
    bare = read_divisions(path, cohort)[0]
    assert draw_missing_val(cohort, bare) == draw_missing_val(cohort, bare, val=0.2, unit="patient", seed=0)
    assert read_split(path, cohort) == read_split(path, cohort, val=0.2, unit="patient", seed=0)


def test_columns_of_a_split_can_be_named_and_a_row_without_image_is_said(tmp_path: Path) -> None:
    cohort = plain()
    split = holdout(cohort)
    rows = [f"{name},{word}" for name, word in zip(split.image, split.parts[0].assignment, strict=True)]
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["Bild,Teil", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"no column 'image_path'.*columns=\{'image_path'"):
        read_split(path, cohort)
    # What names no column here is of the cohort's own table, which the same --columns speaks of.
    assert read_split(path, cohort, columns={"image_path": "Bild", "split": "Teil", "label": "Klasse"}) == split
    path.write_text("\n".join(["image_path,split", *rows[:2], ",train"]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"s\.csv line 4 names no image"):
        read_split(path, cohort)


def test_check_refuses_what_does_not_fit() -> None:
    cohort = plain()
    split = holdout(cohort)
    check(split, cohort)
    with pytest.raises(InputError, match="differ in their images"):
        check(split, cohort.subset(list(range(10))))
    with pytest.raises(InputError, match="differ in their images"):
        check(split, cohort.subset(list(range(len(cohort)))[::-1]))
    with pytest.raises(InputError, match="no parts"):
        check(Split(cohort.image, (), "patient"), cohort)
    only_train = Split(cohort.image, (Fold(0, 0, ("train",) * len(cohort)),), "patient")
    with pytest.raises(InputError, match="no val part"):
        check(only_train, cohort)
    three = folds(cohort, k=3)
    with pytest.raises(InputError, match="tested 0 times"):
        check(Split(three.image, three.parts[:2], "patient"), cohort)


def test_counts_by_hand() -> None:
    cohort = cohort_of({"P1": {"a": 2}, "P2": {"a": 1, "b": 3}, "P3": {"b": 1}, "P4": {"a": 1}})
    words = ("train", "train", "val", "val", "val", "val", "test", "")
    record = count_parts(Split(cohort.image, (Fold(0, 0, words),), "patient"), cohort)
    part = record["parts"][0]
    assert part["unused"] == 1
    assert part["counts"]["val"] == {
        "images": 4,
        "patients": 1,
        "per_class": {"a": {"images": 1, "patients": 1}, "b": {"images": 3, "patients": 1}},
    }
    assert "  val b" in "\n".join(split_lines(record))


@pytest.mark.realdata
def test_pcam_keeps_its_own_test_part(real_data: Path) -> None:
    cohort = read_manifest(real_data / "pcam" / "manifest.csv", splits={"valid": "test"})
    split = official(cohort, unit="image")
    assert {name: len(split.parts[0].rows(name)) for name in ("train", "val", "test")} == {
        "train": 16_000,
        "val": 4_000,
        "test": 3_000,
    }
    assert all(cohort.image[row].startswith("valid/") for row in split.parts[0].rows("test"))
