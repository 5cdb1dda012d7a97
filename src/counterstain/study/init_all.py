"""Every key that a study may have, with its default and what it sets, for `init --all`."""

from dataclasses import fields
from typing import Any

import yaml
from pydantic import BaseModel

from counterstain.images.augmentation import Augmentation
from counterstain.study.figures_config import FiguresSection
from counterstain.study.study_sections import (
    AuditSection,
    CalibrationSection,
    CohortSection,
    ComparisonSection,
    SplitSection,
    TilesSection,
)
from counterstain.yaml_files import parse_yaml

__all__ = ["MEANINGS", "known_defaults", "with_all_keys"]

# What each key sets; a test holds that none is missing.
MEANINGS: dict[str, dict[str, str]] = {
    "cohort": {
        "root": "folder that a table's image paths count from; null: the table's own",
        "follow_links": "true: symbolic links that lead out of the folder are followed",
        "layout": "how names carry labels and ids: auto, folder, breakhis, idc, kather, tcga, pcam, medmnist",
        "positive": "of two classes the positive one; null: the one that is not negative by its name",
        "pattern": "regular expression of image paths with named groups: (?P<patient_id>P\\d+)_",
        "task": "of a data set with several labels, such as BreakHis: binary or subtype",
        "magnification": "of a data set with several: only these images, such as 100",
        "order": "classes that are grades, from low to high: [normal, low, high]",
        "findings": "columns of 0 and 1, instead of one label per image: [oedema, mass]",
        "columns": "{our column: the table's}, such as {patient_id: Case}",
        "splits": "{the table's part: ours}, such as {valid: test}",
    },
    "split": {"file": "a splits.csv to use instead of a method"},
    "augmentation": {
        "flip": "none, horizontal, vertical or both",
        "flip_probability": "of each direction by itself",
        "quarter_turns": "true: turn by 0, 90, 180 or 270 degrees",
        "equalise": "histogram equalisation: luminance, tissue, channels or none",
        "equalise_probability": "share of the tiles on which it is used",
        "rotation_deg": "largest angle in degrees, 0 to 180",
        "rotation_probability": "share of the tiles",
        "translation": "largest shift as a share of the side, 0 to 0.5",
        "translation_probability": "share of the tiles",
        "shear_deg": "largest angle in degrees, 0 to 45",
        "shear_probability": "share of the tiles",
        "brightness": "largest change of the factor: 0.2 draws from 0.8 to 1.2",
        "contrast": "likewise",
        "saturation": "likewise",
        "colour_probability": "share of the tiles, of all three",
    },
    "training": {
        "batch": "images per step",
        "epsilon": "of Adam",
        "weight_decay": "of AdamW; 0 is plain Adam",
        "schedule": "constant, or cosine: the rate falls to 0 over all epochs",
        "device": "auto, cpu or cuda",
        "threads": "of the processor; null: one per core",
        "micro_batch": "larger batches are computed in pieces of this many images",
        "weights": "of a backbone: auto, random, pretrained, pretrained@REVISION or a file",
        "tune": "of a backbone: whole, head_first or frozen",
        "head_epochs": "for head_first: epochs of the head alone",
        "backbone_rate": "learning rate of the body as a multiple of the head's",
        "probe": "for frozen: logistic, mlp or knn",
        "features": "of a backbone: last, or levels for the maps of all levels",
        "views": "symmetries of a tile (1 to 8) over which frozen features are averaged",
        "input_px": "side to which a backbone resizes tiles; null: none",
        "stain_augmentation": "auto, none, hed_light, mix or randstainna",
        "normalisation": "of stain: none, reinhard, macenko or vahadane",
        "class_weights": "none, balanced or {class: weight}",
        "sampler": "shuffled, or balanced: as many draws of every class",
        "label_smoothing": "share of each target that is spread over all classes",
        "focal": "exponent of the focal loss, such as 2; 0 is off",
        "mixup": "alpha of MixUp, such as 0.2; 0 is off",
        "cutmix": "alpha of CutMix, such as 1; 0 is off",
        "ordinal": "for grades: weight of the ranked probability score; 0 is off",
        "network": "of arms that name none: given, modified, timm/…, my_nets.py:SmallNet",
        "network_settings": "keyword arguments of a network of your own",
        "network_sha256": "of its source; filled in by itself, refused where it differs",
        "bag_tiles": "for mil/…: tiles per slide and epoch; null: all",
    },
    "comparison": {
        "co_primary": "several measures that must all pass: [sensitivity, specificity]",
        "thresholds": "half (the most probable class), or frozen (on validation patients)",
        "alpha": "chance of a false claim",
        "pairs": "the pairs that matter: [[a, b]]; null: all",
        "reference": "the arm that all others are compared with; null: none",
        "detect": "a difference, for the number of patients that it would need",
        "prior_sd": "of the chance that a ranking is false",
    },
    "figures": {
        "format": "also drawn for a thesis or paper: pdf, svg or png; null: only the report's",
        "width": "of these, such as 85mm",
        "font": "size of their letters, pt",
        "language": "of their words: en or de",
        "tiles": "false: the report shows no picture of an image, for private data",
    },
    "audit": {"distinct_ids": "true: ids that nearly agree, such as 18842 and 18842D, are of different patients"},
}


def known_defaults() -> dict[str, dict[str, object]]:
    """{section: {key: default}} of every key with a default that a study may have."""
    from counterstain.learning.config import TrainingConfig

    sections: dict[str, type[BaseModel]] = {
        "cohort": CohortSection, "split": SplitSection, "tiles": TilesSection, "comparison": ComparisonSection,
        "audit": AuditSection, "calibration": CalibrationSection, "figures": FiguresSection,
    }  # fmt: skip
    defaults: dict[str, dict[str, object]] = {
        name: {
            key: field.get_default(call_default_factory=True)
            for key, field in section.model_fields.items()
            if not field.is_required()
        }
        for name, section in sections.items()
    }
    defaults["augmentation"] = {field.name: getattr(Augmentation(), field.name) for field in fields(Augmentation)}
    # As written: "auto" where the configuration has settled what it comes to.
    defaults["training"] = {
        field.name: {} if field.name == "network_settings" else field.default for field in fields(TrainingConfig)
    }
    return defaults


def with_all_keys(text: str) -> str:
    """A study's text with every key that it lacks at the end of its section, with the default and what it sets."""
    present = parse_yaml(text, "the new study")
    lines = text.splitlines()
    for section, defaults in known_defaults().items():
        missing = [key for key in defaults if key not in (present.get(section) or {})]
        if not missing:
            continue
        start = next((k for k, line in enumerate(lines) if line.startswith(f"{section}:")), None)
        if start is None:
            start = len(lines) + 1
            lines += ["", f"{section}:"]
        end = next((k for k in range(start + 1, len(lines)) if not lines[k].strip()), len(lines))
        added = [f"  {key}: {_yaml(defaults[key])}{_comment(section, key)}" for key in missing]
        lines[end:end] = added
    return "\n".join(lines) + "\n"


def _comment(section: str, key: str) -> str:
    meaning = MEANINGS.get(section, {}).get(key, "")
    return f"    # {meaning}" if meaning else ""


def _yaml(value: Any) -> str:
    """A default as YAML writes it in one line."""
    return str(yaml.safe_dump(value, default_flow_style=True)).removesuffix("\n").removesuffix("...").strip()
