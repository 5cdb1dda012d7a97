"""`compare` on the command line: the gate, the names of its options, and what it prints of several arms."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from counterstain.cli import app
from counterstain.judging.predictions import Predictions
from counterstain.judging.reading import write_predictions


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *(str(one) for one in arguments)])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[str]]:
    """Three seeds each of a good, a poor and a middling arm, as NAME=FILE."""
    code = np.repeat(np.arange(40), 3)
    label = (code % 2).astype(np.int64)
    hard = np.random.default_rng(0).normal(0, 0.7, 40)[code]
    found: dict[str, list[str]] = {}
    for name, strength, first in (("good", 2.2, 1), ("poor", 0.1, 20), ("middling", 1.0, 40)):
        for seed in range(3):
            noise = np.random.default_rng(first + seed).normal(size=len(code))
            p = 1 / (1 + np.exp(-(strength * (2 * label - 1) + hard + noise)))
            blank = ("",) * len(code)
            table = Predictions(
                image=tuple(f"i{k}" for k in range(len(code))), patient=tuple(f"p{k}" for k in code), slide=blank,
                site=blank, label=label, prob=np.column_stack([1 - p, p]), classes=("benign", "tumour"),
            )  # fmt: skip
            write_predictions(table, tmp_path / f"{name}{seed}.csv")
            found.setdefault(name, []).append(f"{name}={tmp_path / f'{name}{seed}.csv'}")
    constant = replace(table, prob=np.tile([0.7, 0.3], (len(code), 1)))
    write_predictions(constant, tmp_path / "constant.csv")
    found["constant"] = [f"constant={tmp_path / 'constant.csv'}"]
    return found


def test_the_gate_is_the_exit_code(files: dict[str, list[str]]) -> None:
    good, poor = files["good"], files["poor"]
    assert call(*good, *poor, "--gate").exit_code == 0
    shut = call(*poor, *good, "--gate")
    assert shut.exit_code == 3
    assert "the gate is shut: it is not shown that poor is better than good" in shut.output
    assert "Verdict: good is better than poor" in shut.output
    assert call(*poor, *good).exit_code == 0
    margin = ("--margin", "0.1", "--gate")
    assert call(*poor, *good, "--noninferiority", *margin).exit_code == 3
    assert call(*good, *poor, "--equivalence", *margin).exit_code == 3
    assert call(*good, *poor, "--equivalence", "--noninferiority", *margin).exit_code == 2


def test_the_fields_names_of_measures_and_thresholds(files: dict[str, list[str]]) -> None:
    good, poor = files["good"], files["poor"]
    record = json.loads(call(*good, *poor, "--primary", "PPV", "--positive", "tumour", "--json").output)
    assert (record["primary"], record["positive_from"]) == ("precision", "given")
    both = call(*good, *poor, "--co-primary", "sensitivity,TNR", "--threshold", "good=0.4", "--threshold", "poor=0.5")
    assert "co-primary endpoints, sensitivity (recall) for 'tumour' and specificity for 'tumour'" in both.output
    wrong = call(*good, *poor, "--primary", "kappa")
    assert wrong.exit_code == 2
    assert "'mcc' answers the same question" in wrong.output
    assert "80 % interval" in call(*good, *poor, "--alpha", "0.2").output


def test_copies_are_refused_by_their_files(files: dict[str, list[str]]) -> None:
    copied = call(files["good"][0], files["good"][0], *files["poor"])
    assert copied.exit_code == 2
    assert "copies are not seeds" in copied.output
    assert "good0.csv" in copied.output


def test_an_undefined_measure_says_which_arm_and_no_nan(files: dict[str, list[str]]) -> None:
    shown = call(files["good"][0], *files["constant"], "--fixed-models", "--primary", "MCC")
    assert shown.exit_code == 0
    assert "MCC is undefined for constant, which calls every image 'benign'" in shown.output
    assert "nan" not in shown.output.lower().replace("finance", "")
    record = call(files["good"][0], *files["constant"], "--fixed-models", "--primary", "MCC", "--json").output
    assert "NaN" not in record
    assert json.loads(record)["pairs"][0]["verdict"] == "undefined"


def test_several_arms_are_a_table_with_the_best_on_top(files: dict[str, list[str]]) -> None:
    arms = [one for name in ("poor", "good", "middling") for one in files[name]]
    shown = call(*arms, "--detect", "0.02").output
    assert shown.count("Verdict: ") == 1
    lines = [line.split()[0] for line in shown.splitlines() if line.strip() and line.split()[0] in files]
    assert lines == ["good", "middling", "poor"]
    assert "the best on top" in shown
    reference = call(*arms, "--reference", "poor").output
    assert "2 arms compared with poor in AUROC" in reference
