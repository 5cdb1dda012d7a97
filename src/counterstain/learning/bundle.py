"""A trained model as a folder: weights, what they expect of a tile, what they answer, and hashes of it all."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from counterstain.errors import InputError, says_arguments
from counterstain.files import StrPath, hash_file, read_record, write_bytes, write_json
from counterstain.files import read_sums as list_of_hashes
from counterstain.images.tensor import scale_of
from counterstain.images.tile import FITS
from counterstain.learning.build import build_model
from counterstain.learning.findings_network import FindingsNetwork
from counterstain.learning.mil_networks import is_bag_network
from counterstain.learning.ood_statistics import STATISTICS
from counterstain.learning.own_network import SOURCE, OwnNetwork, source_of
from counterstain.learning.stain_pipeline import UNSTAINED, StainPipeline
from counterstain.records import short_repr
from counterstain.version import __version__

if TYPE_CHECKING:
    from counterstain.cohort.cohort import Cohort

__all__ = ["SCHEMA", "Bundle", "load_network", "read_bundle", "read_sums", "seal", "with_classes_of", "write_bundle"]

SCHEMA = "counterstain.bundle/2"
LARGEST_TILE = 4096  # px
WEIGHTS = "model.safetensors"
RECORD = "bundle.json"
CARD = "README.md"
SUMS = "SHA256SUMS"
# Written beside the model by the rooms that own them, and as much a part of it.
CALIBRATION = "calibration.json"
FINDING_CALIBRATION = "finding_calibration.json"
COMPANIONS = (CALIBRATION, FINDING_CALIBRATION, "trained_on.json", STATISTICS, SOURCE)


@dataclass(frozen=True)
class Bundle:
    """What must be known to use a model as it was trained.

    network: its name; classes: in the order of its outputs, the positive one last where there are two.
    tile_px, fit: side of its tiles in px, and how an image becomes one; mpp: µm/px of them, where known.
    scale: what pixels of 0…255 become, see images.tensor.scale_of.
    layout: what a backbone needs beside its name to be built, see build.layout_of.
    staining: what every tile gets beforehand.
    provenance: settings, seed, machine, and hashes of what it was trained on.
    stamp: "" or what limits every claim made with it ("image-level", "LEAK: …").
    """

    network: str
    classes: tuple[str, ...]
    tile_px: int
    fit: str
    scale: str
    mpp: float | None = None
    stamp: str = ""
    layout: Mapping[str, Any] = field(default_factory=dict)
    staining: StainPipeline = UNSTAINED
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return short_repr(self)

    def record(self) -> dict[str, object]:
        """The bundle's JSON record."""
        return {
            "schema": SCHEMA,
            "counterstain": __version__,
            "network": self.network,
            "classes": list(self.classes),
            "positive": self.classes[-1] if len(self.classes) == 2 else None,
            "preprocessing": {"tile_px": self.tile_px, "fit": self.fit, "mpp": self.mpp, "scale": self.scale},
            "layout": dict(self.layout),
            "stain": self.staining.record(),
            "stamp": self.stamp,
            "provenance": dict(self.provenance),
        }


def write_bundle(folder: Path, bundle: Bundle, network: nn.Module) -> None:
    """Write the bundle's files and seal them."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_bytes(folder / WEIGHTS, save(tensors))
    write_json(folder / RECORD, bundle.record())
    bare = network.body if isinstance(network, FindingsNetwork) else network
    if isinstance(bare, OwnNetwork):
        write_bytes(folder / SOURCE, source_of(bare.sha256))
    write_bytes(folder / CARD, _card(bundle))
    seal(folder)


def seal(folder: Path) -> None:
    """Write SHA256SUMS of a bundle's files; it comes last, so that its presence means the bundle is whole."""
    names = (RECORD, WEIGHTS, CARD, *(name for name in COMPANIONS if (folder / name).is_file()))
    sums = [f"{hash_file(folder / name)}  {name}" for name in names]
    write_bytes(folder / SUMS, "\n".join(sums) + "\n")


def _card(bundle: Bundle) -> str:
    scale = f"{bundle.mpp:g} µm/px" if bundle.mpp else "not recorded"
    bags = is_bag_network(bundle.network)
    takes = [
        f"- tiles: RGB, {bundle.tile_px} × {bundle.tile_px} px, scale {scale}, resized by: {bundle.fit}",
        f"- values of 0 to 255 become {bundle.scale}",
    ]
    if bags:
        encoder = bundle.layout["encoder"] or "an encoder that the files do not name"
        takes = [f"- a slide is a bag of tiles: rows of {bundle.layout['width']} features of {encoder}, in an .h5 file"]
    lines = [
        f"# A classifier of histology {'slides' if bags else 'tiles'}: {' or '.join(bundle.classes)}",
        "",
        *([f"**{bundle.stamp}**", ""] if bundle.stamp else []),
        f"- network: {bundle.network}",
        *takes,
        f"- answers: a probability for each of {', '.join(bundle.classes)}",
        f"- created with: Counterstain {__version__}; the settings, seed and data hashes are in {RECORD}",
        "",
        "For research use only; not a medical device. Its performance is in the report of the run that created it.",
    ]
    return "\n".join(lines) + "\n"


@says_arguments
def read_bundle(folder: StrPath) -> Bundle:
    """The bundle in a folder, after its hashes were checked.

    Raises:
        InputError: If a file is missing, differs from SHA256SUMS, or is of another schema.
    """
    folder = Path(folder)
    for name, expected in read_sums(folder).items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{folder} lacks {name}; copy the whole folder again")
        if hash_file(path) != expected:
            raise InputError(f"{path} is not the file that was written (its SHA-256 differs); copy it again or retrain")
    record = read_record(folder / RECORD, SCHEMA)
    try:
        bundle = _from_record(record)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else f"is damaged ({error})"
        raise InputError(f"{folder / RECORD} {reason}; it was not written by this version, export it again") from None
    fault = _fault(bundle)
    if fault:
        raise InputError(f"{folder / RECORD}: {fault}; it was changed after it was written, export it again")
    return bundle


def read_sums(folder: Path) -> dict[str, str]:
    """SHA-256 by file name, as a bundle's SHA256SUMS lists them; read strictly, byte for byte.

    Raises:
        InputError: If the list is missing, damaged, or without the record and the weights.
    """
    if not (folder / SUMS).is_file():
        raise InputError(f"{folder} is not a bundle, or was not finished: it has no {SUMS}")
    listed = list_of_hashes(folder / SUMS)
    if not {RECORD, WEIGHTS} <= listed.keys():
        raise InputError(f"{folder / SUMS} is not the file that was written; copy the whole folder again")
    return listed


def _fault(bundle: Bundle) -> str:
    """What of a bundle cannot be used as it is, in words; "" for nothing: right hashes do not make it right."""
    bags = isinstance(bundle.network, str) and is_bag_network(bundle.network)
    sides = (0, 0) if bags else (1, LARGEST_TILE)
    checks = {
        "network": (_is_name(bundle.network), "the name of a network"),
        "classes": (
            len(bundle.classes) >= 2
            and all(_is_name(label) for label in bundle.classes)
            and len(set(bundle.classes)) == len(bundle.classes),
            "two or more different names",
        ),
        "tile_px": (
            type(bundle.tile_px) is int and sides[0] <= bundle.tile_px <= sides[1],
            f"a whole number of {sides[0]} to {sides[1]}",
        ),
        "fit": (bundle.fit in ("features",) if bags else bundle.fit in FITS, f"one of {', '.join(FITS)}"),
        "mpp": (bundle.mpp is None or (_is_number(bundle.mpp) and 0.01 <= bundle.mpp <= 100), "µm per px, 0.01 to 100"),
        "stamp": (isinstance(bundle.stamp, str), "a text"),
        "layout": (isinstance(bundle.layout, dict) and not _odd_sizes(bundle.layout), "sizes from 1 to 100000"),
        "provenance": (isinstance(bundle.provenance, dict), "a record"),
    }
    for name, (right, needed) in checks.items():
        if not right:
            return f"{name} is {str(getattr(bundle, name))[:80]!r}; {needed} was needed"
    try:
        scale_of(bundle.scale)
    except (InputError, AttributeError, TypeError) as error:
        return str(error)
    return ""


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _odd_sizes(layout: Mapping[str, Any]) -> list[str]:
    """The sizes of a network that are none: it would be built of them before its weights are looked at."""
    names = ("width", "hidden", "attention", "input_px", "views")
    # A backbone that takes tiles as they are has no input_px of its own.
    none = (("input_px", None), ("attention", 0))  # and the mean of a slide's tiles has no attention
    sizes = {name: layout[name] for name in names if name in layout and (name, layout[name]) not in none}
    return [name for name, value in sizes.items() if type(value) is not int or not 1 <= value <= 100_000]


def _from_record(record: Mapping[str, Any]) -> Bundle:
    tiles = record["preprocessing"]
    for name, kind in (("classes", list), ("preprocessing", dict), ("stain", dict)):
        if not isinstance(record[name], kind):
            raise TypeError(f"{name} is {str(record[name])[:80]!r}")
    return Bundle(
        network=record["network"],
        classes=tuple(record["classes"]),
        tile_px=tiles["tile_px"],
        fit=tiles["fit"],
        scale=tiles["scale"],
        mpp=tiles["mpp"],
        stamp=record["stamp"],
        layout=record["layout"],
        staining=StainPipeline.from_record(record["stain"]),
        provenance=record["provenance"],
    )


def with_classes_of(bundle: Bundle, cohort: "Cohort", *, images: str, model: str) -> "Cohort":
    """The cohort with the bundle's classes in the bundle's order, so that its labels are the network's outputs.

    Args:
        bundle: of the model.
        cohort: of the same classes, in whatever order.
        images, model: how a refusal begins ("cohort.csv has") and what it calls the model.

    Raises:
        InputError: If the classes are not the same.
    """
    if set(cohort.classes) != set(bundle.classes):
        raise InputError(
            f"{images} classes {', '.join(cohort.classes)}, but {model} was trained on {', '.join(bundle.classes)}"
        )
    positive = bundle.classes[-1] if len(bundle.classes) == 2 else None
    return replace(cohort, classes=bundle.classes, positive=positive)


def load_network(folder: Path) -> tuple[Bundle, nn.Module]:
    """The bundle and its bare network with its weights, in eval mode.

    The network takes pixels on `bundle.scale` (images.tensor.to_tensor), after `bundle.staining.for_all`: given other
    ones it answers without an error and wrongly. `counterstain.load_network` and `load_model` do both themselves.
    """
    bundle = read_bundle(folder)
    try:
        network = build_model(bundle.network, classes=len(bundle.classes), tile_px=bundle.tile_px, layout=bundle.layout)
    except InputError as error:
        raise InputError(str(error).replace("<bundle>", str(folder))) from None
    except (KeyError, TypeError, ValueError, RuntimeError, AssertionError) as error:  # what a network makes of sizes
        raise InputError(
            f"{folder / RECORD}: no {bundle.network} can be built of this layout ({_short(error)}); it was changed "
            "after it was written, export it again"
        ) from None
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        raise InputError(
            f"{folder / WEIGHTS} does not hold the weights of {bundle.network}: {_short(error)}; copy it again"
        ) from None
    network.eval()
    return bundle, network


def _short(error: Exception) -> str:
    """An exception of a library in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
