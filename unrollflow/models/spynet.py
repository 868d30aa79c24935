"""SPyNet: one small network per level of an image pyramid, which estimates the residual flow."""

import torch
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate
from unrollflow.models.heads import FlowHead
from unrollflow.models.pairs import both_orders, check_pair, halves
from unrollflow.ops.resize import resize_flow, resize_image
from unrollflow.ops.warp import warp

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's colours, R, G and B in [0, 1]."""


class LevelNetwork(nn.Sequential):
    """Convolutions of equal kernel size with ReLU between them, from two frames and a flow to the residual flow."""

    def __init__(self, channels: list[int], kernel_size: int, head_scale: float) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in zip([8, *channels], channels, strict=False):
            layers += [nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2), nn.ReLU(inplace=True)]
        super().__init__(*layers, FlowHead(channels[-1], head_scale, kernel_size=kernel_size))


class SPyNet(nn.Module):
    """Residual flow at each level of an image pyramid, from the second frame warped by the previous levels.

    The defaults are the published network, with 1,200,250 parameters. The publication trains level by level:
    `trained_level` 0, then 1, ..., each in a separate run that starts from the previous one (`--model.init_weights
    last.ckpt`), on ground truth of the size of the level (configs/objective/supervised_last.yaml). Differences here:

    - a level starts from its own weights, not from a copy of the previous level;
    - the estimates include the flow of frozen levels, which other objectives use, without effect;
    - objectives that use `flow`, such as those without labels, score the flow of the trained level enlarged to the size
      of the image, not at the size of the level.

    (On Sintel, the paper applies the last network twice, on a sixth level; this is not implemented.)

    Args:
        levels: number of pyramid levels; the coarsest has 1 / 2^(levels - 1) of the size of the image.
        channels: channels inside the network of each level.
        kernel_size: side of its kernels, odd.
        trained_level: the level to train, from 0, the coarsest: previous levels are frozen, later levels are not
            computed, and the flow is that of this level, enlarged. None: train all levels together.
        head_scale: factor on the initial weights of the last layer of each level; small values start near zero flow.

    Raises:
        ValueError: if sizes are invalid, or images are not a multiple of `stride`.

    Source: Ranjan and Black, Optical Flow Estimation using a Spatial Pyramid Network, CVPR 2017, section 3; frames
        are shrunk by means of 2x2 pixels, flow is enlarged with aligned corners, as in sniklaus/pytorch-spynet.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        *,
        levels: int = 5,
        channels: list[int] | None = None,
        kernel_size: int = 7,
        trained_level: int | None = None,
        head_scale: float = 1.0,
    ) -> None:
        super().__init__()
        last = levels - 1 if trained_level is None else trained_level
        if levels < 1 or not 0 <= last < levels or kernel_size % 2 == 0:
            raise ValueError(
                f"levels={levels}, trained_level={trained_level}, kernel_size={kernel_size}: SPyNet needs at least one "
                "level, a trained_level from 0 to levels - 1 or None, and an odd kernel_size."
            )
        self.last = last
        self.stride = self.minimum_size = 2 ** (levels - 1)
        self.networks = nn.ModuleList(
            LevelNetwork(channels or [32, 64, 32, 16], kernel_size, head_scale) for _ in range(levels)
        )
        for level, network in enumerate(self.networks):
            network.requires_grad_(trained_level in (None, level))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """Flow from image1 to image2, (B, 3, H, W) each, of every level, coarsest first; the last is at full size."""
        check_pair(self, image1, image2)
        image1, image2 = ((image - self.mean) / self.deviation for image in (image1, image2))
        height, width = image1.shape[-2:]
        estimates: list[FlowEstimate] = []
        for level, network in enumerate(list(self.networks)[: self.last + 1]):
            factor = 2 ** (len(self.networks) - 1 - level)
            size = (height // factor, width // factor)
            frame1, frame2 = resize_image(image1, size), resize_image(image2, size)
            if estimates:
                flow = resize_flow(estimates[-1].raw, size)
                frame2 = warp(frame2, flow)
            else:  # float32, because half precision cannot represent sub-pixel positions
                flow = torch.zeros_like(frame1[:, :2], dtype=torch.promote_types(frame1.dtype, torch.float32))
            raw = flow + network(torch.cat([frame1, frame2, flow], dim=1))
            estimates.append(FlowEstimate(raw=raw, flow=raw))
        return [*estimates[:-1], FlowEstimate(estimates[-1].raw, resize_flow(estimates[-1].raw, (height, width)))]

    def bidirectional(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow in one batch; all features depend on both images."""
        check_pair(self, image1, image2)
        return halves(self(*both_orders(image1, image2)))
