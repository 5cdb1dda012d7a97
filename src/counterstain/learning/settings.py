"""How one arm is trained: every setting, what "auto" comes to, and what is refused."""

import math
from dataclasses import dataclass

from counterstain.errors import InputError, suggest
from counterstain.learning.backbones import is_backbone, natural_scale
from counterstain.learning.mil import BAG_NETWORKS, is_bag_network
from counterstain.learning.networks import NETWORKS
from counterstain.pixels.stain import METHODS
from counterstain.pixels.stain_augment import STAIN_AUGMENTATIONS
from counterstain.pixels.tensor import scale_of
from counterstain.records import short_repr

__all__ = ["Training", "check_network"]

TUNES = ("whole", "head_first", "frozen")
SCHEDULES = ("constant", "cosine")
PROBES = ("logistic", "mlp", "knn")
FEATURES = ("last", "levels")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How one network is trained. The defaults are those of the given network's study.

    network: "given", "modified", "timm/…" or the name of a foundation model, see learning.backbones; "mil/mean" or
        "mil/abmil" over feature files, see learning.mil.
    batch: images a step.
    learning_rate, epsilon: of Adam; weight_decay: of AdamW, 0 for plain Adam.
    schedule: "constant", or "cosine": the rate falls to 0 over all epochs.
    epochs: at most; patience: how many epochs the validation loss may fail to improve before training stops.
    micro_batch: a larger batch is worked through in pieces of at most this many images, whose gradients are summed
        before the one step: the same step in less memory (batch normalisation then sees each piece by itself).
    scale: what pixels of 0…255 become, see pixels.tensor.scale_of; "auto" is what the network's weights were trained
        with, and -1..1 for the two own networks.
    weights: "random", "pretrained" or a file's path; "auto" is pretrained for a backbone.
    tune: "whole"; "head_first": the head alone for `head_epochs`, then the whole; "frozen": features under a probe.
    backbone_rate: of the body's learning rate to the head's.
    probe: on frozen features: "logistic", "mlp" or "knn".
    features: of a backbone, "last" for what it gives, or "levels" for the maps of all its levels beside that.
    views: how many of a tile's eight symmetries the features are averaged over, each for a pass; not while learning.
    input_px: side to which a backbone resizes tiles inside itself; None for the tiles' own.
    stain_augmentation: of training tiles, see pixels.stain_augment; "auto" is hed_light for a backbone, else none.
    normalisation: of every tile, to the training tiles' own stain, see pixels.stain.
    bag_tiles: of a slide that an epoch sees, drawn anew each epoch; None for all. For mil/… only.
    """

    network: str = "given"
    batch: int = 32
    learning_rate: float = 1e-4
    epsilon: float = 1e-7
    weight_decay: float = 0.0
    schedule: str = "constant"
    epochs: int = 100
    patience: int = 10
    precision: str = "auto"
    device: str = "auto"
    threads: int | None = None
    micro_batch: int = 64
    scale: str = "auto"
    weights: str = "auto"
    tune: str = "whole"
    head_epochs: int = 1
    backbone_rate: float = 1.0
    probe: str = "logistic"
    features: str = "last"
    views: int = 1
    input_px: int | None = None
    stain_augmentation: str = "auto"
    normalisation: str = "none"
    bag_tiles: int | None = None

    def __repr__(self) -> str:
        return short_repr(self)

    def __post_init__(self) -> None:
        for name in ("batch", "epochs", "patience", "micro_batch", "head_epochs"):
            if getattr(self, name) < 1:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("learning_rate", "epsilon", "backbone_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be above 0")
        if not 1 <= self.views <= 8:
            raise InputError(f"training.views is {self.views}; a tile has from 1 to 8")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"training.weight_decay is {self.weight_decay}; it must be 0 or more")
        for name, known in (
            ("tune", TUNES),
            ("schedule", SCHEDULES),
            ("probe", PROBES),
            ("features", FEATURES),
            ("stain_augmentation", ("auto", *STAIN_AUGMENTATIONS)),
            ("normalisation", ("none", *METHODS)),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"training.{name} is '{getattr(self, name)}'{suggest(getattr(self, name), known)}")
        self._check_bags()
        self._settle()
        scale_of(self.scale)  # refuses a name that it does not know

    def _check_bags(self) -> None:
        """Tiles have no bag to be capped, and features no stain to be changed."""
        if self.bag_tiles is not None and (self.bag_tiles < 1 or not is_bag_network(self.network)):
            raise InputError(
                f"training.bag_tiles is {self.bag_tiles}; it is a count from 1, for networks of bags (mil/…)"
            )
        if is_bag_network(self.network) and (
            self.normalisation != "none" or self.stain_augmentation not in ("auto", "none")
        ):
            what = "normalisation" if self.normalisation != "none" else "stain_augmentation"
            raise InputError(f"training.{what} is of tiles; {self.network} learns from features, which have no stain")

    def _settle(self) -> None:
        """What "auto" comes to for this network; and what an own network cannot be asked for."""
        backbone = is_backbone(self.network)
        if not backbone and (self.tune != "whole" or self.weights not in ("auto", "random") or self.input_px):
            what = "tune" if self.tune != "whole" else "input_px" if self.input_px else "weights"
            raise InputError(f"training.{what} is for backbones (timm/…); the {self.network} network is trained whole")
        settled = {
            "scale": (natural_scale(self.network) if backbone else "-1..1") if self.scale == "auto" else self.scale,
            "weights": ("pretrained" if backbone else "random") if self.weights == "auto" else self.weights,
        }
        if self.stain_augmentation == "auto":
            learns = backbone and self.tune != "frozen"
            settled["stain_augmentation"] = "hed_light" if learns else "none"
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    @property
    def head(self) -> str:
        """The kind of heads.build_head: a probe's own, or one linear layer."""
        return "linear" if self.tune != "frozen" or self.probe == "logistic" else self.probe


def check_network(name: str, where: str) -> None:
    """Refuse a network that cannot be built.

    Raises:
        InputError: Naming the setting, with the nearest name.
    """
    if is_backbone(name):
        from counterstain.learning.backbones import check_backbone

        check_backbone(name)
    elif name not in NETWORKS and name not in BAG_NETWORKS:
        raise InputError(f"{where} is '{name}'{suggest(name, [*NETWORKS, *BAG_NETWORKS, 'timm/…'])}")
