"""PWC-Lite, the network of ARFlow and Cost Unrolling, with configurable sizes."""

import itertools
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate
from unrollflow.models.correlation import cost_volume, unit_features
from unrollflow.models.heads import FlowHead
from unrollflow.models.pairs import check_pair, halves
from unrollflow.ops.precision import full_precision
from unrollflow.ops.resize import resize_flow
from unrollflow.ops.warp import warp

LEAK = 0.1
CONTEXT_DILATIONS = (1, 2, 4, 8, 16, 1)
OUTPUT_FACTOR = 4
"""Factor by which the flow of every level is up-sampled, so that the level at 1/4 of the image gets full size."""


def conv(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution with "same" padding and bias, then LeakyReLU in place, whose backward pass only needs its output."""
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation), nn.LeakyReLU(LEAK, inplace=True)
    )


def joined(convolution: nn.Conv2d, one: Tensor, other: Tensor) -> Tensor:
    """3x3 "same" convolution of the concatenated channels of two tensors, without concatenating them.

    (Autograd would keep the concatenated copy until the backward pass.)
    """
    first, second = torch.split(convolution.weight, [one.shape[1], other.shape[1]], dim=1)
    return F.conv2d(one, first, convolution.bias, padding=1) + F.conv2d(other, second, padding=1)


joined_precisely = full_precision(joined)
""":func:`joined` outside autocast, for the flow head."""


class FeaturePyramid(nn.Module):
    """Features at 1/2, 1/4, ... of the image, with a convolution of stride 2 and one of stride 1 per level."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(conv(inputs, outputs, stride=2), conv(outputs, outputs))
            for inputs, outputs in zip([3, *channels], channels, strict=False)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features (B, c_i, H / 2^i, W / 2^i), i = 1.., fine to coarse, of (B, 3, H, W)."""
        features = [image]
        for level in self.levels:
            features.append(level(features[-1]))
        return features[1:]


class ReducedEstimator(nn.Module):
    """Flow estimator in which the input of a layer is the output of the two previous layers.

    Attributes:
        outputs: channels of the output features.
    """

    def __init__(self, inputs: int, channels: list[int], head_scale: float) -> None:
        super().__init__()
        seen = [inputs, channels[0], *(a + b for a, b in itertools.pairwise(channels))]
        self.layers = nn.ModuleList(conv(i, o) for i, o in zip(seen, channels, strict=False))
        self.head = FlowHead(seen[-1], head_scale)
        self.outputs = channels[-1]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, outputs, h, w) and residual flow (B, 2, h, w) of (B, inputs, h, w)."""
        previous = self.layers[0](x)
        current = self.layers[1](previous)
        for layer in list(self.layers)[2:]:
            convolution, activation = cast(nn.Sequential, layer)
            previous, current = current, activation(joined(cast(nn.Conv2d, convolution), previous, current))
        return current, joined_precisely(self.head, previous, current)


class DenseEstimator(nn.Module):
    """Flow estimator with dense connections; the newest features come first.

    Attributes:
        outputs: channels of the output features.
    """

    def __init__(self, inputs: int, channels: list[int], head_scale: float) -> None:
        super().__init__()
        seen = [inputs + sum(channels[:i]) for i in range(len(channels) + 1)]
        self.layers = nn.ModuleList(conv(i, o) for i, o in zip(seen, channels, strict=False))
        self.head = FlowHead(seen[-1], head_scale)
        self.outputs = seen[-1]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, outputs, h, w) and residual flow (B, 2, h, w) of (B, inputs, h, w)."""
        for layer in self.layers:
            x = torch.cat([layer(x), x], dim=1)
        return x, self.head(x)


class ContextNetwork(nn.Sequential):
    """Dilated convolutions that refine the flow of a level."""

    def __init__(self, inputs: int, channels: list[int], head_scale: float) -> None:
        layers = [
            conv(i, o, dilation=dilation)
            for i, o, dilation in zip([inputs, *channels], channels, CONTEXT_DILATIONS, strict=False)
        ]
        super().__init__(*layers, FlowHead(channels[-1], head_scale))

    def forward(self, x: Tensor) -> Tensor:
        """Flow (B, 2, h, w) of (B, inputs, h, w); channels last is twice as fast on a CPU with large dilations."""
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self:
            x = layer(x)
        return x.contiguous()


class PWCLite(nn.Module):
    """Coarse-to-fine network with warping and cost volumes; all levels share the estimator and the context network.

    The defaults are the released network, with 2,236,660 parameters, or 3,335,434 with `dense`.

    Args:
        pyramid_channels: channels of the features at 1/2, 1/4, ...; the last level is the coarsest.
        projection_channels: channels of the projected features of frame 1 in the input of the estimator.
        search_range: range of the cost volume, pixels of each level.
        estimator_channels: channels of the layers of the flow estimator.
        context_channels: channels of the layers of the context network, at most six (dilations 1, 2, 4, 8, 16, 1).
        dense: use the dense estimator instead of the reduced one.
        normalise_features: make each cost a cosine (not in the released network), see
            :func:`~unrollflow.models.correlation.unit_features`.
        head_scale: factor on the initial weights of the flow heads; small values start near zero flow.

    Raises:
        ValueError: if sizes are invalid, or images are not a multiple of `stride`.

    Source: Liu et al., Learning by Analogy (ARFlow), CVPR 2020; released code of Cost Unrolling (models/pwclite.py).
    """

    FINEST_LEVEL = 2  # flow is estimated down to 1/2^2 of the image

    def __init__(
        self,
        *,
        pyramid_channels: list[int] | None = None,
        projection_channels: int = 32,
        search_range: int = 4,
        estimator_channels: list[int] | None = None,
        context_channels: list[int] | None = None,
        dense: bool = False,
        normalise_features: bool = False,
        head_scale: float = 1.0,
    ) -> None:
        super().__init__()
        pyramid = pyramid_channels or [16, 32, 64, 96, 128, 192]
        estimator = estimator_channels or [128, 128, 96, 64, 32]
        context = context_channels or [128, 128, 128, 96, 64, 32]
        if len(pyramid) < self.FINEST_LEVEL or len(estimator) < 2 or len(context) > len(CONTEXT_DILATIONS):
            raise ValueError(
                f"{len(pyramid)} pyramid, {len(estimator)} estimator and {len(context)} context channels; PWCLite "
                f"needs at least {self.FINEST_LEVEL}, at least 2 and at most {len(CONTEXT_DILATIONS)}, respectively."
            )
        self.search_range, self.normalise_features = search_range, normalise_features
        self.stride = self.minimum_size = 2 ** len(pyramid)
        self.pyramid = FeaturePyramid(pyramid)
        inputs = (2 * search_range + 1) ** 2 + projection_channels + 2
        self.estimator = (DenseEstimator if dense else ReducedEstimator)(inputs, estimator, head_scale)
        self.context = ContextNetwork(self.estimator.outputs + 2, context, head_scale)
        coarse_to_fine = pyramid[self.FINEST_LEVEL - 1 :][::-1]
        self.projections = nn.ModuleList(conv(c, projection_channels, kernel=1) for c in coarse_to_fine)
        self.activation = nn.LeakyReLU(LEAK)

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """Flow from image1 to image2, (B, 3, H, W) each, at 1/2^n .. 1/4 of their size, coarsest first."""
        pairs = [rearrange(f, "(pair b) c h w -> pair b c h w", pair=2) for f in self._features(image1, image2)]
        return self._decode([pair[0] for pair in pairs], [pair[1] for pair in pairs])

    def bidirectional(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow in one batch; the features of each image are computed once."""
        features = self._features(image1, image2)
        swapped = [f.roll(len(image1), dims=0) for f in features]  # (image2, image1) along the batch
        return halves(self._decode(features, swapped))

    def _features(self, image1: Tensor, image2: Tensor) -> list[Tensor]:
        """Features of both images along the batch (2B, c, h, w), coarse to fine, up to 1/4."""
        check_pair(self, image1, image2)
        fine_to_coarse: list[Tensor] = self.pyramid(torch.cat([image1, image2]))
        return fine_to_coarse[self.FINEST_LEVEL - 1 :][::-1]

    def _decode(self, features1: list[Tensor], features2: list[Tensor]) -> list[FlowEstimate]:
        batch, _, height, width = features1[0].shape
        # float32, because half precision cannot represent sub-pixel positions
        flow = torch.zeros(
            batch,
            2,
            height,
            width,
            device=features1[0].device,
            dtype=torch.promote_types(features1[0].dtype, torch.float32),
        )
        estimates = []
        for level, (f1, f2, project) in enumerate(zip(features1, features2, self.projections, strict=True)):
            if level > 0:
                flow = resize_flow(flow, (f1.shape[-2], f1.shape[-1]))
                f2 = warp(f2, flow)
            flow = self._refine(f1, f2, project(f1), flow)
            output_size = (OUTPUT_FACTOR * flow.shape[-2], OUTPUT_FACTOR * flow.shape[-1])
            estimates.append(FlowEstimate(raw=flow, flow=resize_flow(flow, output_size)))
        return estimates

    def _refine(self, f1: Tensor, f2: Tensor, projected: Tensor, flow: Tensor) -> Tensor:
        """Flow (B, 2, h, w) of one level, from the up-sampled flow of the previous level."""
        if self.normalise_features:
            f1, f2 = unit_features(f1), unit_features(f2)
        cost = self.activation(cost_volume(f1, f2, search_range=self.search_range))
        features, residual = self.estimator(torch.cat([cost, projected, flow], dim=1))
        flow = flow + residual
        correction: Tensor = self.context(torch.cat([features, flow], dim=1))
        return flow + correction
