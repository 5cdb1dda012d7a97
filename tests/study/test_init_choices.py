"""What init takes from the pictures, by hand; and that --all writes every key, changing nothing."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from counterstain.cohort.cohort import Cohort, assemble
from counterstain.images.augmentation import Augmentation
from counterstain.learning.config import TrainingConfig
from counterstain.study.init import start_study
from counterstain.study.init_all import MEANINGS, known_defaults
from counterstain.study.init_choices import choose, image_sizes
from counterstain.study.study_config import Study, read_study


def pictures(folder: Path, sizes: list[tuple[int, int]], *, classes: str = "ab", mpp: float | None = None) -> Cohort:
    """One image of each size, of the classes in turn."""
    names = []
    for number, (width, height) in enumerate(sizes):
        names.append(f"{number}.png")
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(folder / names[-1])
    scales = np.full(len(sizes), np.nan if mpp is None else mpp)
    labels = [classes[number % len(classes)] for number in range(len(sizes))]
    return assemble({"image_path": names, "label": labels, "mpp": scales}, root=folder)


@pytest.mark.parametrize(
    ("sizes", "tile_px", "fit", "words"),
    [
        ([(224, 224)] * 4, 224, "exact", "images are 224 × 224 px; their shorter side"),
        ([(96, 96)] * 4, 127, "stretch", "the given network needs 127 or more, so they are enlarged"),
        ([(700, 460)] * 4, 257, "stretch", "257 is the given network's side"),
        ([(300, 200), (200, 200), (180, 200), (300, 240)], 200, "crop", "180 to 300 × 200 to 240 px"),
        ([(512, 512), (520, 512)], 257, "stretch", "512 to 520 × 512 px"),
    ],
)
def test_size_decides_side_and_fit(
    tmp_path: Path, sizes: list[tuple[int, int]], tile_px: int, fit: str, words: str
) -> None:
    chosen = choose(pictures(tmp_path, sizes))
    assert (chosen.tile_px, chosen.fit) == (tile_px, fit)
    assert words in chosen.tile_comment


def test_why_an_oblong_image_is_stretched_and_unlike_ones_are_cropped(tmp_path: Path) -> None:
    alike = choose(pictures(tmp_path, [(700, 460)] * 3))
    assert alike.fit_comment.startswith("every image is distorted alike, by 1.52")  # 700 / 460
    unlike = choose(pictures(tmp_path, [(700, 460), (460, 700)]))
    assert unlike.fit == "crop" and "shapes differ" in unlike.fit_comment


def test_the_scale_is_told_where_it_is_known(tmp_path: Path) -> None:
    # 400 px of 0.5 µm on 257 px: 200 µm, 0.778 µm/px
    assert (
        "0.5 µm/px, so a tile shows 200 µm at 0.78 µm/px"
        in choose(pictures(tmp_path, [(400, 400)] * 2, mpp=0.5)).tile_comment
    )
    cohort = pictures(tmp_path, [(200, 200)] * 2, mpp=0.5)
    cohort.table.loc[1, "mpp"] = 0.25
    assert "µm/px are 0.25 to 0.5, so tiles show tissue at different scales" in choose(cohort).tile_comment
    assert "µm/px" not in choose(pictures(tmp_path, [(200, 200)] * 2)).tile_comment


def test_number_and_classes_decide_the_batches() -> None:
    def of(images: int, classes: int) -> Cohort:
        names = [f"{k}.png" for k in range(images)]
        labels = [f"c{k % classes:02}" for k in range(images)]
        return assemble({"image_path": names, "label": labels}, root=Path("nowhere"))

    plenty = choose(of(5000, 2))
    assert (plenty.small, plenty.large) == (32, 200)
    assert plenty.batch_comment == "about 3200 training images: an epoch has 100 and 16 steps"
    few = choose(of(200, 2))  # 128 to train on: 16 steps of 8
    assert (few.small, few.large) == (8, 25)
    many = choose(of(5000, 30))
    assert many.small == 60 and "30 classes: two images of each" in many.batch_comment


def test_only_headers_of_some_images_are_read(tmp_path: Path) -> None:
    cohort = pictures(tmp_path, [(40, 30)] * 3)
    (tmp_path / "1.png").write_bytes(b"no picture")
    assert dict(image_sizes(cohort)) == {(40, 30): 2}
    assert choose(assemble({"image_path": ["x.h5#x/0", "x.h5#x/1"], "label": ["a", "b"]}, root=tmp_path)).tile_px == 257


@pytest.mark.parametrize("classes", ["ab", "abc"])
def test_all_writes_every_key_and_changes_nothing(tmp_path: Path, classes: str) -> None:
    pictures(tmp_path, [(130, 130)] * 24, classes=classes)
    rows = "".join(f"{k}.png,{classes[k % len(classes)]},P{k}\n" for k in range(24))
    (tmp_path / "cohort.csv").write_text(f"image_path,label,patient_id\n{rows}")
    start_study(tmp_path / "cohort.csv", tmp_path / "short.yaml", name="x")
    start_study(tmp_path / "cohort.csv", tmp_path / "long.yaml", name="x", all_keys=True)
    assert read_study(tmp_path / "long.yaml").resolved() == read_study(tmp_path / "short.yaml").resolved()
    written = yaml.safe_load((tmp_path / "long.yaml").read_text(encoding="utf-8"))
    for section, defaults in known_defaults().items():
        assert set(written[section]) >= set(defaults), section
    short = (tmp_path / "short.yaml").read_text(encoding="utf-8")
    assert ("# if the classes are grades" in short) == (classes == "abc")
    assert max(map(len, short.splitlines())) <= 120


def test_every_key_that_there_is_has_its_meaning() -> None:
    known = known_defaults()
    assert set(known["training"]) == {one.name for one in fields(TrainingConfig)}
    assert set(known["augmentation"]) == {one.name for one in fields(Augmentation)}
    assert set(Study.model_fields) - set(known) == {"name", "arms", "seeds", "ledger", "search"}
    for section, meanings in MEANINGS.items():
        assert set(meanings) <= set(known[section]), section
    # The keys without a line of their own are in every study that init writes, with a comment there.
    for section in ("augmentation", "training", "cohort", "comparison", "audit"):
        absent = set(known[section]) - set(MEANINGS[section])
        assert absent <= {"mode", "epochs", "patience", "learning_rate", "scale", "precision", "primary", "level",
                          "margin", "hypothesis", "gate", "rotated", "baselines"}, section  # fmt: skip
