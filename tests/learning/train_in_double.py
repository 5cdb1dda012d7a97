"""The command line with networks and tiles in double precision, for tests of what is exactly equal but for rounding."""

from typing import Any

from torch import Tensor, nn

from counterstain import cli
from counterstain.learning import loop, predictor, runtimes

start_network = loop.start_network
to_tensor = loop.to_tensor


def start_in_double(*arguments: Any, **options: Any) -> tuple[nn.Module, dict[str, str]]:
    network, source = start_network(*arguments, **options)
    return network.double(), source


def tiles_in_double(*arguments: Any, **options: Any) -> Tensor:
    return to_tensor(*arguments, **options).double()


if __name__ == "__main__":
    loop.start_network = start_in_double
    for module in (loop, predictor, runtimes):
        module.to_tensor = tiles_in_double
    cli.main()
