"""The model card of an exported model: a README.md as the Hugging Face hub reads it, YAML first."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from counterstain.learning.bundle import Bundle

__all__ = ["LICENCE", "hub_licence", "is_unlisted", "licence_text", "write_card"]

LICENCE = "LICENSE.md"  # the hub's own spelling
_SHOWN = ("auroc", "balanced_accuracy")
_HUB_METRICS = {"auroc": "roc_auc"}

# The hub's own names of licences that our backbones have; any other is "other", with its name beside it.
_HUB = {
    "apache-2.0": "apache-2.0",
    "mit": "mit",
    "cc by-nc-nd 4.0": "cc-by-nc-nd-4.0",
    "cc-by-nc-nd-4.0": "cc-by-nc-nd-4.0",
    "cc-by-nc-4.0": "cc-by-nc-4.0",
    "cc-by-4.0": "cc-by-4.0",
    "bsd-3-clause": "bsd-3-clause",
}
_FORMATS = {
    "wsinfer": ("torchscript_model.pt, config.json", "WSInfer, QuPath's WSInfer extension"),
    "onnx": ("model.onnx", "ONNX Runtime and others: uint8 tiles (B, H, W, 3) in, probabilities out"),
    "openvino": ("openvino_model.xml, .bin", "OpenVINO: the same"),
    "int8": ("openvino_int8_model.xml, .bin", "OpenVINO, 8-bit integers: the same, faster, and less exact"),
}


def is_unlisted(licence: str) -> bool:
    """Whether the hub has no name for a licence, so that a file must say what it is."""
    return licence.strip().lower() not in _HUB


def hub_licence(licence: str) -> dict[str, str]:
    """The card's keys for a licence: `license`; where the hub has no name for it also `license_name` and its file."""
    if not is_unlisted(licence):
        return {"license": _HUB[licence.strip().lower()]}
    slug = re.sub(r"[^a-z0-9.]+", "-", licence.strip().lower()).strip("-.")
    return {"license": "other", "license_name": slug or "not-stated", "license_link": LICENCE}


def licence_text(licence: str, backbone: Mapping[str, str]) -> str:
    """The file that the card links to where the hub has no name for the licence.

    Args:
        licence: of the model, as its owner states it.
        backbone: source and licence of the weights that training began from; {} of random ones.
    """
    stated = licence.strip()
    terms = f"The licence of this model, as its owner states it: {stated}."
    if not stated:
        terms = "Who exported this model has not stated a licence for it. Ask them before you use or pass it on."
    backbone_terms = ""
    if backbone:
        backbone_terms = (
            f"\nIts training began from the weights of {backbone['source']}, whose licence is: "
            f"{backbone.get('licence') or 'not stated'}. Its terms may bind this model, too.\n"
        )
    return f"# Licence\n\n{terms}\n{backbone_terms}"


def write_card(bundle: Bundle, record: Mapping[str, Any], scores: Mapping[str, Any] | None = None) -> str:
    """The card's text.

    Args:
        bundle: of the model.
        record: of export.json, see export.exported_model.
        scores: how well this model does on its test part, if that is known; see export.ExportContent.
    """
    front = {
        **hub_licence(record["licence"]["model"]),
        "library_name": "counterstain",
        "pipeline_tag": "image-classification",
        "tags": ["histopathology", "pathology", "medical", *(("wsinfer",) if "wsinfer" in record["formats"] else ())],
        **({} if scores is None else {"model-index": [_model_index(bundle, record, scores)]}),
    }
    header = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{header}---\n",
        f"# A classifier of histology tiles: {' or '.join(bundle.classes)}\n",
        *([f"**{bundle.stamp}**\n"] if bundle.stamp else []),
        "For research use only; not a medical device.\n",
        _description(bundle, record),
        _files(record),
        "\n".join(["## How well it does\n", *([_UNKNOWN] if scores is None else _score_lines(scores)), ""]),
        _limits(bundle, record),
        _origin(bundle, record),
    ]
    return "\n".join(parts)


def _overall_scores(scores: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The scores of the card: those of all classes together that have a value."""
    return [
        row
        for row in scores["scores"]
        if row["metric"] in _SHOWN
        and row["class"] is None
        and row["value"] is not None
        and row["value"] == row["value"]
    ]


def _model_index(bundle: Bundle, record: Mapping[str, Any], scores: Mapping[str, Any]) -> dict[str, Any]:
    """The entry from which the hub draws its table of results."""
    metrics = [
        {
            "type": _HUB_METRICS.get(row["metric"], row["metric"]),
            "name": f"{row['metric']} ({row['level']} level)",
            "value": float(row["value"]),
        }
        for row in _overall_scores(scores)
    ]
    cohort = {"type": "private", "name": f"test part of {scores['name']}"}
    return {
        "name": f"counterstain-{bundle.network.replace('/', '-')}-{record['hashes']['weights'][:8]}",
        "results": [{"task": {"type": "image-classification"}, "dataset": cohort, "metrics": metrics}],
    }


def _score_lines(scores: Mapping[str, Any]) -> list[str]:
    """The table of scores with intervals, what they are of, and what limits them."""
    rows = [
        f"| {row['metric']} | {row['level']} | {row['value']:.3f} | {_number(row['low'])} to {_number(row['high'])} |"
        for row in _overall_scores(scores)
    ]
    patients = "" if scores["patients"] is None else f" of {scores['patients']} patients"
    lines = ["| score | level | value | 95 % interval |", "|---|---|---|---|", *rows, ""]
    lines.append(f"Scores of this exported model on {scores['images']} test images{patients} of {scores['name']}.")
    return [*lines, f"{scores['method']}.", *(f"- {note}" for note in scores["warnings"])]


def _number(value: float | None) -> str:
    return "?" if value is None or value != value else f"{value:.3f}"


_UNKNOWN = "Not available: the model was exported without its study. See the report of the run that created it."


def _description(bundle: Bundle, record: Mapping[str, Any]) -> str:
    scale = "scale not recorded"
    if bundle.mpp is not None:
        scale = f"{bundle.mpp:g} µm/px" + (" (as given when exported)" if record["mpp_given"] else "")
    recipe = bundle.staining.recipe
    colours = ", ".join(f"{name} (r {r}, g {g}, b {b})" for name, (r, g, b) in record["colours"].items())
    lines = [
        "## Inputs and outputs\n",
        f"- a tile: RGB, {bundle.tile_px} × {bundle.tile_px} px, {scale}; "
        f"another size is resized by: {'stretch' if bundle.fit == 'exact' else bundle.fit}",
        f"- stain: {'as it is' if recipe is None else f'brought to one recipe ({recipe.method}, in bundle.json)'}",
        f"- pixels of 0 to 255 become: {bundle.scale}",
        f"- a probability for each of: {', '.join(bundle.classes)}; {_calibration_words(record)}",
        f"- colours on maps: {colours}",
    ]
    return "\n".join(lines) + "\n"


def _calibration_words(record: Mapping[str, Any]) -> str:
    fitted = record["calibration"]
    if fitted is None:
        return "never calibrated"
    if not record["calibrated"]:
        return f"as the network gives it, though a calibration ({fitted['method']}) is in calibration.json"
    kind = fitted["unit"]
    return f"calibrated ({fitted['method']}) on {fitted['images']} images of {fitted['patients']} validation {kind}s"


def _files(record: Mapping[str, Any]) -> str:
    rows = [f"| `{_FORMATS[name][0]}` | {_FORMATS[name][1]} |" for name in record["formats"]]
    compared = {row["runtime"]: row for row in record["parity"]}
    agreed = [
        f"- {name}: largest difference of a probability from PyTorch {row['difference']:.1e}"
        for name, row in compared.items()
        if name != "torch"
    ]
    lines = [
        "## Files\n",
        "| file | for |",
        "|---|---|",
        "| `model.safetensors`, `bundle.json` | Counterstain |",
        *rows,
        "| `calibration.json`, `export.json` | thresholds, prediction sets, hashes, for programs |",
        *([f"| `{LICENCE}` | its licence |"] if is_unlisted(record["licence"]["model"]) else []),
        "| `SHA256SUMS` | whether every file is the one that was written |",
        "",
        *agreed,
    ]
    return "\n".join(lines) + "\n"


def _limits(bundle: Bundle, record: Mapping[str, Any]) -> str:
    fitted, familiar = record["calibration"], record["features"]
    lines = ["## Before it is used\n"]
    if fitted is not None and fitted["threshold"] is not None:
        lines.append(
            f"- a tile is predicted as {bundle.classes[-1]} from a calibrated probability of "
            f"{fitted['threshold']:.4g} on (rule: {fitted['threshold_rule']})"
        )
    if fitted is not None:
        lines.append(
            f"- prediction sets miss the true class of a new patient's image with a chance of {fitted['alpha']:.0%} at "
            f"most: a class is in while 1 - its probability is at most the quantile ({_quantile_words(fitted)})"
        )
        lines += [f"- {note}" for note in fitted["notes"]]
    if familiar is None:
        lines.append(f"- unfamiliar tiles are not flagged: {record['features_absent']}")
    else:
        lines.append(
            f"- a tile whose features lie further than {familiar['limit']:.4g} (Mahalanobis) from the training "
            f"tiles is unfamiliar; {familiar['share_within']:.0%} of {familiar['limit_from_tiles']} others are not"
        )
    int8_loss = record["int8"]
    if int8_loss is not None:
        lines.append(f"- 8-bit integers: {int8_loss['words']}")
    return "\n".join(lines) + "\n"


def _quantile_words(fitted: Mapping[str, Any]) -> str:
    """The quantile of all classes, or that of each."""
    few = "infinite: too few patients"
    if fitted.get("conformal") != "class":
        return f"{few}, every class stays in" if fitted["qhat"] is None else str(fitted["qhat"])
    each = zip(fitted["classes"], fitted["qhat_by_class"], strict=True)
    return ", ".join(f"{name}: {few if value is None else value}" for name, value in each)


def _origin(bundle: Bundle, record: Mapping[str, Any]) -> str:
    licence, hashes = record["licence"], record["hashes"]
    weights = licence["backbone"]
    began = (
        f"weights of {weights['source']}, licence: {weights.get('licence') or 'not stated'}"
        if weights
        else "random weights"
    )
    lines = [
        "## Provenance\n",
        f"- network: {bundle.network}; training began from {began}",
        f"- licence of this model: {licence['model'] or 'not stated by who exported it'}",
        *(f"- {name}: SHA-256 `{value}`" for name, value in hashes.items() if value),
        f"- exported by Counterstain {record['counterstain']}",
    ]
    return "\n".join(lines) + "\n"
