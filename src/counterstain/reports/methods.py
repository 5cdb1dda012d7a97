"""The methods paragraph of a run, ready to paste: only what its records prove."""

from collections.abc import Mapping, Sequence
from typing import Any

from counterstain.evaluation.format import clean, listed, metric_name, plural
from counterstain.evaluation.rows import level_words, unit_words
from counterstain.evaluation.thresholds import is_stated
from counterstain.reports.run_record import FittedTraining, RunRecord, primary
from counterstain.reports.training_sentences import (
    augmentation_sentences,
    preparation_sentences,
    recorded,
    stain_sentences,
    training_sentences,
)

__all__ = [
    "audit_words",
    "kept_words",
    "methods_paragraph",
    "patient_words",
    "ran_words",
    "split_unit",
    "threshold_sentences",
    "use_sentences",
]


CALIBRATIONS = {
    "temperature": "temperature scaling",
    "platt": "Platt's logistic method",
    "isotonic": "isotonic regression",
}
# The parameters with which each method changes no probability: what is kept where a fit was not possible or no gain.
UNCHANGED: dict[str, Mapping[str, Any]] = {
    "temperature": {"temperature": 1.0},
    "platt": {"slope": 1.0, "intercept": 0.0},
    "isotonic": {"x": [0.0, 1.0], "y": [0.0, 1.0]},
}


def methods_paragraph(run: RunRecord) -> str:
    """What was done, in past tense and plain sentences; nothing that the run folder does not say."""
    training = [*preparation_sentences(run), *stain_sentences(run), *training_sentences(run), _seeds(run)]
    parts = (_images(run), _division(run), _audit(run), *training, *augmentation_sentences(run), *use_sentences(run),
             _statistics(run), _software(run))  # fmt: skip
    return " ".join(filter(None, parts))


def ran_words(run: RunRecord) -> str:
    """How often each arm was trained on each split: "3 seeds", or "3 seeds × 2 repeats"."""
    tables = len(run.scores["arms"][run.arms[0]]["seeds"])
    seeds = len(run.resolved.get("seeds") or ()) or tables
    if tables == seeds or tables % seeds:
        return plural(tables, "seed")
    return f"{plural(seeds, 'seed')} × {plural(tables // seeds, 'repeat')}"


def patient_words(run: RunRecord) -> str:
    """ "own" where each image is its own patient, "known" with patients, "unknown" without, "" without a record."""
    images, patients = run.cohort.get("images"), run.cohort.get("patients") or {}
    if images is None:
        return ""
    if not patients or patients.get("images_without"):
        return "unknown"
    return "own" if patients.get("count") == images else "known"


def _images(run: RunRecord) -> str:
    classes = listed(clean(name) for name in run.scores["classes"])
    images, patients = run.cohort.get("images"), run.cohort.get("patients") or {}
    if images is None:
        return ""
    unknown = patient_words(run) == "unknown"
    of_patients = ", whose patients were not known," if unknown else f" of {plural(patients.get('count'), 'patient')}"
    of_patients = "" if run.rows_are == "patient" else of_patients
    skipped = f"; {plural(len(run.set_aside), 'file')} could not be used" if run.set_aside else ""
    positive = run.scores.get("positive")
    positive_words = f" ({clean(positive)} taken as positive)" if positive else ""
    return f"We classified {plural(images, run.rows_are)}{of_patients} into {classes}{positive_words}{skipped}."


def kept_words(run: RunRecord, unit: str) -> str:
    """What the division kept apart, as a clause."""
    if unit == "patient" or patient_words(run) == "own":
        return "no patient is in more than one part"
    if patient_words(run) == "unknown":
        return f"patients are not known, so {run.rows} of one patient may be in several parts"
    return f"patients were not used, so {run.rows} of one patient may be in several parts"


def split_unit(run: RunRecord) -> str:
    """What the division was by: "patient", or without patients what a row is; "" where that is not recorded."""
    unit = run.split.get("unit") or (run.resolved.get("split") or {}).get("unit")
    return unit_words(str(unit), run.rows_are) if unit else ""


def _division(run: RunRecord) -> str:
    section = run.resolved.get("split") or {}
    method, unit = section.get("method"), split_unit(run)
    if method == "legacy_augment_first":
        return (
            "Images were augmented before they were divided at random, so that copies of one image were in training "
            "and in test; the results are therefore not valid and are shown to measure what this protocol is worth."
        )
    if not method or not unit:
        return ""
    kept = kept_words(run, str(unit)).replace(" is ", " was ").replace(" are ", " were ")
    seed = section.get("seed", 0)
    if section.get("file"):
        return f"The division was read from a file; {kept}."
    if method == "folds":
        repeats = section.get("repeats", 1)
        again = f", repeated {repeats} times" if repeats > 1 else ""
        return (
            f"We used {section.get('folds')}-fold cross-validation by {unit}{again}, stratified by class "
            f"(seed {seed}); {kept}, and a part of each training side was held out for validation."
        )
    if method == "sites":
        sites = len(run.split.get("parts", ()))
        return (
            f"Each of {plural(sites, 'site')} was tested once by models that had seen no {run.rows_are} of it; a part "
            f"of the other sites' {run.rows}, drawn by {unit} (seed {seed}), was held out for validation; {kept}."
        )
    if method == "official":
        return f"We used the division that came with the {run.rows}, by {unit}; {kept}."
    sizes = _part_sizes(run)
    return f"We divided them once by {unit}, stratified by class (seed {seed}){sizes}; {kept}."


def _part_sizes(run: RunRecord) -> str:
    """The sizes of the parts of a single division, as split.json counted them."""
    parts = run.split.get("parts", ())
    if len(parts) != 1:
        return ""
    counts = parts[0]["counts"]
    purposes = {"train": "for training", "val": "for validation", "test": "for testing"}
    sizes = [f"{counts[name]['images']:,} {purpose}" for name, purpose in purposes.items() if name in counts]
    return f", {listed(sizes)}" if sizes else ""


def audit_words(run: RunRecord) -> str:
    """What the audit looked for, as a noun phrase."""
    ids = [
        *(["patients"] if patient_words(run) != "unknown" else []),
        *(["slides"] if run.cohort.get("slides") else []),
    ]
    shared = f"shared {listed(ids)} and for " if ids else ""
    if any(finding.get("tier") == "features" for finding in run.audit.get("findings") or ()):
        return f"{shared}identical files"
    crops = ", rotated crops" if (run.resolved.get("audit") or {}).get("rotated", True) else ""
    return f"{shared}copies (same bytes, same pixels, flips and quarter-turns, near-duplicates{crops})"


def _audit(run: RunRecord) -> str:
    if not run.audit:
        return ""
    result = (
        "leaks, which are listed in the report" if run.audit.get("verdict") == "leaks" else "none between the parts"
    )
    return f"Before training, the data were audited for {audit_words(run)}; the audit found {result}."


def _seeds(run: RunRecord) -> str:
    return f"Each arm was run with {ran_words(run)}." if recorded(run) else ""


# -------------------------------------------------------------------------------------------------- what was calibrated


def use_sentences(run: RunRecord) -> list[str]:
    """What was fitted on the validation part and frozen, by what each training recorded of it."""
    trainings = run.trainings_in_use
    if not trainings:
        return []
    sentences = [_calibrated(run, trainings), *threshold_sentences(run), *_sets(run, trainings)]
    fitted = any(
        (training.get("parameters") or {}) != {} or training.get("qhat") is not None or _is_chosen(run, training)
        for training in trainings
    )
    frozen = ["What was fitted on the validation part was then frozen."] if fitted else []
    return [*filter(None, sentences), *frozen]


def _is_chosen(run: RunRecord, training: FittedTraining) -> bool:
    """Whether a rule picked this training's threshold: not with more than two classes, nor where it was stated."""
    failed = any("threshold is 0.5" in note for note in training.get("notes") or ())
    return training.get("threshold") is not None and not is_stated(str(run.in_use.get("threshold_rule"))) and not failed


def _calibrated(run: RunRecord, trainings: Sequence[FittedTraining]) -> str:
    method = str(run.in_use.get("method"))
    if method not in CALIBRATIONS:
        return "Probabilities were not calibrated."
    changed = sum((training.get("parameters") or {}) not in ({}, UNCHANGED[method]) for training in trainings)
    name = CALIBRATIONS[method]
    if not changed:
        return f"Calibration by {name} was tried on the validation part and left all probabilities as they were."
    some = f" in {changed} of {len(trainings)} trainings; in the others it left them as they were"
    return f"Probabilities were calibrated by {name} on the validation part{some if changed < len(trainings) else ''}."


def threshold_sentences(run: RunRecord) -> list[str]:
    """Where the decision threshold is from: stated, chosen by a rule, or left; [] with more than two classes."""
    trainings = run.trainings_in_use
    rule = clean(run.in_use.get("threshold_rule") or "")
    thresholded = [training for training in trainings if training.get("threshold") is not None]
    if not thresholded or not rule:
        return []
    if is_stated(rule):
        return [f"The decision threshold, {rule}, was stated in the study."]
    failed = sum(any("threshold is 0.5" in note for note in training.get("notes") or ()) for training in thresholded)
    if failed == len(thresholded):
        return [f"The rule for the decision threshold ({rule}) could not be applied; it stayed at 0.5."]
    exceptions = f"; in {failed} of {len(thresholded)} trainings it could not be, and stayed at 0.5" if failed else ""
    return [f"The decision threshold was chosen on the validation part (rule: {rule}){exceptions}."]


def _sets(run: RunRecord, trainings: Sequence[FittedTraining]) -> list[str]:
    alpha, unit = run.in_use.get("alpha"), unit_words(run.scores["unit"], run.rows_are)
    if alpha is None:
        return []
    by_class = run.in_use.get("conformal") == "class"
    fitted = sum(training.get("qhat") is not None for training in trainings)
    kind = "Class-conditional (Mondrian) split-conformal" if by_class else "Split-conformal"
    sets = f"{kind} prediction sets (alpha {alpha:g}, all {unit}s weighing the same)"
    stays = "a class that too few have" if by_class else "every class"
    few = f"validation {unit}s were too few, and {stays} stays in the set"
    if not fitted:
        return [f"{sets} were asked for; {few}."]
    failures = f"; in {len(trainings) - fitted} of {len(trainings)} trainings {few}" if fitted < len(trainings) else ""
    return [f"{sets} were fitted on the validation part{failures}."]


def _statistics(run: RunRecord) -> str:
    methods = dict.fromkeys(clean(arm["method"]) for arm in run.scores["arms"].values() if arm.get("method"))
    sentences = "" if run.stamp.startswith("LEAK") else f"Test {run.rows} were used for reporting only. "
    sentences += f"Intervals: {'; '.join(methods)}." if methods else ""
    if run.comparison.get("pairs"):
        metric, level = primary(run)
        rule = clean(run.comparison.get("rule") or "")
        if any(pair["test"] for pair in run.procedures.get("pairs", ())):
            sentences += (
                " Over the folds the arms were also compared by the corrected resampled t-test (Nadeau and Bengio) and "
                f"the Bayesian correlated t-test, with ±{run.procedures['rope']:g} as practically alike."
            )
        sentences += f" The primary endpoint was {metric_name(metric)} at {level_words(level, run.rows_are)}. {rule}"
    return sentences.strip()


def _software(run: RunRecord) -> str:
    libraries = run.environment.get("libraries") or {}
    version = run.environment.get("counterstain")
    torch = f", PyTorch {clean(libraries['torch'])}" if "torch" in libraries else ""
    return f"Counterstain {clean(version)}{torch}, Python {clean(run.environment.get('python'))}." if version else ""
