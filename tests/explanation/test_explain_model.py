"""From a model and a cohort to a record and a page, with names that nobody should trust."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import counterstain.cli.check_verbs
from counterstain.cohort.cohort import COLUMNS, Cohort
from counterstain.cohort.manifest import write_cohort
from counterstain.errors import GateError, InputError
from counterstain.explanation import explain_model
from counterstain.explanation.explain_model import ExplanationOptions, explain
from counterstain.images.store import Store, build_store
from counterstain.learning.bundle import Bundle, write_bundle
from counterstain.learning.networks import build_network
from counterstain.learning.predictor import Predictor
from counterstain.reports.explanation_report import write_page

SETTINGS = ExplanationOptions(each=4, trials=8, points=40)
HOSTILE = '"><img src=x onerror=alert(1)></script><script>alert(2)</script>'


def make_cohort(
    planted: SimpleNamespace, root: Path, *, patients: int = 14, each: int = 3, alike: bool = False
) -> Cohort:
    """Images on disk; `alike`: those of both classes are drawn in the same way."""
    rows = []
    for number in range(patients):
        malignant = bool(number % 2)
        tiles = planted.tiles(each, malignant=malignant and not alike, seed=number, where="everywhere")
        for index, tile in enumerate(tiles):
            name = f"<b>tile<u>&{number}_{index}.png"
            Image.fromarray(tile).save(root / name)
            rows.append({
                "image_path": name, "label": planted.CLASSES[malignant], "patient_id": f"P{number}{HOSTILE}",
                "slide_id": "", "site": f"site <i>{number % 3}</i>", "mpp": np.nan, "x": np.nan, "y": np.nan,
                "split": "",
            })  # fmt: skip
    return Cohort(pd.DataFrame(rows, columns=list(COLUMNS)), planted.CLASSES, root, planted.CLASSES[-1])


@pytest.fixture(scope="module")
def made(planted: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A predictor, its cohort and store, and two explanations made of them alike."""
    root = tmp_path_factory.mktemp("images")
    cohort = make_cohort(planted, root)
    store = build_store(cohort, root / "store", tile_px=planted.PX, fit="exact")
    predictor: Predictor = planted.predictor("whole")
    folders = [tmp_path_factory.mktemp("explained") / "a", tmp_path_factory.mktemp("explained") / "b"]
    records = [
        explain(predictor, cohort, store, folder, settings=SETTINGS, source={"bundle": HOSTILE}) for folder in folders
    ]
    return SimpleNamespace(cohort=cohort, store=store, predictor=predictor, folders=folders, record=records[0])


def test_the_same_input_gives_the_same_bytes(made: SimpleNamespace) -> None:
    first, second = made.folders
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    assert {"explanation.json", "explanation.html", "embedding.csv"} <= {name.as_posix() for name in names}


def test_the_record_says_what_was_found(made: SimpleNamespace, planted: SimpleNamespace) -> None:
    record = json.loads((made.folders[0] / "explanation.json").read_text(encoding="utf-8"))
    assert record["schema"] == "counterstain.explanation/1"
    assert record["images"] == 42 and record["patients"] == 14 and record["cells"] == planted.SIDE
    assert record["ability"]["low"] > 0.5 and record["ability"]["reason"] == ""
    assert "never why" in record["wording"]
    assert record["validity"]["curves"]["passed"] and record["validity"]["pointing"]["hits"]["value"] == 1
    assert record["validity"]["tiles"] == 8 and record["validity"]["patients"] == 8
    assert record["embedding"]["tiles"] == 40 and record["embedding"]["features"] == 2
    right, wrong, _ = record["gallery"]
    assert len(right["tiles"]) == 4 and wrong["tiles"] == []
    assert len({card["patient"] for card in right["tiles"]}) == 4
    for card in right["tiles"]:
        assert card["label"] == card["predicted"] and card["probability"] > 0.5
        assert np.array(card["map"]).shape == (planted.SIDE, planted.SIDE)


def test_tiles_and_overlays_are_those_of_the_named_images(made: SimpleNamespace) -> None:
    for row in made.record["gallery"]:
        for card in row["tiles"]:
            with Image.open(made.folders[0] / "tiles" / card["file"]) as image:
                shown = np.asarray(image)
            (at,) = made.store.rows([card["image"]])
            np.testing.assert_array_equal(shown, made.store.tiles[at])
            assert (made.folders[0] / "overlays" / card["file"]).is_file()


def test_no_name_becomes_markup_and_nothing_is_fetched(
    made: SimpleNamespace, unlevelled: Callable[[str], list[str]]
) -> None:
    page = (made.folders[0] / "explanation.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "<b>tile" not in page and "<i>" not in page and "alert(2)</script>" not in page
    assert "&lt;b&gt;tile" in page and "site &lt;i&gt;" in page
    assert page.count("<script") == page.count("</script>") == 2  # the points, and what colours them
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "never why" in page
    assert unlevelled(page) == []
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None and "default-src 'none'" in policy[1] and "sha256-" in policy[1]
    assert "unsafe-inline" not in policy[1].partition("script-src")[2]


def test_the_policy_lets_this_script_run_and_no_other(made: SimpleNamespace) -> None:
    import base64
    import hashlib

    page = (made.folders[0] / "explanation.html").read_text(encoding="utf-8")
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def test_the_points_of_the_page_are_those_of_the_table(made: SimpleNamespace) -> None:
    page = (made.folders[0] / "explanation.html").read_text(encoding="utf-8")
    data = json.loads(page.partition('id="points">')[2].partition("</script>")[0])
    shown = [made.cohort.image.index(row[0]) for row in data["rows"]]
    assert len(shown) == 40 and shown == sorted(shown)  # as many as were asked for, in the cohort's order
    assert set(data["colourings"]) == {"class", "patient", "site"}
    assert data["colourings"]["class"]["group"] == made.cohort.label_index[shown].tolist()
    assert len(set(data["colourings"]["patient"]["group"])) == 14
    assert page.count('class="point') == 40


def test_the_page_can_be_made_again_from_the_folder_alone(made: SimpleNamespace) -> None:
    folder = made.folders[1]
    before = (folder / "explanation.html").read_bytes()
    (folder / "explanation.html").unlink()
    assert write_page(folder).read_bytes() == before


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_explanation_is_not_overwritten(made: SimpleNamespace, planted: SimpleNamespace) -> None:
    before = contents(made.folders[0])
    lines: list[str] = []
    found = explain(made.predictor, made.cohort, made.store, made.folders[0], settings=SETTINGS, say=lines.append)
    assert found == made.record and "already exists for the same model" in lines[-1]
    for predictor, settings in ((made.predictor, replace(SETTINGS, seed=7)), (planted.predictor("masked"), SETTINGS)):
        with pytest.raises(InputError, match="holds an explanation of another model, other images or other settings"):
            explain(predictor, made.cohort, made.store, made.folders[0], settings=settings)
    assert contents(made.folders[0]) == before


def test_an_explanation_that_is_stopped_anywhere_goes_on(
    made: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before each step in turn, as a kill would: the same bytes as in one go, and no step is done twice."""
    names = ("sensitivity", "check_reach", "check_random_weights", "check_curves", "check_turns", "play", "project",
             "write_csv", "write_json", "write_page")  # fmt: skip
    calls: list[str] = []
    stopped: list[str] = []

    def stopping(name: str, whole: Any) -> Any:
        def work(*args: Any, **more: Any) -> Any:
            if name not in stopped:
                stopped.append(name)
                raise SystemExit(137)
            calls.append(name)
            return whole(*args, **more)

        return work

    for name in names:
        monkeypatch.setattr(explain_model, name, stopping(name, getattr(explain_model, name)))
    out = tmp_path / "out"
    for _ in names:
        with pytest.raises(SystemExit):
            explain(made.predictor, made.cohort, made.store, out, settings=SETTINGS, source={"bundle": HOSTILE})
    explain(made.predictor, made.cohort, made.store, out, settings=SETTINGS, source={"bundle": HOSTILE})
    assert set(stopped) == set(names)
    once = ("check_reach", "check_random_weights", "check_curves", "check_turns", "play", "write_json", "write_page")
    assert {name: calls.count(name) for name in once} == dict.fromkeys(once, 1)
    assert contents(out) == contents(made.folders[0])


def test_a_damaged_folder_is_refused_in_words(made: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "explanation.json").write_text('{"schema": "counterstain.scores/1"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"counterstain\.explanation/1"):
        write_page(tmp_path)
    record = (made.folders[0] / "explanation.json").read_bytes()
    (tmp_path / "explanation.json").write_bytes(record)
    with pytest.raises(InputError, match=r"embedding\.csv"):
        write_page(tmp_path)


class Guess(nn.Module):
    """A network that knows nothing of the tile's class."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 2, 8, stride=8)
        self.output = nn.Linear(2, 2)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(torch.sin(9999 * self.body(tiles)).mean((2, 3)))
        return logits


def test_no_map_of_a_model_that_guesses(planted: SimpleNamespace, made: SimpleNamespace, tmp_path: Path) -> None:
    torch.manual_seed(0)
    predictor = planted.predictor_of(Guess())
    with pytest.raises(GateError, match="guesses"):
        explain(predictor, made.cohort, made.store, tmp_path / "out", settings=SETTINGS)
    record = json.loads((tmp_path / "out" / "explanation.json").read_text(encoding="utf-8"))
    assert "guesses" in record["ability"]["reason"] and record["gallery"] == [] and record["validity"] is None
    page = (tmp_path / "out" / "explanation.html").read_text(encoding="utf-8")
    assert "No map is shown" in page and "<img" not in page and "<script" not in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["explanation.html", "explanation.json"]


def test_unreadable_images_are_left_out(planted: SimpleNamespace, tmp_path: Path) -> None:
    cohort = make_cohort(planted, tmp_path)
    (tmp_path / cohort.image[0]).write_bytes(b"no image")
    store: Store = build_store(cohort, tmp_path / "store", tile_px=planted.PX, fit="exact")
    record = explain(planted.predictor("whole"), cohort, store, tmp_path / "out", settings=SETTINGS)
    assert record["images"] == len(cohort) - 1


# ------------------------------------------------------------------------------------------------------------ the verb


@pytest.fixture
def bundle(planted: SimpleNamespace, tmp_path: Path) -> Path:
    """A bundle of a fresh network: it guesses."""
    folder = tmp_path / "model"
    kept = Bundle(network="given", classes=planted.CLASSES, tile_px=127, fit="stretch", scale="-1..1")
    write_bundle(folder, kept, build_network("given", classes=2, tile_px=127, seed=0))
    return folder


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(counterstain.cli.check_verbs.app, ["explain", *map(str, arguments)])


def test_the_verb_ends_with_3_for_a_model_that_guesses(planted: SimpleNamespace, bundle: Path, tmp_path: Path) -> None:
    write_cohort(make_cohort(planted, tmp_path, alike=True), tmp_path / "cohort.csv")
    found = invoke(bundle, tmp_path / "cohort.csv", "--out", tmp_path / "out", "--device", "cpu")
    assert found.exit_code == 3, found.output
    assert (tmp_path / "out" / "explanation.json").is_file()
    assert "no map is shown" in found.output.lower()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--method", "grad-cam", "did you mean 'gradcam'"),
        ("--embedding", "tsne", "known: pca, umap"),
        ("--trials", "1", "trials is 1"),
    ],
)
def test_what_cannot_be_asked_for_ends_with_2(
    planted: SimpleNamespace, bundle: Path, tmp_path: Path, option: str, value: str, words: str
) -> None:
    write_cohort(make_cohort(planted, tmp_path, patients=2), tmp_path / "cohort.csv")
    found = invoke(bundle, tmp_path / "cohort.csv", "--out", tmp_path / "out", option, value)
    assert found.exit_code == 2 and words in found.output


def test_an_empty_part_and_other_classes_end_with_2(planted: SimpleNamespace, bundle: Path, tmp_path: Path) -> None:
    cohort = make_cohort(planted, tmp_path)
    write_cohort(cohort, tmp_path / "cohort.csv")
    parts = [*("train", "train", "val", "val", "test", "test"), *["train"] * 8]
    lines = [f'"{name}",{parts[row // 3]}' for row, name in enumerate(cohort.image)]
    (tmp_path / "splits.csv").write_text("image_path,split\n" + "\n".join(lines) + "\n", encoding="utf-8")
    found = invoke(bundle, tmp_path / "cohort.csv", "--splits", tmp_path / "splits.csv", "--part", "test_other")
    assert found.exit_code == 2 and "no image in part 'test_other'" in found.output
    write_cohort(
        Cohort(cohort.table.replace("benign", "normal"), ("normal", "malignant"), tmp_path, "malignant"),
        tmp_path / "other.csv",
    )
    found = invoke(bundle, tmp_path / "other.csv", "--out", tmp_path / "out")
    assert found.exit_code == 2 and "trained on benign, malignant" in found.output
