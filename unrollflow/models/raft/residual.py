"""Residual encoders of RAFT, which compute features at 1/8 of the size of an image."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["batch", "instance", "frozen"]


class FrozenBatchNorm(nn.Module):
    """Batch norm with fixed statistics in training, so that the result for an image does not depend on the batch.

    Parameters and buffers have the same names as in torch. It is not a subclass of torch's batch norm, because
    Lightning's `sync_batchnorm` would replace it by one with changing statistics.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise with the statistics; weight and bias are trained."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": nn.InstanceNorm2d,
    "frozen": FrozenBatchNorm,
}


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with norms and a shortcut, which is projected if the stride is 2."""

    def __init__(self, inputs: int, outputs: int, *, norm: Norm, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm1, self.norm2 = NORMS[norm](outputs), NORMS[norm](outputs)
        self.norm3 = NORMS[norm](outputs) if stride > 1 else nn.Identity()
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, outputs, h / stride, w / stride) of (B, inputs, h, w)."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(self.norm3(self.shortcut(x)) + y)


class ResidualEncoder(nn.Module):
    """A 7x7 convolution, three stages of two residual blocks, and a 1x1 convolution; halves the size three times.

    Args:
        channels: channels of the first convolution and stage, of the second stage, and of the third stage.
        outputs: channels of the features.
        norm: batch norm, instance norm without parameters, or frozen: batch norm with its current statistics (of an
            earlier stage, or 0 and 1).

    Source: Teed and Deng, RAFT, ECCV 2020, and its released code (core/extractor.py).
    """

    def __init__(self, *, channels: tuple[int, int, int], outputs: int, norm: Norm) -> None:
        super().__init__()
        first, second, third = channels
        self.norm = NORMS[norm](first)
        self.stem = nn.Conv2d(3, first, 7, stride=2, padding=3)
        self.stages = nn.Sequential(
            ResidualBlock(first, first, norm=norm, stride=1),
            ResidualBlock(first, first, norm=norm, stride=1),
            ResidualBlock(first, second, norm=norm, stride=2),
            ResidualBlock(second, second, norm=norm, stride=1),
            ResidualBlock(second, third, norm=norm, stride=2),
            ResidualBlock(third, third, norm=norm, stride=1),
        )
        self.project = nn.Conv2d(third, outputs, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, outputs, H / 8, W / 8) of (B, 3, H, W)."""
        features: Tensor = self.project(self.stages(F.relu(self.norm(self.stem(image)))))
        return features
