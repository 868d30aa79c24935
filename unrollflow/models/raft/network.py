"""RAFT: all-pairs correlations, and a recurrent update of a flow field at 1/8 of the image."""

from typing import Literal

import torch
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate
from unrollflow.models.pairs import check_pair, halves
from unrollflow.models.raft.lookup import AllPairs, OnDemand
from unrollflow.models.raft.residual import Norm, ResidualEncoder
from unrollflow.models.raft.update import ConvexUpsampler, Update
from unrollflow.ops.choice import check_choice
from unrollflow.ops.resize import resize_flow
from unrollflow.ops.warp import coords_grid

Upsampling = Literal["bilinear", "convex"]
Correlation = Literal["all_pairs", "on_demand"]
LOOKUPS: dict[str, type[AllPairs] | type[OnDemand]] = {"all_pairs": AllPairs, "on_demand": OnDemand}
STRIDE = 8


class RAFT(nn.Module):
    """Recurrent all-pairs field transforms; the estimates are the iterates, first to last.

    The defaults are the variant of Cost Unrolling with bilinear up-sampling, with 4,814,336 parameters; with convex
    up-sampling, it is the published network, with 5,257,536. With bilinear up-sampling and fewer channels, it can be
    trained on a CPU (configs/backbone/raft_small.yaml).

    Args:
        upsampling: bilinear, or a learned convex combination.
        context_norm: norm of the context encoder, see :class:`~unrollflow.models.raft.residual.ResidualEncoder`; the
            feature encoder has instance norm.
        encoder_channels: channels of the stages of both encoders.
        feature_channels: channels of the correlated features.
        hidden_channels: channels of the recurrent state.
        context_channels: channels of the context, an input of every iteration.
        motion_channels: channels of the motion encoder: two layers of correlations, two of flow, its output.
        head_channels: channels inside the flow head and the up-sampler.
        correlation_levels: number of scales of the correlations.
        radius: radius of the lookup window, pixels of each scale.
        correlation: all pairs once, or on demand, which is slower, with memory linear in the number of pixels.
        iterations: number of iterations in training.
        evaluation_iterations: number of iterations in evaluation.

    Raises:
        ValueError: if a choice is unknown, there is less than one iteration or level, or images are not multiples of 8
            or smaller than 8 * 2^levels pixels (128 by default), for which the coarsest correlations would be less than
            2 pixels wide.

    Source: Teed and Deng, RAFT, ECCV 2020; the released codes of RAFT and of Cost Unrolling (smurf).
    """

    stride = STRIDE

    def __init__(
        self,
        *,
        upsampling: Upsampling = "bilinear",
        context_norm: Norm = "batch",
        encoder_channels: tuple[int, int, int] = (64, 96, 128),
        feature_channels: int = 256,
        hidden_channels: int = 128,
        context_channels: int = 128,
        motion_channels: tuple[int, int, int, int, int] = (256, 192, 128, 64, 128),
        head_channels: int = 256,
        correlation_levels: int = 4,
        radius: int = 4,
        correlation: Correlation = "all_pairs",
        iterations: int = 12,
        evaluation_iterations: int = 24,
    ) -> None:
        super().__init__()
        check_choice("upsampling", upsampling, Upsampling)
        check_choice("context_norm", context_norm, Norm)
        check_choice("correlation", correlation, Correlation)
        if min(iterations, evaluation_iterations, correlation_levels, radius) < 1:
            raise ValueError(
                f"iterations={iterations}, evaluation_iterations={evaluation_iterations}, "
                f"correlation_levels={correlation_levels}, radius={radius}: each must be at least 1."
            )
        self.correlation: Correlation = correlation
        self.correlation_levels, self.radius = correlation_levels, radius
        self.iterations, self.evaluation_iterations = iterations, evaluation_iterations
        self.hidden_channels = hidden_channels
        self.minimum_size = STRIDE * 2**correlation_levels
        self.features = ResidualEncoder(channels=encoder_channels, outputs=feature_channels, norm="instance")
        self.context = ResidualEncoder(
            channels=encoder_channels, outputs=hidden_channels + context_channels, norm=context_norm
        )
        self.update = Update(
            correlations=correlation_levels * (2 * radius + 1) ** 2,
            hidden=hidden_channels,
            context=context_channels,
            motion=motion_channels,
            head=head_channels,
        )
        self.upsample = ConvexUpsampler(hidden_channels, head_channels) if upsampling == "convex" else None

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """Flow from image1 to image2, (B, 3, H, W) each, after each iteration."""
        features1, features2 = self._features(image1, image2).chunk(2)
        return self._iterate(features1, features2, self.context(normalised(image1)))

    def bidirectional(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow in one batch; the features of each image are computed once."""
        features = self._features(image1, image2)
        # one call per direction, forward first, so that the statistics of batch norm are as in the released training
        context = torch.cat([self.context(normalised(image)) for image in (image1, image2)])
        return halves(self._iterate(features, features.roll(len(image1), dims=0), context))

    def _features(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Features of both images along the batch (2B, c, H / 8, W / 8)."""
        check_pair(self, image1, image2)
        features: Tensor = self.features(normalised(torch.cat([image1, image2])))
        return features

    def _iterate(self, features1: Tensor, features2: Tensor, context: Tensor) -> list[FlowEstimate]:
        batch, _, height, width = features1.shape
        lookup = LOOKUPS[self.correlation](features1, features2, levels=self.correlation_levels, radius=self.radius)
        hidden, inputs = context[:, : self.hidden_channels].tanh(), context[:, self.hidden_channels :].relu()
        # float32, because half precision cannot represent sub-pixel positions
        dtype = torch.promote_types(features1.dtype, torch.float32)
        grid = coords_grid(height, width, dtype=dtype, device=features1.device)
        flow = grid.new_zeros(batch, 2, height, width)
        estimates = []
        for _ in range(self.iterations if self.training else self.evaluation_iterations):
            flow = flow.detach()
            hidden, change = self.update(hidden, inputs, lookup(grid + flow), flow)
            flow = flow + change
            estimates.append(FlowEstimate(raw=flow, flow=self._enlarge(hidden, flow)))
        return estimates

    def _enlarge(self, hidden: Tensor, flow: Tensor) -> Tensor:
        """Enlarge a flow (B, 2, h, w) by a factor of 8."""
        if self.upsample is None:
            return resize_flow(flow, (STRIDE * flow.shape[-2], STRIDE * flow.shape[-1]))
        enlarged: Tensor = self.upsample(hidden, flow)
        return enlarged


def normalised(image: Tensor) -> Tensor:
    """Map images from [0, 1] to [-1, 1]."""
    return 2 * image - 1
