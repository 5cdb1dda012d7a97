"""The study that a newcomer starts from: look at a folder, write a commented study.yaml for it."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from counterstain.cohort.cohort import Cohort
from counterstain.cohort.layouts import read_images
from counterstain.cohort.reading_options import DEFAULTS, ReadingOptions
from counterstain.cohort.splitters import folds, holdout
from counterstain.errors import InputError
from counterstain.files import write_bytes
from counterstain.study.init_choices import choose
from counterstain.study.patient_hint import patient_hint

__all__ = ["ARMS", "arms_text", "start_study", "study_text", "write_study"]


SHORT = 90  # characters of a comment that stands beside its key


def commented(key: str, value: object, comment: str) -> str:
    """A key of a section with its comment: beside it, or on lines above where it is long."""
    if len(comment) <= SHORT:
        return f"  {key}: {f'{value}':<{max(21 - len(key), 1)}} # {comment}"
    lines = [f"  # {line}" for line in comment.split("; ")]
    return "\n".join([*lines, f"  {key}: {value}"])


def arms_text(small: int = 32, large: int = 200, comment: str = "") -> str:
    """The 2×2 that tells the effect of the second dense layer from that of the batch size."""

    def arm(network: str, batch: int) -> str:
        return f"  {f'{network}-{batch}:':<13} {{network: {f'{network},':<9} batch: {f'{batch}}}':<5}"

    return (
        f"arms:{f'{chr(10)}  # {comment}' if comment else ''}\n"
        f"{arm('given', small)}  # the given network as it was\n"
        f"{arm('modified', large)}  # a second dense layer, and a larger batch\n"
        f"{arm('given', large)}  # these two tell which of the two changes\n"
        f"{arm('modified', small)}  # made the difference\n"
    )


ARMS = arms_text()

# What no cohort changes: the question, what is looked for before training, and what is fitted after it.
QUESTION = """\
comparison:
  primary: auroc        # the measure of the verdict, chosen before the results are known
  level: image          # or patient
  margin: null          # a difference too small to matter, such as 0.02: only with it can "as good as" be shown
  hypothesis: difference # or equivalence, noninferiority (first arm of a pair against the second): both need a margin

audit:                  # before anything is trained: copies across the parts, label conflicts, shortcuts
  gate: stop            # if there is a leak; warn continues and marks every page; off skips the audit
  rotated: true         # rotated and cropped copies too, which takes the longest
  baselines: true       # scores of the majority class, mean colour, a colour histogram and file properties

calibration:            # fitted on the validation part of each training, then frozen with the model
  method: temperature   # platt, isotonic (two classes), or none
  threshold: youden     # or "sensitivity>=0.95", "specificity>=0.95", "cost 5:1" (a miss costs 5 false alarms)
  alpha: 0.1            # prediction sets contain the true class of a new patient's image with probability 1 - alpha
  conformal: marginal   # or class: for each class separately, which needs more validation patients

ledger: null            # folder for the log of test-set uses; by default the cohort's
"""


def study_text(
    *,
    name: str,
    cohort: str,
    cohort_extra: str = "",
    method: str = "holdout",
    method_comment: str = "",
    k: int = 5,
    unit: str = "patient",
    unit_comment: str = "no patient is in two parts",
    test: float = 0.2,
    tile_px: int = 257,
    tile_comment: str = "every image becomes a square tile of this side; 127 or more",
    fit: str = "stretch",
    fit_comment: str = "stretch to the square, crop its centre, or exact (refuse images of any other size)",
    epochs: int = 100,
    patience: int = 10,
    learning_rate: str = "1.0e-4",
    scale: str = "-1..1",
    uneven: str = "",
    arms: str = ARMS,
    seeds: str = "[0, 1, 2]",
) -> str:
    """The text of a study.yaml, with a comment at every choice."""
    return f"""\
# A study: what is compared, on what, and how. `counterstain run study.yaml` does it all.
# Every key that can be left out is shown with its default. An unknown key is refused, not ignored.
name: {name}

cohort:
  path: {cohort}{cohort_extra}

split:
{method_comment}  method: {method}        # holdout, folds (cross-validation), official (the table's), sites, site_folds
{commented("unit", unit, unit_comment)}
  test: {test}             # share of the images used for reporting only, once
  val: 0.2              # share of the rest, used for early stopping
  folds: {k}              # for method folds: every patient is tested once in each repeat
  repeats: 1
  seed: 0

tiles:
{commented("tile_px", tile_px, tile_comment)}
{commented("fit", fit, fit_comment)}
  max_bad: 0.05         # share of unreadable images that may be skipped, and listed

augmentation:           # of training images only, after the split
  mode: on_the_fly      # or expand: originals plus one image per transformation, as a notebook would; or none

training:
  epochs: {epochs}           # at most
  patience: {patience}          # stop when the validation loss has not improved for so many epochs
  learning_rate: {learning_rate}
  scale: "{scale}"        # scaling of pixels; 0..1 is common in notebooks, and trains more slowly
  precision: auto       # bf16 if the processor supports it, else fp32
{uneven}
{arms}
seeds: {seeds}        # a single run is never a result: with fewer than 3 no winner is named

{QUESTION}"""


def write_study(
    path: Path,
    cohort: Cohort,
    cohort_path: str,
    *,
    name: str,
    unit: str | None,
    extra: str = "",
    all_keys: bool = False,
) -> tuple[str, ...]:
    """Write the commented study of a cohort, never over an existing file; returns what is to be said of its split.

    Args:
        path, cohort: of the study; cohort_path: of the images, from there.
        name: of the study; unit: of its split, None for patients; extra: further lines of its cohort section.
        all_keys: write every key that there is, not only those that newcomers need.
    """
    if path.exists():
        raise InputError(f"{path} exists; remove it, or name another with --out")
    if unit is None:
        unit = "patient"
    comment = "no patient is in two parts"
    if not cohort.has_patients:
        comment = (
            "no patient ids were found; give them (a column patient_id, or cohort.pattern); "
            "or write `image` here, and every result is marked image-level"
        )
    method, k, notes = _choose_split(cohort, unit)
    choices = choose(cohort)
    text = study_text(
        name=name,
        cohort=cohort_path,
        cohort_extra=extra + _order_line(cohort),
        method=method,
        method_comment="".join(f"  # {line}\n" for line in notes),
        k=k,
        unit=unit,
        unit_comment=comment,
        tile_px=choices.tile_px,
        tile_comment=choices.tile_comment,
        fit=choices.fit,
        fit_comment=choices.fit_comment,
        uneven=_uneven_line(cohort),
        arms=arms_text(choices.small, choices.large, choices.batch_comment),
    )
    if all_keys:
        from counterstain.study.init_all import with_all_keys

        text = with_all_keys(text)
    write_bytes(path, text)
    return notes


def _choose_split(cohort: Cohort, unit: str) -> tuple[str, int, tuple[str, ...]]:
    """A method that can be run on this cohort, its folds, and what is to be known of it.

    A hold-out wherever it can be drawn; it is said where a class has one patient in its test part, and folds are
    offered. Folds where no hold-out is possible.
    """
    if "test" in set(cohort.table["split"]):
        return "official", 5, ()
    if unit == "patient" and not cohort.has_patients:
        return "holdout", 5, ()  # which unit is to be kept together is to be settled first
    k = next((k for k in (5, 4, 3, 2) if _can_fold(cohort, k, unit)), 0)
    offer = f"method: folds with folds: {k} would test every {unit} once" if k else "no folds are possible, either"
    try:
        part = holdout(cohort, unit=unit).parts[0]
    except InputError as error:
        return ("folds" if k else "holdout"), k or 5, (f"a hold-out is not possible: {error}", offer)
    owner = cohort.patient if unit == "patient" else cohort.image
    tested: dict[str, set[str]] = {label: set() for label in cohort.classes}
    for row in part.rows("test").tolist():
        tested[cohort.table["label"].iloc[row]].add(owner[row])
    alone = [f"'{label}' ({next(iter(units))})" for label, units in tested.items() if len(units) == 1]
    if not alone:
        return "holdout", 5, ()
    warning = f"the test part of this hold-out has only one {unit} of class {' and of class '.join(alone)}"
    return "holdout", k or 5, (f"{warning}, which supports hardly any claim", offer)


def _can_fold(cohort: Cohort, k: int, unit: str) -> bool:
    try:
        folds(cohort, k=k, unit=unit)
    except InputError:
        return False
    return True


RARE = 0.25  # share of the images, below which a class gets a line about weights


def _uneven_line(cohort: Cohort) -> str:
    """A setting, off, with what it is for, where the rarest class is rarer than 1 in 4 and rarer than an even share."""
    share = cohort.table["label"].value_counts(normalize=True)
    rarest, least = str(share.index[-1]), float(share.iloc[-1])
    if least >= min(RARE, 1 / len(cohort.classes)):
        return ""
    return (
        f"  class_weights: none   # '{rarest}' is 1 image in {1 / least:.0f}: with `balanced` classes count alike,\n"
        "                        # and probabilities stay right; or sampler: balanced (docs/uneven-classes.md)\n"
    )


def _order_line(cohort: Cohort) -> str:
    """A line, off, for classes that may be grades; for three to seven classes, as more are hardly ever grades."""
    if not 3 <= len(cohort.classes) <= 7:
        return ""
    names = ", ".join(json.dumps(name, ensure_ascii=False) for name in cohort.classes)
    return f"\n  order: null           # if the classes are grades, from low to high: [{names}] (docs/grades.md)"


def start_study(
    images: Path,
    out: Path,
    *,
    name: str | None = None,
    unit: str | None = None,
    all_keys: bool = False,
    **reading: Unpack[ReadingOptions],
) -> Cohort:
    """Read a cohort and write the commented study for it to `out`; returns the cohort, with notes of its split.

    Args:
        images: a folder of images or a manifest.
        out: the study.yaml to write.
        name: of the study; by default that of the folder, or of the table.
        unit: "patient" or "image"; by default patient, with a comment where there are no patient ids.
        all_keys: write every key that a study may have.
        **reading: see read_images.
    """
    cohort = read_images(images, **reading)
    if file := next((name for name in cohort.image if name.lower().endswith((".h5", ".hdf5"))), None):
        raise InputError(
            f"{file} is a feature file, not an image; what learns from those is network: mil/abmil or mil/mean, in a "
            "study as in docs/slide-learning.md"
        )
    options = {key: value for key, value in reading.items() if value not in (None, False, {}, DEFAULTS.get(key))}
    if "root" in options:
        options["root"] = os.path.relpath(str(options["root"]), out.parent)
    extra = "".join(f"\n  {key}: {json.dumps(value)}" for key, value in options.items())
    hints: tuple[str, ...] = ()
    if not cohort.has_patients and unit != "image":
        line, hints = _patients_needed(cohort, out)
        extra += line
    relative = os.path.relpath(images, out.parent)
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", name or _named_after(images.resolve())).strip("-.")[:64] or "study"
    notes = write_study(out, cohort, json.dumps(relative), name=label, unit=unit, extra=extra, all_keys=all_keys)
    return replace(cohort, notes=(*cohort.notes, *notes, *hints))


def _named_after(images: Path) -> str:
    """The name of a folder, or of a table without its ending; a table that is named like every other, its folder's."""
    if images.is_dir():
        return images.name
    return images.parent.name if images.stem.lower() in ("cohort", "manifest") else images.stem


def _patients_needed(cohort: Cohort, study: Path) -> tuple[str, tuple[str, ...]]:
    """Where no patient ids were found: a line, off, for the study's cohort, and what to do, as `run` needs them."""
    pattern, example = patient_hint(cohort)
    ways = ["no patient ids were found, and `run` needs them: give a table with a column patient_id, or a pattern"]
    line = ""
    if pattern:
        example = " ".join(example.split())  # a name may have line ends
        line = f"\n  # if {example} is a patient, remove the # of the next line\n  # pattern: '{pattern}'"
        ways.append(f"if {example} is a patient, remove the # before `pattern` in {study}, and run it")
    return line, (*ways, "if nobody knows the patients, write `unit: image` there: every result is marked image-level")
