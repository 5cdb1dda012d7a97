"""What reporting guidelines ask for: what the run itself proves, and what is the author's to write.

Topics are in our own words; the lists themselves are to be had from their authors: TRIPOD+AI (Collins et al. 2024, BMJ
385:e078378) and CLAIM 2024 (Tejani et al. 2024, Radiol. Artif. Intell. 6:e240300). Item numbers are left to them.
"""

from counterstain.evaluation.format import capital, clean, counted_rows, metric_name, plural
from counterstain.evaluation.rows import unit_words
from counterstain.reports.methods import patient_words, split_unit, threshold_sentences, use_sentences
from counterstain.reports.page_table import Cell, Table
from counterstain.reports.run_record import RunRecord
from counterstain.reports.training_sentences import (
    augmentation_sentences,
    preparation_sentences,
    recorded,
    stain_sentences,
    start_words,
    training_sentences,
)

__all__ = ["guideline_table"]

AUTHOR = "the author's to write"


def guideline_table(run: RunRecord) -> Table:
    """One row per topic: what this run proves of it, or that it is the author's."""
    rows = tuple((Cell(topic), Cell(proven or AUTHOR, strong=False)) for topic, proven in _items(run))
    caption = "Topics of TRIPOD+AI and CLAIM (2024): what this run proves, and what is left to write"
    return Table(caption, ("topic", "what this run proves"), rows, text_columns=frozenset({0, 1}))


def _items(run: RunRecord) -> list[tuple[str, str]]:
    first = run.scores["arms"][run.arms[0]]
    patients = first["patients"]
    remark = {"own": ", each of a patient of its own", "unknown": ", patients unknown"}.get(patient_words(run), "")
    tested = counted_rows(first["images"], run.rows_are, patients) + ("" if patients else remark)
    split = run.resolved.get("split") or {}
    metric = run.comparison.get("primary")
    seeds = plural(len(first["seeds"]), "training seed")
    audit = "" if not run.audit else clean(run.audit.get("words") or "")
    sites = (run.subgroups.get("site") or {}).get("arms")
    division = f"{clean(split['method'])} by {clean(split_unit(run))}; splits.csv" if split.get("method") else ""
    unit = unit_words(run.scores["unit"], run.rows_are)
    level = f"{100 * float(run.scores.get('confidence', 0.95)):g} %"
    return [
        ("Title and abstract: kind of study, aim, main result", ""),
        ("Clinical context, intended use, and who would use it", ""),
        (f"Where the {run.rows} come from, dates, centres, how patients were chosen", ""),
        ("Ethics approval and consent; how data were made anonymous", ""),
        ("Reference standard: who labelled, how, with what agreement", ""),
        (f"{capital(run.rows)} used, and those left out with reasons", _images_used(run)),
        (f"Preparation of the {run.rows}", " ".join([*preparation_sentences(run), *stain_sentences(run)])),
        ("How the data were divided, and the unit of division", division),
        ("Leakage between the parts", audit),
        ("Model: architecture, parameters, starting weights", _models(run)),
        (
            "Training: augmentation, optimiser, stopping, choice of the final model",
            " ".join([*training_sentences(run), *augmentation_sentences(run)]),
        ),
        ("Sample size and how it was justified", f"tested on {tested}; the justification is {AUTHOR}"),
        (
            "Measures, with uncertainty and its unit",
            f"all with {level} intervals, unit {unit}",
        ),
        ("Primary endpoint stated before the results", f"{metric_name(metric)}, in resolved.json" if metric else ""),
        ("Comparison of models, correction for several", "comparison.json" if run.comparison.get("pairs") else ""),
        ("Variation over training runs", seeds),
        ("Calibration of probabilities", _calibration(run)),
        ("Decision threshold and how it was chosen", " ".join(threshold_sentences(run))),
        ("Clinical usefulness (net benefit)", "decision curve with intervals" if run.decision_curve else ""),
        ("Performance in subgroups; fairness", f"by site; age, sex and others are {AUTHOR}" if sites else ""),
        ("External test at another hospital", ""),
        ("Failures: where and why the model is wrong", f"where: errors.json; why is {AUTHOR}" if run.errors else ""),
        ("How often the test part was used", clean(". ".join(run.looks.get("words") or ()))),
        ("Code, weights and data: where they can be had", f"their hashes are in this report; the places are {AUTHOR}"),
        ("Software and machine", "environment.json; this page, Reproducing it" if run.environment else ""),
        ("Registration and protocol", f"study.yaml and its hash; whether it was registered is {AUTHOR}"),
        ("Funding, conflicts of interest, involvement of patients", ""),
        ("Limitations and what must come before clinical use", ""),
    ]


def _models(run: RunRecord) -> str:
    """Network, parameters and starting weights of each arm that recorded them."""
    models = []
    for arm in recorded(run):
        probe = arm.kind == "probe"
        # Of a probe they are those that were fitted; the frozen network has more.
        size = f", {plural(arm.parameters, 'fitted parameter' if probe else 'parameter')}" if arm.parameters else ""
        frozen = ", kept frozen" if probe else ""
        models.append(f"{clean(arm.arm)}: {arm.network}{size}, {start_words(arm)}{frozen}")
    return "; ".join(models)


def _calibration(run: RunRecord) -> str:
    measures = "reliability, Brier score, named ECE, slope and intercept are reported"
    return f"{use_sentences(run)[0]} {capital(measures)}." if use_sentences(run) else ""


def _images_used(run: RunRecord) -> str:
    images = run.cohort.get("images")
    if images is None:
        return ""
    left_out = f"{plural(len(run.set_aside), 'file')} left out, with reasons (set_aside.csv)"
    used = plural(images, run.rows_are)
    return f"{used} used, {left_out if run.set_aside else 'no file left out'}"
