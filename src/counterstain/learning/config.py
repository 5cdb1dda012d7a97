"""How one arm is trained: every setting, what "auto" comes to, and what is refused."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from counterstain.errors import InputError, suggest
from counterstain.images.stain import METHODS
from counterstain.images.stain_augment import STAIN_AUGMENTATIONS
from counterstain.images.tensor import scale_of
from counterstain.learning.backbones import is_backbone, natural_scale
from counterstain.learning.mil_networks import BAG_NETWORKS, is_bag_network
from counterstain.learning.networks import NETWORKS
from counterstain.learning.own_network import is_own
from counterstain.records import short_repr

__all__ = ["TrainingConfig", "check_network"]

TUNES = ("whole", "head_first", "frozen")
SCHEDULES = ("constant", "cosine")
PROBES = ("logistic", "mlp", "knn")
FEATURES = ("last", "levels")
CLASS_WEIGHTS = ("none", "balanced")
SAMPLERS = ("shuffled", "balanced")
# What is for classes of uneven size, and its value where it is off.
UNEVEN = {
    "class_weights": "none", "sampler": "shuffled", "label_smoothing": 0.0, "focal": 0.0, "mixup": 0.0, "cutmix": 0.0,
    "ordinal": 0.0,
}  # fmt: skip
MOST = 1_000_000  # of epochs, images in a batch and the like


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How one network is trained. The defaults are those of the given network's study.

    network: "given", "modified", "timm/…" or the name of a foundation model, see learning.backbones; "mil/mean" or
        "mil/abmil" over feature files, see learning.mil_networks; or the user's own, "my_nets.py:SmallNet" (counted
        from the study's folder) or "package.module:Name", see learning.own_network.
    network_settings: keyword arguments of an own network beside `classes`.
    network_sha256: of an own network's source; it is found by itself, and refused where it is given and differs.
    batch: images per step.
    learning_rate, epsilon: of Adam; weight_decay: of AdamW, 0 for plain Adam.
    schedule: "constant", or "cosine": the rate falls to 0 over all epochs.
    epochs: at most; patience: how many epochs the validation loss may fail to improve before training stops.
    micro_batch: a larger batch is worked through in pieces of at most this many images, whose gradients are summed
        before the one step: the same step in less memory (batch normalisation then sees each piece by itself).
    scale: what pixels of 0…255 become, see images.tensor.scale_of; "auto" is what the network's weights were trained
        with, and -1..1 for the two own networks.
    weights: "random", "pretrained", "pretrained@REVISION[:SHA256]" of the hub, or a file's path; "auto" is pretrained
        for a backbone.
    tune: "whole"; "head_first": the head alone for `head_epochs`, then the whole; "frozen": features under a probe.
    backbone_rate: of the body's learning rate to the head's.
    probe: on frozen features: "logistic", "mlp" or "knn".
    features: of a backbone, "last" for what it gives, or "levels" for the maps of all its levels beside that.
    views: how many of a tile's eight symmetries the features are averaged over, each for a pass; not while learning.
    input_px: side to which a backbone resizes tiles inside itself; None for the tiles' own.
    stain_augmentation: of training tiles, see images.stain_augment; "auto" is hed_light for a backbone, else none.
    normalisation: of every tile, to the training tiles' own stain, see images.stain.
    class_weights: of each class's error: "none", "balanced" (the rarer the heavier) or {class: weight}; the
        probabilities stay those of the classes' true frequencies, see learning.objective.
    sampler: "shuffled", every image once per epoch; or "balanced", as many draws of every class.
    label_smoothing: share of each target that is spread over all classes, in [0, 1).
    focal: exponent of the focal loss, such as 2; 0 is cross-entropy.
    mixup, cutmix: parameter α of the Beta distribution that shares are drawn from, such as 0.2 and 1; 0 is off. With
        both, each batch is mixed in one of the two ways.
    ordinal: weight, beside the cross-entropy, of the ranked probability score, for classes that are grades: a call two
        grades off then costs more than one grade off. 0 is off; 1 is usual.
    bag_tiles: of a slide that an epoch sees, redrawn each epoch; None for all. For mil/… only.
    """

    network: str = "given"
    network_settings: Mapping[str, Any] = field(default_factory=dict)
    network_sha256: str = ""
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
    class_weights: str | Mapping[str, float] = "none"
    sampler: str = "shuffled"
    label_smoothing: float = 0.0
    focal: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    ordinal: float = 0.0
    bag_tiles: int | None = None

    def __repr__(self) -> str:
        return short_repr(self)

    def __post_init__(self) -> None:
        for name in ("batch", "epochs", "patience", "micro_batch", "head_epochs"):
            if not 1 <= getattr(self, name) <= MOST:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be 1 or more, at most {MOST:,}")
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
        if (self.network_settings or self.network_sha256) and not is_own(self.network):
            raise InputError(
                f"training.network_settings are of a network of your own (my_nets.py:SmallNet); {self.network} has none"
            )
        self._check_uneven()
        self._check_bags()
        self._settle()
        scale_of(self.scale)  # refuses a name that it does not know

    def _check_uneven(self) -> None:
        """What is for classes of uneven size: known, in range, and of a network that is trained by gradients here."""
        weights = self.class_weights
        if isinstance(weights, str) and weights not in CLASS_WEIGHTS:
            known = [*CLASS_WEIGHTS, "{class: weight}"]
            raise InputError(f"training.class_weights is '{weights}'{suggest(weights, known)}")
        if isinstance(weights, Mapping) and not all(0 < value < math.inf for value in weights.values()):
            raise InputError(f"training.class_weights is {dict(weights)}; every weight must be above 0")
        if self.sampler not in SAMPLERS:
            raise InputError(f"training.sampler is '{self.sampler}'{suggest(self.sampler, SAMPLERS)}")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"training.label_smoothing is {self.label_smoothing}; it must be from 0 to below 1")
        for name in ("focal", "mixup", "cutmix", "ordinal"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be 0 (off) or more")
        if weights != "none" and self.sampler == "balanced":
            raise InputError("training.class_weights and sampler: balanced do the same; use one of them")
        on = [name for name, off in UNEVEN.items() if getattr(self, name) != off]
        if on and (self.tune == "frozen" or is_bag_network(self.network)):
            learner = "a probe on frozen features" if self.tune == "frozen" else self.network
            raise InputError(f"training.{on[0]} is of networks that learn from tiles; {learner} has no such setting")

    def _check_bags(self) -> None:
        """Tiles have no bag to be capped, and features no stain to be changed."""
        if self.bag_tiles is not None and (self.bag_tiles < 1 or not is_bag_network(self.network)):
            raise InputError(
                f"training.bag_tiles is {self.bag_tiles}; it is a count from 1, for networks of bags (mil/…)"
            )
        if is_bag_network(self.network) and (
            self.normalisation != "none" or self.stain_augmentation not in ("auto", "none")
        ):
            key = "normalisation" if self.normalisation != "none" else "stain_augmentation"
            raise InputError(f"training.{key} is of tiles; {self.network} learns from features, which have no stain")

    def _settle(self) -> None:
        """What "auto" comes to for this network; and what an own network cannot be asked for."""
        backbone = is_backbone(self.network)
        if not backbone and (self.tune != "whole" or self.weights not in ("auto", "random") or self.input_px):
            key = "tune" if self.tune != "whole" else "input_px" if self.input_px else "weights"
            raise InputError(f"training.{key} is for backbones (timm/…); the {self.network} network is trained whole")
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
    if is_own(name):
        return
    if is_backbone(name):
        from counterstain.learning.backbones import check_backbone

        check_backbone(name)
    elif name not in NETWORKS and name not in BAG_NETWORKS:
        raise InputError(
            f"{where} is '{name}'{suggest(name, [*NETWORKS, *BAG_NETWORKS, 'timm/…', 'my_nets.py:SmallNet'])}"
        )
