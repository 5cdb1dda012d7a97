"""Unknown keys of a study are answered by their meaning and their place."""

from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.cli.suggestions import SETTINGS
from counterstain.errors import InputError
from counterstain.learning.config import TrainingConfig
from counterstain.study.study_config import _known_keys, parse_study, read_study
from counterstain.study.unknown_keys import MEANINGS

PLAIN = {"name": "s", "cohort": {"path": "images"}, "arms": {"a": {"network": "given"}}, "seeds": [0]}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"training": {"lr": 1e-3}}, "training has unknown key 'lr'; did you mean 'learning_rate'?"),
        ({"arms": {"a": {"batch_size": 8}}}, "arms.a has unknown key 'batch_size'; did you mean 'batch'?"),
        ({"training": {"dropout": 0.3}}, "training has unknown key 'dropout'; the given and modified networks have "),
        ({"sensitivity": 0.9}, "study has unknown key 'sensitivity'; to compare the arms by it: comparison.primary: "),
        ({"unit": "image"}, "study has unknown key 'unit'; it belongs in split (split.unit)"),
        ({"cohort": {"path": "i", "unit": "image"}}, "cohort has unknown key 'unit'; it belongs in split (split.unit)"),
        ({"root": "/x"}, "study has unknown key 'root'; it belongs in cohort (cohort.root)"),
        ({"class_weights": "balanced"}, "'class_weights'; it belongs in training or an arm (training.class_weights)"),
        ({"tiles": {"class_weights": "balanced"}}, "tiles has unknown key 'class_weights'; it belongs in training or "),
        ({"seed": 1}, "study has unknown key 'seed'; did you mean 'seeds'?"),
        ({"epoch": 1}, "study has unknown key 'epoch'; did you mean 'training.epochs'?"),
        ({"split": {"qqq": 1}}, "split has unknown key 'qqq'; known: method, unit, file"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_answered_by_its_meaning(changed: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as found:
        parse_study({**PLAIN, **changed})
    assert words in str(found.value)


def test_every_meaning_is_of_a_key_that_exists() -> None:
    known = _known_keys()
    for dotted, theirs in MEANINGS.items():
        section, _, key = dotted.rpartition(".")
        assert key in known[section], dotted
        assert not [word for word in theirs if word in known[section] and word != key], dotted


def test_a_folder_is_no_study_and_the_way_out_is_named(tmp_path: Path) -> None:
    (tmp_path / "my tiles").mkdir()
    with pytest.raises(InputError, match=r"is a folder; write a study for its images first: counterstain init '.*my "):
        read_study(tmp_path / "my tiles")
    (tmp_path / "cohort.csv").write_text("image_path,label\n")
    answer = CliRunner().invoke(app, ["run", str(tmp_path / "cohort.csv")])
    assert answer.exit_code == 2 and "is a table; write a study for it first: counterstain init " in answer.output


def test_h_is_help() -> None:
    assert CliRunner().invoke(app, ["run", "-h"]).output == CliRunner().invoke(app, ["run", "--help"]).output


def test_settings_of_an_arm_without_an_option_are_named() -> None:
    options = ("network", "batch", "epochs", "patience", "learning_rate", "precision", "device", "threads")
    made = {field.name for field in fields(TrainingConfig)} - {"network_sha256"}
    assert set(SETTINGS) == made - set(options)
    answer = CliRunner().invoke(app, ["train", "c.csv", "s.csv", "--out", "m", "--class-weights", "balanced"])
    assert answer.exit_code == 2
    assert "--set class_weights=VALUE" in " ".join(answer.output.replace("│", " ").split())
