"""One step of training: loss and gradients of a batch, summed over the processes that share it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from counterstain.images.augment_gpu import send
from counterstain.images.tensor import to_tensor
from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import Device
from counterstain.learning.distributed import ALONE, World, share, sum_over
from counterstain.learning.networks import dropout_masks, seen_side
from counterstain.learning.objective import PLAIN, Mixed, Objective, exactly_right
from counterstain.learning.training_state import TrainingState

__all__ = ["take_step"]


def take_step(
    state: TrainingState,
    tiles: NDArray[np.uint8] | Tensor,
    label: NDArray[np.int64],
    settings: TrainingConfig,
    machine: Device,
    world: World = ALONE,
    size: int | None = None,
    objective: Objective = PLAIN,
    mixed: Mixed | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of Adam on the mean loss of one batch: the summed loss, and how many were predicted right.

    Args:
        tiles, label: this process's rows of the batch, maybe none; a tensor of tiles is inputs made already.
        size: of the whole batch; None where this process has all of it.
        objective, mixed: what is minimised, and how the images were mixed.
    """
    size = len(label) if size is None else size
    state.optimiser.zero_grad(set_to_none=True)
    loss_sum = torch.zeros((), dtype=torch.float64, device=machine.device)
    right = torch.zeros((), dtype=torch.int64, device=machine.device)
    masks = None if world.size == 1 else dropout_masks(state.network, size, settings.micro_batch, machine.device)
    first = share(size, world).start
    for start in range(0, len(label), settings.micro_batch):
        piece = slice(start, start + settings.micro_batch)
        tiles_of_piece = tiles[piece]
        if isinstance(tiles_of_piece, Tensor):
            inputs = tiles_of_piece
        else:
            side = seen_side(state.network)
            inputs = to_tensor(tiles_of_piece[:, :side, :side], scale=settings.scale, device=machine.device)
        target = send(label[piece], inputs.device)
        masks_of_piece = None if masks is None else masks[:, first + start : first + start + len(target)]
        with torch.autocast(machine.device, dtype=torch.bfloat16, enabled=machine.precision == "bf16"):
            logits = state.network(inputs, masks_of_piece)
        # Binary cross-entropy on two softmax units, averaged over the two, is the cross-entropy of the softmax.
        # At least fp32: in bf16 the loss would lose its digits.
        exact = torch.promote_types(logits.dtype, torch.float32)
        loss = objective.loss(logits.to(exact), target, None if mixed is None else mixed.rows(piece))
        torch.autograd.backward(loss / size)
        loss_sum += loss.detach()
        right += exactly_right(logits.detach(), target).sum()
    if world.size > 1:
        _sum_gradients(state.network, world)
        sums = sum_over(torch.stack([loss_sum, right.double()]), world)
        loss_sum, right = sums[0], sums[1].long()
    state.optimiser.step()
    return loss_sum, right


def _sum_gradients(network: nn.Module, world: World) -> None:
    """Every gradient becomes its sum over all processes, in one message."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    flat = torch.cat([torch.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1) for p in parameters])
    sum_over(flat, world)
    for parameter, summed in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        parameter.grad = torch.empty_like(parameter).copy_(summed.view(parameter.shape))
