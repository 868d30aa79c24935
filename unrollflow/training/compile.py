"""torch.compile for network and objective of a training step."""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate, FlowNetwork

MOST_WORDS = 200
"""Maximum number of characters that an error quotes from torch's reason."""


class CompiledNetwork:
    """A network with compiled forward passes; weights, and their names in checkpoints, do not change.

    Each size of frames is compiled separately, because a training uses few sizes.

    Args:
        network: a :class:`~unrollflow.contracts.FlowNetwork`.
    """

    def __init__(self, network: FlowNetwork) -> None:
        self.stride, self.minimum_size = network.stride, network.minimum_size
        self._network = network
        self._forward = torch.compile(network, dynamic=False)
        self._bidirectional = torch.compile(network.bidirectional, dynamic=False)

    def modules(self) -> Iterator[nn.Module]:
        """Modules of the network."""
        return cast(nn.Module, self._network).modules()

    def __call__(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """See :class:`~unrollflow.contracts.FlowNetwork`."""
        return self._forward(image1, image2)

    def bidirectional(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """See :class:`~unrollflow.contracts.FlowNetwork`."""
        return self._bidirectional(image1, image2)


class StepParts(NamedTuple):
    """Network and objective of a training step, in a tuple, so that a module does not register them twice.

    Attributes:
        network: the backbone, or its compiled form.
        objective: an :class:`~unrollflow.losses.Objective`, or its compiled form.
    """

    network: FlowNetwork
    objective: Any


def compiled(network: FlowNetwork, objective: nn.Module, *, device: torch.device) -> StepParts:
    """Network and objective, compiled at the first call; the objective a few times, until its step is dynamic.

    Raises:
        ValueError: if torch cannot compile for the device on this machine.
    """
    check_compiler(device)
    return StepParts(CompiledNetwork(network), torch.compile(objective))


def check_compiler(device: torch.device) -> None:
    """Raise ValueError, with torch's reason, unless a small function can be compiled and run on a device."""
    try:
        torch.compile(_line)(torch.ones(8, device=device))
    except RuntimeError as error:  # base class of torch's errors
        reason = " ".join(str(error.__cause__ or error).split())[:MOST_WORDS]
        raise ValueError(
            f"torch.compile does not work for {device.type} on this machine ({reason}); install a C++ compiler "
            "(g++ or clang++, or its path in CXX), Python's headers and, for a GPU, Triton, or omit --model.compile."
        ) from error


def _line(x: Tensor) -> Tensor:
    return 2 * x + 1
