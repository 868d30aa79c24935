"""torch.compile for the two halves of a training step, network and objective, where this machine can do it."""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate, FlowNetwork

MOST_WORDS = 200
"""Characters of torch's reason that an error repeats."""


class CompiledNetwork:
    """A network whose passes are compiled; weights, and their names in checkpoints, are the network's own.

    Each size of frames is compiled for itself: a training sees few.

    Args:
        network: a :class:`~unrollflow.contracts.FlowNetwork`.
    """

    def __init__(self, network: FlowNetwork) -> None:
        self.stride, self.minimum_size = network.stride, network.minimum_size
        self._network = network
        self._forward = torch.compile(network, dynamic=False)
        self._both = torch.compile(network.both, dynamic=False)

    def modules(self) -> Iterator[nn.Module]:
        """The network's own."""
        return cast(nn.Module, self._network).modules()

    def __call__(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """See :class:`~unrollflow.contracts.FlowNetwork`."""
        return self._forward(image1, image2)

    def both(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """See :class:`~unrollflow.contracts.FlowNetwork`."""
        return self._both(image1, image2)


class StepParts(NamedTuple):
    """What a training step calls; a tuple, so that a module that keeps it does not register its parts again.

    Attributes:
        network: the backbone, or its compiled form.
        objective: an :class:`~unrollflow.losses.Objective`, or its compiled form.
    """

    network: FlowNetwork
    objective: Any


def compiled(network: FlowNetwork, objective: nn.Module, *, device: torch.device) -> StepParts:
    """Both halves, compiled at their first call; the objective a few times, until its step is not a constant.

    Raises:
        ValueError: if torch cannot compile for the device on this machine.
    """
    check_compiler(device)
    return StepParts(CompiledNetwork(network), torch.compile(objective))


def check_compiler(device: torch.device) -> None:
    """Raise ValueError, with torch's reason, unless a line can be compiled for a device and run on it."""
    try:
        torch.compile(_line)(torch.ones(8, device=device))
    except RuntimeError as error:  # of which torch's kinds are subclasses
        reason = " ".join(str(error.__cause__ or error).split())[:MOST_WORDS]
        raise ValueError(
            f"torch.compile does not work for {device.type} on this machine ({reason}); it needs a C++ compiler "
            "(g++ or clang++, or its path in CXX) with Python's headers, on a GPU also Triton. Install what is "
            "missing, or omit --model.compile."
        ) from error


def _line(x: Tensor) -> Tensor:
    return 2 * x + 1
