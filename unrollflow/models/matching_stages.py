"""Stages of PyramidMatcher: matching, refinement, propagation and up-sampling on one level, and the last stage."""

import itertools
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from unrollflow.models.correlation import cost_volume
from unrollflow.models.heads import precise
from unrollflow.models.pwclite import conv
from unrollflow.models.strips import in_strips
from unrollflow.ops.matching import (
    convex_upsample,
    lucas_kanade,
    neighbour_differences,
    neighbourhood,
    propagate,
    soft_argmax,
)
from unrollflow.ops.transfer import constant
from unrollflow.ops.warp import warp

NEIGHBOURS = 9
"""Pixels of a 3x3 window, including its centre."""

FLOW_DIFFERENCES = 8
"""Channels of :func:`~unrollflow.ops.matching.neighbour_differences`."""

TEMPERATURE = 10.0
"""Initial factor of a cosine before the softmax over displacements, with which matching works without training."""

OWN_SCORE = 2.0
"""Initial score of the centre pixel in propagation."""

HEAD_SCALE = 0.1
"""Factor on the initial weights of the heads, so that their biases dominate."""

CONTRAST = 4.0
"""Factor on grey values in [0, 1], so that the grey residual has the scale of the other inputs."""

LUCAS_KANADE_RADIUS = 3
"""Rows on both sides that a Lucas-Kanade step depends on: half of its window, and one for the differences."""

FLOW_CHANNELS = 2
"""Channels of a flow."""

CERTAINTY = 2
"""Channels of :func:`certainty`."""


class LevelInput(NamedTuple):
    """Inputs of one pyramid level for one image.

    Attributes:
        features: (B, C, h, w).
        grey: (B, 1, h, w), in [0, 1].
    """

    features: Tensor
    grey: Tensor

    def rows(self, rows: slice) -> "LevelInput":
        """Select rows of both."""
        return LevelInput(self.features[:, :, rows], self.grey[:, :, rows])

    def rolled(self, count: int) -> "LevelInput":
        """Both, with the last images of the batch moved to its start."""
        return LevelInput(self.features.roll(count, dims=0), self.grey.roll(count, dims=0))


class MatchingStage(nn.Module):
    """One pyramid level: matching, learned residual, propagation, up-sampling.

    Args:
        feature_channels: channels of the features.
        channels: channels of each hidden layer.
        dilations: one per hidden layer.
        search_range: r of the cost volume, pixels of the level.
        propagations: number of rounds of propagation.
    """

    def __init__(
        self, feature_channels: int, channels: int, dilations: list[int], search_range: int, propagations: int
    ) -> None:
        super().__init__()
        self.search_range, self.propagations = search_range, propagations
        self.halo = search_range + sum(dilations) + propagations + 2  # 2: the confidence's neighbours, up-sampling
        displacements = (2 * search_range + 1) ** 2
        inputs = displacements + feature_channels + FLOW_DIFFERENCES
        self.outputs = [displacements, NEIGHBOURS, 4 * NEIGHBOURS, FLOW_CHANNELS]
        self.body = hidden_layers(inputs, channels, dilations)
        self.head = nn.Conv2d(channels, sum(self.outputs), 1)
        self.confidence = nn.Conv2d(channels + CERTAINTY, 1, 1)
        self.temperature = nn.Parameter(torch.tensor(TEMPERATURE))
        biases = torch.zeros(sum(self.outputs))
        biases[displacements + NEIGHBOURS // 2] = OWN_SCORE
        biases[-4 * NEIGHBOURS - FLOW_CHANNELS : -FLOW_CHANNELS] = bilinear_scores()
        initialise(self.head, biases)

    def forward(self, first: LevelInput, second: LevelInput, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Updated flow (B, 2, h, w), and enlarged (B, 2, 2 h, 2 w), from both images and a flow (B, 2, h, w)."""

        def _of_rows(rows: slice) -> tuple[Tensor, Tensor]:
            return self.update(first.rows(rows), second, flow[:, :, rows], top=rows.start or 0)

        fine, enlarged = in_strips(_of_rows, flow, halo=self.halo, scales=(1, 2))
        return fine, enlarged

    def update(self, first: LevelInput, second: LevelInput, flow: Tensor, *, top: int) -> tuple[Tensor, Tensor]:
        """As :meth:`forward`, for rows of the first image and the flow from row `top` of the second image."""
        warped = warp_rows(second.features, flow, top=top)
        costs = cost_volume(first.features, warped, search_range=self.search_range)
        hidden = self.body(torch.cat([costs, first.features, neighbour_differences(flow)], dim=1))
        scores, shares, upsampling, residual = torch.split(precise(self.head, hidden), self.outputs, dim=1)
        likelihood, displacement = soft_argmax(self.temperature * costs + scores)
        flow = flow + displacement + residual
        confidence = precise(self.confidence, torch.cat([hidden.to(flow.dtype), certainty(likelihood)], dim=1))
        flow = self.spread(flow, confidence, shares)
        return flow, convex_upsample(flow, upsampling, factor=2)

    def spread(self, flow: Tensor, confidence: Tensor, shares: Tensor) -> Tensor:
        """Propagate flow (B, 2, h, w) with neighbour weights from confidence (B, 1, h, w) and scores (B, 9, h, w)."""
        shares = shares + neighbourhood(confidence)[:, 0]
        for _ in range(self.propagations):
            flow = propagate(flow, shares)
        return flow


class FullResolutionStage(nn.Module):
    """The last stage: like :class:`MatchingStage` with a window of 3x3, and with the Lucas-Kanade step as an input.

    Args:
        feature_channels: channels of the features.
        channels: channels of each hidden layer.
        dilations: one per hidden layer.
    """

    SEARCH_RANGE = 1

    def __init__(self, feature_channels: int, channels: int, dilations: list[int]) -> None:
        super().__init__()
        self.halo = LUCAS_KANADE_RADIUS + sum(dilations) + 1  # 1: propagation
        displacements = (2 * self.SEARCH_RANGE + 1) ** 2
        inputs = displacements + feature_channels + FLOW_DIFFERENCES + FLOW_CHANNELS + 1
        self.outputs = [displacements, NEIGHBOURS, FLOW_CHANNELS, 1]
        self.body = hidden_layers(inputs, channels, dilations)
        self.head = nn.Conv2d(channels, sum(self.outputs), 1)
        self.temperature = nn.Parameter(torch.tensor(TEMPERATURE))
        biases = torch.zeros(sum(self.outputs))
        biases[displacements + NEIGHBOURS // 2] = OWN_SCORE
        initialise(self.head, biases)

    def forward(self, first: LevelInput, second: LevelInput, flow: Tensor) -> Tensor:
        """Final flow (B, 2, H, W), from both images at full size and the up-sampled flow."""

        def _of_rows(rows: slice) -> tuple[Tensor]:
            return (self.update(first.rows(rows), second, flow[:, :, rows], top=rows.start or 0),)

        (final,) = in_strips(_of_rows, flow, halo=self.halo, scales=(1,))
        return final

    def update(self, first: LevelInput, second: LevelInput, flow: Tensor, *, top: int) -> Tensor:
        """As :meth:`forward`, for rows of the first image and the flow from row `top` of the second image."""
        warped = LevelInput(*(warp_rows(x, flow, top=top) for x in second))
        costs = cost_volume(first.features, warped.features, search_range=self.SEARCH_RANGE)
        grey, grey_warped = CONTRAST * first.grey, CONTRAST * warped.grey
        step = lucas_kanade(grey, grey_warped)
        inputs = [costs, first.features, neighbour_differences(flow), step, grey_warped - grey]
        hidden = self.body(torch.cat(inputs, dim=1))
        scores, shares, residual, trust = torch.split(precise(self.head, hidden), self.outputs, dim=1)
        _, displacement = soft_argmax(self.temperature * costs + scores)
        return propagate(flow + displacement + residual + step * trust.sigmoid(), shares)


def warp_rows(image: Tensor, flow: Tensor, *, top: int) -> Tensor:
    """Warp an image (B, C, H, W) by the flow (B, 2, h, W) of its rows from `top`."""
    if image.shape[-2:] == flow.shape[-2:]:
        return warp(image, flow)
    return warp(image, flow, origin=constant([0.0, float(top)], like=flow).expand(len(flow), 2))


def hidden_layers(inputs: int, channels: int, dilations: list[int]) -> nn.Sequential:
    """3x3 convolutions of equal width, one per dilation."""
    widths = [inputs, *(channels for _ in dilations)]
    return nn.Sequential(
        *(conv(i, o, dilation=d) for (i, o), d in zip(itertools.pairwise(widths), dilations, strict=True))
    )


def certainty(likelihood: Tensor) -> Tensor:
    """Negative entropy and largest value (B, 2, h, w) of the likelihoods (B, K, h, w) of K displacements."""
    tiny = torch.finfo(likelihood.dtype).tiny  # the gradient of the logarithm at 0 is not finite
    negative_entropy = (likelihood * likelihood.clamp_min(tiny).log()).sum(dim=1, keepdim=True)
    return torch.cat([negative_entropy, likelihood.amax(dim=1, keepdim=True)], dim=1)


@torch.no_grad()
def initialise(head: nn.Conv2d, biases: Tensor) -> None:
    """Set the biases (outputs,) of a head, and reduce its weights."""
    head.weight.mul_(HEAD_SCALE)
    cast(Tensor, head.bias).copy_(biases)


def bilinear_scores() -> Tensor:
    """Scores (36,) whose softmax approximates bilinear up-sampling by 2, half-pixel centres; see `convex_upsample`."""
    share = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])  # weights of three neighbours, for both new pixels
    weights = torch.einsum("ya,xb->abyx", share, share)
    return weights.clamp_min(5e-3).log().flatten()
