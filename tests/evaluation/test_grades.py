"""Tables of grades: the order that a user names, in evaluate and in compare, for probabilities and for calls alone."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

import counterstain
from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.evaluation.from_arrays import from_source
from counterstain.evaluation.intervals import estimates, sample, units_of
from counterstain.evaluation.pooled_predictions import pool_patients
from counterstain.evaluation.predictions import Predictions
from counterstain.files import write_csv

ORDER = ("low", "middle", "high")


def tables(folder: Path, *, strength: float = 0.35, seed: int = 0) -> tuple[Path, Path]:
    """90 images of 30 patients, columns in no order; and the calls alone of a reader who never says high."""
    random = np.random.default_rng(seed)
    rows, calls = [], []
    for patient in range(30):
        for number in range(3):
            grade = patient % 3
            prob = strength * np.eye(3)[grade] + (1 - strength) * random.dirichlet([1, 1, 1])
            ids = (f"{patient}-{number}.png", f"P{patient}", ORDER[grade])
            rows.append((*ids, *prob[[2, 0, 1]]))
            calls.append((*ids, ORDER[min(1, int(prob.argmax()))]))
    ids = ("image_path", "patient_id", "label")
    write_csv(folder / "prob.csv", (*ids, "prob_high", "prob_low", "prob_middle"), rows)
    write_csv(folder / "calls.csv", (*ids, "predicted"), calls)
    return folder / "prob.csv", folder / "calls.csv"


def sklearn_kappa(table: Predictions) -> float:
    """Independent of ours: scikit-learn's cohen_kappa_score, of names turned into places in ORDER."""
    place = np.array([ORDER.index(name) for name in table.classes])
    called = place[table.prob.argmax(1)]
    return float(cohen_kappa_score(place[table.label], called, labels=[0, 1, 2], weights="quadratic"))


def invoke(*words: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def kappa(record: dict[str, Any]) -> float:
    """At image level, of scores.json."""
    scores = record["arms"]["model"]["scores"]
    return next(float(s["value"]) for s in scores if (s["metric"], s["level"]) == ("quadratic_kappa", "image"))


def test_evaluate_adds_the_kappa_of_the_named_order(tmp_path: Path) -> None:
    for path in tables(tmp_path):
        want = sklearn_kappa(from_source(path))
        scores = counterstain.evaluate(path, order=ORDER)
        assert scores["quadratic_kappa"].value == pytest.approx(want)
        assert scores.record["classes"] == list(ORDER)
        typed = invoke("evaluate", path, "--order", "low, middle,high")
        assert kappa(typed) == pytest.approx(want)
        # Each by itself, for names with a comma.
        assert kappa(invoke("evaluate", path, *(w for name in ORDER for w in ("--order", name)))) == kappa(typed)
        # Another order is another kappa, and without one there is none.
        turned = counterstain.evaluate(path, order=("middle", "low", "high"))
        assert turned["quadratic_kappa"].value != pytest.approx(want)
        with pytest.raises((KeyError, InputError)):
            counterstain.evaluate(path)["quadratic_kappa"]


def test_the_page_of_grades_leads_with_their_kappa(tmp_path: Path) -> None:
    page = tmp_path / "page.html"

    def lead(**how: Any) -> str:
        counterstain.evaluate(tables(tmp_path)[0], out=page, **how)
        return page.read_text(encoding="utf-8").split('class="verdict">')[1].split("<")[0]

    assert lead().startswith("AUROC 0.")
    graded = lead(order=ORDER)
    assert graded.startswith("Quadratic-weighted kappa 0.738 (95") and "and AUROC 0." in graded


def test_compare_judges_by_the_kappa(tmp_path: Path) -> None:
    prob, calls = tables(tmp_path)
    found = counterstain.compare(
        {"model": prob, "reader": calls}, order=ORDER, primary="QWK", level="image", fixed_models=True
    )
    want = sklearn_kappa(from_source(prob)) - sklearn_kappa(from_source(calls))
    assert found.pair("model", "reader").difference == pytest.approx(want)
    typed = invoke(
        "compare",
        f"model={prob}",
        f"reader={calls}",
        "--order",
        "low,middle,high",
        "--primary",
        "qwk",
        "--fixed-models",
    )
    assert typed["primary"] == "quadratic_kappa"
    assert typed["pairs"][0]["difference"] == pytest.approx(want)


def test_arrays_take_an_order_too() -> None:
    truth = [1, 2, 3, 1, 2, 3, 2, 1]
    prob = np.eye(3)[[0, 1, 2, 1, 1, 1, 2, 0]] * 0.7 + 0.1
    want = cohen_kappa_score(truth, prob.argmax(1) + 1, weights="quadratic")
    patient = [f"P{k}" for k in range(8)]
    assert counterstain.evaluate(truth, prob, groups=patient, order=[1, 2, 3])["quadratic_kappa"].value == (
        pytest.approx(want)
    )
    found = counterstain.compare(
        truth, {"a": prob, "b": prob[::-1]}, groups=patient, order=[1, 2, 3], primary="qwk", fixed_models=True
    )
    assert found.record["primary"] == "quadratic_kappa"


def test_patients_of_grades_are_graded(tmp_path: Path) -> None:
    """Pooling keeps what a table is: its order, and whether it has calls alone."""
    prob, calls = (from_source(path, order=ORDER) for path in tables(tmp_path, strength=0.1))
    pooled = pool_patients(prob)
    assert pooled.ordered and not pooled.hard and pool_patients(calls).hard
    found = estimates(sample([prob], units_of([prob]), level="patient"))["quadratic_kappa", None]
    assert found.value == pytest.approx(sklearn_kappa(pooled))


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (("low", "high"), "names 2 classes"),
        (("low", "middle"), "names 2 classes"),
        (("low", "middle", "hihg"), "names class 'high' not at all"),
        (("low", "middle", "high", "higher"), "'higher', which has no probability column; did you mean 'high'"),
        (("low", "middle", "high", "low"), "names class 'low' twice"),
        ("low,middle,high", "names 1 class"),
    ],
)
def test_an_order_names_each_class_once(tmp_path: Path, order: Sequence[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        counterstain.evaluate(tables(tmp_path)[0], order=order)


def test_a_measure_of_grades_asks_for_their_order(tmp_path: Path) -> None:
    prob, calls = tables(tmp_path)
    for asked in (["--primary", "quadratic weighted kappa"], ["--co-primary", "qwk,accuracy"]):
        result = CliRunner().invoke(app, ["compare", f"a={prob}", f"b={calls}", "--fixed-models", *asked])
        assert result.exit_code == 2 and "--order normal,low,high" in result.output


FINDINGS = """\
image_path,patient_id,label_oedema,label_mass,prob_oedema,prob_mass
a,P1,0,1,0.2,0.9
b,P1,1,0,0.7,0.1
c,P2,0,0,0.4,0.2
d,P3,1,1,0.6,0.8
"""


@pytest.mark.parametrize("truth", ["label_oedema", "oedema", "oedema_true"])
def test_a_table_of_findings_is_scored_whole_or_by_the_columns_of_one(tmp_path: Path, truth: str) -> None:
    """What is asked of one finding is refused, and the columns of one are named."""
    path = tmp_path / "findings.csv"
    path.write_text(FINDINGS.replace("label_oedema", truth).replace("label_mass", truth.replace("oedema", "mass")))
    whole = CliRunner().invoke(app, ["evaluate", str(path)])
    assert whole.exit_code == 0 and all(name in whole.stdout for name in ("oedema", "mass", "mean of all findings"))
    for verb in (
        ["evaluate", str(path), "--threshold", "0.3"],
        ["compare", f"a={path}", f"b={path}", "--fixed-models"],
    ):
        result = CliRunner().invoke(app, verb)
        assert result.exit_code == 2
        assert "of one with --columns label=label_<finding>,prob_1=prob_<finding>" in result.output, result.output
    scored = CliRunner().invoke(app, ["evaluate", str(path), "--columns", f"label={truth},prob_1=prob_oedema"])
    assert scored.exit_code == 0 and "4 images of 3 patients" in scored.stdout
