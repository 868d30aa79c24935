"""Decoder of the FlowNets, from coarse features to fine flow."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate
from unrollflow.models.heads import FlowHead, precise
from unrollflow.models.pwclite import LEAK, OUTPUT_FACTOR
from unrollflow.ops.resize import resize_flow


class Refinement(nn.Module):
    """Estimates flow from the coarsest features, then at levels of twice the size each.

    The input of a level are the encoder's features of its size, and the features and flow of the previous level, both
    enlarged by transposed convolutions.

    Args:
        coarsest: channels of the coarsest features.
        skips: channels of the encoder's features at each finer level, coarse to fine.
        channels: channels of the enlarged features at each finer level.
        smooth: use a linear 3x3 convolution before the flow of each finer level (small displacements in FlowNet 2.0).
        flow_bias: whether the convolutions that enlarge the flow have a bias.
        head_scale: factor on the initial weights of the flow heads.

    Source: Dosovitskiy et al., FlowNet, ICCV 2015, Fig. 3; Ilg et al., FlowNet 2.0, CVPR 2017, supplement.
    """

    def __init__(
        self,
        coarsest: int,
        skips: Sequence[int],
        channels: Sequence[int],
        *,
        smooth: bool,
        flow_bias: bool,
        head_scale: float,
    ) -> None:
        super().__init__()
        levels = [coarsest, *(skip + new + 2 for skip, new in zip(skips, channels, strict=True))]
        seen = [coarsest, *(channels if smooth else levels[1:])]
        self.enlarge = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(i, o, 4, stride=2, padding=1), nn.LeakyReLU(LEAK, inplace=True))
            for i, o in zip(levels, channels, strict=False)
        )
        self.enlarge_flow = nn.ModuleList(
            nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1, bias=flow_bias) for _ in channels
        )
        self.smooth = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1) if smooth else nn.Identity()
            for i, o in zip(levels[1:], channels, strict=True)
        )
        self.heads = nn.ModuleList(FlowHead(c, head_scale) for c in seen)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Outputs (B, 2, h, w) of features (B, c, h, w), coarse to fine, each of twice the previous size."""
        x = features[0]
        outputs = [self.heads[0](x)]
        for skip, enlarge, enlarge_flow, smooth, head in zip(
            features[1:], self.enlarge, self.enlarge_flow, self.smooth, list(self.heads)[1:], strict=True
        ):
            # float32, because a head must be able to reproduce the flow, which half precision would round
            x = torch.cat([skip, enlarge(x), precise(enlarge_flow, outputs[-1])], dim=1)
            outputs.append(head(precise(smooth, x)))
        return outputs


def quarter_estimates(outputs: list[Tensor], *, scale: float) -> list[FlowEstimate]:
    """Estimates from outputs (B, 2, h, w) at 1/2^n .. 1/4 of the image, coarse to fine.

    Args:
        outputs: flow in units of `scale` pixels of the image at every level, so that levels need no rescaling.
        scale: flow of an output of 1, pixels of the image.
    """
    estimates = []
    for level, output in zip(range(len(outputs) + 1, 1, -1), outputs, strict=True):
        raw = output * (scale / 2**level)
        size = (OUTPUT_FACTOR * raw.shape[-2], OUTPUT_FACTOR * raw.shape[-1])
        estimates.append(FlowEstimate(raw=raw, flow=resize_flow(raw, size)))
    return estimates
