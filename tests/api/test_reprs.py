"""Whatever a public class holds, its repr is one short line."""

from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import counterstain
from counterstain.evaluation.model_output import ModelOutput
from counterstain.learning.bundle import Bundle
from counterstain.phantom.tiles import Phantom
from counterstain.records import short_repr
from counterstain.robustness.robustness_result import Limit, Loss, RobustnessCard
from counterstain.slides.extract_tiles import ExtractedTiles
from counterstain.slides.feature_files import FeatureFiles
from counterstain.slides.infer_cohort import SlidesResult
from counterstain.slides.slides_result import Inspection, SlideInspection
from counterstain.study.cleanup import Cleanup, Removable
from counterstain.study.doctor import Check, Health
from counterstain.study.reproduce import Reproduction
from counterstain.study.results import Export, FoundRate, Parity, SearchResult, StudyPlan, StudyRun
from counterstain.study.run_list import RunList
from counterstain.study.verify import Verification

N = 5000
LONG = "a_very_long_name_of_a_class_or_an_arm_that_somebody_chose" * 3


def many() -> list[object]:
    """One of each public class, full of long names."""
    names = tuple(f"{LONG}/{row}.png" for row in range(N))
    truth = np.arange(N) % 2
    prob = np.linspace(0, 1, N)
    table = counterstain.as_predictions([f"{LONG}{row}" for row in truth], prob, groups=names)
    scores = counterstain.evaluate(table)
    comparison = counterstain.compare({LONG: table, LONG + "2": table}, fixed_models=True)
    part = counterstain.Fold(0, 0, tuple(["train", "val", "test", f"test_{LONG}"] * (N // 4)))
    record = {"images": N, "settings": {"method": "hirescam"}, "slide": LONG, "mpp_x": None, "mpp_y": None}
    card = {"curves": [], "budget": None}
    finding = counterstain.Finding("near", "leak", ("train", "test"), N, tuple((name, name) for name in names), LONG)
    audit = {"verdict": "leaks", "words": LONG, "images": N, "copies": {}, "findings": [finding.to_record()]}
    output = ModelOutput(image=names, classes=(LONG, LONG + "b"), prob=np.stack([1 - prob, prob], axis=1))
    rings = (np.zeros((N, 2)),)
    changed = Verification(LONG, N, names, names, names)
    return [
        table,
        scores,
        comparison,
        part,
        finding,
        output,
        counterstain.Split(names, (part,), "patient"),
        counterstain.AuditReport(audit),
        counterstain.Explanation(Path(LONG), record),
        *comparison.pairs,
        scores["auroc"],
        RobustnessCard(Path(LONG), card),
        Limit(True, LONG),
        SlideInspection(record),
        Inspection((SlideInspection(record),), ()),
        Export(Path(LONG), {"formats": ["onnx", "openvino"]}),
        Parity("openvino", 1e-5, 123.4, 16),
        StudyPlan({"name": LONG, "trainings": list(names)}),
        Loss("elastic", 0.123456789, LONG[:12], "balanced_accuracy", 0.1, -0.2, -0.3, 0.0, 0.123456789),
        counterstain.TrainingConfig(batch=7, epochs=3, learning_rate=0.1, patience=3, threads=2, micro_batch=3),
        counterstain.Augmentation(rotation_deg=3.0, shear_deg=1.0, translation=0.0, brightness=0.5, contrast=0.5),
        Phantom(patients=7, difficulty=0.9, shortcut=0.123, seed=5, tile_px=64, malignant_share=0.25),
        Bundle(LONG, (LONG, LONG), 257, "stretch", "-1..1", provenance={"data": names}),
        ExtractedTiles(Path(LONG), dict.fromkeys(names, 1), (), names),
        FeatureFiles(Path(LONG), N, N, N, ((LONG, LONG),) * N),
        SlidesResult(Path(LONG), {name: {} for name in names}, ()),
        counterstain.DicomResults(Path(LONG), {name: (Path(LONG),) for name in names}, ((LONG, LONG),), LONG),
        SearchResult({LONG: 1}, 0.1, 0.1, 3, 0, 1.0, Path(LONG)),
        Health((Check(LONG, "problem", LONG),)),
        changed,
        Reproduction("different", LONG, {}, {}, names, changed, N),
        FoundRate(LONG[:40], [1e-4] * N, [0.7] * N, 1e-3, 1e-4, Path(LONG)),
        Cleanup(Path(LONG), (Removable(LONG, "store", N, LONG),) * N, names, removed=False),
        RunList(Path(LONG), ()),
        counterstain.SlideTruth(LONG, LONG, LONG, LONG, 0.5, None, (N, N), rings, rings, rings, rings),
        counterstain.PublicCohort(LONG, LONG, LONG, LONG, LONG, LONG, ()),
        counterstain.FetchedCohort(LONG[:40], Path(LONG), ()),
        counterstain.PrivacyReport((), N, names),
    ]


def test_reprs_are_short() -> None:
    for one in many():
        text = repr(one)
        assert len(text) < 200 and "\n" not in text and text.startswith(type(one).__name__), text


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_no_interval_stands_without_its_level(alpha: float) -> None:
    """Whatever is printed alone: an interval has its level before it, or above it in the head of a table."""
    label, patient = [0, 1] * 12, [f"P{k}" for k in range(24)]
    good = [0.2, 0.7, 0.4, 0.9, 0.1, 0.45] * 4
    arms = {"a": good, "b": [0.3, 0.6, 0.6, 0.8, 0.4, 0.35] * 4}
    comparison = counterstain.compare(label, arms, groups=patient, fixed_models=True, alpha=alpha, margin=0.1)
    scores = counterstain.evaluate(label, good, groups=patient, confidence=1 - alpha)
    level = f"{100 * (1 - alpha):g} % interval"
    texts = [repr(comparison.pairs[0]), comparison.summary(), repr(scores), str(scores["auroc"]), scores.summary()]
    for text in [*texts, comparison._repr_html_(), scores._repr_html_()]:
        assert "[" in text and text.index(level) < text.index("["), text
    assert set(comparison.to_frame()["confidence"]) == set(scores.to_frame()["confidence"]) == {1 - alpha}


def test_rows_are_called_what_they_are() -> None:
    label, prob, names = [0, 1] * 12, [0.2, 0.7, 0.4, 0.9, 0.1, 0.45] * 4, [f"n{k}" for k in range(24)]
    frame = {"label": label, "prob_0": [1 - p for p in prob], "prob_1": prob}
    for column, counts in {"patient_id": "24 patients", "slide_id": "24 slides", "image_path": "24 images"}.items():
        table = pd.DataFrame({column: names, **frame})
        other = table.assign(prob_1=[0.3] * 24, prob_0=[0.7] * 24)
        scores = counterstain.evaluate(table)
        assert scores.summary().startswith(f"{counts}; ") and f"unit {counts[3:-1]}" in scores.summary()
        words = counterstain.compare({"a": table, "b": other}, fixed_models=True).summary()
        assert f"on {counts}." in words, words


def test_every_public_class_is_among_them_or_has_a_test_of_its_own() -> None:
    elsewhere = {
        "Predicted",
        "FindingScores",
        "Cohort",
        "Model",
        "ScaledNetwork",
        "Study",
        "StudyRun",
        "Verdict",
        "InputError",
        "GateError",
        "LocalPage",
    }
    classes = {name for name in counterstain.__all__ if name[0].isupper()}
    assert classes - elsewhere <= {type(one).__name__ for one in many()}


def test_a_study_and_a_run(tmp_path: Path) -> None:
    arms = "".join(f"  arm-{number}: {{network: given}}\n" for number in range(40))
    (tmp_path / "s.yaml").write_text(f"name: s\ncohort: {{path: x}}\narms:\n{arms}seeds: [0, 1, 2]\n")
    study = counterstain.read_study(tmp_path / "s.yaml")
    assert repr(study) == "Study(s, 40 arms, 3 seeds, auroc)"
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "scores.json").write_text('{"arms": {"a": {}, "b": {}}}')
    assert repr(StudyRun(tmp_path)).endswith(", 2 arms)") and len(repr(StudyRun(tmp_path))) < 200


def test_results_are_frozen() -> None:
    for one in many():
        if not is_dataclass(one) or not hasattr(one, "summary"):
            continue
        with pytest.raises(AttributeError):
            setattr(one, fields(one)[0].name, None)


def test_html_escapes_what_a_user_named() -> None:
    table = counterstain.as_predictions(["<script>", "b"] * 4, [0.1, 0.9] * 4)
    for one in (table, counterstain.evaluate(table, positive="<script>")):
        assert "<script>" not in one._repr_html_() and "&lt;script&gt;" in one._repr_html_()


def test_only_what_was_changed_is_shown() -> None:
    assert short_repr(Phantom(patients=7)) == "Phantom(patients=7)" and repr(Phantom()) == "Phantom()"
    assert "batch=64" in repr(counterstain.TrainingConfig(batch=64)) and "epochs" not in repr(
        counterstain.TrainingConfig(batch=64)
    )
    assert short_repr(Parity("x" * 300, 0.1, 1.0, 2)).endswith("…)")
