"""The last layers of the networks, which say what the flow is: outside autocast."""

import torch
from torch import Tensor, nn

from unrollflow.ops.precision import full_precision


@full_precision
def precise(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer's output outside autocast: from 64 pixels on, bfloat16 would hold a flow in steps of a half."""
    output: Tensor = layer(x)
    return output


class FlowHead(nn.Conv2d):
    """Linear convolution to (u, v), outside autocast, see :func:`precise`.

    Args:
        inputs: channels.
        scale: factor on the initial weights and biases.
        kernel_size: odd.
    """

    def __init__(self, inputs: int, scale: float = 1.0, *, kernel_size: int = 3) -> None:
        super().__init__(inputs, 2, kernel_size, padding=kernel_size // 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(scale)

    @full_precision
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the parent's name for it
        """(B, inputs, h, w) to (B, 2, h, w), of float32 where the input is of half precision."""
        return super().forward(input)
