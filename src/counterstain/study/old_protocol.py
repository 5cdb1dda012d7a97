"""What the old protocol would claim of the same images: augment first, then split the copies at random.

Beside a finished evaluation it shows what a split by patient is worth: the same network and the same images, and only
the protocol differs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from counterstain.evaluation.format import plural
from counterstain.evaluation.metric_names import measure_words
from counterstain.evaluation.text_tables import shown_interval
from counterstain.files import read_json, write_bytes, write_json
from counterstain.progress import Progress
from counterstain.run_folder import as_written, record_path
from counterstain.study.run import run_study

__all__ = ["RECORD", "add_old_protocol", "old_protocol_words"]

RECORD = "old_protocol.json"
NAME = "old-protocol"
SPLIT = {"method": "legacy_augment_first", "unit": "image", "test": 0.2, "val": 0.2, "seed": 0}
HEAD = """\
# The same images and the same network by the old protocol, to see what it would claim: every image is augmented first,
# and then the copies are split at random: copies of one image, and images of one patient, are in both train and test.
"""


def add_old_protocol(run: Path, base: Path, *, arm: str, epochs: int, talk: Progress | None = None) -> str:
    """Run one arm of a study by the old protocol, and write beside the run's own scores what would be claimed.

    Args:
        run: folder of the run, evaluated already; gets records/old_protocol.json.
        base: folder of the study; gets old-protocol.yaml and runs/old-protocol/.
        arm: that is trained, with the run's first seed.
        epochs: at most; fewer are needed than in the study, since every image is there several times.
        talk: where progress is told.

    Returns:
        Both in two sentences.
    """
    resolved = read_json(as_written(record_path(run, "resolved.json")))
    study = {
        "name": NAME,
        "cohort": {key: value for key, value in resolved["cohort"].items() if value is not None},
        "split": SPLIT,
        "tiles": resolved["tiles"],
        "augmentation": {**resolved["augmentation"], "mode": "expand"},
        "arms": {arm: {**resolved["arms"][arm], "epochs": epochs}},
        "seeds": resolved["seeds"][:1],
        "audit": {"gate": "off"},
        "comparison": {"primary": resolved["comparison"]["primary"]},
    }
    path = base / f"{NAME}.yaml"
    text = HEAD + yaml.safe_dump(study, sort_keys=False, allow_unicode=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_bytes(path, text)
    old_run = run_study(path, talk=talk)
    metric = resolved["comparison"]["primary"]
    record = {
        "schema": "counterstain.old_protocol/1", "arm": arm, "metric": metric, "run": old_run.name,
        "own": _score(run, arm, metric), "old": _score(old_run, arm, metric),
    }  # fmt: skip
    words = old_protocol_words(record)
    write_json(record_path(run, RECORD), {**record, "words": words})
    return words


def _score(run: Path, arm: str, metric: str) -> dict[str, Any]:
    """The measure of one arm at image level, with what it rests on."""
    scores = read_json(as_written(record_path(run, "scores.json")))
    arm_record = scores["arms"][arm]
    score = next(s for s in arm_record["scores"] if (s["metric"], s["level"], s["class"]) == (metric, "image", None))
    return {
        "value": score["value"], "low": score["low"], "high": score["high"], "images": arm_record["images"],
        "patients": arm_record["patients"], "unit": scores["unit"], "confidence": scores["confidence"],
    }  # fmt: skip


def old_protocol_words(record: Mapping[str, Any]) -> str:
    """What the old protocol would claim, and what the network does on patients that it never saw.

    >>> score = {"value": 0.998, "low": 0.996, "high": 0.999, "images": 690, "confidence": 0.95}
    >>> own = {"value": 0.93, "low": 0.88, "high": 0.96, "images": 228, "patients": 38, "unit": "patient",
    ...        "confidence": 0.95}
    >>> print(old_protocol_words({"arm": "given-32", "metric": "auroc", "old": score, "own": own}))
    The old protocol (augment, then split images at random) would claim AUROC 0.998 [0.996, 0.999] for given-32. On \
patients that trained no model it is 0.930 [0.880, 0.960] (38 patients, 228 images, 95 % intervals).
    """
    old_score, study_score = record["old"], record["own"]
    claimed, measured = (
        shown_interval(score["value"], score["low"], score["high"]) for score in (old_score, study_score)
    )
    cases = plural(study_score["images"], "image")
    if study_score["unit"] == "patient":
        cases = f"{plural(study_score['patients'], 'patient')}, {cases}"
    return (
        f"The old protocol (augment, then split images at random) would claim {measure_words(record['metric'])} "
        f"{claimed} for {record['arm']}. On patients that trained no model it is {measured} "
        f"({cases}, {100 * study_score['confidence']:g} % intervals)."
    )
