"""The report of a run: one self-contained page with its figures inside, made from the run folder's files alone."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from counterstain.evaluation.format import METRIC_NAMES, clean, levelled, listed, metric_name, number, plural
from counterstain.evaluation.metric_names import is_class_bound
from counterstain.files import write_bytes
from counterstain.reports.cross_validation_tables import (
    procedures_table,
    procedures_words,
    support_table,
    variance_table,
)
from counterstain.reports.figures import MOST_COUNTED, MOST_WRITTEN
from counterstain.reports.guidelines import guideline_table
from counterstain.reports.methods import (
    audit_words,
    kept_words,
    methods_paragraph,
    of_bags,
    patient_words,
    ran_words,
    use_sentences,
)
from counterstain.reports.page import environment, template
from counterstain.reports.run_figures import capital, find_score, illustrate, photograph_uri, primary
from counterstain.reports.run_record import RunRecord, read_run
from counterstain.reports.run_tables import (
    arm_table,
    class_table,
    cohort_table,
    factorial,
    metric_tables,
    pair_table,
    primary_table,
    ranges_table,
    site_table,
    split_table,
)
from counterstain.reports.supporting_tables import (
    audit_table,
    baseline_table,
    calibration_notes,
    calibration_table,
    decision_table,
    ledger_words,
    set_table,
    spread_table,
    subgroup_tables,
    worst_words,
)
from counterstain.reports.training_sentences import (
    augmentation_sentences,
    augmented_arms,
    choice_sentence,
    preparation_sentences,
    stain_sentences,
    training_sentences,
)
from counterstain.reports.training_tables import probe_table

__all__ = ["write_report"]

MOST_SET_ASIDE = 200
MOST_VERDICTS = 3
UNSETTLED = ("no_evidence", "not_enough_runs", "noninferiority_not_shown", "equivalence_not_shown", "undefined")


def write_report(run: Path) -> Path:
    """Write a run's figures (figures/*.png and *.svg) and its report.html; the same run gives the same bytes.

    Only the files of the run folder are read. The page needs no other file, no script and no network.

    Args:
        run: the run folder, with resolved.json and scores.json at least.

    Returns:
        The path of report.html.

    Raises:
        InputError: If a record is missing, or is not what it should be.
    """
    record = read_run(run)
    figures = illustrate(record)
    page = environment().get_template("report.html").render(
        name=clean(record.resolved.get("name") or "study"),
        stamp=clean(record.stamp),
        leak=record.stamp.startswith("LEAK"),
        version=clean(record.environment.get("counterstain") or record.resolved.get("counterstain") or ""),
        style=Markup(template("report.css")),
        figures=figures,
        headline=_typeset(headline(record), record.arms),
        verdicts=_verdicts(record),
        facts=_facts(record),
        warnings=_warnings(record),
        rule=_typeset(record.comparison.get("rule") or "", record.arms),
        methods=list(dict.fromkeys(_typeset(own["method"], ()) for own in record.scores["arms"].values())),
        primary=primary_table(record),
        baselines=baseline_table(record),
        audit=audit_table(record),
        audit_words=_typeset(record.audit.get("words") or "", ()),
        audit_looked=audit_words(record),
        use_words=" ".join(use_sentences(record)),
        calibration=calibration_table(record),
        decisions=decision_table(record),
        calibration_notes=calibration_notes(record),
        sets=set_table(record),
        subgroups=subgroup_tables(record),
        worst=worst_words(record),
        spread=spread_table(record),
        ledger=ledger_words(record),
        paragraph=methods_paragraph(record),
        guidelines=guideline_table(record),
        levels=[table for level in ("image", "slide", "patient") for table in metric_tables(record, level)],
        classes=class_table(record),
        pairs=pair_table(record),
        factorial=factorial(record),
        support=support_table(record),
        procedures=procedures_table(record),
        procedures_words=[_typeset(line, record.arms) for line in procedures_words(record)],
        variance=variance_table(record),
        arms=arm_table(record),
        trained=[*preparation_sentences(record), *stain_sentences(record), *training_sentences(record)],
        probes=probe_table(record),
        cohort=cohort_table(record),
        cohort_words=_cohort_words(record),
        sites=site_table(record),
        set_aside=[(clean(image), clean(reason)) for image, reason in record.set_aside[:MOST_SET_ASIDE]],
        set_aside_count=len(record.set_aside),
        split=split_table(record),
        split_words=_split_words(record),
        augmentation_words=_augmentation_words(record),
        ranges=ranges_table(record) if _was_augmented(record) else None,
        contact_sheet=photograph_uri(record.contact_sheet) if record.contact_sheet and _was_augmented(record) else "",
        slide_words=_slide_words(record.slide) if record.slide_picture else "",
        slide_picture=photograph_uri(record.slide_picture) if record.slide_picture else "",
        cells_words=_cells_words(len(record.scores["classes"])),
        several_runs=len(record.trainings) > len(record.arms),
        several_histories=_several_histories(record),
        machine=_machine(record),
        hashes=record.hashes,
    )  # fmt: skip
    path = run / "report.html"
    write_bytes(path, page)
    return path


# -------------------------------------------------------------------------------------------------------- the verdict


def headline(run: RunRecord) -> str:
    """The verdict in one or two sentences; the pairs' own sentences stand below it."""
    metric, level = primary(run)
    pairs = [pair for pair in run.comparison.get("pairs", ()) if pair["primary"]]
    if not pairs:
        return _lone_headline(run, metric, level)
    kinds = {pair["verdict"] for pair in pairs}
    winners = [(p["a"], p["b"]) if p["verdict"] == "a_better" else (p["b"], p["a"])
               for p in pairs if p["verdict"] in ("a_better", "b_better")]  # fmt: skip
    alike = [f"{clean(p['a'])} and {clean(p['b'])}" for p in pairs if p["verdict"] == "equivalent"]
    named, inferior = _endpoint_name(run, metric), [p for p in pairs if p["verdict"] == "inferior"]
    spared = [f"{clean(p['a'])} is not inferior to {clean(p['b'])}" for p in pairs if p["verdict"] == "noninferior"]
    if kinds == {"not_enough_runs"}:
        return f"Not enough runs to claim a difference in {named}."
    if kinds == {"undefined"}:
        return f"The arms can't be compared in {named}: it is undefined here."
    if kinds <= {"noninferiority_not_shown", "equivalence_not_shown"}:
        asked = "Non-inferiority" if "noninferiority_not_shown" in kinds else "Equivalence"
        also = any(pair.get("also") for pair in pairs)
        return f"{asked} in {named} is not shown" + ("." if also else "; that does not show a difference either.")
    if not winners and not alike and not spared and not inferior:
        arms = list(dict.fromkeys(arm for pair in pairs for arm in (pair["a"], pair["b"])))
        between = listed(map(clean, arms)) if len(arms) <= 4 else f"the {len(arms)} arms"
        return f"No evidence of a difference in {named} between {between}."
    said = []
    for winner in dict.fromkeys(winner for winner, _ in winners):
        losers = listed(clean(loser) for first, loser in winners if first == winner)
        said.append(f"{clean(winner)} is better than {losers} in {named}.")
    if alike:
        said.append(f"{listed(alike)} are equivalent in {named} within the margin stated beforehand.")
    if spared:
        said.append(f"{listed(spared)} in {named} by the margin stated beforehand.")
    said += [f"{clean(p['a'])} is inferior to {clean(p['b'])} in {named} by more than the margin." for p in inferior]
    rest = sum(pair["verdict"] in UNSETTLED for pair in pairs)
    if rest:
        said.append(f"For the other {'pair' if rest == 1 else f'{rest} pairs'} nothing is shown either way.")
    return " ".join(said)


def _endpoint_name(run: RunRecord, metric: str) -> str:
    """The endpoint, or all co-primary ones; with the class that it is about."""
    positive = run.comparison.get("positive")
    names = run.comparison.get("co_primary") or [metric]
    of = f" for {clean(positive)}" if positive and any(is_class_bound(name) for name in names) else ""
    return listed(metric_name(name) for name in names) + of


def _lone_headline(run: RunRecord, metric: str, level: str) -> str:
    arm = run.arms[0]
    score = find_score(run.scores, arm, metric, level)
    if not score:
        return f"{clean(arm)} was evaluated."
    ends = levelled(score["low"], score["high"], confidence=run.scores["confidence"])
    return f"{clean(arm)}: {metric_name(metric)} is {number(score['value'])}{ends}. It was compared with nothing."


def _verdicts(run: RunRecord) -> list[Markup]:
    """The sentences of the pairs, the primary ones first."""
    pairs = sorted(run.comparison.get("pairs", ()), key=lambda pair: not pair["primary"])
    if sum(pair["primary"] for pair in pairs) > MOST_VERDICTS:  # the table below holds each pair
        return [_typeset(run.comparison["words"], run.arms)]
    return [_typeset(pair["words"], run.arms) for pair in pairs]


def _typeset(text: str, arms: Sequence[str]) -> Markup:
    """A sentence that another room wrote, its names and intervals kept whole, with true minus signs."""
    names = "|".join(re.escape(clean(arm)) for arm in sorted(arms, key=len, reverse=True)) or r"(?!)"
    pieces = re.split(rf"(\[[^\[\]]{{1,30}}\]|\b(?:{names})\b)", clean(text))
    out = Markup("")
    for index, piece in enumerate(pieces):
        if index % 2:
            signs = piece.replace("-", "−") if piece.startswith("[") else piece
            out += Markup('<span class="whole">{}</span>').format(signs) if len(piece) <= 30 else signs
        else:
            words = re.sub(r"(?<![\w-])-(?=\d)", "−", piece)
            words = re.sub(r"(?<=\d)\s?%", "\u00a0%", words)
            out += re.sub(r"\b(auroc|auprc|mcc|f1|balanced_accuracy)\b", lambda found: METRIC_NAMES[found[0]], words)
    return out


def _warnings(run: RunRecord) -> list[Markup]:
    found: list[str] = [*run.comparison.get("warnings", ())]
    for arm in run.arms:
        found += run.scores["arms"][arm].get("warnings", ())
    metric, level = primary(run)
    scores = [find_score(run.scores, arm, metric, level) for arm in run.arms]
    if any(score is not None and score["value"] is not None and score["low"] is None for score in scores):
        found.append(
            f"no interval can be given for {metric_name(metric)}: the test part has too few {run.scores['unit']}s of a "
            "class, so its values are no evidence; see the split, and divide by folds to test every patient"
        )
    return list(dict.fromkeys(_typeset(text, run.arms) for text in found))


# ------------------------------------------------------------------------------------------------------- what was done


def _facts(run: RunRecord) -> list[tuple[str, str]]:
    """The study at a glance."""
    own = run.scores["arms"][run.arms[0]]
    seeds = ran_words(run)
    known = own["patients"] is not None
    tested = plural(own["images"], "slide" if of_bags(run) else "image")
    tested += f" of {plural(own['patients'], 'patient')}" if known else ""
    metric, level = primary(run)
    return [
        ("Compared", f"{plural(len(run.arms), 'arm')}, {seeds} each"),
        ("Tested on", tested),
        ("Primary measure", f"{metric_name(metric)}, {level} level"),
        ("Unit of the statistics", run.scores["unit"]),
    ]


def _several_histories(run: RunRecord) -> bool:
    """Whether an arm with training curves was trained more than once."""
    arms = [training.arm for training in run.trainings if training.has_epochs]
    return len(arms) > len(set(arms))


def _cohort_words(run: RunRecord) -> str:
    cohort = run.cohort
    if not cohort:
        return ""
    noun = "slide" if of_bags(run) else "image"
    words = [plural(cohort.get("images"), noun)]
    if cohort.get("colour_images") is not None:
        words.append(f"{cohort['colour_images']:,} of them in colour")
    text = ", ".join(words)
    patients, slides = cohort.get("patients") or {}, cohort.get("slides")
    if patient_words(run) == "own":
        text += ", each of a patient of its own"
    elif patients:
        text += f", of {plural(patients['count'], 'patient')}"
        text += f" on {plural(slides, 'slide')}" if slides else ""
        each = patients.get("images_each") or {}
        if each:
            low, high, median = each["min"], each["max"], each["median"]
            text += (
                f"; {low:,} {noun}{'' if low == 1 else 's'} per patient"
                if low == high
                else f"; {low:,} to {high:,} {noun}s per patient (median {median:g})"
            )
    else:
        text += "; their patients are not known"
    mpp = cohort.get("mpp")
    if mpp:
        same = mpp["min"] == mpp["max"]
        text += f"; {mpp['min']:g} µm/px" if same else f"; {mpp['min']:g} to {mpp['max']:g} µm/px"
    text += "."
    several = (patients.get("with_several_classes") or {}).get("count")
    if several:
        text += f" {plural(several, 'patient')} with images of more than one class."
    return " ".join([text, *(f"{capital(clean(note))}." for note in cohort.get("notes") or ())])


def _split_words(run: RunRecord) -> str:
    section = run.resolved.get("split") or {}
    method, unit = section.get("method"), run.split.get("unit") or section.get("unit")
    if method == "legacy_augment_first":
        return (
            "Images were augmented first, and the copies then dealt out at random, so that copies of one image stand "
            "in training and in test. This is the old protocol, kept to measure what it is worth."
        )
    if not method or not unit:
        return ""
    whole = f"{capital(kept_words(run, str(unit)))}."
    made = {
        "holdout": f"One division into training, validation and test by {unit}.",
        "folds": f"Cross-validation by {unit}: {plural(section.get('folds'), 'fold')}, "
        f"{plural(section.get('repeats'), 'repeat')}; every image is tested once in each repeat.",
        "official": "The division that came with the images.",
        "sites": "Each site is tested once, by models that have seen no image of it.",
    }.get(str(method), "")
    seed = f"Seed of the split: {section.get('seed', 0)}."
    if section.get("file"):
        made, seed = "The division was read from a file.", ""
    use = choice_sentence(run)
    test = "Test images are only reported on."
    return " ".join(filter(None, (made, whole, use, test, seed)))


def _was_augmented(run: RunRecord) -> bool:
    """Whether any arm learned from augmented images; with the leaking protocol all did."""
    return run.stamp.startswith("LEAK") or bool(augmented_arms(run))


def _augmentation_words(run: RunRecord) -> str:
    if run.stamp.startswith("LEAK"):
        return (
            "All images, before the split: this is what the stamp is about. The set grew to the originals plus one "
            "image for each transformation."
        )
    text = [*augmentation_sentences(run), *stain_sentences(run)]
    arms = augmented_arms(run)
    if any((arm.done.get("augmentation") or {}).get("mode") == "on_the_fly" for arm in arms):
        text.append("What is drawn is a function of the seed, the epoch and the image alone.")
    training, grown = run.augmentation.get("training_images") or [], run.augmentation.get("images_an_epoch") or []
    if arms and training and grown:
        pairs = list(dict.fromkeys(zip(training, grown, strict=False)))
        shown = pairs[0] if len(pairs) == 1 else max(pairs)
        largest = "" if len(pairs) == 1 else " in the largest fold"
        text.append(f"{plural(shown[0], 'training image')}{largest}, {shown[1]:,} per epoch.")
    return " ".join(text)


def _slide_words(slide: Mapping[str, Any]) -> str:
    """What a made-up slide of known truth, the demo's last step, says of a model."""
    if not slide:
        return ""
    width, height = slide["size_px"]
    return (
        f"After training, the model of {clean(slide['arm'])} read {clean(slide['slide'])}, a made-up slide of "
        f"{width:,} × {height:,} px at {slide['mpp']:g} µm/px, of a patient whom no model has seen. "
        f"AUROC of its {plural(slide['tiles'], 'tile')}, {slide['positive']:,} of them in tumour: "
        f"{number(slide['auroc'])}. Called tumour from {number(slide['threshold'])} on, the map and the true tumours "
        f"share {slide['iou']:.0%} of the area that either covers. One slide shows how a map is made and held against "
        "truth; it is no evidence about other slides."
    )


def _cells_words(classes: int) -> str:
    if classes <= MOST_COUNTED:
        return "Each cell has its count of test images and its share of the row."
    if classes <= MOST_WRITTEN:
        return "Each cell has its share of the row in per cent; the counts are in scores.json."
    return "The shade of a cell is its share of the row; the counts are in scores.json."


def _machine(run: RunRecord) -> list[tuple[str, str]]:
    """What is needed to get the same bytes again; what differs between trainings is listed."""
    machines = [training.record.get("machine") or {} for training in run.trainings]

    def every(name: str) -> str:
        return listed(dict.fromkeys(clean(own[name]) for own in machines if name in own))

    data = _data_hashes(run)
    libraries: Mapping[str, Any] = run.environment.get("libraries") or {}
    seeds: Iterable[Any] = run.resolved.get("seeds") or run.scores["arms"][run.arms[0]]["seeds"]
    rows = [
        ("Run it again", "counterstain run study.yaml"),
        ("Training seeds", ", ".join(map(str, seeds))),
        ("Counterstain", clean(run.environment.get("counterstain") or run.resolved.get("counterstain") or "")),
        ("Python", clean(run.environment.get("python") or "")),
        ("Libraries", ", ".join(f"{clean(name)} {clean(libraries[name])}" for name in sorted(libraries))),
        ("Device", every("device")),
        ("Processor", every("processor")),
        ("Threads", every("threads")),
        ("Precision of training", every("precision")),
        ("Pooling of training", every("pooling")),
        ("Data (SHA-256)", data),
    ]
    return [(name, value) for name, value in rows if value]


def _data_hashes(run: RunRecord) -> str:
    return listed(dict.fromkeys(training.data_hash for training in run.trainings if training.data_hash))
