"""Where patients are unknown: a pattern that the names of the images suggest. It is offered, never used by itself."""

import re
from collections import defaultdict

from counterstain.cohort.cohort import Cohort

__all__ = ["patient_hint"]

# Tried in this order: a folder below the class's, then what stands before (or second, after a class's name) a mark.
PATTERNS = (
    r"^[^/]+/(?P<patient_id>[^/]+)/[^/]+$",
    *(rf"(?:^|/)(?P<patient_id>[^/{mark}]+){mark}[^/]*$" for mark in "_-"),
    *(rf"(?:^|/)[^/{mark}]+{mark}(?P<patient_id>[^/{mark}]+){mark}[^/]*$" for mark in "_-"),
)


def patient_hint(cohort: Cohort) -> tuple[str, str]:
    """The first pattern whose ids could be patients, and an example of it: ("", "") where there is none.

    Ids could be patients where each image has one, each is of several images on average and of one class, and they are
    not the classes again.
    """
    labels = cohort.table["label"].tolist()
    for pattern in PATTERNS:
        matches = [re.search(pattern, name) for name in cohort.image]
        if not all(matches):
            continue
        classes_of: dict[str, set[str]] = defaultdict(set)
        for match, label in zip(matches, labels, strict=True):
            classes_of[match["patient_id"] if match else ""].add(label)
        several = 2 * len(classes_of) <= len(cohort) and len(classes_of) > len(cohort.classes)
        if several and all(len(classes) == 1 for classes in classes_of.values()):
            first = matches[0]
            return pattern, "" if first is None else f"'{first['patient_id']}' in {cohort.image[0]}"
    return "", ""
