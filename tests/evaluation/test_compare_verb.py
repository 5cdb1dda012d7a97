"""`compare` on the command line: the gate, the names of its options, and what it prints of several arms."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from counterstain.cli import app
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import write_predictions
from counterstain.evaluation.text_tables import details_table


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


def test_co_primary_endpoints_have_their_own_p_and_limits_and_one_joint_answer(files: dict[str, list[str]]) -> None:
    """Each endpoint's row is that of a comparison in it alone; the joint p is the largest of theirs."""
    two = ("--co-primary", "sensitivity,specificity")
    good, poor = files["good"], files["middling"]
    for question in ((), ("--noninferiority", "--margin", "0.1"), ("--equivalence", "--margin", "0.3")):
        pair = json.loads(call(*good, *poor, *two, *question, "--json").output)["pairs"][0]
        p = "p_margin_adjusted" if question else "p_adjusted"
        for part, measure in zip(pair["endpoints"], ("sensitivity", "specificity"), strict=True):
            alone = json.loads(call(*good, *poor, "--primary", measure, *question, "--json").output)["pairs"][0]
            assert {key: part[key] for key in ("p_adjusted", "p_margin_adjusted", "verdict", "low", "high")} == {
                key: alone[key] for key in ("p_adjusted", "p_margin_adjusted", "verdict", "low", "high")
            }
        assert pair[p] == max(part[p] for part in pair["endpoints"])
        words = pair["words"]
        assert f"largest p {'< 0.001' if pair[p] < 0.001 else f'= {pair[p]:.3f}'}" in words
        assert "this is about this training set only" in words
        assert words.count(". ") == 1
    words = json.loads(call(*good, *poor, *two, "--noninferiority", "--margin", "0.1", "--json").output)["words"]
    assert "one-sided 97.5 % limit" in words
    assert "95 % interval" not in words  # it isn't what decides


@pytest.mark.parametrize(
    "question", [("--noninferiority", "--margin", "0.1"), ("--equivalence", "--margin", "0.1"), ()]
)
@pytest.mark.parametrize("endpoint", [(), ("--co-primary", "sensitivity,specificity")])
def test_three_arms_are_at_most_two_sentences(
    files: dict[str, list[str]], question: tuple[str, ...], endpoint: tuple[str, ...]
) -> None:
    arms = [one for name in ("poor", "good", "middling") for one in files[name]]
    words = json.loads(call(*arms, *question, *endpoint, "--json").output)["words"]
    assert words.count(". ") == 1
    assert "3 pairs" in words or words.startswith("good has the best AUROC of 3 arms")
    shown = call(*arms, *question, *endpoint).output
    if endpoint:  # every endpoint of every pair has a row
        assert shown.count("  specificity for 'tumour'") == 3
    if "--noninferiority" in question:
        assert "at worst (97.5 % limit)" in shown
        assert "95 % interval" not in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--detect", "0"), "detect is 0; a difference above 0"),
        (("--detect", "nan"), "detect is nan"),
        (("--detect", "1"), "AUROC differs by at most 1"),
        (("--prior-sd", "inf"), "prior_sd is inf"),
        (("--primary", "f1", "--co-primary", "recall,specificity"), "were both given; name all endpoints in one"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    files: dict[str, list[str]], options: tuple[str, ...], message: str
) -> None:
    refused = call(*files["good"], *files["poor"], *options)
    assert refused.exit_code == 2
    assert message in refused.output


def test_what_a_threshold_does_and_why_no_number_of_patients_stands_there(files: dict[str, list[str]]) -> None:
    both = (*files["good"], *files["poor"])
    said = call(*both, "--threshold", "good=.3", "--threshold", "poor=0.40").output
    assert "Note: called 'tumour' at a probability of 0.3 or more (good), 0.4 or more (poor)" in said
    assert "AUROC is that of the probabilities; --threshold doesn't change it" in said
    assert "doesn't change it" not in call(*both, "--threshold", "0.3", "--primary", "accuracy").output
    assert (
        "no number of patients for a difference of 0.02: the question is settled"
        in call(*both, "--detect", "0.02").output
    )
    one = (files["good"][0], files["poor"][0])
    assert "too few runs to know the spread over seeds" in call(*one, "--detect", "0.02").output
    assert "no number" not in call(*files["good"], *files["middling"], "--detect", "0.2", "--equivalence", "--margin",
                                   "0.01").output  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "measure", ["accuracy", "sensitivity", "specificity", "auroc", "f1", "mcc", "balanced accuracy"]
)
@pytest.mark.parametrize("patients", [1, 4])
@pytest.mark.parametrize("images", [1, 3])
def test_tables_of_one_class_or_one_patient_say_why(tmp_path: Path, measure: str, patients: int, images: int) -> None:
    """All images are of one class: what is defined is compared, and the rest says what is missing; no warnings."""
    code = np.repeat(np.arange(patients), images)
    blank = ("",) * len(code)
    arms = []
    for seed in (1, 2):
        p = np.random.default_rng(seed).uniform(0.1, 0.9, len(code))
        table = Predictions(
            image=tuple(f"i{k}" for k in range(len(code))), patient=tuple(f"p{k}" for k in code), slide=blank,
            site=blank, label=np.ones(len(code), dtype=np.int64), prob=np.column_stack([1 - p, p]),
            classes=("benign", "tumour"),
        )  # fmt: skip
        write_predictions(table, tmp_path / f"{seed}.csv")
        arms.append(f"m{seed}={tmp_path / f'{seed}.csv'}")
    shown = call(*arms, "--fixed-models", "--primary", measure, "--json")
    assert shown.exit_code == 0, shown.output
    (pair,) = json.loads(shown.output)["pairs"]
    defined = pair["value_a"] is not None and pair["value_b"] is not None
    assert ("is undefined" in pair["words"]) == (not defined and pair["verdict"] == "undefined" and patients > 1)
    if patients == 1 and images > 1:
        assert "there is one patient only" in pair["words"]


def test_npv_can_be_compared_and_is_the_precision_of_the_other_class(files: dict[str, list[str]]) -> None:
    both = (*files["good"], *files["middling"], "--json")
    npv = json.loads(call(*both, "--primary", "NPV", "--positive", "tumour").output)["pairs"][0]
    other = json.loads(call(*both, "--primary", "PPV", "--positive", "benign").output)["pairs"][0]
    for name in ("value_a", "value_b", "difference", "low", "high", "p"):
        assert npv[name] == pytest.approx(other[name], abs=1e-12)
    assert "NPV for 'tumour'" in npv["words"]


def test_published_tests_stand_beside_the_verdict(files: dict[str, list[str]], tmp_path: Path) -> None:
    """Those of fitted models for one table each, the sign-flip for several; a record read again prints the same."""
    one = call(files["good"][0], files["poor"][0], "--fixed-models", "--out", tmp_path / "comparison.json").output
    assert "beside it: clustered McNemar, Obuchowski" in one
    assert "beside it: clustered AUROC difference" in one
    record = json.loads((tmp_path / "comparison.json").read_text())
    names = [row[0] for row in details_table(record, record["pairs"][0])[1]]
    assert all(name in one for name in names)
    assert "McNemar" not in call(*files["good"], *files["poor"]).output
    record["pairs"][0]["tests"] = [{"test": "DeLong", "p": None, "about": "AUROC"}]
    assert not any("DeLong" in row[0] for row in details_table(record, record["pairs"][0])[1])


def test_several_classes_and_calls_alone_say_what_is_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    arms, hard = [], []
    for name in ("a", "b"):
        with (tmp_path / f"{name}.csv").open("w") as probable, (tmp_path / f"{name}_hard.csv").open("w") as called:
            probable.write("image,patient,label,prob_x,prob_y,prob_z\n")
            called.write("image,patient,label,predicted\n")
            for k in range(90):
                p = rng.dirichlet(np.ones(3) + 2 * np.eye(3)[k % 3])
                probable.write(f"i{k},p{k % 30},{'xyz'[k % 3]},{p[0]:.9f},{p[1]:.9f},{1 - p[0] - p[1]:.9f}\n")
                called.write(f"i{k},p{k % 30},{'xyz'[k % 3]},{'xyz'[int(p.argmax())]}\n")
        arms.append(f"{name}={tmp_path / f'{name}.csv'}")
        hard.append(f"{name}={tmp_path / f'{name}_hard.csv'}")
    shown = call(*arms, "--fixed-models", "--primary", "sensitivity").output
    assert "the difference in sensitivity (recall), mean over the classes is" in shown
    assert "mean over the classes" not in call(*arms, "--fixed-models").output
    refused = call(*hard, "--fixed-models")
    assert refused.exit_code == 2
    assert "which have no AUROC; ask about --primary accuracy" in refused.output
    assert call(*hard, "--fixed-models", "--primary", "accuracy").exit_code == 0


@pytest.mark.parametrize("question", [(), ("--noninferiority",), ("--equivalence",), ("--reference", "poor"),
                                      ("--co-primary", "sensitivity,specificity")])  # fmt: skip
@pytest.mark.parametrize("arms", [2, 3])
@pytest.mark.parametrize("alpha", ["0.05", "0.2"])
def test_no_interval_without_its_level(
    files: dict[str, list[str]], question: tuple[str, ...], arms: int, alpha: str
) -> None:
    """Each column with intervals, and each sentence that has one, says at which level."""
    given = [one for name in ("good", "poor", "middling")[:arms] for one in files[name]]
    shown = call(*given, *question, "--margin", "0.1", "--detect", "0.5", "--alpha", alpha).output
    heads = [line for line in shown.splitlines() if line.startswith(("arm ", "pair "))]
    for line in shown.splitlines():
        if re.search(r"\[[-+]?\d", line) and not heads:
            assert re.search(r"\d % (interval|limit)", line), line
    columns = max((line.count(" [") for line in shown.splitlines() if not line.startswith("Verdict")), default=0)
    assert all(head.count(" % interval") >= columns for head in heads)
