"""Each known layout in its real folder shape, and everything odd that a folder may hold."""

import os
import re
import shutil
import socket
import unicodedata
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from counterstain.cohort.cohort import Cohort
from counterstain.cohort.layouts import LAYOUTS, read_folder
from counterstain.cohort.manifest import check_files, read_manifest, write_cohort
from counterstain.cohort.splitters import official
from counterstain.cohort.summary import describe, measure_colour
from counterstain.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def column(cohort: Cohort, name: str) -> dict[str, object]:
    """{file name: value} of a column."""
    return {path.rpartition("/")[2]: value for path, value in zip(cohort.image, cohort.table[name], strict=True)}


BREAKHIS = (
    "breast/benign/SOB/adenosis/SOB_B_A_14-22549AB/40X/SOB_B_A-14-22549AB-40-001.png",
    "breast/benign/SOB/adenosis/SOB_B_A_14-22549AB/400X/SOB_B_A-14-22549AB-400-001.png",
    "breast/benign/SOB/adenosis/SOB_B_A_14-22549CD/40X/SOB_B_A-14-22549CD-40-001.png",
    "breast/benign/SOB/phyllodes_tumor/SOB_B_PT_14-21998AB/40X/SOB_B_PT-14-21998AB-40-002.png",
    "breast/malignant/SOB/ductal_carcinoma/SOB_M_DC_14-2523/40X/SOB_M_DC-14-2523-40-001.png",
    "breast/malignant/SOB/lobular_carcinoma/SOB_M_LC_14-15570C/40X/SOB_M_LC-14-15570C-40-009.png",
    "breast/malignant/SOB/lobular_carcinoma/SOB_M_LC_14-13412/100X/SOB_M_LC-14-13412-100-009.png",
)


@pytest.mark.parametrize("flat", [False, True])
def test_breakhis_nested_and_flat(tmp_path: Path, flat: bool) -> None:
    touch(tmp_path, *(path.rpartition("/")[2] if flat else path for path in BREAKHIS))
    cohort = read_folder(tmp_path)
    assert "BreakHis" in cohort.notes[0]
    assert cohort.classes == ("benign", "malignant")
    assert cohort.positive == "malignant"
    patients = column(cohort, "patient_id")
    assert patients["SOB_B_A-14-22549AB-40-001.png"] == patients["SOB_B_A-14-22549CD-40-001.png"] == "14-22549"
    assert patients["SOB_B_A-14-22549AB-400-001.png"] == "14-22549"
    assert patients["SOB_M_DC-14-2523-40-001.png"] == "14-2523"
    assert patients["SOB_M_LC-14-15570C-40-009.png"] == "14-15570"
    assert column(cohort, "slide_id")["SOB_M_LC-14-15570C-40-009.png"] == "14-15570C"


def test_breakhis_tasks_and_magnifications(tmp_path: Path) -> None:
    touch(tmp_path, *BREAKHIS)
    assert read_folder(tmp_path, task="subtype").classes == ("A", "DC", "LC", "PT")
    for wanted in ("40", "40X", "40x"):
        cohort = read_folder(tmp_path, magnification=wanted)
        assert len(cohort) == 5
        assert all("-40-" in path for path in cohort.image)
    assert len(read_folder(tmp_path, magnification="all")) == 7
    with pytest.raises(InputError, match=r"magnification is '200'; .* has 40, 100, 400"):
        read_folder(tmp_path, magnification="200")
    with pytest.raises(InputError, match="did you mean 'subtype'"):
        read_folder(tmp_path, task="subtypes")


def test_one_file_with_another_name_is_refused_not_guessed(tmp_path: Path) -> None:
    touch(tmp_path, *BREAKHIS, "breast/benign/copy.png")
    with pytest.raises(InputError, match=r"7 of 8 files are named as .* 1 are not \(breast/benign/copy.png\)"):
        read_folder(tmp_path)
    with pytest.raises(InputError, match=r"1 of 8 files are not named as in BreakHis"):
        read_folder(tmp_path, layout="breakhis")


def test_idc(tmp_path: Path) -> None:
    touch(tmp_path, "10253/0/10253_idx5_x1001_y1051_class0.png", "10253/1/10253_idx5_x501_y351_class1.png",
          "8863/1/8863_idx5_x51_y1251_class1.png")  # fmt: skip
    cohort = read_folder(tmp_path)
    assert cohort.classes == ("0", "1")
    assert list(cohort.patient) == ["10253", "10253", "8863"]
    assert list(cohort.table["slide_id"]) == ["10253_idx5", "10253_idx5", "8863_idx5"]
    assert list(cohort.table["x"]) == [1001, 501, 51]
    assert list(cohort.table["y"]) == [1051, 351, 1251]


def test_tcga_barcodes_in_files_and_folders(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "lum/TCGA-A2-A0CM-01Z-00-DX1.ABC/tile_1.png",
        "lum/TCGA-A2-A0CM-01A-03-TSC_5.jpg",
        "basal/blk-AAICEQFN-TCGA-NA-A4QW-01Z-00-DX1.png",
        "basal/TCGA-AR-A0TP.png",
    )
    cohort = read_folder(tmp_path)
    assert "TCGA" in cohort.notes[0]
    assert cohort.classes == ("basal", "lum")
    assert list(cohort.table["patient_id"]) == ["TCGA-AR-A0TP", "TCGA-NA-A4QW", "TCGA-A2-A0CM", "TCGA-A2-A0CM"]
    assert list(cohort.table["site"]) == ["AR", "NA", "A2", "A2"]
    assert list(cohort.table["slide_id"]) == [
        "",
        "TCGA-NA-A4QW-01Z-00-DX1",
        "TCGA-A2-A0CM-01A-03-TSC",
        "TCGA-A2-A0CM-01Z-00-DX1",
    ]
    write_cohort(cohort, tmp_path / "c.csv")
    assert list(read_manifest(tmp_path / "c.csv").table["site"]) == ["AR", "NA", "A2", "A2"]


def test_kather_both_sets(tmp_path: Path) -> None:
    old = touch(
        tmp_path / "2016",
        "01_TUMOR/10009_CRC-Prim-HE-03_009.tif_Row_301_Col_151.tif",
        "04_LYMPHO/1A3D_CRC-Prim-HE-02_copy.tif_Row_151_Col_301.tif",
        "08_EMPTY/1_CRC-Prim-HE-10.tif_Row_1_Col_1.tif",
    )
    cohort = read_folder(old)
    assert list(cohort.table["slide_id"]) == ["CRC-Prim-HE-03", "CRC-Prim-HE-02", "CRC-Prim-HE-10"]
    assert cohort.patient == tuple(cohort.table["slide_id"])
    assert any("each slide is treated as a patient" in note for note in cohort.notes)
    assert list(cohort.table["x"]) == [151, 301, 1]
    assert list(cohort.table["y"]) == [301, 151, 1]
    nct = read_folder(touch(tmp_path / "nct", "ADI/ADI-TCGA-AAICEQFN.tif", "TUM/TUM-TCGA-AAKTCYHC.tif"))
    assert "Kather" in nct.notes[0]
    assert not nct.has_patients
    assert nct.classes == ("ADI", "TUM")


def test_pcam_pairs_with_and_without_slides(tmp_path: Path, make: ModuleType) -> None:
    make.make_pcam(tmp_path, "train", [0, 1, 0, 1], wsi=["s1", "s1", "s2", "s2"])
    make.make_pcam(tmp_path, "valid", [1, 0], wsi=["s3", "s4"])
    make.make_pcam(tmp_path, "test", [1, 0], wsi=["s5", "s6"])
    cohort = read_folder(tmp_path)
    assert "PCam" in cohort.notes[0]
    assert cohort.image[0] == "camelyonpatch_level_2_split_test_x.h5#x/0"
    assert sorted(set(cohort.table["split"])) == ["test", "train", "val"]
    labels = dict(zip(cohort.image, cohort.table["label"], strict=True))
    assert [labels[f"camelyonpatch_level_2_split_train_x.h5#x/{row}"] for row in range(4)] == ["0", "1", "0", "1"]
    assert set(cohort.patient) == {"s1", "s2", "s3", "s4", "s5", "s6"}
    assert cohort.table["x"].max() == 60
    assert measure_colour(cohort).all()
    check_files(cohort)
    one = read_folder(tmp_path / "camelyonpatch_level_2_split_train_x.h5")
    assert len(one) == 4
    assert one.root == tmp_path
    renamed = read_folder(tmp_path, splits={"valid": "test"})
    assert sorted(set(renamed.table["split"])) == ["test", "train"]
    for path in tmp_path.glob("*meta.csv"):
        path.unlink()
    assert not read_folder(tmp_path).has_patients


def test_pcam_faults(tmp_path: Path, make: ModuleType) -> None:
    make.make_pcam(tmp_path, "train", [0, 1])
    labels = tmp_path / "camelyonpatch_level_2_split_train_y.h5"
    images = tmp_path / "camelyonpatch_level_2_split_train_x.h5"
    aside = tmp_path / "aside"
    aside.mkdir()
    shutil.move(labels, aside)
    with pytest.raises(InputError, match=r"no camelyonpatch_level_2_split_train_y.h5 with their labels"):
        read_folder(images)
    shutil.move(images, aside)
    shutil.move(aside / labels.name, labels)
    with pytest.raises(InputError, match="has labels, but there is no"):
        read_folder(labels)
    images.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        read_folder(images)
    make.make_pcam(tmp_path, "train", [0, 1], wsi=["s1", "s2"])
    (tmp_path / "camelyonpatch_level_2_split_train_meta.csv").write_text(",wsi\n0,s1\n", encoding="utf-8")
    with pytest.raises(InputError, match="1 rows for 2 images"):
        read_folder(images)


def test_medmnist(tmp_path: Path, make: ModuleType) -> None:
    make.make_npz(tmp_path / "pathmnist.npz", train=[0, 1, 2, 0], val=[0, 1, 2], test=[2, 1, 0])
    for path in (tmp_path, tmp_path / "pathmnist.npz"):
        cohort = read_folder(path)
        assert cohort.classes == ("0", "1", "2")
        assert cohort.image[4] == "pathmnist.npz#val_images/0"
        assert list(cohort.table["split"]) == ["train"] * 4 + ["val"] * 3 + ["test"] * 3
        assert measure_colour(cohort).all()
    assert official(cohort, unit="image").parts[0].assignment == tuple(cohort.table["split"])


def test_medmnist_faults(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    images = np.zeros((4, 8, 8, 3), np.uint8)
    np.savez(path, train_images=images, train_labels=np.array([{}, {}, {}, {}]))
    with pytest.raises(InputError, match="holds train_images; needed"):  # objects would have to be unpickled
        read_folder(path)
    np.savez(path, train_images=images, train_labels=np.zeros((4, 14), np.uint8))
    with pytest.raises(InputError, match="several labels per image"):
        read_folder(path)
    np.savez(path, train_images=images, train_labels=np.zeros((3, 1), np.uint8))
    with pytest.raises(InputError, match="one label per image"):
        read_folder(path)
    np.savez(path, images=images, labels=np.array([0.5, 1, 0, 1]))
    with pytest.raises(InputError, match="whole numbers"):
        read_folder(path)
    content = path.read_bytes()
    for cut in (0, 10, len(content) // 2):
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match=r"cannot be read as \.npz"):
            read_folder(path)


@pytest.mark.parametrize("method_or_flag", ["encrypted", "unknown method"])
def test_an_npz_that_zipfile_cannot_open_is_refused(tmp_path: Path, method_or_flag: str) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, train_images=np.zeros((2, 8, 8, 3), np.uint8), train_labels=np.array([[0], [1]]))
    content = bytearray(path.read_bytes())
    # In the headers of a member, and in the directory at the end, flags are followed by the method.
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for start in (found.start() for found in re.finditer(re.escape(signature), bytes(content))):
            if method_or_flag == "encrypted":
                content[start + flags] |= 1
            else:
                content[start + flags + 2] = 77
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"set\.npz cannot be read as \.npz \("):
        read_folder(path)


def test_class_per_folder_with_ids_by_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "benign/P1/S1_a.png", "benign/P2/S2_b.tif", "malignant/P3/S3_c.JPG", "malignant/P1/S1_d.bmp")
    plain = read_folder(tmp_path)
    assert plain.classes == ("benign", "malignant")
    assert not plain.has_patients  # folders below the classes are not guessed to be patients
    cohort = read_folder(tmp_path, pattern=r"/(?P<patient_id>P\d+)/(?P<slide_id>S\d)_")
    assert cohort.patient == ("P1", "P2", "P1", "P3")
    assert list(cohort.table["slide_id"]) == ["S1", "S2", "S1", "S3"]


def test_pattern_gives_label_site_and_place_without_folders(tmp_path: Path) -> None:
    touch(tmp_path, "A_P1_tumour_x10_y20.png", "B_P2_normal_x0_y0.png")
    pattern = r"(?P<site>[AB])_(?P<patient_id>P\d)_(?P<label>[a-z]+)_x(?P<x>\d+)_y(?P<y>\d+)"
    cohort = read_folder(tmp_path, pattern=pattern)
    assert cohort.classes == ("normal", "tumour")
    assert list(cohort.table["site"]) == ["A", "B"]
    assert list(cohort.table["y"]) == [20, 0]
    optional = read_folder(tmp_path, pattern=r"(?P<label>tumour|normal)(?P<patient_id>_none)?")
    assert not optional.has_patients


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(?P<patient_id>Q\d+)", "matches none of the 3 images"),
        (r"(?P<patient_id>P1)", r"misses 2 of 3 images \(b/P2.png, b/P3.png\)"),
        (r"(?P<patient>P\d)", "did you mean 'patient_id'"),
        (r"P\d", "no named group"),
        (r"(?P<patient_id>P\d", "not a regular expression"),
        (r"(?P<patient_id>" + "a" * 2000 + ")", "1000 are allowed"),
        (r"(?P<label>P)", "only one class"),
    ],
)
def test_patterns_that_fail(tmp_path: Path, pattern: str, message: str) -> None:
    touch(tmp_path, "a/P1.png", "b/P2.png", "b/P3.png")
    with pytest.raises(InputError, match=message):
        read_folder(tmp_path, pattern=pattern)


@pytest.mark.parametrize(
    "pattern", [r"(?P<label>(a+)+)$", r"(?P<label>(a|aa)+)$", r"(?P<label>(a|a?)+)$", r"(?P<label>(.*a){20})$"]
)
@pytest.mark.timeout(60)
def test_patterns_that_never_end_are_stopped(tmp_path: Path, pattern: str) -> None:
    touch(tmp_path, f"x/{'a' * 200}!.png", "y/b.png")
    with pytest.raises(InputError, match=r"takes more than 0\.8 s"):
        read_folder(tmp_path, pattern=pattern)


def test_official_folders_train_and_valid(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{split}/{label}/{n}.png" for split in ("train", "valid") for label in "01" for n in range(9)))
    cohort = read_folder(tmp_path)
    assert cohort.classes == ("0", "1")
    assert sorted(set(cohort.table["split"])) == ["train", "val"]
    renamed = read_folder(tmp_path, splits={"valid": "test"})
    split = official(renamed, unit="image")
    assert all(path.startswith("valid/") for path, word in zip(split.image, split.parts[0].assignment, strict=True)
               if word == "test")  # fmt: skip
    with pytest.raises(InputError, match="no folders train, val or test"):
        read_folder(tmp_path / "train", splits={"valid": "test"})


def test_classes_named_like_splits_without_train_are_classes(tmp_path: Path) -> None:
    cohort = read_folder(touch(tmp_path, "test/a/1.png", "dev/a/2.png"))
    assert cohort.classes == ("dev", "test")


def test_empty_one_class_and_flat_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"0 usable images in .*it is empty"):
        read_folder(tmp_path / "empty")
    with pytest.raises(InputError, match=r"0 usable images .*2 other files were skipped"):
        read_folder(touch(tmp_path / "notes", "a.txt", "b/c.svs"))
    with pytest.raises(InputError, match="only one class, 'benign'; add a folder of another class"):
        read_folder(touch(tmp_path / "one", "benign/1.png", "benign/2.png"))
    with pytest.raises(InputError, match=r"holds the folders benign, malignant: .* name .*data"):
        read_folder(touch(tmp_path / "wrapped", "data/benign/1.png", "data/malignant/2.png"))
    with pytest.raises(InputError, match=r"all 2 images are in .* itself"):
        read_folder(touch(tmp_path / "flat", "1.png", "2.png"))
    with pytest.raises(InputError, match="does not exist"):
        read_folder(tmp_path / "none")
    with pytest.raises(InputError, match="is not a folder"):
        read_folder(tmp_path / "flat" / "1.png")
    with pytest.raises(InputError, match="layout is 'breakhs'; did you mean 'breakhis'"):
        read_folder(tmp_path, layout="breakhs")
    with pytest.raises(InputError, match="task and magnification are for BreakHis"):
        read_folder(touch(tmp_path / "two", "a/1.png", "b/2.png"), task="binary")


def test_junk_is_skipped_and_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/2.png", "stray.png", "a/.hidden.png", "a/._1.png", "a/Thumbs.db", ".DS_Store",
          "__MACOSX/a/1.png", ".git/x.png", "a/notes.txt", "labels.csv")  # fmt: skip
    cohort = read_folder(tmp_path)
    assert cohort.image == ("a/1.png", "b/2.png")
    assert dict(cohort.skipped) == {
        ".DS_Store": "hidden or system file",
        ".git": "hidden or system file",
        "__MACOSX": "hidden or system file",
        "a/.hidden.png": "hidden or system file",
        "a/._1.png": "hidden or system file",
        "a/Thumbs.db": "hidden or system file",
        "a/notes.txt": "not an image by its name",
        "labels.csv": "not an image by its name",
        "stray.png": "in no class's folder",
    }
    assert any("labels.csv; name one instead" in note for note in cohort.notes)


@pytest.mark.skipif(os.name == "nt", reason="links and pipes need rights on Windows")
def test_links_pipes_and_sockets_are_skipped_and_listed(tmp_path: Path) -> None:
    outside = touch(tmp_path / "outside", "secret.png")
    root = touch(tmp_path / "root", "a/1.png", "b/2.png")
    (root / "a" / "out.png").symlink_to(outside / "secret.png")
    (root / "a" / "relative.png").symlink_to("../../outside/secret.png")
    (root / "a" / "zero.png").symlink_to("/dev/zero")
    (root / "a" / "loop.png").symlink_to(root / "a" / "loop.png")
    (root / "a" / "up").symlink_to(root)
    (root / "away").symlink_to(outside)
    (root / "b" / "same.png").symlink_to(root / "b" / "2.png")
    os.mkfifo(root / "a" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(root / "b")  # a socket's path may have 107 bytes only
        listener.bind("socket.png")
        os.chdir(here)
        cohort = read_folder(root)
    assert cohort.image == ("a/1.png", "b/2.png", "b/same.png")
    assert {name for name, _ in cohort.skipped} == {
        "a/loop.png", "a/out.png", "a/pipe.png", "a/relative.png", "a/up", "a/zero.png", "away", "b/socket.png",
    }  # fmt: skip
    assert all("link" in reason for name, reason in cohort.skipped if name in ("a/out.png", "away", "a/zero.png"))
    linked = tmp_path / "linked"
    linked.symlink_to(root)  # the root itself may be a link
    assert read_folder(linked).image == cohort.image


def test_odd_names(tmp_path: Path) -> None:
    odd = ["-lead.png", "with space.png", "emoji😀.png", "שלום.png", "quo\"te'.png", "new\nline.png", "per%cent.png",
           "hash#1.png", "a,b;c.png", "=cmd().png", "é" * 120 + ".png", "UPPER.PNG", "dots...png"]  # fmt: skip
    for number, name in enumerate(odd):
        try:
            touch(tmp_path, f"{'ab'[number % 2]}/{name}")
        except OSError:
            continue  # this file system has no such names
    cohort = read_folder(tmp_path)
    assert len(cohort) >= 8
    check_files(cohort)
    write_cohort(cohort, tmp_path / "cohort.csv")
    assert read_manifest(tmp_path / "cohort.csv").image == cohort.image


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names are Unicode there")
def test_names_that_are_no_text_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/2.png")
    os.close(os.open(os.fsencode(tmp_path) + b"/a/\xff\xfe.png", os.O_CREAT))
    cohort = read_folder(tmp_path)
    assert cohort.image == ("a/1.png", "b/2.png")
    assert cohort.skipped == (("a/??.png", "its name is not valid Unicode; rename it"),)
    assert describe(cohort)["skipped"]


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="such names are one file there")
def test_twins_by_unicode_form_and_case(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        touch(tmp_path, "a/" + unicodedata.normalize(form, "café.png"))
    touch(tmp_path, "b/T.png", "b/t.png")
    cohort = read_folder(tmp_path)
    assert len(cohort) == 4
    assert any("differ only in letter case or Unicode form" in note for note in cohort.notes)


def test_an_unreadable_folder_is_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/2.png", "b/locked/3.png")
    (tmp_path / "b" / "locked").chmod(0)
    try:
        cohort = read_folder(tmp_path)
    finally:
        (tmp_path / "b" / "locked").chmod(0o755)
    if os.name != "nt" and os.geteuid() != 0:  # nothing is locked for root
        assert cohort.skipped[0][0] == "b/locked"
    assert len(cohort) >= 2


@pytest.mark.timeout(60)
def test_built_in_patterns_end_on_hostile_names() -> None:
    hostile = [
        "TCGA-" * 50,
        "SOB_M_DC-14-" + "2" * 4000,
        "1" * 4000 + "_idx",
        "A" * 4000,
        "TCGA-A2-A0CM" + "-0123" * 800,
    ]
    read = [
        (layout.name, name[:12])
        for layout in LAYOUTS.values()
        for name in hostile
        if re.search(layout.pattern, name) and layout.pattern
    ]
    # Only the last begins with a whole barcode; the others look like a name for long and are none.
    assert read == [("tcga", "TCGA-A2-A0CM")]


@pytest.mark.realdata
def test_real_folders(real_data: Path) -> None:
    by_name = read_folder(real_data / "breakhis_100x")
    by_table = read_manifest(real_data / "breakhis_100x" / "manifest.csv")
    for name in ("label", "patient_id", "slide_id"):
        assert column(by_name, name) == column(by_table, name)
    subtype = read_folder(real_data / "breakhis_100x", task="subtype")
    table = read_manifest(real_data / "breakhis_100x" / "manifest.csv", columns={"label": "subtype"})
    assert column(subtype, "label") == column(table, "label")
    kather = read_folder(real_data / "colorectal_tissue" / "kather2016_samples")
    assert len(kather.classes) == 8
    assert len(set(kather.patient)) == 10
    crc = read_folder(real_data / "colorectal_tissue" / "crc_val_he_7k_subset")
    assert len(crc.classes) == 9
    pcam = read_folder(real_data / "pcam", splits={"valid": "test"})
    assert {name: part["images"] for name, part in describe(pcam)["splits"].items()} == {"train": 20_000, "test": 3_000}
