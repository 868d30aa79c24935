"""Networks of FlowNet 2.0 with small kernels: for small displacements, and for the fusion of two flows."""

import torch
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate
from unrollflow.models.flownet import REFINEMENT, check_sizes
from unrollflow.models.heads import precise
from unrollflow.models.pairs import both_orders, centred, check_pair, halves
from unrollflow.models.pwclite import conv
from unrollflow.models.refinement import Refinement, quarter_estimates

ENCODER = [64, 128, 128, 256, 512, 512, 1024]
FUSION_ENCODER = [64, 128, 128]
FUSION_REFINEMENT = [32, 16]
FUSION_INPUTS = 11


class SmallKernels(nn.Module):
    """Features at full size, 1/2, 1/4, ...: a 3x3 convolution at full size, then one of stride 2 and one of stride 1.

    Args:
        inputs: channels of the input.
        channels: channels at each size; the first strided convolution keeps the number of channels, as published.
    """

    def __init__(self, inputs: int, channels: list[int]) -> None:
        super().__init__()
        self.stem = conv(inputs, channels[0])
        strided = [channels[0], *channels[2:]]
        self.levels = nn.ModuleList(
            nn.Sequential(conv(before, inner, stride=2), conv(inner, after))
            for before, inner, after in zip(channels, strided, channels[1:], strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features (B, c_i, H / 2^i, W / 2^i), i = 0.., fine to coarse, of (B, inputs, H, W)."""
        features = [precise(self.stem, x)]  # the input of the fusion contains flows
        for level in self.levels:
            features.append(level(features[-1]))
        return features


class FlowNetSD(nn.Module):
    """FlowNetS with 3x3 kernels, a first stride of 1, and a smoothed refinement, for small displacements.

    The defaults are the released network, with 45,371,666 parameters.

    Args:
        encoder_channels: channels at full size, 1/2, 1/4, ... of the image; at least four.
        refinement_channels: channels of the enlarged features, coarse to fine; three fewer.
        flow_scale: flow of an output of 1, pixels of the image; 1/20 as released (20 in the other networks).
        head_scale: factor on the initial weights of the flow heads; small values start near zero flow.

    Raises:
        ValueError: if sizes are invalid, or images are not a multiple of `stride`.

    Source: Ilg et al., FlowNet 2.0, CVPR 2017, section 5, and its supplement, Table 3.
    """

    def __init__(
        self,
        *,
        encoder_channels: list[int] | None = None,
        refinement_channels: list[int] | None = None,
        flow_scale: float = 0.05,
        head_scale: float = 1.0,
    ) -> None:
        super().__init__()
        encoder, refinement = encoder_channels or ENCODER, refinement_channels or REFINEMENT
        check_sizes(encoder[1:], refinement, fewest=3, network="FlowNetSD beside its channels at full size")
        self.flow_scale = flow_scale
        self.stride = self.minimum_size = 2 ** (len(encoder) - 1)
        self.encoder = SmallKernels(6, encoder)
        self.refinement = Refinement(
            encoder[-1], encoder[-2:1:-1], refinement, smooth=True, flow_bias=True, head_scale=head_scale
        )

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """Flow from image1 to image2, (B, 3, H, W) each, at 1/2^n .. 1/4 of their size, coarsest first."""
        check_pair(self, image1, image2)
        return self.estimates(torch.cat(centred(image1, image2), dim=1))

    def bidirectional(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow in one batch; all features depend on both images."""
        check_pair(self, image1, image2)
        return halves(self(*both_orders(image1, image2)))

    def estimates(self, x: Tensor) -> list[FlowEstimate]:
        """Estimates from both images, centred, (B, 6, H, W)."""
        features = self.encoder(x)
        return quarter_estimates(self.refinement(features[:1:-1]), scale=self.flow_scale)


class FlowNetFusion(nn.Module):
    """Fusion of two flows at full size, from the flows, their lengths, their brightness errors, and the first image.

    The defaults are the released network, with 581,226 parameters.

    Args:
        encoder_channels: channels at full size, 1/2 and 1/4.
        refinement_channels: channels of the enlarged features, coarse to fine; one fewer.
        head_scale: factor on the initial weights of the flow heads.

    Raises:
        ValueError: if the numbers of channels are invalid, or the size is not a multiple of `stride`.

    Source: Ilg et al., FlowNet 2.0, CVPR 2017, section 5, and its supplement, Table 4.
    """

    def __init__(
        self,
        *,
        encoder_channels: list[int] | None = None,
        refinement_channels: list[int] | None = None,
        head_scale: float = 1.0,
    ) -> None:
        super().__init__()
        encoder, refinement = encoder_channels or FUSION_ENCODER, refinement_channels or FUSION_REFINEMENT
        if len(encoder) < 2 or len(refinement) != len(encoder) - 1:
            raise ValueError(
                f"{len(encoder)} encoder and {len(refinement)} refinement channels; FlowNetFusion needs at least 2 "
                "encoder channels, and one fewer refinement channels, because it ends at full size."
            )
        self.stride = 2 ** (len(encoder) - 1)
        self.encoder = SmallKernels(FUSION_INPUTS, encoder)
        self.refinement = Refinement(
            encoder[-1], encoder[-2::-1], refinement, smooth=True, flow_bias=True, head_scale=head_scale
        )

    def forward(self, x: Tensor) -> list[FlowEstimate]:
        """Flows at 1/4, 1/2 and full size, without enlargement, pixels of their grids, from (B, 11, H, W)."""
        height, width = x.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"flows are {height}x{width}; FlowNetFusion needs multiples of {self.stride}: pad the images."
            )
        outputs = self.refinement(self.encoder(x)[::-1])
        raws = [output / 2**level for level, output in zip(range(len(outputs) - 1, -1, -1), outputs, strict=True)]
        return [FlowEstimate(raw=raw, flow=raw) for raw in raws]
