"""PWC-Lite, the network of ARFlow and of Cost Unrolling, with its sizes as arguments."""

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
"""Every level's flow is up-sampled by this factor, so the level at 1/4 of the image comes out at its size."""


def conv(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution with "same" padding and bias, then LeakyReLU, in place: its result serves its own backward pass."""
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation), nn.LeakyReLU(LEAK, inplace=True)
    )


def joined(convolution: nn.Conv2d, one: Tensor, other: Tensor) -> Tensor:
    """The 3x3 "same" convolution of two tensors' channels, one after the other's, which are never put together.

    (Autograd would keep the copy beside the two tensors until the backward pass.)
    """
    first, second = torch.split(convolution.weight, [one.shape[1], other.shape[1]], dim=1)
    return F.conv2d(one, first, convolution.bias, padding=1) + F.conv2d(other, second, padding=1)


joined_precisely = full_precision(joined)
"""For the flow head: outside autocast, as it is by itself."""


class FeaturePyramid(nn.Module):
    """Features at 1/2, 1/4, ... of the image: per level, a convolution of stride 2 and one of stride 1."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(conv(inputs, outputs, stride=2), conv(outputs, outputs))
            for inputs, outputs in zip([3, *channels], channels, strict=False)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to features (B, c_i, H / 2^i, W / 2^i), i = 1.., fine to coarse."""
        features = [image]
        for level in self.levels:
            features.append(level(features[-1]))
        return features[1:]


class ReducedEstimator(nn.Module):
    """Flow estimator in which a layer sees the outputs of the two layers before it.

    Attributes:
        outputs: channels of the features it passes on.
    """

    def __init__(self, inputs: int, channels: list[int], head_scale: float) -> None:
        super().__init__()
        seen = [inputs, channels[0], *(a + b for a, b in itertools.pairwise(channels))]
        self.layers = nn.ModuleList(conv(i, o) for i, o in zip(seen, channels, strict=False))
        self.head = FlowHead(seen[-1], head_scale)
        self.outputs = channels[-1]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, inputs, h, w) to features (B, outputs, h, w) and a residual flow (B, 2, h, w)."""
        previous = self.layers[0](x)
        current = self.layers[1](previous)
        for layer in list(self.layers)[2:]:
            convolution, activation = cast(nn.Sequential, layer)
            previous, current = current, activation(joined(cast(nn.Conv2d, convolution), previous, current))
        return current, joined_precisely(self.head, previous, current)


class DenseEstimator(nn.Module):
    """Flow estimator in which a layer sees everything before it, the newest first.

    Attributes:
        outputs: channels of the features it passes on.
    """

    def __init__(self, inputs: int, channels: list[int], head_scale: float) -> None:
        super().__init__()
        seen = [inputs + sum(channels[:i]) for i in range(len(channels) + 1)]
        self.layers = nn.ModuleList(conv(i, o) for i, o in zip(seen, channels, strict=False))
        self.head = FlowHead(seen[-1], head_scale)
        self.outputs = seen[-1]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, inputs, h, w) to features (B, outputs, h, w) and a residual flow (B, 2, h, w)."""
        for layer in self.layers:
            x = torch.cat([layer(x), x], dim=1)
        return x, self.head(x)


class ContextNetwork(nn.Sequential):
    """Dilated convolutions that refine a level's flow."""

    def __init__(self, inputs: int, channels: list[int], head_scale: float) -> None:
        layers = [
            conv(i, o, dilation=dilation)
            for i, o, dilation in zip([inputs, *channels], channels, CONTEXT_DILATIONS, strict=False)
        ]
        super().__init__(*layers, FlowHead(channels[-1], head_scale))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, 2, h, w); channels last, in which a CPU is twice as fast at wide dilations."""
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self:
            x = layer(x)
        return x.contiguous()


class PWCLite(nn.Module):
    """Coarse-to-fine flow with warping and cost volumes; estimator and context network are shared by all levels.

    The defaults are the released network: 2,236,660 parameters, 3,335,434 with `dense`.

    Args:
        pyramid_channels: channels of the features at 1/2, 1/4, ...; the last level is the coarsest.
        projection_channels: features of frame 1 are brought to this many before the estimator.
        search_range: of the cost volume, pixels of each level.
        estimator_channels: of the flow estimator's layers.
        context_channels: of the context network's layers, at most six (dilations 1, 2, 4, 8, 16, 1).
        dense: the dense estimator in place of the reduced one.
        normalise_features: make each cost a cosine (not in the released network), see
            :func:`~unrollflow.models.correlation.unit_features`.
        head_scale: factor on the initial weights of the flow heads; small values start near zero flow.

    Raises:
        ValueError: for sizes that cannot be built, or images that are not a multiple of `stride`.

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
                f"needs at least {self.FINEST_LEVEL}, at least 2 and at most {len(CONTEXT_DILATIONS)} of them."
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

    def both(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow in one batch; the features of each image are computed once."""
        features = self._features(image1, image2)
        swapped = [f.roll(len(image1), dims=0) for f in features]  # (image2, image1) along the batch
        return halves(self._decode(features, swapped))

    def _features(self, image1: Tensor, image2: Tensor) -> list[Tensor]:
        """Features of both images along the batch (2B, c, h, w), coarse to fine down to 1/4."""
        check_pair(self, image1, image2)
        fine_to_coarse: list[Tensor] = self.pyramid(torch.cat([image1, image2]))
        return fine_to_coarse[self.FINEST_LEVEL - 1 :][::-1]

    def _decode(self, features1: list[Tensor], features2: list[Tensor]) -> list[FlowEstimate]:
        batch, _, height, width = features1[0].shape
        # float32 throughout: half precision cannot hold sub-pixel positions
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
        """One level's flow (B, 2, h, w) from the level before's, up-sampled."""
        if self.normalise_features:
            f1, f2 = unit_features(f1), unit_features(f2)
        cost = self.activation(cost_volume(f1, f2, search_range=self.search_range))
        features, residual = self.estimator(torch.cat([cost, projected, flow], dim=1))
        flow = flow + residual
        correction: Tensor = self.context(torch.cat([features, flow], dim=1))
        return flow + correction
