"""PyramidMatcher: soft-argmax matching on an image pyramid, with weights shared by all levels."""

import math
from fractions import Fraction

import torch
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate
from unrollflow.models.correlation import unit_features, unit_features_in_place
from unrollflow.models.matching_stages import FullResolutionStage, LevelInput, MatchingStage
from unrollflow.models.pairs import check_pair, halves
from unrollflow.models.pwclite import conv
from unrollflow.models.strips import in_strips
from unrollflow.ops.resize import shrink_image


class PyramidMatcher(nn.Module):
    """Coarse-to-fine matching, with one feature network and one update network for all levels.

    Image pyramids are computed by 2x2 means. On each level, with unit features f1, f2 at half of its size, flow F and
    window |d| <= r:

        c_d = <f1(p), f2(p + F(p) + d)>                             cosine cost volume
        (s, a, m, e) = update(c, f1, F(neighbours) - F)             learned scores and residual
        F <- F + sum_d softmax_d(tau c_d + s_d) d + e               soft-argmax matching
        F(p) <- sum_n softmax_n(a_n(p) + k(p + n)) F(p + n)         `propagations` rounds over 3x3 neighbours n
        F <- 2 sum_n softmax_n(m_n) F(p + n)                        convex up-sampling to the level below

    k is the confidence of a pixel's match, predicted from the entropy and the maximum of its likelihoods and from the
    update's features. Confident pixels therefore propagate into uncertain ones, such as occluded pixels.

    The last stage is at the size of the image, with r = 1 and smaller layers. The Lucas-Kanade step and the grey-value
    residual are additional inputs, and a predicted share of that step is added. At test time, it is applied twice.
    Matching works without training (tau = 10); features, scores and refinement are learned. The inputs of the networks
    are differences of flows, not flows, so the update is equivariant to translation.

    In training, the pyramid has `levels` levels. At test time, levels are added while the shorter side of the coarsest
    features is at least `coarsest_side`, so that the search range increases with the size of the frame. Odd sides are
    rounded up. A torch.export program has `levels` levels at every size; set `levels` for the size of its frames.

    With the defaults, it has 57,390 parameters, and 39,000 multiply-adds per pixel in convolutions and cost volumes
    (32,000 in training).

    Args:
        feature_channels: channels of the features at half the size of each level.
        channels: channels of each hidden layer of the update network.
        dilations: one per hidden layer of the update network; None: [1, 1, 2].
        search_range: r, pixels of the features; a level corrects up to 2 r pixels at its size.
        levels: number of pyramid levels in training, at least 1.
        coarsest_side: minimum shorter side of the coarsest features at test time, pixels.
        iterations: number of updates on each level.
        propagations: number of rounds of propagation in each update.
        full_feature_channels: channels of the features at the size of the image.
        full_channels: channels of each hidden layer of the last stage.
        full_dilations: one per hidden layer of the last stage; None: [1, 1].
        full_iterations: number of updates of the last stage at test time, with the same weights; one in training.

    Raises:
        ValueError: if sizes are invalid, or images have different shapes, are smaller than `minimum_size`, or are not
            multiples of `stride`.

    Source: soft-argmax matching from GMFlow (CVPR 2022), convex up-sampling from RAFT (ECCV 2020), warping in a pyramid
        from SPyNet (CVPR 2017) and PWC-Net (CVPR 2018), sharing over levels from PWC-Lite (ARFlow, CVPR 2020),
        propagation from LiteFlowNet (CVPR 2018), the step from Lucas and Kanade (IJCAI 1981).
    """

    def __init__(
        self,
        *,
        feature_channels: int = 24,
        channels: int = 32,
        dilations: list[int] | None = None,
        search_range: int = 2,
        levels: int = 4,
        coarsest_side: int = 2,
        iterations: int = 1,
        propagations: int = 3,
        full_feature_channels: int = 12,
        full_channels: int = 16,
        full_dilations: list[int] | None = None,
        full_iterations: int = 2,
    ) -> None:
        super().__init__()
        dilations = [1, 1, 2] if dilations is None else dilations
        full_dilations = [1, 1] if full_dilations is None else full_dilations
        check_sizes(
            feature_channels=feature_channels,
            channels=channels,
            search_range=search_range,
            levels=levels,
            coarsest_side=coarsest_side,
            iterations=iterations,
            propagations=propagations,
            full_feature_channels=full_feature_channels,
            full_channels=full_channels,
            full_iterations=full_iterations,
            smallest_dilation=min(dilations, default=0),
            smallest_full_dilation=min(full_dilations, default=0),
        )
        self.levels, self.coarsest_side = levels, coarsest_side
        self.iterations, self.full_iterations = iterations, full_iterations
        self.stride, self.minimum_size = 2 ** (levels - 1), 2 ** (levels + 1)
        self.features = nn.Sequential(
            conv(3, feature_channels, stride=2),
            conv(feature_channels, feature_channels),
            nn.Conv2d(feature_channels, feature_channels, 3, padding=1),
        )
        self.matching = MatchingStage(feature_channels, channels, dilations, search_range, propagations)
        self.full_features = nn.Sequential(
            conv(3, full_feature_channels), nn.Conv2d(full_feature_channels, full_feature_channels, 3, padding=1)
        )
        self.refinement = FullResolutionStage(full_feature_channels, full_channels, full_dilations)

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """Flow from image1 to image2, (B, 3, H, W) each, coarsest level first; the last is at full size."""
        check_pair(self, image1, image2)
        estimates = self._match(self._pyramid(image1), self._pyramid(image2), like=image1)
        return self._refine(self._full(image1), self._full(image2), estimates)

    def bidirectional(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow; the features of each image are computed once."""
        check_pair(self, image1, image2)
        if not torch.is_grad_enabled():  # one direction after the other, which halves the memory
            levels1, levels2 = self._pyramid(image1), self._pyramid(image2)
            forward = self._match([*levels1], [*levels2], like=image1)
            backward = self._match(levels2, levels1, like=image1)
            full1, full2 = self._full(image1), self._full(image2)
            return self._refine(full1, full2, forward), self._refine(full2, full1, backward)
        images = torch.cat([image1, image2])
        levels, full, swap = self._pyramid(images), self._full(images), len(image1)
        estimates = self._match(levels, [level.rolled(swap) for level in levels], like=images)
        return halves(self._refine(full, full.rolled(swap), estimates))

    def levels_for(self, height: int, width: int) -> int:
        """Number of pyramid levels for a size of images: `levels` in training, more at test time for large images.

        A torch.export program always has `levels` levels.
        """
        if self.training or torch.compiler.is_exporting():
            return self.levels
        return max(self.levels, int(math.log2(min(height, width) / self.coarsest_side)))

    def _full(self, image: Tensor) -> LevelInput:
        """Features and grey values of images at their size."""
        features = self._unit_features(self.full_features, image, halo=2, scale=1)
        return LevelInput(features, image.mean(dim=1, keepdim=True))

    def _pyramid(self, image: Tensor) -> list[LevelInput]:
        """Features and grey values of images at 1/2, 1/4, ... of their size."""
        inputs = []
        for _ in range(self.levels_for(image.shape[-2], image.shape[-1])):
            features = self._unit_features(self.features, image, halo=6, scale=Fraction(1, 2))
            image = shrink_image(image, 2)
            inputs.append(LevelInput(features, image.mean(dim=1, keepdim=True)))
        return inputs

    def _unit_features(self, network: nn.Module, image: Tensor, *, halo: int, scale: Fraction | int) -> Tensor:
        """Unit features (B, C, h, w) of images, computed by one of the feature networks."""

        def _of_rows(rows: slice) -> tuple[Tensor]:
            return (network(2 * image[:, :, rows] - 1),)

        (features,) = in_strips(_of_rows, image, halo=halo, scales=(scale,))
        return unit_features(features) if torch.is_grad_enabled() else unit_features_in_place(features)

    def _match(self, first: list[LevelInput], second: list[LevelInput], *, like: Tensor) -> list[FlowEstimate]:
        """Estimates from pyramids of images such as `like`; levels are removed after use, which frees memory."""
        # float32, because half precision cannot represent sub-pixel positions
        coarsest = first[-1].grey
        flow = coarsest.new_zeros(
            coarsest.shape[0], 2, *coarsest.shape[-2:], dtype=torch.promote_types(coarsest.dtype, torch.float32)
        )
        estimates = []
        while first:
            one, other = first.pop(), second.pop()
            for _ in range(self.iterations):
                flow, enlarged = self.matching(one, other, flow)
            height, width = (first[-1].grey if first else like).shape[-2:]
            enlarged = enlarged[..., :height, :width]  # an odd side was rounded up
            estimates.append(FlowEstimate(raw=flow, flow=enlarged))
            flow = enlarged
        return estimates

    def _refine(self, first: LevelInput, second: LevelInput, estimates: list[FlowEstimate]) -> list[FlowEstimate]:
        """Estimates, and the one at the images' size."""
        flow = estimates[-1].flow
        for _ in range(1 if self.training else self.full_iterations):
            flow = self.refinement(first, second, flow)
        return [*estimates, FlowEstimate(raw=flow, flow=flow)]


def check_sizes(**sizes: int) -> None:
    """Raise ValueError, naming them, if some sizes are less than 1."""
    wrong = ", ".join(f"{name}={value}" for name, value in sizes.items() if value < 1)
    if wrong:
        raise ValueError(f"{wrong}: PyramidMatcher needs sizes of at least 1, and at least one dilation in each list.")
