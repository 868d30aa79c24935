"""PyramidMatcher: soft-argmax matching on an image pyramid whose levels share all weights."""

import itertools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate
from unrollflow.models.correlation import cost_volume, unit_features
from unrollflow.models.heads import precise
from unrollflow.models.pairs import check_pair, halves
from unrollflow.models.pwclite import conv
from unrollflow.ops.matching import convex_upsample, lucas_kanade, neighbour_differences, propagate, soft_argmax
from unrollflow.ops.warp import warp

NEIGHBOURS = 9
"""Of a pixel and with it, in a window of 3x3."""

FLOW_DIFFERENCES = 8
"""Channels of :func:`~unrollflow.ops.matching.neighbour_differences`."""

TEMPERATURE = 10.0
"""Initial factor of a cosine before the softmax over displacements: matching works before anything is learned."""

OWN_SCORE = 2.0
"""Initial score of a pixel's own flow among its neighbours'."""

HEAD_SCALE = 0.1
"""Factor on the initial weights of the heads: at first their biases decide."""

CONTRAST = 4.0
"""Factor on grey values in [0, 1] for the Lucas-Kanade step and the residual, which makes them about as large as the
other inputs."""

RESIDUAL_FLOW = 2
"""Channels of a flow."""


class LevelInput(NamedTuple):
    """What one level of the pyramid knows of one image.

    Attributes:
        features: (B, C, h, w).
        grey: (B, 1, h, w), in [0, 1].
    """

    features: Tensor
    grey: Tensor


class MatchingStage(nn.Module):
    """One level: match within a window, add a learned residual, let neighbours decide, enlarge by two.

    Args:
        feature_channels: of the features.
        channels: of the hidden layers.
        dilations: of the hidden layers.
        search_range: r of the cost volume, pixels of the level.
    """

    def __init__(self, feature_channels: int, channels: int, dilations: list[int], search_range: int) -> None:
        super().__init__()
        self.search_range = search_range
        displacements = (2 * search_range + 1) ** 2
        inputs = displacements + feature_channels + FLOW_DIFFERENCES
        self.outputs = [displacements, NEIGHBOURS, 4 * NEIGHBOURS, RESIDUAL_FLOW]
        self.body = hidden_layers(inputs, channels, dilations)
        self.head = nn.Conv2d(channels, sum(self.outputs), 1)
        self.temperature = nn.Parameter(torch.tensor(TEMPERATURE))
        initialise(self.head, own=displacements + NEIGHBOURS // 2)
        with torch.no_grad():
            self.head.bias[-4 * NEIGHBOURS - RESIDUAL_FLOW : -RESIDUAL_FLOW] = bilinear_scores()

    def forward(self, first: LevelInput, second: LevelInput, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Both images' level and the flow so far, (B, 2, h, w), to the level's flow and its scores for up-sampling."""
        warped = warp(second.features, flow)
        costs = cost_volume(first.features, warped, search_range=self.search_range)
        hidden = self.body(torch.cat([costs, first.features, neighbour_differences(flow)], dim=1))
        scores, shares, upsampling, residual = precise(self.head, hidden).split(self.outputs, dim=1)
        _, displacement = soft_argmax(self.temperature * costs + scores)
        return propagate(flow + displacement + residual, shares), upsampling


class FullResolutionStage(nn.Module):
    """The last level: as :class:`MatchingStage`, within one pixel, and with the Lucas-Kanade step as an input.

    Args:
        feature_channels: of the features.
        channels: of the hidden layers.
        dilations: of the hidden layers.
    """

    SEARCH_RANGE = 1

    def __init__(self, feature_channels: int, channels: int, dilations: list[int]) -> None:
        super().__init__()
        displacements = (2 * self.SEARCH_RANGE + 1) ** 2
        inputs = displacements + feature_channels + FLOW_DIFFERENCES + RESIDUAL_FLOW + 1
        self.outputs = [displacements, NEIGHBOURS, RESIDUAL_FLOW, 1]
        self.body = hidden_layers(inputs, channels, dilations)
        self.head = nn.Conv2d(channels, sum(self.outputs), 1)
        self.temperature = nn.Parameter(torch.tensor(TEMPERATURE))
        initialise(self.head, own=displacements + NEIGHBOURS // 2)

    def forward(self, first: LevelInput, second: LevelInput, flow: Tensor) -> Tensor:
        """Both images at their size and the enlarged flow (B, 2, H, W) to the final one."""
        warped = LevelInput(*warp(torch.cat(second, dim=1), flow).split([second.features.shape[1], 1], dim=1))
        costs = cost_volume(first.features, warped.features, search_range=self.SEARCH_RANGE)
        grey, grey_warped = CONTRAST * first.grey, CONTRAST * warped.grey
        step = lucas_kanade(grey, grey_warped)
        inputs = [costs, first.features, neighbour_differences(flow), step, grey_warped - grey]
        hidden = self.body(torch.cat(inputs, dim=1))
        scores, shares, residual, trust = precise(self.head, hidden).split(self.outputs, dim=1)
        _, displacement = soft_argmax(self.temperature * costs + scores)
        return propagate(flow + displacement + residual + step * trust.sigmoid(), shares)


class PyramidMatcher(nn.Module):
    """Flow by matching from coarse to fine, with one feature network and one update network for all levels.

    The images become pyramids of 2x2 means. On level l, with unit features f1, f2 at half of its size, flow F and
    window |d| <= r:

        c_d = <f1(p), f2(p + F(p) + d)>                             cosine cost volume
        (s, a, m, e) = update(c, f1, F(neighbours) - F)             learned scores and residual
        F <- F + sum_d softmax_d(tau c_d + s_d) d + e               soft-argmax matching
        F(p) <- sum_n softmax_n(a_n) F(p + n)                       propagation from the 3x3 neighbours n
        F <- 2 sum_n softmax_n(m_n) F(p + n)                        convex up-sampling to the level below

    The last stage works at the image's size with r = 1 and lighter layers, and also sees the Lucas-Kanade step and the
    grey residual. Matching works before anything is learned (tau = 10); features, scores and refinement are learned.
    The networks see differences of flows, never a flow, so that all translations look alike.

    Kinship: soft-argmax matching is GMFlow's, convex up-sampling RAFT's, the warped pyramid SPyNet's and PWC-Net's,
    sharing over the levels PWC-Lite's, propagation LiteFlowNet's, the last step Lucas and Kanade's.

    In training the pyramid has `levels` levels. At test time it has as many as leave `coarsest_side` pixels to the
    shorter side of the coarsest features (at least `levels`), so that the range grows with the frame; where an odd row
    or column is left over there, it makes a pixel of its own.

    With the defaults: 57,355 parameters, FLOPS a pixel and direction.

    Args:
        feature_channels: of the features at half of each level's size.
        channels: of the update network's hidden layers.
        dilations: of its hidden layers, which are as many.
        search_range: r, pixels of a level's features: a level corrects up to 2 r pixels of its own.
        levels: of the pyramid in training, at least 1.
        coarsest_side: shorter side of the coarsest features at test time, pixels.
        iterations: updates on each level.
        full_feature_channels: of the features at the image's size.
        full_channels: of the last stage's hidden layers.
        full_dilations: of its hidden layers.

    Raises:
        ValueError: for sizes that cannot be built, images of different shapes, smaller than `minimum_size`, or not in
            multiples of `stride`.
    """

    def __init__(
        self,
        *,
        feature_channels: int = 24,
        channels: int = 32,
        dilations: list[int] | None = None,
        search_range: int = 2,
        levels: int = 4,
        coarsest_side: int = 6,
        iterations: int = 1,
        full_feature_channels: int = 12,
        full_channels: int = 16,
        full_dilations: list[int] | None = None,
    ) -> None:
        super().__init__()
        dilations, full_dilations = dilations or [1, 1, 2], full_dilations or [1, 1]
        self.levels, self.coarsest_side, self.iterations = levels, coarsest_side, iterations
        if min(levels, iterations, search_range, coarsest_side) < 1:
            raise ValueError(
                f"levels={levels}, iterations={iterations}, search_range={search_range}, coarsest_side={coarsest_side}: "
                "each must be at least 1."
            )
        self.stride, self.minimum_size = 2 ** (levels - 1), 2 ** (levels + 1)
        self.features = nn.Sequential(
            conv(3, feature_channels, stride=2),
            conv(feature_channels, feature_channels),
            nn.Conv2d(feature_channels, feature_channels, 3, padding=1),
        )
        self.matching = MatchingStage(feature_channels, channels, dilations, search_range)
        self.full_features = nn.Sequential(
            conv(3, full_feature_channels), nn.Conv2d(full_feature_channels, full_feature_channels, 3, padding=1)
        )
        self.refinement = FullResolutionStage(full_feature_channels, full_channels, full_dilations)

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """Flow from image1 to image2, (B, 3, H, W) each, coarsest level first; the last one at their size."""
        pyramid = self._pyramid(image1, image2)
        first, second = ([LevelInput(*(x.chunk(2)[i] for x in level)) for level in pyramid] for i in (0, 1))
        return self._decode(first, second)

    def both(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow in one batch; the features of each image are computed once."""
        pyramid = self._pyramid(image1, image2)
        swapped = [LevelInput(*(x.roll(len(image1), dims=0) for x in level)) for level in pyramid]
        return halves(self._decode(pyramid, swapped))

    def levels_for(self, height: int, width: int) -> int:
        """Levels of the pyramid of images of a size: `levels` in training, more at test time for large ones."""
        if self.training:
            return self.levels
        return max(self.levels, int(math.log2(min(height, width) / self.coarsest_side)))

    def _pyramid(self, image1: Tensor, image2: Tensor) -> list[LevelInput]:
        """Both images along the batch: features and grey values at their size, then at 1/2, 1/4, ..."""
        check_pair(image1, image2, stride=self.stride, network="PyramidMatcher")
        height, width = image1.shape[-2:]
        if min(height, width) < self.minimum_size:
            raise ValueError(
                f"images are {height}x{width}, but PyramidMatcher with levels={self.levels} needs at least "
                f"{self.minimum_size} pixels a side; enlarge them, or build it with fewer levels."
            )
        image = torch.cat([image1, image2])
        inputs = [LevelInput(unit_features(self.full_features(2 * image - 1)), image.mean(dim=1, keepdim=True))]
        for _ in range(self.levels_for(height, width)):
            features = unit_features(self.features(2 * image - 1))
            image = halved(image)
            inputs.append(LevelInput(features, image.mean(dim=1, keepdim=True)))
        return inputs

    def _decode(self, first: list[LevelInput], second: list[LevelInput]) -> list[FlowEstimate]:
        # float32 throughout: half precision cannot hold sub-pixel positions
        coarsest = first[-1].grey
        flow = coarsest.new_zeros(
            len(coarsest), 2, *coarsest.shape[-2:], dtype=torch.promote_types(coarsest.dtype, torch.float32)
        )
        estimates = []
        for level in range(len(first) - 1, 0, -1):
            for _ in range(self.iterations):
                flow, upsampling = self.matching(first[level], second[level], flow)
            height, width = first[level - 1].grey.shape[-2:]
            enlarged = convex_upsample(flow, upsampling, factor=2)[..., :height, :width]
            estimates.append(FlowEstimate(raw=flow, flow=enlarged))
            flow = enlarged
        final = self.refinement(first[0], second[0], flow)
        return [*estimates, FlowEstimate(raw=final, flow=final)]


def hidden_layers(inputs: int, channels: int, dilations: list[int]) -> nn.Sequential:
    """3x3 convolutions of one width, one for each dilation."""
    widths = [inputs, *(channels for _ in dilations)]
    return nn.Sequential(
        *(conv(i, o, dilation=d) for (i, o), d in zip(itertools.pairwise(widths), dilations, strict=True))
    )


def halved(image: Tensor) -> Tensor:
    """Means over 2x2 pixels, (B, C, ceil(H / 2), ceil(W / 2)); an odd last row or column stays by itself."""
    return F.avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False)


@torch.no_grad()
def initialise(head: nn.Conv2d, *, own: int) -> None:
    """Let a head begin with its biases, all 0 but that of a pixel's own flow among its neighbours'."""
    head.weight.mul_(HEAD_SCALE)
    if head.bias is not None:
        head.bias.zero_()
        head.bias[own] = OWN_SCORE


def bilinear_scores() -> Tensor:
    """Scores (36,) whose softmax is about bilinear up-sampling by two, half-pixel centres; see `convex_upsample`."""
    share = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])  # of the three neighbours, for either new pixel
    weights = torch.einsum("ya,xb->abyx", share, share)
    return weights.clamp_min(5e-3).log().flatten()
