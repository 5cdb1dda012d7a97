"""The model card of an exported model: a README.md as the Hugging Face hub reads it, YAML first."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from counterstain.learning.bundle import Bundle

__all__ = ["hub_licence", "write_card"]

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


def hub_licence(licence: str) -> dict[str, str]:
    """The card's keys for a licence: `license`, and `license_name` where the hub has no name for it."""
    known = _HUB.get(licence.strip().lower())
    return {"license": known} if known else {"license": "other", "license_name": licence.strip() or "not stated"}


def write_card(bundle: Bundle, record: Mapping[str, Any], scores: Sequence[str] = ()) -> str:
    """The card's text.

    Args:
        bundle: of the model.
        record: of export.json, see learning.export.
        scores: lines of a table of how well the model does, if that is known.
    """
    front = {
        **hub_licence(record["licence"]["model"]),
        "library_name": "counterstain",
        "pipeline_tag": "image-classification",
        "tags": ["histopathology", "pathology", "medical", *(("wsinfer",) if "wsinfer" in record["formats"] else ())],
    }
    header = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{header}---\n",
        f"# A classifier of histology tiles: {' or '.join(bundle.classes)}\n",
        *([f"**{bundle.stamp}**\n"] if bundle.stamp else []),
        "For research use only; not a medical device.\n",
        _what(bundle, record),
        _files(record),
        "\n".join(["## How well it does\n", *(scores or [_UNKNOWN]), ""]),
        _limits(bundle, record),
        _origin(bundle, record),
    ]
    return "\n".join(parts)


_UNKNOWN = "Not known here: the model was exported without its study. See the report of the run that made it."


def _what(bundle: Bundle, record: Mapping[str, Any]) -> str:
    scale = "scale not recorded"
    if bundle.mpp is not None:
        scale = f"{bundle.mpp:g} µm/px" + (" (as given when exported)" if record["mpp_given"] else "")
    recipe = bundle.staining.recipe
    colours = ", ".join(f"{name} (r {r}, g {g}, b {b})" for name, (r, g, b) in record["colours"].items())
    lines = [
        "## What it takes and gives\n",
        f"- a tile: RGB, {bundle.tile_px} × {bundle.tile_px} px, {scale}; "
        f"another size is made to fit by: {'stretch' if bundle.fit == 'exact' else bundle.fit}",
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
        f"- {name}: largest difference of a probability from PyTorch {row['difference']:.1e}, "
        f"{row['images_per_s']:.0f} images/s where it was exported"
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
            f"- a tile is called {bundle.classes[-1]} from a calibrated probability of {fitted['threshold']:.4g} on "
            f"(rule: {fitted['threshold_rule']})"
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
    lost = record["int8"]
    if lost is not None:
        lines.append(f"- 8-bit integers: {lost['words']}")
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
        "## Where it comes from\n",
        f"- network: {bundle.network}; training began from {began}",
        f"- licence of this model: {licence['model'] or 'not stated by who exported it'}",
        *(f"- {name}: SHA-256 `{value}`" for name, value in hashes.items() if value),
        f"- exported by Counterstain {record['counterstain']}",
    ]
    return "\n".join(lines) + "\n"
