"""evaluate and compare give one record from arrays, data frames, files and Predictions, and refuse what they must."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import counterstain
from counterstain.errors import GateError, InputError
from counterstain.evaluation.comparison_result import Verdict
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.verdict import SHOWN_BY

N = 60
RANDOM = np.random.default_rng(0)
TRUTH = np.arange(N) % 2
PATIENT = np.array([f"P{row // 4:02}" for row in range(N)])
PROB = np.clip(0.5 * TRUTH + RANDOM.uniform(0, 0.7, N), 0, 1)
NAMES = np.array(["benign", "malignant"])[TRUTH]


def frame(prob: np.ndarray = PROB) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_path": [f"{row}.png" for row in range(N)],
            "patient_id": PATIENT,
            "label": NAMES,
            "prob_malignant": prob,
            "scanner": ["A", "B", "B", "A"] * (N // 4),
        }
    )


def rows(scores: counterstain.Scores) -> list[tuple[object, ...]]:
    return [(own.metric, own.level, own.of, own.value, own.low, own.high) for own in scores]


def test_every_way_in_gives_the_same_scores(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "p.csv", index=False)
    frame().to_parquet(tmp_path / "p.parquet")
    by_file = counterstain.evaluate(tmp_path / "p.csv")
    options = {"groups": PATIENT, "image": [f"{row}.png" for row in range(N)]}
    ways = [
        counterstain.evaluate(NAMES, PROB, **options),
        counterstain.evaluate(list(NAMES), list(PROB), **options),
        counterstain.evaluate(NAMES, np.stack([1 - PROB, PROB], axis=1), **options),
        counterstain.evaluate(pd.Series(NAMES), pd.Series(PROB), groups=pd.Series(PATIENT), image=options["image"]),
        counterstain.evaluate(NAMES, pd.DataFrame({"benign": 1 - PROB, "malignant": PROB}), **options),
        counterstain.evaluate(NAMES, np.stack([PROB, 1 - PROB], 1), classes=["malignant", "benign"],
                              positive="malignant", **options),
        counterstain.evaluate(frame()),
        counterstain.evaluate(frame().set_index("image_path")),
        counterstain.evaluate(str(tmp_path / "p.parquet")),
        counterstain.evaluate([tmp_path / "p.csv"]),
        counterstain.evaluate(counterstain.as_predictions(NAMES, PROB, **options)),
    ]  # fmt: skip
    for way in ways:
        assert rows(way) == rows(by_file) and way.unit == "patient" and way.positive == "malignant"


def test_numbers_against_scikit_learn_and_by_name() -> None:
    scores = counterstain.evaluate(TRUTH, PROB, groups=PATIENT)
    assert scores["auroc"].value == pytest.approx(roc_auc_score(TRUTH, PROB))
    assert scores["AUC"] == scores["auroc"] and float(scores["auroc"]) == scores["auroc"].value
    called = PROB > 0.5
    assert scores["sensitivity"].value == pytest.approx(called[TRUTH == 1].mean())
    with pytest.raises(InputError, match="evaluate again with positive='0'"):
        scores.at("recall", of="0")
    with pytest.raises(InputError, match="of is '2'"):
        scores.at("recall", of="2")
    assert scores.images == N and scores.patients == 15 and scores.classes == ("0", "1") and scores.confidence == 0.95
    assert scores.levels == ("image",)
    with pytest.raises(InputError, match=r"measure is 'kappa'.*'mcc' answers"):
        scores["kappa"]
    with pytest.raises(InputError, match="level is 'slides'"):
        scores.at("auroc", level="slides")


def test_three_classes_have_scores_each() -> None:
    truth = np.arange(N) % 3
    prob = RANDOM.dirichlet(np.ones(3), N) * 0.5 + 0.5 * np.eye(3)[truth]
    scores = counterstain.evaluate(truth, prob, groups=PATIENT)
    called = prob.argmax(axis=1)
    assert scores.positive is None and scores.classes == ("0", "1", "2")
    for name in range(3):
        assert scores.at("sensitivity", of=str(name)).value == pytest.approx((called == name)[truth == name].mean())
    assert scores["accuracy"].value == pytest.approx((called == truth).mean())


def test_images_alone_are_said_to_be_so() -> None:
    scores = counterstain.evaluate(TRUTH, PROB)
    assert scores.unit == "image" and scores.patients is None
    assert any("no groups were given" in note for note in counterstain.as_predictions(TRUTH, PROB).notes)
    assert any("patients are unknown" in note for note in scores.notes)


def test_every_array_has_its_column() -> None:
    table = counterstain.as_predictions(
        [True, False, True], [0.75, 0.25, 0.5], groups=[3, 3, 4.0], slide=["S1", "S2", "S3"],
        site=["north", None, float("nan")], image=["x", "y", "z"],
    )  # fmt: skip
    assert table.classes == ("0", "1") and table.label.tolist() == [1, 0, 1] and table.prob[:, 1].tolist() == [
        0.75, 0.25, 0.5,
    ]  # fmt: skip
    assert table.patient == ("3", "3", "4") and table.slide == ("S1", "S2", "S3") and table.site == ("north", "", "")
    assert table.image == ("x", "y", "z") and table.rows_are == "image" and table.positive_from == "name order"
    assert table.notes == () and not table.own_patients
    lists = counterstain.as_predictions(["b", "a"], [0.75, 0.25], site=["north", float("nan")], image=[1, "x"])
    assert lists.site == ("north", "") and lists.image == ("1", "x")
    bare = counterstain.as_predictions(["b", "a"], [0.75, 0.25], classes=["a", "b"])
    assert bare.image == bare.patient == ("0", "1") and bare.slide == bare.site == ("", "") and bare.rows_are == "row"
    assert bare.positive_from == "given" and bare.label.tolist() == [1, 0] and bare.unit == "image"
    own = counterstain.as_predictions(["b", "a"], [0.75, 0.25], groups=["p", "q"], image=["p", "q"], positive="b")
    assert own.own_patients and own.positive_from == "given"


def test_classes_are_sorted_as_numbers_where_they_are_numbers() -> None:
    truth, prob = [10, 9, -1, 10], np.tile([0.25, 0.25, 0.5], (4, 1))
    assert counterstain.as_predictions(truth, prob).classes == ("-1", "9", "10")
    assert counterstain.as_predictions(["10", "9", "b", "9"], prob).classes == ("10", "9", "b")
    named = pd.DataFrame(prob, columns=["prob_10", "prob_9", "prob_-1"])
    assert counterstain.as_predictions(truth, named).classes == ("10", "9", "-1")
    whole = pd.DataFrame(prob, columns=["prob_10", "9", "-1"])
    assert counterstain.as_predictions(["prob_10", "9", "-1", "9"], whole).classes == ("prob_10", "9", "-1")


def test_a_positive_class_that_comes_first_is_put_last() -> None:
    """y_prob of the positive class: with positive='benign' the same numbers speak of benign images."""
    benign = counterstain.evaluate(NAMES, 1 - PROB, groups=PATIENT, positive="benign")
    malignant = counterstain.evaluate(NAMES, PROB, groups=PATIENT)
    assert benign["auroc"].value == pytest.approx(malignant["auroc"].value)
    assert benign["specificity"].value == pytest.approx(malignant["sensitivity"].value)
    wide = np.stack([1 - PROB, PROB], axis=1)
    assert rows(counterstain.evaluate(NAMES, wide, groups=PATIENT, positive="benign")) == rows(benign)
    table = counterstain.as_predictions(NAMES, PROB, groups=PATIENT)
    assert rows(counterstain.evaluate(table, positive="benign")) == rows(benign)
    turned = counterstain.evaluate(frame(), positive="benign")
    assert turned.positive == "benign" and turned["specificity"].value == pytest.approx(malignant["recall"].value)
    renamed = frame().rename(columns={"label": "GT", "prob_malignant": "Marker 1"})
    named = counterstain.evaluate(renamed, columns={"label": "GT", "prob_malignant": "Marker 1"})
    assert rows(named) == rows(malignant)


def test_options_reach_the_record(tmp_path: Path) -> None:
    val = counterstain.as_predictions(TRUTH, PROB, groups=[f"V{name}" for name in PATIENT])
    scores = counterstain.evaluate(
        frame(), threshold="youden", threshold_from=counterstain.as_predictions(
            NAMES, PROB, groups=[f"V{name}" for name in PATIENT], image=[f"v{row}.png" for row in range(N)]
        ), by=["scanner"], prevalence=0.1, out=tmp_path / "out",
    )  # fmt: skip
    assert scores.threshold is not None and 0 < scores.threshold < 1
    assert list(scores.record["subgroups"]) == ["scanner"]  # type: ignore[call-overload]
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == json.loads(scores.to_json())
    written = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert list(scores.to_frame()["metric"]) == list(written["metric"])
    assert counterstain.evaluate(TRUTH, PROB, threshold=0.25).threshold == 0.25
    by = counterstain.evaluate(TRUTH, PROB, by={"scanner": frame()["scanner"]})
    assert list(by.record["subgroups"]) == ["scanner"]  # type: ignore[call-overload]
    assert counterstain.evaluate(TRUTH, PROB, out=tmp_path / "page.html") and (tmp_path / "page.html").is_file()
    assert val.unit == "patient"


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((TRUTH, PROB[:-1]), {}, r"y_prob has shape \(59,\) for 60 labels"),
        ((TRUTH, np.stack([PROB] * 3, 1)), {}, r"y_prob has shape \(60, 3\) for 60 labels of 2 classes"),
        ((TRUTH, PROB * 3), {}, "If these are logits, apply softmax"),
        ((TRUTH + 0.7, PROB), {}, r"y_true has 0.7; names or integers"),
        ((np.zeros(N, int), PROB), {}, "y_true has one class only"),
        ((TRUTH, ["high"] * N), {}, "y_prob is not an array of numbers"),
        ((TRUTH, PROB), {"groups": PATIENT[:-1]}, "patient has 59 entries; 60 were needed"),
        ((TRUTH, PROB), {"groups": [None, *PATIENT[1:]]}, r"groups\[0\] is missing"),
        ((TRUTH, PROB), {"slide": ["S", float("nan"), *PATIENT[2:]]}, r"slide\[1\] is missing"),
        ((TRUTH, PROB), {"groups": np.stack([PATIENT, PATIENT])}, r"groups has shape \(2, 60\); \(N,\) is needed"),
        ((TRUTH, PROB), {"site": [0.5] * N}, "site has 0.5; names or integers are needed"),
        (
            (TRUTH, PROB),
            {"image": [None, *range(N - 1)]},
            r"image\[0\] is missing; every image needs one, or omit image",
        ),
        (([*NAMES[1:], float("nan")], PROB), {}, r"y_true\[59\] is missing"),
        ((["a"] * N, np.ones((N, 2)) / 2), {}, r"y_true has one class only \(a\)"),
        ((NAMES, PROB), {"positive": 1}, "positive is '1'; the classes are benign, malignant"),
        ((TRUTH, PROB), {"classes": ["a", "b"]}, "y_true has '0', which is none of the classes a, b"),
        ((TRUTH, PROB), {"positive": "malignant"}, "positive is 'malignant'; the classes are 0, 1"),
        ((TRUTH, PROB), {"columns": {"label": "x"}}, "columns is of a table"),
        ((TRUTH, PROB), {"by": "site"}, "the table names no site"),
        ((TRUTH, PROB), {"by": {"x": ["a"]}}, r"by\['x'\] has 1 values for 60 images"),
        ((TRUTH, PROB), {"by": ["scanner"]}, "the data has no column 'scanner'"),
        ((TRUTH,), {}, "is needed. Arrays go in as"),
        (([],), {}, "no predictions were given"),
        ((frame(),), {"groups": PATIENT}, r"groups is for arrays"),
        ((frame(),), {"ledger": "x"}, "ledger is for predictions in files"),
        ((pd.concat([frame(), frame()[["label"]]], axis=1),), {}, "two columns named 'label'"),
    ],
)
def test_what_is_refused(arguments: tuple[object, ...], options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        counterstain.evaluate(*arguments, **options)  # type: ignore[call-overload]


GOOD = [np.clip(PROB + RANDOM.normal(0, 0.02, N), 0, 1) for _ in range(3)]
POOR = [np.clip(0.05 * TRUTH + RANDOM.uniform(0, 0.9, N), 0, 1) for _ in range(3)]


def test_arms_from_arrays_frames_and_files_are_judged_alike(tmp_path: Path) -> None:
    for name, seeds in (("a", GOOD), ("b", POOR)):
        for number, prob in enumerate(seeds):
            frame(prob).to_csv(tmp_path / f"{name}{number}.csv", index=False)
    files = {name: [tmp_path / f"{name}{number}.csv" for number in range(3)] for name in "ab"}
    by_file = counterstain.compare(files)
    by_frame = counterstain.compare({"a": [frame(prob) for prob in GOOD], "b": [frame(prob) for prob in POOR]})
    images = [f"{row}.png" for row in range(N)]
    by_array = counterstain.compare(NAMES, {"a": GOOD, "b": POOR}, groups=PATIENT, image=images)
    assert by_file.pairs == by_frame.pairs == by_array.pairs
    pair = by_array.pair("b", "a")
    assert (pair.a, pair.b, pair.seeds, pair.patients, pair.images) == ("a", "b", 3, 15, N)
    assert by_array.verdict is Verdict.A_BETTER and pair.better == "a" and by_array.shown
    assert by_array.ranking == ("a", "b") and by_array.primary == "auroc" and by_array.unit == "patient"
    assert pair.difference == pytest.approx(np.mean([roc_auc_score(TRUTH, prob) for prob in GOOD])
                                            - np.mean([roc_auc_score(TRUTH, prob) for prob in POOR]))  # fmt: skip
    assert by_array.to_frame().loc[0, "verdict"] == "a_better"
    assert json.loads(by_array.to_json(tmp_path / "c.json"))["pairs"] and (tmp_path / "c.json").is_file()


def test_one_array_each_judges_the_fitted_models() -> None:
    found = counterstain.compare(TRUTH, {"a": GOOD[0], "b": POOR[0]}, groups=PATIENT, fixed_models=True)
    assert found.verdict is Verdict.A_BETTER
    few = counterstain.compare(TRUTH, {"a": GOOD[0].tolist(), "b": POOR[0].tolist()}, groups=PATIENT)
    assert few.verdict is Verdict.NOT_ENOUGH_RUNS and not few.shown
    with pytest.raises(GateError, match="it is not shown that b is better than a"):
        counterstain.compare(TRUTH, {"b": POOR[0], "a": GOOD[0]}, groups=PATIENT, fixed_models=True, gate=True)
    at = counterstain.compare(TRUTH, {"a": GOOD[0], "b": POOR[0]}, threshold={"a": 0.4, "b": 0.5}, primary="accuracy")
    assert at.pairs[0].value_a == pytest.approx(((GOOD[0] >= 0.4) == TRUTH).mean())


def test_what_compare_refuses() -> None:
    with pytest.raises(InputError, match="a comparison needs two"):
        counterstain.compare(TRUTH, {"a": GOOD[0]})
    with pytest.raises(InputError, match="a list was given"):
        counterstain.compare([GOOD[0]])  # type: ignore[call-overload]
    with pytest.raises(InputError, match="ask one question"):
        counterstain.compare(TRUTH, {"a": GOOD, "b": POOR}, noninferiority=True, equivalence=True, margin=0.1)
    with pytest.raises(InputError, match="array 0 of 'a' and array 1 of 'a'"):
        counterstain.compare(TRUTH, {"a": [GOOD[0], GOOD[0]], "b": POOR[:2]}, groups=PATIENT)
    three = counterstain.compare(TRUTH, {"a": GOOD, "b": POOR, "c": GOOD[::-1]}, groups=PATIENT)
    with pytest.raises(InputError, match="3 pairs are primary"):
        _ = three.verdict
    with pytest.raises(InputError, match="no pair of 'a' and 'd'"):
        three.pair("a", "d")


def test_verdicts_are_those_of_the_rule() -> None:
    """Every word that the rule can return, and what shows each answer, is a Verdict."""
    import inspect
    import re

    from counterstain.evaluation import verdict

    source = inspect.getsource(verdict.verdict) + inspect.getsource(verdict.also_better)
    body = source.replace(verdict.verdict.__doc__ or "", "").replace(verdict.also_better.__doc__ or "", "")
    words = set(re.findall(r'"([a-z_]+)"', body)) - {"procedures", *SHOWN_BY}
    assert words == {str(kind) for kind in Verdict}
    assert set(SHOWN_BY.values()) <= words


def test_predictions_show_themselves(tmp_path: Path) -> None:
    table: Predictions = counterstain.as_predictions(NAMES, PROB, groups=PATIENT, image=range(N))
    assert repr(table) == "Predictions(60 images of 15 patients: 30 benign, 30 malignant)"
    counterstain.write_predictions(table, tmp_path / "p.csv")
    written = pd.read_csv(tmp_path / "p.csv", dtype={"image_path": str})
    assert written["prob_malignant"].tolist() == table.to_frame()["prob_malignant"].tolist()
    assert list(written["image_path"]) == list(table.to_frame()["image_path"])
