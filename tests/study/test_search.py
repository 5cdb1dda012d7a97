"""The search: within its ranges, on validation patients alone, resumable, and honest about having chosen."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from counterstain.errors import InputError
from counterstain.evaluation.predictions import Predictions
from counterstain.learning.config import TrainingConfig
from counterstain.learning.loader import Examples
from counterstain.progress import Progress
from counterstain.study import search
from counterstain.study.search import optimism, search_settings
from counterstain.study.study_config import parse_study, read_study

RANGES = """\
search:
  arm: given-8
  trials: 3
  ranges:
    learning_rate: {low: 1e-4, high: 1e-2, log: true}
    batch: {choices: [4, 8]}
    augmentation.rotation_deg: {low: 0, high: 30}
"""


@pytest.fixture
def searched(study: Path) -> Path:
    study.write_text(study.read_text().replace("epochs: 2", "epochs: 1") + RANGES)
    return study


def test_a_search_ends_in_a_study_that_runs_once(searched: Path) -> None:
    lines: list[str] = []
    found = search_settings(searched, talk=Progress(say=lines.append))
    place = searched.parent / "runs" / "small-search"
    assert 1e-4 <= found.best["learning_rate"] <= 1e-2 and found.best["batch"] in (4, 8)
    assert found.trials + found.pruned == 3 and found.seconds > 0
    best = read_study(found.study)
    assert best.name == "small-tuned" and best.search is None
    assert best.arm("given-8").learning_rate == found.best["learning_rate"]
    assert best.augmentation.rotation_deg == found.best["augmentation.rotation_deg"]  # type: ignore[attr-defined]
    assert (found.study.parent / best.cohort.path).is_file()
    record = json.loads((place / "search.json").read_text())
    assert record["val_loss"] == found.val_loss and record["trials"] == found.trials
    assert len((place / "trials.csv").read_text().splitlines()) == 4
    assert sum("trial" in line for line in lines) >= 3
    # No prediction of any test image is anywhere in the search's folder.
    tested = {path.stem for path in place.rglob("*.csv")} - {"trials", "val", "probe", "history"}
    assert not tested


def test_a_search_goes_on_where_it_was_stopped(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    one = search._try

    def counted(trial: object, **more: object) -> float:
        tried.append(trial.number)  # type: ignore[attr-defined]
        if len(tried) == 2:
            raise KeyboardInterrupt
        return one(trial, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(search, "_try", counted)
    with pytest.raises(KeyboardInterrupt):
        search_settings(searched)
    found = search_settings(searched)
    assert found.trials + found.pruned == 3
    more = search_settings(searched, trials=4)
    assert more.trials + more.pruned == 4 and len(tried) == 5


def table(study: Path) -> str:
    return (study.parent / "runs" / "small-search" / "trials.csv").read_text()


def test_a_search_in_pieces_tries_what_one_in_one_go_tries(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One trial at a time, one of them stopped in its middle and its checkpoint left; against five in one go.

    Fourteen would pass the sampler's random start; here each trial's loss is made up from its settings, so that they
    cost nothing.
    """
    from counterstain.study import arms

    fitted: list[float] = []

    def fit(
        material: object, training: object, validation: Examples, settings: TrainingConfig, **more: object
    ) -> object:
        fitted.append(settings.learning_rate)
        (Path(str(more["folder"])) / "checkpoint.safetensors").touch()
        if len(fitted) == 5:
            raise SystemExit(143)
        likely = 1 / (1 + 1e3 * settings.learning_rate)

        def predict(rows: np.ndarray) -> Predictions:
            return arms.table_of(material, rows, np.tile([likely, 1 - likely], (len(rows), 1)))  # type: ignore[arg-type]

        return None, predict

    monkeypatch.setattr(search, "fit_arm", fit)
    for trials in (1, 3):
        search_settings(searched, trials=trials)
    with pytest.raises(SystemExit):
        search_settings(searched, trials=14)
    found = search_settings(searched, trials=14)
    pieces = table(searched)
    assert len(set(fitted)) == 14 and len(fitted) == 15  # the stopped one is tried again, with the same settings
    assert fitted[4] == fitted[5]
    shutil.rmtree(searched.parent / "runs")
    whole = search_settings(searched, trials=14)
    assert table(searched) == pieces
    assert (whole.best, whole.val_loss, whole.expected) == (found.best, found.val_loss, found.expected)


def test_another_seed_tries_other_settings(searched: Path) -> None:
    search_settings(searched, trials=1)
    first = table(searched)
    shutil.rmtree(searched.parent / "runs")
    search_settings(searched, trials=1, overrides={"search.seed": "1"})
    assert table(searched) != first


def test_another_study_does_not_go_on_with_these_trials(searched: Path) -> None:
    search_settings(searched, trials=1)
    with pytest.raises(InputError, match="another study or other data"):
        search_settings(searched, trials=2, overrides={"tiles.fit": "crop"})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"arm": "givn-8"}, "given-8"),
        ({"ranges": {"learning_rat": {"low": 1, "high": 2}}}, "learning_rate"),
        ({"ranges": {"batch": {"low": 4}}}, "low, high"),
        ({"ranges": {"batch": {"low": 4, "high": 2}}}, "below high"),
        ({"ranges": {"learning_rate": {"low": 0, "high": 1, "log": True}}}, "above 0"),
        ({"ranges": {"batch": {"choices": [0, 4]}}}, "must be 1 or more"),
    ],
)
def test_a_search_that_cannot_be_done_is_refused_in_one_line(study: Path, wrong: dict[str, object], said: str) -> None:
    record = yaml.safe_load(study.read_text())
    record["search"] = {"arm": "given-8", "ranges": {"batch": {"choices": [4, 8]}}} | wrong
    with pytest.raises(InputError, match=said) as caught:
        parse_study(record)
    assert "\n" not in str(caught.value)


def test_a_study_without_ranges_is_told_so(study: Path) -> None:
    with pytest.raises(InputError, match="no section `search`"):
        search_settings(study)


def test_optimism_of_noise_is_what_choosing_gained() -> None:
    """Trials that are equal in truth: the best one's loss is low by luck alone, and the correction takes that back."""
    random = np.random.default_rng(0)
    corrected, raw = [], []
    for number in range(30):
        losses = 1 + random.normal(0, 1, (20, 60))
        raw.append(losses.mean(1).min())
        corrected.append(raw[-1] + optimism(losses, np.arange(60), seed=number))
    assert np.mean(raw) < 0.8
    assert abs(np.mean(corrected) - 1) < 0.05


def test_optimism_of_one_clear_winner_is_small() -> None:
    random = np.random.default_rng(1)
    losses = 1 + random.normal(0, 0.2, (5, 200)) - np.array([0.5, 0, 0, 0, 0])[:, None]
    assert abs(optimism(losses, np.repeat(np.arange(40), 5))) < 0.02


def test_validation_patients_are_not_those_of_the_test_part(searched: Path) -> None:
    found = search_settings(searched, trials=1)
    table = (found.study.parent / "trial-0001" / "val.csv").read_text()
    from counterstain.study.prepare import prepare

    prepared = prepare(read_study(searched), searched.parent, store=searched.parent / "store", talk=Progress())
    parts = dict(zip(prepared.material.cohort.image, prepared.split.parts[0].assignment, strict=True))
    assert all(parts[line.split(",")[0]] == "val" for line in table.splitlines()[1:])
