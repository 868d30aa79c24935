"""FlowNet 2.0: a stack of FlowNets that warps between them, beside one for small displacements, and their fusion."""

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
"""What a stacked FlowNetS sees beside the images: the second one warped, the flow, and the warped one's difference."""


class FlowNet2(nn.Module):
    """FlowNetC, two FlowNetS that see the warped second image, FlowNetSD beside them, and a fusion of the two flows.

    With the parts' defaults (and 6 extra channels of both FlowNetS) it is the network of NVIDIA's port, 162,518,834
    parameters. The published schedule trains one part after the other:

    - `trained`: "correlation", then "second", "third", "small" and "fusion", each in a run of its own that starts from
      the one before (`--model.init_weights last.ckpt`). The other parts are frozen; flow, in training and evaluation,
      is that part's, all its levels; what comes after it is not computed.
    - "all": all are trained together (not published), and the list is the finest flow of each of the four, then the
      fusion's three. So do not take it to train the fusion alone.

    Args:
        correlation: sees the images.
        second, third: each sees the images and what the flow before it makes of them.
        small: sees the images.
        fusion: sees what the third and the small-displacement network say, each enlarged by repeating pixels.
        trained: see above.

    Raises:
        ValueError: for an unknown part, or a FlowNetS without the 6 channels; for images that are not a multiple of
            `stride`.

    Source: Ilg et al., FlowNet 2.0, CVPR 2017, Fig. 2, sections 4 and 5; enlargement, centring and the scale of what
        the networks see: NVIDIA/flownet2-pytorch. Their flow is enlarged with aligned corners, as in torch 0.3.
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
                f"second and third have {second.extra_channels} and {third.extra_channels} extra channels; FlowNet2's "
                f"FlowNetS need extra_channels={STACK_CHANNELS}."
            )
        self.correlation, self.second, self.third, self.small, self.fusion = correlation, second, third, small, fusion
        self.trained: Trained = trained
        self.stride = max(part.stride for part in (correlation, second, third, small, fusion))
        self.minimum_size = self.stride
        for name, part in self.named_children():
            part.requires_grad_(trained in (name, "all"))

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """Flow from image1 to image2, (B, 3, H, W) each; which estimates, see above."""
        check_pair(self, image1, image2)
        first = [] if self.trained == "small" else self.correlation(image1, image2)
        return self._continue(image1, image2, first)

    def both(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow in one batch; FlowNetC's features of each image are computed once."""
        check_pair(self, image1, image2)
        ways = ([], []) if self.trained == "small" else self.correlation.both(image1, image2)
        first = [FlowEstimate(*map(torch.cat, zip(*pair, strict=True))) for pair in zip(*ways, strict=True)]
        return halves(self._continue(*both_orders(image1, image2), first))

    def _continue(self, image1: Tensor, image2: Tensor, first: list[FlowEstimate]) -> list[FlowEstimate]:
        """Estimates of the trained part, from FlowNetC's on."""
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
    """What a stacked FlowNetS sees: images, the second one warped, the flow by its scale, and the difference's length.

    Args:
        image1, image2: (B, 3, H, W), centred.
        flow: (B, 2, H, W), pixels.
        scale: of the flow, pixels.

    Returns:
        (B, 12, H, W).
    """
    warped = warp(image2, flow)
    return torch.cat([image1, image2, warped, flow / scale, length(image1 - warped)], dim=1)


def rivals(image1: Tensor, image2: Tensor, quarters: list[Tensor]) -> list[Tensor]:
    """What the fusion sees of flows at 1/4 of the image: themselves, their lengths, the images' differences, in turn.

    Args:
        image1, image2: (B, 3, H, W).
        quarters: flows (B, 2, H / 4, W / 4), pixels of their own grid.
    """
    flows = [OUTPUT_FACTOR * F.interpolate(quarter, scale_factor=OUTPUT_FACTOR, mode="nearest") for quarter in quarters]
    differences = [length(image1 - warp(image2, flow)) for flow in flows]
    return [*flows, *(length(flow) for flow in flows), *differences]


def length(vectors: Tensor) -> Tensor:
    """(B, C, H, W) to (B, 1, H, W); the slope at zero is zero."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return lengths
