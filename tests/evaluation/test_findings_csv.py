"""Anyone's table of several findings: scored together by evaluate and compare, as score_findings does by hand."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import counterstain
from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.evaluation.finding_scores import MEAN, FindingPredictions, score_findings, write_findings
from counterstain.evaluation.findings_csv import find_findings, read_finding_table
from counterstain.evaluation.findings_result import FindingScores

RUNNER = CliRunner()


def made(signal: float = 1.5, seed: int = 0, *, calls: bool = True) -> FindingPredictions:
    """120 images of 40 patients with findings mass and oedema."""
    label = (np.random.default_rng(9).random((120, 2)) < [0.3, 0.5]).astype(np.int64)
    logits = signal * (label - 0.5) + np.random.default_rng(seed).normal(0, 1, label.shape)
    prob = np.round(1 / (1 + np.exp(-logits)), 6)
    blank = ("",) * 120
    return FindingPredictions(
        image=tuple(f"i{k}.png" for k in range(120)), patient=tuple(f"p{k // 3}" for k in range(120)), slide=blank,
        site=blank, label=label, prob=prob, findings=("mass", "oedema"),
        called=(prob >= 0.5).astype(np.int64) if calls else None,
    )  # fmt: skip


def written(folder: Path, name: str, table: FindingPredictions) -> Path:
    write_findings(table, folder / name)
    return folder / name


def test_what_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    table = made()
    found = read_finding_table(written(tmp_path, "a.csv", table))
    assert (found.image, found.patient, found.findings) == (table.image, table.patient, table.findings)
    assert np.array_equal(found.label, table.label) and np.allclose(found.prob, table.prob)
    assert found.called is not None and table.called is not None and np.array_equal(found.called, table.called)


@pytest.mark.parametrize(
    "header",
    [
        "file,patient_id,label_mass,prob_mass,label_oedema,prob_oedema",
        "file,patient_id,mass,prob_mass,oedema,prob_oedema",
        "file,patient_id,mass_true,score_mass,oedema_true,score_oedema",
        "file,patient_id,gt_mass,finding_mass,gt_oedema,finding_oedema",
    ],
)
def test_columns_are_known_by_their_names(tmp_path: Path, header: str) -> None:
    assert [one.finding for one in find_findings(header.split(","))] == ["mass", "oedema"]
    (tmp_path / "a.csv").write_text(f"{header}\na,1,yes,0.5,no,0.25\nb,2,0,0.1,TRUE,0.9\n")
    table = read_finding_table(tmp_path / "a.csv", columns={"image_path": "file"})
    assert table.label.tolist() == [[1, 0], [0, 1]] and table.prob.tolist() == [[0.5, 0.25], [0.1, 0.9]]
    assert table.called is None and table.patient == ("1", "2")


def test_evaluate_scores_all_findings_of_all_seeds(tmp_path: Path) -> None:
    tables = [made(seed=seed) for seed in range(2)]
    paths = [str(written(tmp_path, f"{seed}.csv", table)) for seed, table in enumerate(tables)]
    done = RUNNER.invoke(app, ["evaluate", *paths, "--json", "--out", str(tmp_path / "found")])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["scores"] == json.loads(json.dumps(score_findings({"model": tables})["scores"]))
    assert json.loads((tmp_path / "found/findings.json").read_text())["seeds"] == {"model": 2}
    assert (tmp_path / "found/findings.csv").read_text().startswith("arm,finding,metric")
    scores = counterstain.evaluate_findings(paths)
    by_hand = np.mean([roc_auc_score(table.label, table.prob, average="macro") for table in tables])
    assert float(scores.score()) == pytest.approx(by_hand)
    assert float(scores.score("mass", "sensitivity")) == pytest.approx(
        np.mean([table.called[table.label[:, 0] == 1, 0].mean() for table in tables if table.called is not None])
    )
    assert scores.findings == ("mass", "oedema") and scores.unit == "patient"
    text = RUNNER.invoke(app, ["evaluate", *paths]).stdout
    shown = f"{by_hand:.3f}"
    assert re.search(rf"{MEAN}\s+{shown} \[", text) and "sensitivity (recall)" in text and shown in scores.summary()
    assert shown in scores._repr_html_() and repr(scores).startswith("FindingScores(2 findings, mean AUROC")


def test_compare_gives_the_differences_of_findings(tmp_path: Path) -> None:
    """Rows and findings may stand in another order; the tables are joined by image."""
    good, poor = made(3.0), made(0.2, seed=5)
    rows = np.random.default_rng(1).permutation(120)
    mixed = poor.in_order([poor.image[row] for row in rows], ("oedema", "mass"))
    named = [f"good={written(tmp_path, 'g.csv', good)}", f"poor={written(tmp_path, 'p.csv', mixed)}"]
    done = RUNNER.invoke(app, ["compare", *named, "--json"])
    assert done.exit_code == 0, done.output
    expected = score_findings({"good": [good], "poor": [poor]})["differences"]
    found = json.loads(done.stdout)["differences"]
    assert [row["finding"] for row in found] == ["mass", "oedema", MEAN]
    assert [row["difference"] for row in found] == pytest.approx([row["difference"] for row in expected])
    assert "described, not judged" in RUNNER.invoke(app, ["compare", *named]).stdout


def test_what_belongs_to_one_finding_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = str(written(tmp_path, "a.csv", made(calls=False)))
    for more in (["--threshold", "0.3"], ["--by", "site"], ["--model", "m"], ["--out", str(tmp_path / "page.html")]):
        done = RUNNER.invoke(app, ["evaluate", path, *more])
        assert done.exit_code == 2 and more[0] in done.stderr, done.output
    done = RUNNER.invoke(app, ["compare", f"a={path}", f"b={path}", "--margin", "0.1"])
    assert done.exit_code == 2 and "--margin is of one finding" in done.stderr
    # One of them alone is a table of two classes, as before.
    one = RUNNER.invoke(app, ["evaluate", path, "--columns", "label=label_mass,prob_1=prob_mass", "--json"])
    assert one.exit_code == 0, one.output
    with pytest.raises(InputError, match="evaluate_findings scores all of them"):
        counterstain.evaluate(path)
    for text, words in (
        ("label_a,prob_a,label_b,prob_b\n1,0.5,,0.5\n", "'label_b' in row 2 .* is ''; 0 or 1"),
        ("label_a,prob_a,label_b,prob_b\n1,x,0,0.5\n", "'prob_a' in row 2 .* is 'x'; a number"),
        ("label_a,prob_a,label_b,prob_b\n1,1.5,0,0.5\n", "not from 0 to 1"),
        ("label_a,prob_a\n1,0.5\n", "no two findings"),
        ("image,label_a,prob_a,label_b,prob_b\nx,1,0.5,0,0.5\nx,1,0.5,0,0.5\n", "lists x twice"),
        ("label_a,prob_a,label_b,prob_b\n", "no rows"),
    ):
        (tmp_path / "odd.csv").write_text(text)
        with pytest.raises(InputError, match=words):
            read_finding_table(tmp_path / "odd.csv")
    other = made()
    less = other.in_order(other.image[:60], other.findings)
    with pytest.raises(InputError, match="'b' has other images"):
        counterstain.evaluate_findings({"a": path, "b": str(written(tmp_path, "less.csv", less))})
    with pytest.raises(InputError, match="did you mean 'mass'"):
        FindingScores(score_findings({"m": [other]})).score("masss")
