"""Last layers of the networks, which compute the flow outside autocast."""

import torch
from torch import Tensor, nn

from unrollflow.ops.precision import full_precision


@full_precision
def precise(layer: nn.Module, x: Tensor) -> Tensor:
    """Output of a layer outside autocast, because bfloat16 has steps of 1/2 px for flow from 64 px."""
    output: Tensor = layer(x)
    return output


class FlowHead(nn.Conv2d):
    """Linear convolution to (u, v), outside autocast, see :func:`precise`.

    Args:
        inputs: channels of the input.
        scale: factor on the initial weights and biases.
        kernel_size: side of the kernel, odd.
    """

    def __init__(self, inputs: int, scale: float = 1.0, *, kernel_size: int = 3) -> None:
        super().__init__(inputs, 2, kernel_size, padding=kernel_size // 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(scale)

    @full_precision
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the parent's name for it
        """Flow (B, 2, h, w) of (B, inputs, h, w); float32 for half-precision input."""
        return super().forward(input)
