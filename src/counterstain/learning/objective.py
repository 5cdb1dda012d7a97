"""What a training minimises: cross-entropy, and its variants for classes of uneven size, and their effect on priors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from counterstain.errors import InputError, suggest
from counterstain.learning.config import UNEVEN, TrainingConfig
from counterstain.learning.own_network import OwnNetwork

__all__ = ["PLAIN", "Mixed", "Objective", "exactly_right", "objective_of", "remove_shift", "uneven_record"]


@dataclass(frozen=True)
class Mixed:
    """How each image of a batch was mixed with a partner: the partner's label, and the share of the image.

    partner: (B,) int64 class index; share: (B,) float32 in [0, 1].
    """

    partner: NDArray[np.int64]
    share: NDArray[np.float32]

    def rows(self, piece: slice) -> "Mixed":
        """These rows alone."""
        return Mixed(self.partner[piece], self.share[piece])


@dataclass(frozen=True)
class Objective:
    """The loss of one training, and how it moves the classes' priors.

    weights: of each class's error, 1 on average over the training images; () for none.
    drawn: how many times as often as it occurs each class is drawn; () for as often.
    smoothing: share of each target that is spread over all classes.
    focal: exponent γ of (1 − p)^γ, by which the loss of well-predicted images shrinks; 0 for none.
    ordinal: weight of the ranked probability score, for classes in order; 0 for none.
    """

    weights: tuple[float, ...] = ()
    drawn: tuple[float, ...] = ()
    smoothing: float = 0.0
    focal: float = 0.0
    ordinal: float = 0.0

    @property
    def shift(self) -> tuple[float, ...]:
        """By how much each logit is too high for the classes' true frequencies; () where it is not.

        Weights and draws multiply the classes' odds, so that the minimum of the loss lies at logits that are higher by
        their logarithms; subtracting these gives the logits of the population that was sampled.

        Source: Elkan 2001, IJCAI; Menon et al. 2021, ICLR, arXiv:2007.07314 (logit adjustment).
        """
        if not self.weights and not self.drawn:
            return ()
        classes = len(self.weights or self.drawn)
        ones = (1.0,) * classes
        pairs = zip(self.weights or ones, self.drawn or ones, strict=True)
        return tuple(math.log(weight * draw) for weight, draw in pairs)

    def loss(self, logits: Tensor, target: Tensor, mixed: Mixed | None = None) -> Tensor:
        """The sum over the batch of each image's loss.

        Args:
            logits: (B, C), at least fp32.
            target: (B,) class index; or (B, C) 0 or 1 of each finding, whose mean binary cross-entropy is taken.
            mixed: where images were mixed, the other's label and the share of the first.

        The ranked probability score is the squared distance of the cumulative probabilities from those of the true
        grade; like cross-entropy it is smallest in expectation at the true probabilities, so that their sum is, too.

        Source: Szegedy et al. 2016, CVPR (smoothing); Lin et al. 2017, ICCV, arXiv:1708.02002 (focal, here of softmax
            probabilities); Zhang et al. 2018, ICLR, arXiv:1710.09412 (mixed targets);
            Epstein 1969, J. Appl. Meteorol. 8:985 (ranked probability score); Hou et al. 2016, arXiv:1611.05916 (as a
            loss, the squared earth mover's distance).
        """
        if target.ndim == 2:
            return self._findings_loss(logits, target.to(logits.dtype), mixed)
        if mixed is None and not (self.weights or self.smoothing or self.focal or self.ordinal):
            return functional.cross_entropy(logits, target, reduction="sum")
        classes = logits.shape[1]
        distribution = functional.one_hot(target, classes).to(logits.dtype)
        if mixed is not None:
            partner = torch.from_numpy(mixed.partner).to(target.device)
            share = torch.from_numpy(mixed.share).to(target.device, logits.dtype)[:, None]
            distribution = share * distribution + (1 - share) * functional.one_hot(partner, classes).to(logits.dtype)
        if self.smoothing:
            distribution = (1 - self.smoothing) * distribution + self.smoothing / classes
        if self.weights:
            distribution = distribution * torch.tensor(self.weights, dtype=logits.dtype, device=logits.device)
        logs = functional.log_softmax(logits, 1)
        if self.focal:
            logs = (1 - logs.exp()).clamp(min=0) ** self.focal * logs
        loss = -(distribution * logs).sum()
        return loss + self.ordinal * (distribution * _ranked_scores(logits)).sum() if self.ordinal else loss

    def _findings_loss(self, logits: Tensor, target: Tensor, mixed: Mixed | None) -> Tensor:
        """The sum over the batch of the mean over findings of the binary cross-entropy of each."""
        if mixed is not None:
            partner = torch.from_numpy(mixed.partner).to(logits.device, logits.dtype)
            share = torch.from_numpy(mixed.share).to(logits.device, logits.dtype)[:, None]
            target = share * target + (1 - share) * partner
        if self.smoothing:
            target = (1 - self.smoothing) * target + self.smoothing / 2
        yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
        if self.focal:
            yes, no = (1 - yes.exp()) ** self.focal * yes, (1 - no.exp()) ** self.focal * no
        return -(target * yes + (1 - target) * no).mean(1).sum()


def exactly_right(logits: Tensor, target: Tensor) -> Tensor:
    """(B,) whether the most probable class is the true one; with (B, K) findings, whether all of them are right."""
    if target.ndim == 2:
        return ((logits > 0) == (target > 0)).all(1)
    return logits.argmax(1) == target


def _ranked_scores(logits: Tensor) -> Tensor:
    """(B, C): the ranked probability score of each row of (B, C) logits, were each class in turn the true grade."""
    reached = logits.softmax(1).cumsum(1)
    steps = torch.ones(logits.shape[1], logits.shape[1], dtype=logits.dtype, device=logits.device).triu()
    return (reached[:, None, :] - steps[None]).square().sum(2)


PLAIN = Objective()


def objective_of(settings: TrainingConfig, classes: Sequence[str], label: NDArray[np.int64]) -> Objective:
    """The objective that an arm asks for, for these training images.

    Args:
        settings: of the arm.
        classes: names, in the order of the network's outputs.
        label: (N,) class index of each training image; or (N, K) findings, which have no weights.

    Raises:
        InputError: If weights name no class, or leave one out.

    Example:
        >>> label = np.array([0, 0, 0, 1])
        >>> objective_of(TrainingConfig(class_weights="balanced"), ["benign", "malignant"], label).weights
        (0.6666666666666666, 2.0)
    """
    if label.ndim == 2:
        return Objective(smoothing=settings.label_smoothing, focal=settings.focal)
    count = np.bincount(label, minlength=len(classes)).astype(np.float64)
    empty = next((name for name, images in zip(classes, count, strict=True) if not images), None)
    uneven = settings.class_weights != "none" or settings.sampler == "balanced"
    if uneven and empty is not None:
        raise InputError(f"class '{empty}' has no training image, so its weight has no meaning; leave the class out")
    even = len(label) / (len(classes) * np.maximum(count, 1))
    weights: tuple[float, ...] = ()
    if settings.class_weights == "balanced":
        weights = tuple(even.tolist())
    elif isinstance(settings.class_weights, Mapping):
        weight_of = _named_weights(settings.class_weights, classes)
        weights = tuple((weight_of * len(label) / (weight_of * count).sum()).tolist())
    draws = tuple(even.tolist()) if settings.sampler == "balanced" else ()
    return Objective(weights, draws, settings.label_smoothing, settings.focal, settings.ordinal)


def _named_weights(weights: Mapping[str, float], classes: Sequence[str]) -> NDArray[np.float64]:
    unknown = next((name for name in weights if name not in classes), None)
    if unknown is not None:
        raise InputError(f"class_weights names class '{unknown}'{suggest(unknown, classes)}")
    absent = next((name for name in classes if name not in weights), None)
    if absent is not None:
        raise InputError(f"class_weights has no weight for class '{absent}'; name every class, or write balanced")
    return np.array([weights[name] for name in classes], dtype=np.float64)


def uneven_record(settings: TrainingConfig, objective: Objective) -> dict[str, object]:
    """For training.json: the settings for classes of uneven size that are not off, and what they came to.

    Both are null where nothing was done.
    """
    active = {name: getattr(settings, name) for name, off in UNEVEN.items() if getattr(settings, name) != off}
    return {"uneven": active or None, "objective": asdict(objective) if active else None}


def remove_shift(network: nn.Module, shift: Sequence[float]) -> None:
    """Lower the network's logits by the shift, in its weights: whatever runs them later needs to know nothing of it.

    Raises:
        InputError: If the network's last layer has no bias.
    """
    if not shift:
        return
    if isinstance(network, OwnNetwork):
        place = network.log_prior
        network.log_prior.add_(torch.tensor(shift, dtype=place.dtype, device=place.device))
        return
    bias = cast(nn.Linear, network.output).bias
    if not isinstance(bias, Tensor):
        raise InputError("class_weights and sampler need a last layer with a bias; this network has none")
    with torch.no_grad():
        bias.sub_(torch.tensor(shift, dtype=bias.dtype, device=bias.device))
