"""What networks that take both frames at once have in common."""

import torch
from torch import Tensor

from unrollflow.contracts import FlowEstimate


def check_pair(image1: Tensor, image2: Tensor, *, stride: int, network: str) -> None:
    """Raise ValueError unless two images (B, 3, H, W) are of one shape, in multiples of a network's stride."""
    height, width = image1.shape[-2:]
    if image1.shape != image2.shape or height % stride or width % stride:
        raise ValueError(
            f"images are {tuple(image1.shape)} and {tuple(image2.shape)}; {network} needs two of one shape, height and "
            f"width multiples of {stride}; pad with F.pad(..., mode='replicate') first, or use UnsupervisedFlow, which "
            "does."
        )


def centred(image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
    """Two images (B, 3, H, W) less the mean of each channel over the pair.

    >>> [image.item() for image in centred(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))]
    [-0.5, 0.5]
    """
    mean = (image1.mean(dim=(2, 3), keepdim=True) + image2.mean(dim=(2, 3), keepdim=True)) / 2
    return image1 - mean, image2 - mean


def both_orders(image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
    """(image1, image2) and, further along the batch, (image2, image1)."""
    return torch.cat([image1, image2]), torch.cat([image2, image1])


def halves(joint: list[FlowEstimate]) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
    """Estimates of :func:`both_orders` as forward and backward ones."""
    pairs = [(raw.chunk(2), flow.chunk(2)) for raw, flow in joint]
    forward, backward = ([FlowEstimate(raw[i], flow[i]) for raw, flow in pairs] for i in (0, 1))
    return forward, backward
