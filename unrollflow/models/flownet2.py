"""FlowNet 2.0: a stack of FlowNets with warping, a network for small displacements, and their fusion."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate
from unrollflow.models.flownet import FlowNetC, FlowNetS
from unrollflow.models.flownet_sd import FlowNetFusion, FlowNetSD
from unrollflow.models.pairs import both_orders, centred, check_pair, halves
from unrollflow.models.pwclite import OUTPUT_FACTOR
from unrollflow.ops.choice import check_choice
from unrollflow.ops.warp import warp

Trained = Literal["correlation", "second", "third", "small", "fusion", "all"]
STACK_CHANNELS = 6
"""Additional input channels of a stacked FlowNetS: the warped second image, the flow, and the brightness error."""


class FlowNet2(nn.Module):
    """FlowNetC, two FlowNetS with the warped second image as input, FlowNetSD, and a fusion of the two flows.

    With the defaults of its parts (and 6 extra channels in both FlowNetS), it is the network of NVIDIA's port, with
    162,518,834 parameters. The published schedule trains one part after the other:

    - `trained`: "correlation", then "second", "third", "small" and "fusion", each in a separate run that starts from
      the previous one (`--model.init_weights last.ckpt`). The other parts are frozen. In training and evaluation, the
      estimates are all levels of the trained part; parts after it are not computed.
    - "all": all parts are trained together (not published). The estimates are the finest flow of each of the four
      networks, then the three of the fusion. Do not use it to train only the fusion.

    Args:
        correlation: network of the images.
        second, third: networks of the images, the previous flow, and the image warped by it.
        small: network of the images, for small displacements.
        fusion: network of the flows of `third` and `small`, each enlarged by repeating pixels.
        trained: see above.

    Raises:
        ValueError: if the trained part is unknown, a FlowNetS does not have the 6 channels, or images are not a
            multiple of `stride`.

    Source: Ilg et al., FlowNet 2.0, CVPR 2017, Fig. 2, sections 4 and 5; enlargement, centring and input scales:
        NVIDIA/flownet2-pytorch. Their flow is enlarged with aligned corners, as in torch 0.3.
    """

    def __init__(
        self,
        *,
        correlation: FlowNetC,
        second: FlowNetS,
        third: FlowNetS,
        small: FlowNetSD,
        fusion: FlowNetFusion,
        trained: Trained = "all",
    ) -> None:
        super().__init__()
        check_choice("trained", trained, Trained)
        if second.extra_channels != STACK_CHANNELS or third.extra_channels != STACK_CHANNELS:
            raise ValueError(
                f"second and third have {second.extra_channels} and {third.extra_channels} extra channels; FlowNet2 "
                f"needs extra_channels={STACK_CHANNELS} in both."
            )
        self.correlation, self.second, self.third, self.small, self.fusion = correlation, second, third, small, fusion
        self.trained: Trained = trained
        self.stride = max(part.stride for part in (correlation, second, third, small, fusion))
        self.minimum_size = self.stride
        for name, part in self.named_children():
            part.requires_grad_(trained in (name, "all"))

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """Flow from image1 to image2, (B, 3, H, W) each; see :class:`FlowNet2` for the estimates."""
        check_pair(self, image1, image2)
        first = [] if self.trained == "small" else self.correlation(image1, image2)
        return self._continue(image1, image2, first)

    def bidirectional(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow in one batch; FlowNetC computes the features of each image once."""
        check_pair(self, image1, image2)
        ways = ([], []) if self.trained == "small" else self.correlation.bidirectional(image1, image2)
        first = [FlowEstimate(*map(torch.cat, zip(*pair, strict=True))) for pair in zip(*ways, strict=True)]
        return halves(self._continue(*both_orders(image1, image2), first))

    def _continue(self, image1: Tensor, image2: Tensor, first: list[FlowEstimate]) -> list[FlowEstimate]:
        """Estimates of the trained part, given those of FlowNetC."""
        if self.trained == "small":
            return list(self.small(image1, image2))
        image1, image2 = centred(image1, image2)
        stack = [first]
        for network in (self.second, self.third)[: {"correlation": 0, "second": 1}.get(self.trained, 2)]:
            x = stacked(image1, image2, stack[-1][-1].flow, scale=network.flow_scale)
            stack.append(network.estimates(x))
        if self.trained not in ("fusion", "all"):
            return stack[-1]
        small = self.small.estimates(torch.cat([image1, image2], dim=1))[-1]
        fused = self.fusion(torch.cat([image1, *rivals(image1, image2, [small.raw, stack[-1][-1].raw])], dim=1))
        finest = [estimates[-1] for estimates in stack]
        return [*finest, small, *fused] if self.trained == "all" else list(fused)


def stacked(image1: Tensor, image2: Tensor, flow: Tensor, *, scale: float) -> Tensor:
    """Input of a stacked FlowNetS: images, the warped second image, the scaled flow, and the brightness error.

    Args:
        image1, image2: (B, 3, H, W), centred.
        flow: (B, 2, H, W), pixels.
        scale: divisor of the flow, pixels.

    Returns:
        (B, 12, H, W).
    """
    warped = warp(image2, flow)
    return torch.cat([image1, image2, warped, flow / scale, length(image1 - warped)], dim=1)


def rivals(image1: Tensor, image2: Tensor, quarters: list[Tensor]) -> list[Tensor]:
    """Input of the fusion for flows at 1/4 of the image: all flows, all their lengths, all brightness errors.

    Args:
        image1, image2: (B, 3, H, W).
        quarters: flows (B, 2, H / 4, W / 4), pixels of their grid.
    """
    flows = [OUTPUT_FACTOR * F.interpolate(quarter, scale_factor=OUTPUT_FACTOR, mode="nearest") for quarter in quarters]
    differences = [length(image1 - warp(image2, flow)) for flow in flows]
    return [*flows, *(length(flow) for flow in flows), *differences]


def length(vectors: Tensor) -> Tensor:
    """Lengths (B, 1, H, W) of vectors (B, C, H, W); the gradient at zero is zero."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return lengths
