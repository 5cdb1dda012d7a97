"""What reporting guidelines ask for: what the run itself proves, and what is the author's to write.

Topics are in our own words; the lists themselves are to be had from their authors: TRIPOD+AI (Collins et al. 2024, BMJ
385:e078378) and CLAIM 2024 (Tejani et al. 2024, Radiol. Artif. Intell. 6:e240300). Item numbers are left to them.
"""

from counterstain.reporting.record import RunRecord
from counterstain.reporting.tables import Cell, Table
from counterstain.reporting.wording import clean, metric_name, plural

__all__ = ["guideline_table"]

AUTHOR = "the author's to write"


def guideline_table(run: RunRecord) -> Table:
    """One row a topic: what this run proves of it, or that it is the author's."""
    rows = tuple((Cell(topic), Cell(proven or AUTHOR, strong=False)) for topic, proven in _items(run))
    caption = "Topics of TRIPOD+AI and CLAIM (2024): what this run proves, and what is left to write"
    return Table(caption, ("topic", "what this run proves"), rows, words=frozenset({0, 1}))


def _items(run: RunRecord) -> list[tuple[str, str]]:
    first = run.scores["arms"][run.arms[0]]
    patients = first["patients"]
    tested = plural(first["images"], "image") + (
        f" of {plural(patients, 'patient')}" if patients else ", patients unknown"
    )
    split = run.resolved.get("split") or {}
    metric = run.comparison.get("primary")
    seeds = plural(len(first["seeds"]), "training seed")
    audit = "" if not run.audit else clean(run.audit.get("words") or "")
    sites = (run.subgroups.get("site") or {}).get("arms")
    made = f"{clean(split.get('method', ''))} by {clean(split.get('unit', ''))}; splits.csv"
    rule = f"rule {clean(run.in_use.get('threshold_rule'))}, on validation patients" if run.in_use else ""
    calibrated = "reliability, Brier score, named ECE, slope and intercept" if run.in_use else ""
    return [
        ("Title and abstract: kind of study, aim, main result", ""),
        ("Clinical context, intended use, and who would use it", ""),
        ("Where the images come from, dates, centres, how patients were chosen", ""),
        ("Ethics approval and consent; how data were made anonymous", ""),
        ("Reference standard: who labelled, how, with what agreement", ""),
        ("Images used, and those left out with reasons", _used(run)),
        ("Preparation of the images", "size and fit in resolved.json; applied alike in training and prediction"),
        ("How the data were divided, and the unit of division", made),
        ("Leakage between the parts", audit),
        ("Model: architecture, parameters, starting weights", "arms, parameters, seeds; trained from random weights"),
        ("Training: augmentation, optimiser, stopping, choice of the final model", "resolved.json and training.json"),
        ("Sample size and how it was justified", f"tested on {tested}; the justification is {AUTHOR}"),
        ("Measures, with uncertainty and its unit", f"all with 95 % intervals, unit {clean(run.scores['unit'])}"),
        ("Primary endpoint stated before the results", f"{metric_name(metric)}, in study.yaml" if metric else ""),
        ("Comparison of models, correction for several", "comparison.json" if run.comparison.get("pairs") else ""),
        ("Variation over training runs", seeds),
        ("Calibration of probabilities", calibrated),
        ("Decision threshold and how it was chosen", rule),
        ("Clinical usefulness (net benefit)", "decision curve with intervals" if run.decision_curve else ""),
        ("Performance in subgroups; fairness", f"by site; age, sex and others are {AUTHOR}" if sites else ""),
        ("External test at another hospital", ""),
        ("Failures: where and why the model is wrong", ""),
        ("How often the test part was used", clean(". ".join(run.looks.get("words") or ()))),
        ("Code, weights and data: where they can be had", f"their hashes are in this report; the places are {AUTHOR}"),
        ("Software and machine", "environment.json; this page, Reproducing it"),
        ("Registration and protocol", f"study.yaml and its hash; whether it was registered is {AUTHOR}"),
        ("Funding, conflicts of interest, involvement of patients", ""),
        ("Limitations and what must come before clinical use", ""),
    ]


def _used(run: RunRecord) -> str:
    images = run.cohort.get("images")
    if images is None:
        return ""
    return (
        f"{plural(images, 'image')} used, {plural(len(run.set_aside), 'file')} set aside with reasons (set_aside.csv)"
    )
