"""The command line with networks and tiles in double precision, for tests of what is exactly equal but for rounding."""

from typing import Any

from torch import Tensor, nn

from counterstain import cli
from counterstain.learning import predictor, runtimes, training_state, training_step

start_network = training_state.start_network
to_tensor = training_step.to_tensor


def start_in_double(*arguments: Any, **options: Any) -> tuple[nn.Module, dict[str, str]]:
    network, source = start_network(*arguments, **options)
    return network.double(), source


def tiles_in_double(*arguments: Any, **options: Any) -> Tensor:
    return to_tensor(*arguments, **options).double()


if __name__ == "__main__":
    training_state.start_network = start_in_double
    for module in (training_step, predictor, runtimes):
        module.to_tensor = tiles_in_double
    cli.main()
