"""The methods paragraph of a run, ready to paste: only what its records prove."""

from counterstain.reporting.record import RunRecord
from counterstain.reporting.wording import clean, listed, metric_name, plural

__all__ = ["methods_paragraph", "ran_words"]

FITS = {"stretch": "stretched to", "crop": "cropped at their centre to", "exact": "used at"}
CALIBRATIONS = {
    "temperature": "Probabilities were calibrated by temperature scaling",
    "platt": "Probabilities were calibrated by Platt's logistic method",
    "isotonic": "Probabilities were calibrated by isotonic regression",
}


def methods_paragraph(run: RunRecord) -> str:
    """What was done, in past tense and plain sentences; nothing that the run folder does not say."""
    parts = (_images(run), _division(run), _audit(run), _training(run), _use(run), _statistics(run), _software(run))
    return " ".join(filter(None, parts))


def ran_words(run: RunRecord) -> str:
    """How often each arm was trained on each split: "3 seeds", or "3 seeds × 2 repeats"."""
    tables = len(run.scores["arms"][run.arms[0]]["seeds"])
    seeds = len(run.resolved.get("seeds") or ()) or tables
    if tables == seeds or tables % seeds:
        return plural(tables, "seed")
    return f"{plural(seeds, 'seed')} × {plural(tables // seeds, 'repeat')}"


def _of_bags(run: RunRecord) -> bool:
    """Whether the arms learned from bags of tile features, one a slide."""
    return any(str(arm.get("network")).startswith("mil/") for arm in (run.resolved.get("arms") or {}).values())


def _images(run: RunRecord) -> str:
    classes = listed(clean(name) for name in run.scores["classes"])
    images, patients = run.cohort.get("images"), (run.cohort.get("patients") or {}).get("count")
    of = f" of {plural(patients, 'patient')}" if patients else ", whose patients were not known,"
    aside = f"; {plural(len(run.set_aside), 'unreadable file')} were set aside" if run.set_aside else ""
    if images is None:
        return ""
    positive = run.scores.get("positive")
    which = f" ({clean(positive)} taken as positive)" if positive else ""
    noun = "slide" if _of_bags(run) else "image"
    return f"We classified {plural(images, noun)}{of} into {classes}{which}{aside}."


def _division(run: RunRecord) -> str:
    section = run.resolved.get("split") or {}
    method, unit = section.get("method"), section.get("unit", "patient")
    seed = section.get("seed", 0)
    if method == "legacy_augment_first":
        return (
            "Images were augmented before they were divided at random, so that copies of one image were in training "
            "and in test; the results are therefore not valid and are shown to measure what this protocol is worth."
        )
    kept = (
        "no patient was in more than one part" if unit == "patient" else "images of one patient may be in several parts"
    )
    if section.get("file"):
        return f"The division was read from a file; {kept}."
    if method == "folds":
        folds, repeats = section.get("folds"), section.get("repeats", 1)
        again = f", repeated {repeats} times" if repeats > 1 else ""
        return (
            f"We used {folds}-fold cross-validation by {unit}{again}, stratified by class (seed {seed}); {kept}, and a "
            "part of each training side was held out for validation."
        )
    if method == "official":
        return f"We used the division that came with the images, by {unit}; {kept}."
    test, val = section.get("test", 0.2), section.get("val", 0.2)
    return (
        f"We divided them once by {unit}, stratified by class (seed {seed}), into a test part of {100 * test:g} % "
        f"and, of the rest, {100 * val:g} % for validation; {kept}."
    )


def _audit(run: RunRecord) -> str:
    if not run.audit:
        return ""
    leaks = run.audit.get("verdict") == "leaks"
    looked = (
        "the images were audited for shared patients and slides and for copies (same bytes, same pixels, flips and "
        "quarter-turns, near-duplicates, turned crops)"
    )
    if _of_bags(run):
        looked = "the feature files were audited for shared patients and slides and for identical files"
    result = "found leaks, which are listed in the report" if leaks else "found none between the parts"
    return f"Before training, {looked}; the audit {result}."


def _training(run: RunRecord) -> str:
    tiles = run.resolved.get("tiles") or {}
    arms = run.resolved.get("arms") or {}
    own = [arms[arm] for arm in run.arms if arm in arms]
    if not own:
        return ""
    named = listed(f"{clean(arm)} ({clean(arms[arm]['network'])} network, batch {arms[arm]['batch']})" for arm in arms)
    first = own[0]
    seeds = ran_words(run)
    mode = (run.resolved.get("augmentation") or {}).get("mode")
    names = listed(run.augmentation.get("transformations") or ())
    varied = f" Training images alone were augmented ({names})." if mode not in (None, "none") and names else ""
    if run.stamp.startswith("LEAK"):
        varied = ""
    size = tiles.get("tile_px")
    made = f"Images were {FITS.get(str(tiles.get('fit')), 'made')} {size} × {size} px. " if size else ""
    if _of_bags(run):
        made = (
            "Each slide was a bag of tile features, embedded tile by tile and pooled by their mean (mil/mean) or by "
            "gated attention (mil/abmil; Ilse et al. 2018). "
        )
    return (
        f"{made}We trained {named}, each with {seeds}, with Adam (learning rate {first.get('learning_rate'):g}) "
        f"for at most {first.get('epochs')} epochs, and stopped when the validation loss had not improved for "
        f"{first.get('patience')} epochs, keeping the weights of the best one.{varied}"
    )


def _use(run: RunRecord) -> str:
    if not run.in_use:
        return ""
    how = CALIBRATIONS.get(str(run.in_use.get("method")))
    rule, alpha = run.in_use.get("threshold_rule"), run.in_use.get("alpha")
    start = (
        f"{how}, the decision threshold was chosen ({clean(rule)})"
        if how
        else f"The decision threshold was chosen ({clean(rule)})"
    )
    return (
        f"{start} and split-conformal prediction sets (alpha {alpha:g}, patients weighing the same) were fitted on the "
        "validation part alone and frozen."
    )


def _statistics(run: RunRecord) -> str:
    own = run.scores["arms"][run.arms[0]]
    text = f"Test images were used for reporting only. Intervals: {clean(own['method'])}."
    if run.comparison.get("pairs"):
        metric, level = run.comparison.get("primary", "auroc"), run.comparison.get("level", "image")
        rule = clean(run.comparison.get("rule") or "")
        if any(pair["test"] for pair in run.procedures.get("pairs", ())):
            text += (
                " Over the folds the arms were also compared by the corrected resampled t-test (Nadeau and Bengio) and "
                f"the Bayesian correlated t-test, with ±{run.procedures['rope']:g} as practically alike."
            )
        text += f" The primary endpoint was {metric_name(metric)} at {level} level. {rule}"
    return text


def _software(run: RunRecord) -> str:
    libraries = run.environment.get("libraries") or {}
    version = run.environment.get("counterstain")
    shown = f", PyTorch {clean(libraries['torch'])}" if "torch" in libraries else ""
    return f"Counterstain {clean(version)}{shown}, Python {clean(run.environment.get('python'))}." if version else ""
