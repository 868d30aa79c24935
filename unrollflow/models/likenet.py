"""LikeNet: likelihoods of displacements, with one branch per displacement, from coarse to fine."""

import torch
from einops import rearrange
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate, LikelihoodEstimate
from unrollflow.models.pairs import check_pair
from unrollflow.models.pwclite import LEAK, conv
from unrollflow.ops.matching import soft_argmax
from unrollflow.ops.resize import resize_flow
from unrollflow.ops.shifts import window_shifts
from unrollflow.ops.warp import warp


class Branches(nn.Module):
    """Scores of the displacements of a window, with one branch per displacement and shared weights.

    The input of a branch are the features of image1 at p and of image2 at p + d. Its first layer is linear in both, so
    it is computed once per image, and only the sums differ between branches.

    Args:
        inputs: channels of the features.
        channels: channels inside a branch.
        search_range: r; dx and dy are from -r to r, pixels of the level.
    """

    def __init__(self, inputs: int, channels: int, search_range: int) -> None:
        super().__init__()
        self.search_range = search_range
        self.first = nn.Conv2d(inputs, channels, 3, padding=1)
        self.second = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        with torch.no_grad():  # initially, compute the difference of the features
            self.second.weight.copy_(-self.first.weight)
        self.score = nn.Sequential(nn.LeakyReLU(LEAK), conv(channels, channels), nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, f1: Tensor, f2: Tensor) -> Tensor:
        """Scores (B, (2r + 1)^2, h, w) of the features (B, C, h, w) of both images."""
        shifts = window_shifts(self.second(f2), self.search_range, padding="zeros")
        x = self.first(f1).unsqueeze(1) + torch.stack(shifts, dim=1)  # (B, K, c, h, w)
        scores: Tensor = self.score(rearrange(x, "b k c h w -> (b k) c h w"))
        return scores.view(-1, len(shifts), *f1.shape[-2:])


class LikeNet(nn.Module):
    """Siamese network that estimates at each level the likelihood P(L = m) of every displacement m, and its mean.

    A level warps the features of image2 by the enlarged flow of the previous level, and adds the expected
    displacement. Initially, all displacements are about equally likely, and flow is near zero.

    The publication specifies the principle, the numbers of branches of the five levels (121, 169, 49, 9, 9), and
    697,028 parameters; the default has 692,397. The following are our choices: the sizes of the levels (1/16 to full
    size), the feature layers (two 3x3 convolutions per level, as in PWC-Lite), the branches (three 3x3 convolutions,
    with weights shared by all branches of a level), and warping of features. The first author's thesis (A. Ahmadi,
    Unsupervised Training of Deep Neural Networks for Motion Estimation, Queen Mary University of London, 2018) may
    specify some of them; it was not consulted.

    Args:
        search_ranges: r of the (2r + 1)^2 displacements of each level, coarse to fine, pixels of the level.
        feature_channels: channels of each level, coarse to fine; the last is at full size.
        branch_channels: channels inside the branches.

    Raises:
        ValueError: if sizes are invalid, or images are not a multiple of `stride`.

    Source: Ahmadi, Marras and Patras, LikeNet: A Siamese Motion Estimation Network Trained in an Unsupervised Way,
        BMVC 2018.
    """

    def __init__(
        self,
        *,
        search_ranges: list[int] | None = None,
        feature_channels: list[int] | None = None,
        branch_channels: int = 24,
    ) -> None:
        super().__init__()
        ranges, channels = search_ranges or [5, 6, 3, 1, 1], feature_channels or [128, 96, 64, 48, 32]
        if len(ranges) != len(channels) or min(ranges) < 1:
            raise ValueError(
                f"{len(ranges)} search ranges {ranges} and {len(channels)} feature channels; LikeNet needs one range "
                "of at least 1 and one number of channels for each level."
            )
        self.stride = self.minimum_size = 2 ** (len(ranges) - 1)
        fine_to_coarse = channels[::-1]
        self.features = nn.ModuleList(
            nn.Sequential(conv(inputs, outputs, stride=1 if level == 0 else 2), conv(outputs, outputs))
            for level, (inputs, outputs) in enumerate(zip([3, *fine_to_coarse], fine_to_coarse, strict=False))
        )
        self.branches = nn.ModuleList(Branches(c, branch_channels, r) for c, r in zip(channels, ranges, strict=True))

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """Flow from image1 to image2, (B, 3, H, W) each, of every level, coarsest first; the last is at full size."""
        pairs = [features.chunk(2) for features in self._features(image1, image2)]
        return list(self._decode([one for one, _ in pairs], [other for _, other in pairs]))

    def bidirectional(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow in one batch; the features of each image are computed once."""
        features = self._features(image1, image2)
        joint = self._decode(features, [f.roll(len(image1), dims=0) for f in features])
        forward, backward = zip(*(split(estimate) for estimate in joint), strict=True)
        return list(forward), list(backward)

    def _features(self, image1: Tensor, image2: Tensor) -> list[Tensor]:
        """Features of both images along the batch, coarse to fine."""
        check_pair(self, image1, image2)
        features = [2 * torch.cat([image1, image2]) - 1]
        for level in self.features:
            features.append(level(features[-1]))
        return features[:0:-1]

    def _decode(self, features1: list[Tensor], features2: list[Tensor]) -> list[LikelihoodEstimate]:
        estimates: list[LikelihoodEstimate] = []
        for f1, f2, branches in zip(features1, features2, self.branches, strict=True):
            if estimates:
                start = resize_flow(estimates[-1].raw, (f1.shape[-2], f1.shape[-1]))
                f2 = warp(f2, start)
            else:  # float32, because half precision cannot represent sub-pixel positions
                start = torch.zeros_like(f1[:, :2], dtype=torch.promote_types(f1.dtype, torch.float32))
            likelihood, displacement = soft_argmax(branches(f1, f2))
            raw = start + displacement
            estimates.append(LikelihoodEstimate(raw, raw, likelihood=likelihood, start=start))
        return estimates


def split(joint: LikelihoodEstimate) -> tuple[LikelihoodEstimate, LikelihoodEstimate]:
    """Split a batch into its halves."""
    parts = [tensor.chunk(2) for tensor in (joint.raw, joint.flow, joint.likelihood, joint.start)]
    first, second = (
        LikelihoodEstimate(raw, flow, likelihood=likelihood, start=start)
        for raw, flow, likelihood, start in zip(*parts, strict=True)
    )
    return first, second
