"""Labels that contradict each other, classes that hang on one patient or site, and tiles that show nothing."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from counterstain.audit.findings import Duplicate, Finding, first_examples
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.splitters import Split
from counterstain.evaluation.format import agreeing, plural

if TYPE_CHECKING:
    from counterstain.images.store import Store

__all__ = [
    "TileAppearance",
    "absent_classes",
    "conflicts",
    "look_at",
    "poor_tiles",
    "thin_classes",
    "unplaced",
    "unreadable",
]

ONE_IMAGE = ("bytes", "pixels", "turned", "near")  # tiers that are surely one image; a turned crop is one field
EMPTY = 0.05  # share of tissue below which a tile is blank
COLOURED, DARK = 12, 200  # a pixel is tissue if its colours differ by more, or it is darker
BLURRED = 0.25  # of the cohort's median sharpness
BLOCK = 256


def conflicts(cohort: Cohort, images: Sequence[str], copies: Sequence[Duplicate]) -> list[Finding]:
    """Copies whose labels differ, and patients with images of more than one class."""
    label = dict(zip(cohort.image, cohort.table["label"].tolist(), strict=True))
    pairs = [
        (images[copy.a], images[copy.b])
        for copy in copies
        if copy.tier in ONE_IMAGE and label[images[copy.a]] != label[images[copy.b]]
    ]
    findings = []
    if pairs:
        words = (
            f"{plural(len(pairs), 'pair')} of images {agreeing(len(pairs), 'have')} the same content and different "
            "labels; one label of each pair is wrong"
        )
        findings.append(Finding("conflict", "leak", (), len(pairs), first_examples(pairs), words))
    classes: dict[str, set[str]] = defaultdict(set)
    for patient, name in zip(cohort.table["patient_id"], cohort.table["label"], strict=True):
        if patient:
            classes[patient].add(name)
    mixed = sorted(patient for patient, names in classes.items() if len(names) > 1)
    if mixed:
        words = (
            f"{plural(len(mixed), 'patient')} {agreeing(len(mixed), 'have')} images of more than one class, and no "
            "label as a patient"
        )
        severity = "note" if len(mixed) > len(classes) / 2 else "warning"
        findings.append(
            Finding("mixed-patient", severity, (), len(mixed), first_examples([(patient,) for patient in mixed]), words)
        )
    return findings


def thin_classes(cohort: Cohort) -> list[Finding]:
    """Classes that one patient or one site holds, and sites that hold one class: what a shortcut needs."""
    findings = []
    for tier, column, noun in (("lone-patient", "patient_id", "patient"), ("lone-site", "site", "site")):
        names = cohort.table[column]
        if (names == "").any() or names.nunique() < 2:
            continue
        for label in cohort.classes:
            holders = sorted(set(names[cohort.table["label"] == label]))
            if len(holders) == 1:
                words = f"class '{label}' is held by one {noun}: a model may learn to recognise that {noun}"
                findings.append(Finding(tier, "warning", (), 1, ((label, holders[0]),), words))
    sites = cohort.table[cohort.table["site"] != ""].groupby("site")["label"].nunique()
    single = sorted(sites.index[sites == 1]) if len(sites) > 1 else []
    if single:
        have = agreeing(len(single), "have")
        words = f"{len(single)} of {len(sites)} sites {have} one class only: the scanner may predict the class"
        findings.append(
            Finding("lone-site", "warning", (), len(single), first_examples([(site,) for site in single]), words)
        )
    return findings


def unreadable(set_aside: Sequence[tuple[str, str]]) -> list[Finding]:
    """Images that could not be read, with their number and the reason for each."""
    if not set_aside:
        return []
    many = "image cannot be read and was" if len(set_aside) == 1 else "images cannot be read and were"
    words = f"{len(set_aside)} {many} skipped"
    return [Finding("unreadable", "warning", (), len(set_aside), first_examples(list(set_aside)), words)]


def absent_classes(cohort: Cohort, split: Split | None) -> list[Finding]:
    """Parts of a split without any image of a class: nothing can be learned or said of it there."""
    labels = cohort.table["label"].to_numpy(dtype=object)
    lacking: Counter[tuple[str, str]] = Counter()
    for part in () if split is None else split.parts:
        for name in part.names:
            present = set(labels[part.rows(name)])
            lacking.update((name, label) for label in cohort.classes if label not in present)
    divisions = 0 if split is None else len(split.parts)
    return [
        Finding(
            "absent-class", "warning", (name,), count, (),
            f"{name} has no image of class '{label}'" + (f" in {count} of {divisions} folds" if divisions > 1 else ""),
        )
        for (name, label), count in sorted(lacking.items())
    ]  # fmt: skip


def unplaced(cohort: Cohort, split: Split | None) -> list[Finding]:
    """Images that no part of any division has: nothing is learned or said of them."""
    if split is None:
        return []
    placed = np.zeros(len(cohort), dtype=bool)
    for part in split.parts:
        placed |= np.array([bool(word) for word in part.assignment])
    rows = np.flatnonzero(~placed)
    if not len(rows):
        return []
    examples = first_examples([(cohort.image[row],) for row in rows])
    words = f"{len(rows)} of {len(cohort)} images are in no part of the split"
    return [Finding("unplaced", "note", (), len(rows), examples, words)]


@dataclass(frozen=True, eq=False)
class TileAppearance:
    """How each stored tile looks: share of tissue in [0, 1], and sharpness (SD of the Laplacian on tissue)."""

    tissue: NDArray[np.float32]
    sharpness: NDArray[np.float32]


def look_at(store: "Store") -> TileAppearance:
    """Tissue and sharpness of every tile of a store, read in blocks."""
    import cv2  # here, with the store: what is asked of tables alone does without either

    from counterstain.images.store import read_batch

    tissue, sharpness = np.zeros(len(store.image), np.float32), np.zeros(len(store.image), np.float32)
    for start in range(0, len(store.image), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(store.image)))
        for row, tile in zip(rows, read_batch(store, rows), strict=True):
            high, low = tile.max(axis=2), tile.min(axis=2)
            mask = ((high - low) > COLOURED) | (high < DARK)
            mask &= high > 15  # black is no tissue, either
            tissue[row] = mask.mean()
            fine = cv2.Laplacian(cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
            sharpness[row] = fine[mask].std() if mask.any() else 0.0
    return TileAppearance(tissue, sharpness)


def poor_tiles(cohort: Cohort, images: Sequence[str], looks: TileAppearance) -> list[Finding]:
    """Blank tiles, and tiles far less sharp than the cohort's are; a class that is mostly such is worse."""
    label = dict(zip(cohort.image, cohort.table["label"].tolist(), strict=True))
    total = Counter(label[image] for image in images)
    blank = looks.tissue < EMPTY
    usual = float(np.median(looks.sharpness[~blank])) if (~blank).any() else 0.0
    blurred = ~blank & (looks.sharpness < BLURRED * usual)
    findings = []
    for tier, mask, fault in (
        ("blank", blank, f"tiles have less than {EMPTY:.0%} tissue"),
        ("blurred", blurred, f"tiles have less than {BLURRED:.0%} of the usual sharpness"),
    ):
        names = [image for image, is_poor in zip(images, mask, strict=True) if is_poor]
        if not names:
            continue
        poor = Counter(label[name] for name in names)
        share = {class_name: poor[class_name] / count for class_name, count in total.items()}
        worst = max(poor, key=lambda class_name: share[class_name])
        telling = share[worst] > 0.2 and share[worst] > 3 * min(share.values())
        words = f"{len(names)} {fault}" + (f"; {share[worst]:.0%} of class '{worst}' are such" if telling else "")
        severity = "warning" if telling or len(names) > 0.05 * len(images) else "note"
        findings.append(Finding(tier, severity, (), len(names), first_examples([(name,) for name in names]), words))
    return findings
