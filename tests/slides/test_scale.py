"""µm/px: who is believed, in which order, and what is refused."""

from pathlib import Path
from types import ModuleType

import pytest

from counterstain.errors import InputError
from counterstain.slides.reader import open_slide
from counterstain.slides.scale import check_scale, choose_scale, read_mpp_table, unused_rows

SLIDE = Path("folder/S1.svs")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"file": (0.25, 0.26), "tiff": (0.5, 0.5), "assume_mpp": 1.0}, (0.25, 0.26, "file")),
        ({"tiff": (0.5, 0.5), "objective": 20.0}, (0.5, 0.5, "tiff resolution")),
        ({"file": (0.0, 0.0), "tiff": (0.5, 0.5)}, (0.5, 0.5, "tiff resolution")),
        ({"tiff": (25400 / 72, 25400 / 72), "objective": 40.0}, (0.25, 0.25, "objective")),
        ({"tiff": (25400 / 96, 25400 / 96), "assume_mpp": 0.3}, (0.3, 0.3, "--assume-mpp")),
        ({"file": (25.0, 25.0)}, (None, None, "")),
        ({"file": (float("nan"), 0.5), "assume_mpp": 0.3}, (0.3, 0.3, "--assume-mpp")),
        ({"objective": 40.0, "assume_mpp": 0.2325}, (0.2325, 0.2325, "--assume-mpp")),
        ({"file": (0.25, 0.25), "mpp_table": {"S1": (0.5, 0.5)}}, (0.5, 0.5, "table")),
        ({"file": (0.25, 0.25), "mpp_table": {"S1.svs": (0.5, 0.4)}}, (0.5, 0.4, "table")),
        ({"file": (0.25, 0.25), "mpp_table": {"S2": (0.5, 0.5)}}, (0.25, 0.25, "file")),
        ({}, (None, None, "")),
    ],
)
def test_the_first_credible_statement_is_taken(said: dict, expected: tuple) -> None:
    found = choose_scale(SLIDE, **said)
    assert (found.mpp_x, found.mpp_y, found.source) == expected


def test_what_is_doubtful_is_said() -> None:
    assert "depends on the scanner" in choose_scale(SLIDE, objective=20.0).notes[0]
    assert "72 dpi" not in choose_scale(SLIDE, tiff=(352.8, 352.8), objective=20.0).notes[0]
    assert "implausible" in choose_scale(SLIDE, tiff=(352.8, 352.8), objective=20.0).notes[0]
    assert "unusual" in choose_scale(SLIDE, file=(0.25, 0.25), objective=20.0).notes[0]
    assert not choose_scale(SLIDE, file=(0.23, 0.23), objective=40.0).notes
    assert "the table 0.5" in choose_scale(SLIDE, file=(0.25, 0.25), mpp_table={"S1": (0.5, 0.5)}).notes[0]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"assume_mpp": 50.0}, "--assume-mpp says 50"),
        ({"mpp_table": {"S1": (0.0, 0.5)}}, "the table says 0 "),
        ({"objective": 20.0, "assume_mpp": 0.25}, "scanned at 20x, about 0.5"),
    ],
)
def test_what_the_user_says_must_be_possible(said: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        choose_scale(SLIDE, **said)


def test_a_table_of_scales(tmp_path: Path) -> None:
    table = tmp_path / "mpp.csv"
    table.write_text("wsi,mpp\nfolder/S1.svs,0.5\nS2,0.25\n")
    assert read_mpp_table(table) == {"S1.svs": (0.5, 0.5), "S2": (0.25, 0.25)}
    table.write_text("slide,mpp_x,mpp_y\nS1,0.5,0.4\n")
    assert read_mpp_table(table) == {"S1": (0.5, 0.4)}
    for content, words in [
        ("slide,scale\nS1,0.5\n", "needed: slide and mpp"),
        ("slide,mpp\nS1,half\n", "row 1 says 'half'"),
        ("slide,mpp\nS1,1\na/S1,1\n", "twice"),
    ]:
        table.write_text(content)
        with pytest.raises(InputError, match=words):
            read_mpp_table(table)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("slide;mpp\nS1.tif;0,25\n", (0.25, 0.25)),
        ("Filename\tµm/px\nscans\\S1.tif\t0,25\n", (0.25, 0.25)),
        ("Slide ID,Microns per pixel\nS1.tif,0.25\n", (0.25, 0.25)),
        ('WSI,Spacing X,Spacing Y\nS1.tif,"0,25","0,5"\n', (0.25, 0.5)),
        ("slide_id,openslide.mpp-x,openslide.mpp-y\nS1.tif,0.25,0.5\n", (0.25, 0.5)),
    ],
)
def test_scales_in_any_dialect(tmp_path: Path, content: str, found: tuple[float, float]) -> None:
    for coding in ("utf-8-sig", "utf-16", "cp1252"):
        (tmp_path / "mpp.csv").write_bytes(content.encode(coding))
        assert read_mpp_table(tmp_path / "mpp.csv") == {"S1.tif": found}


def test_scales_by_named_columns_and_what_names_nothing(tmp_path: Path) -> None:
    table = tmp_path / "mpp.csv"
    table.write_text("Scan,Res\nS1,0.25\n,0.5\n")
    with pytest.raises(InputError, match="--columns slide_id="):
        read_mpp_table(table)
    with pytest.raises(InputError, match="line 3 names no slide"):
        read_mpp_table(table, columns={"slide_id": "Scan", "mpp": "Res"})
    with pytest.raises(InputError, match="no column 'scale' to say"):
        read_mpp_table(table, columns={"scale": "Res"})
    found = {"S1": (0.25, 0.25), "S9": (0.5, 0.5)}
    assert "1 of 2 rows of the µm/px table name no slide that is read: S9" in unused_rows(found, [Path("a/S1.svs")])


def test_a_model_refuses_another_scale() -> None:
    assert check_scale(0.5, 0.499) == ""
    assert check_scale(0.5, 0.549) == ""
    assert "is assumed" in check_scale(None, 0.5)
    for mpp in (0.25, 0.56, 0.44):
        with pytest.raises(InputError, match=r"say --mpp 0\.5"):
            check_scale(0.5, mpp)
    assert check_scale(0.5, 0.56, tolerance=0.2) == ""


def test_files_that_state_it_well_wrongly_or_not(make: ModuleType, tmp_path: Path) -> None:
    image = make.picture(100, 80)
    for reader in ("openslide", "tifffile"):
        for mpp, expected in [((0.5, 0.25), (0.5, 0.25)), ((25400 / 72, 25400 / 72), None), (None, None)]:
            path = make.write_pyramid(tmp_path / "S1.tif", [image], mpp=mpp, compression="deflate")
            with open_slide(path, reader=reader) as slide:
                found = (slide.info.mpp_x, slide.info.mpp_y)
                assert found == (pytest.approx(expected) if expected else (None, None)), (reader, mpp)
        with open_slide(path, reader=reader, mpp_table={"S1": (0.3, 0.3)}) as slide:
            assert (slide.info.mpp_x, slide.info.mpp_source) == (0.3, "table")
        with open_slide(path, reader=reader, assume_mpp=0.4) as slide:
            assert (slide.info.mpp_x, slide.info.mpp_source) == (0.4, "--assume-mpp")
    words = make.APERIO.format(w=100, h=80) + "|AppMag = 40|MPP = 0.2520"
    path = make.write_pyramid(tmp_path / "S2.svs", [image], compression="deflate", description=words)
    for reader in ("openslide", "tifffile"):
        with open_slide(path, reader=reader) as slide:
            info = slide.info
            assert (info.vendor, info.mpp_x, info.mpp_source, info.objective) == ("aperio", 0.252, "file", 40)
