"""Scores of slides: by hand, whatever the order, and chosen on validation patients alone."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.errors import InputError
from counterstain.evaluation.arm_scores import score_arms
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.predictions_csv import read_predictions
from counterstain.slides.score_files import write_scores
from counterstain.slides.slide_scores import POOLINGS, Truth, choose_pooling, pool_tiles, read_truth, slide_table

CLASSES = ("benign", "tumour")


def two(p: object) -> np.ndarray:
    values = np.asarray(p, float)
    return np.column_stack([1 - values, values])


def test_by_hand() -> None:
    pooled = pool_tiles(two([0.1, 0.2, 0.3, 0.8]))
    assert pooled["mean"][1] == pytest.approx(0.35)
    assert pooled["top_25pct_mean"][1] == pytest.approx(0.8)  # one tile of four
    assert pooled["top_1pct_mean"][1] == pytest.approx(0.8)  # at least one tile
    assert pooled["quantile_50"][1] == pytest.approx(0.25)  # between the two in the middle
    forty = pool_tiles(two(np.arange(40) / 40))
    assert forty["top_10pct_mean"][1] == pytest.approx((36 + 37 + 38 + 39) / 4 / 40)
    assert forty["top_5pct_mean"][1] == pytest.approx((38 + 39) / 2 / 40)


def test_several_classes_are_pooled_each_and_sum_to_one() -> None:
    prob = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    pooled = pool_tiles(prob)
    assert pooled["mean"] == pytest.approx([0.4, 0.5, 0.1])
    assert pooled["top_10pct_mean"] == pytest.approx(np.array([0.6, 0.7, 0.1]) / 1.4)


def test_no_class_likely_on_most_tiles_is_no_division_by_zero() -> None:
    assert pool_tiles(np.eye(3))["quantile_50"] == pytest.approx([1 / 3] * 3)


def test_no_tiles_no_score() -> None:
    with pytest.raises(InputError, match="without tiles"):
        pool_tiles(np.empty((0, 2)))


@settings(max_examples=50)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=60), seed=st.integers(0, 5))
def test_order_does_not_matter_and_scores_are_within_the_tiles(p: list[float], seed: int) -> None:
    pooled = pool_tiles(two(p))
    turned = pool_tiles(two(np.random.default_rng(seed).permutation(p)))
    assert set(pooled) == set(POOLINGS)
    for name, (rest, score) in pooled.items():
        assert min(p) - 1e-9 <= score <= max(p) + 1e-9 and rest + score == pytest.approx(1)
        assert turned[name][1] == pytest.approx(score, abs=1e-12)


def cohort(part: str, n: int, seed: int, pooled: dict, truth: dict) -> None:
    """Slides whose label shows in their few worst tiles only: the mean hides it."""
    rng = np.random.default_rng(seed)
    for number in range(n):
        name, label = f"{part}{number}", number % 2
        tiles = rng.beta(2, 8, 400) * rng.uniform(0.5, 1.5)
        tiles[:8] = rng.beta(8, 2, 8) if label else tiles[:8]
        pooled[name] = pool_tiles(two(np.clip(tiles, 0, 1)))
        truth[name] = (f"P-{part}{number // 2 if part == 'same' else number}", CLASSES[label], part, "")


def as_truth(rows: dict) -> Truth:
    return Truth(*({name: row[k] for name, row in rows.items()} for k in range(4)))


def test_the_pooling_that_shows_the_label_is_chosen_and_calibrated() -> None:
    pooled, rows = {}, {}
    cohort("val", 30, 0, pooled, rows)
    cohort("test", 40, 1, pooled, rows)
    chosen = choose_pooling(pooled, as_truth(rows), CLASSES)
    assert chosen.pooling in ("top_1pct_mean", "quantile_99")
    assert chosen.calibration is not None and chosen.calibration.patients == 30
    assert chosen.losses[chosen.pooling] == min(chosen.losses.values()) < 0.8 * chosen.losses["mean"]


def test_the_choice_does_not_look_at_test_slides() -> None:
    pooled, rows = {}, {}
    cohort("val", 20, 0, pooled, rows)
    before = choose_pooling(pooled, as_truth(rows), CLASSES)
    cohort("test", 40, 1, pooled, rows)
    turned = rows | {
        name: (row[0], CLASSES[row[1] == "benign"], *row[2:]) for name, row in rows.items() if "test" in name
    }
    assert choose_pooling(pooled, as_truth(rows), CLASSES) == before
    assert choose_pooling(pooled, as_truth(turned), CLASSES) == before


def test_each_patient_weighs_the_same_in_the_choice() -> None:
    # One patient's slide copied many times must not outvote the others.
    pooled, rows = {}, {}
    cohort("val", 12, 3, pooled, rows)
    once = choose_pooling(pooled, as_truth(rows), CLASSES, pooling="mean")
    assert once.calibration is not None
    for number in range(30):
        pooled[f"copy{number}"] = pooled["val0"]
        rows[f"copy{number}"] = rows["val0"]
    table = slide_table(pooled, as_truth(rows), CLASSES, pooling="mean", part="val")
    assert table is not None
    from counterstain.evaluation.calibration import apply_calibration
    from counterstain.evaluation.metrics import image_loss

    many = choose_pooling(pooled, as_truth(rows), CLASSES, pooling="mean")
    assert many.calibration is not None
    fitted = apply_calibration(many.calibration, table)
    loss = image_loss(fitted.label, fitted.prob)
    by_patient = [loss[[p == patient for p in fitted.patient]].mean() for patient in sorted(set(fitted.patient))]
    assert many.losses["mean"] == pytest.approx(np.mean(by_patient))


def test_without_validation_slides_the_mean_is_taken_as_it_is() -> None:
    pooled, rows = {}, {}
    cohort("test", 6, 0, pooled, rows)
    chosen = choose_pooling(pooled, as_truth(rows), CLASSES)
    assert (chosen.pooling, chosen.calibration) == ("mean", None)
    assert "no validation slides" in chosen.notes[0]
    assert choose_pooling(pooled, as_truth(rows), CLASSES, pooling="quantile_90").pooling == "quantile_90"


def test_tables_of_all_parts_are_written(tmp_path: Path) -> None:
    pooled, rows = {}, {}
    for seed, part in enumerate(("val", "test", "test_external")):
        cohort(part, 12, seed, pooled, rows)
    records = {name: {"tiles": 400, "pooled": values} for name, values in pooled.items()}
    write_scores(tmp_path, records, CLASSES, as_truth(rows), "auto")
    written = {path.name for path in (tmp_path / "slide-scores").iterdir()}
    assert written == {"slides.csv", "pooling.json"} | {
        f"{kind}{part}.csv" for kind in ("predictions", "patients") for part in ("", "_val", "_test_external")
    }
    # What `evaluate` and `compare` do with them.
    table = read_predictions(tmp_path / "slide-scores" / "predictions.csv")
    scores = score_arms({"model": [table]})["arms"]["model"]["scores"]
    assert {score["level"] for score in scores if score["metric"] == "auroc"} >= {"image", "patient"}
    other = tmp_path / "mean"
    write_scores(other, records, CLASSES, as_truth(rows), "mean")
    mean = read_predictions(other / "slide-scores" / "predictions.csv")
    record = compare_arms({"top": [table], "mean": [mean]}, claim="models")
    assert record["words"]


def test_truth_by_other_names(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("wsi,case,diagnosis,subset,centre\nA.svs,P1,tumour,valid,X\nB,P2,benign,testing,\n")
    truth = read_truth(path, CLASSES, {"A.svs": "A"})
    assert truth.part == {"A": "val", "B": "test"} and truth.patient == {"A": "P1", "B": "P2"}
    assert truth.site == {"A": "X", "B": ""}


def test_truth_in_another_dialect_by_files_and_by_named_columns(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_bytes("Filename;PatientID;GT\r\nscans\\A.svs;P1;tumour\r\n".encode("utf-16"))
    assert read_truth(path, CLASSES, {"A.svs": "A"}).label == {"A": "tumour"}
    path.write_text("Scan,Who,What\nA,P1,tumour\n")
    with pytest.raises(InputError, match=r"no column slide_id.*--columns slide_id="):
        read_truth(path, CLASSES)
    named = {"slide_id": "Scan", "patient_id": "Who", "label": "What"}
    assert read_truth(path, CLASSES, columns=named).patient == {"A": "P1"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("slide_id,label\nA,tumour\n", "has no column patient_id"),
        ("slide_id,patient_id,label\nA,P,tumuor\n", "has no class 'tumuor'; did you mean 'tumour'"),
        ("slide_id,patient_id,label\nA,P,tumour\nA,P,tumour\n", "names slide 'A' twice"),
        ("slide_id,patient_id,label\nA,,tumour\n", "row 1 has no patient"),
        ("slide_id,patient_id,label,split\nA,P,tumour,val\nB,P,tumour,test\n", "patient 'P' is in val and test"),
        ("slide_id,patient_id,label,split\nA,P,tumour,late\n", "has split 'late'"),
    ],
)
def test_truth_is_refused(tmp_path: Path, rows: str, words: str) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(rows)
    with pytest.raises(InputError, match=words):
        read_truth(path, CLASSES)
