"""The gallery has the commands of its script and all of its pictures; drawing takes minutes and is not done here."""

import re
from pathlib import Path

import pytest

from draw_gallery import PREFACE, STEPS, STUDY, caption, shown, shrink

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "gallery.md").read_text(encoding="utf-8")


def test_the_page_has_the_study_and_every_command_of_the_script() -> None:
    assert PAGE.startswith(PREFACE) and STUDY in PAGE
    assert re.findall(r"^`counterstain (.*)`$", PAGE, re.MULTILINE) == [command for command, _, _ in STEPS]


def test_every_picture_is_on_the_page_and_small() -> None:
    linked = re.findall(r"\]\((pictures/gallery/[^)]+)\)", PAGE)
    assert len(linked) == len(set(linked)) > 15
    assert {path.relative_to(DOCS).as_posix() for path in (DOCS / "pictures" / "gallery").iterdir()} == set(linked)
    assert sum((DOCS / name).stat().st_size for name in linked) < 1_500_000


def test_every_picture_has_the_words_of_the_script() -> None:
    words = {text for _, _, captions in STEPS for text in captions.values() if text is not None}
    assert set(re.findall(r"^\*\*(.+)\*\*$", PAGE, re.MULTILINE)) == words


def test_a_picture_without_words_is_not_left_out_silently(tmp_path: Path) -> None:
    assert caption("roc", {"roc": "Curves.", "roc-.*": None}) == "Curves."
    assert caption("roc-2", {"roc": "Curves.", "roc-.*": None}) is None
    with pytest.raises(SystemExit, match=r"new\.png is written and has no words"):
        caption("new", {"roc": "Curves."})
    with pytest.raises(SystemExit, match="no picture was written"):
        list(shown(tmp_path, "figures/*.png", {}))


def test_pictures_are_made_small(tmp_path: Path) -> None:
    from PIL import Image

    Image.effect_noise((1500, 900), 80).save(tmp_path / "large.png")
    shrink(tmp_path / "large.png", tmp_path / "small.png")
    with Image.open(tmp_path / "small.png") as small:
        assert small.size == (600, 360)
    assert (tmp_path / "small.png").stat().st_size < 250_000
