"""Our optimisers are torch's, to the bit, and start without torch._dynamo."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from counterstain.learning.config import TrainingConfig
from counterstain.learning.optimiser import build_optimiser


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def steps(network: nn.Module, optimiser: torch.optim.Optimizer, count: int) -> None:
    x = torch.linspace(-1, 1, 12).reshape(3, 4)
    for _ in range(count):
        optimiser.zero_grad(set_to_none=True)
        network(x).square().sum().backward()
        optimiser.step()


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_steps_are_those_of_torch_also_after_a_resume(decay: float) -> None:
    settings = TrainingConfig(weight_decay=decay)
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    ours, theirs = network(), network()
    named = {"weight_decay": decay} if decay else {}
    reference = kind(theirs.parameters(), lr=settings.learning_rate, eps=settings.epsilon, fused=True, **named)
    optimiser = build_optimiser(ours, settings)
    assert type(optimiser).__name__ == kind.__name__
    steps(ours, optimiser, 3)
    again = build_optimiser(ours, settings)
    again.load_state_dict(optimiser.state_dict())
    steps(ours, again, 3)
    steps(theirs, reference, 6)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert all(not parameter.grad_fn for parameter in ours.parameters())


def test_a_step_does_not_import_dynamo() -> None:
    """It takes two thirds as long as torch itself, and a training's start waits for it."""
    code = """
import sys
from test_optimiser import network, steps
from counterstain.learning.config import TrainingConfig
from counterstain.learning.optimiser import build_optimiser
made = network()
steps(made, build_optimiser(made, TrainingConfig()), 1)
sys.exit("torch._dynamo" in sys.modules)
"""
    start = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})"
    assert subprocess.run([sys.executable, "-c", start + code], check=False).returncode == 0
