"""Shared checks and helpers of networks for pairs of frames."""

from typing import cast

import torch
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate, FlowNetwork, check_images


def check_frames(network: FlowNetwork, image1: Tensor, image2: Tensor) -> None:
    """Raise ValueError unless two images pass `check_images`, and have the type and minimum size of a network."""
    name = type(network).__name__
    check_images(image1, image2, user=name)
    weights = next(cast(nn.Module, network).parameters(), image1).dtype
    if weights in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"the weights of {name} are {weights}, which cannot represent sub-pixel flow; keep them in float32, and "
            "run the network with torch.autocast (--trainer.precision 16-mixed or bf16-mixed)."
        )
    if image1.dtype != weights:
        raise ValueError(
            f"images are {image1.dtype}, but the weights of {name} are {weights}; use image.to({weights})."
        )
    height, width = image1.shape[-2:]
    if min(height, width) < network.minimum_size:
        raise ValueError(
            f"frames are {height}x{width}, but {name} needs at least {network.minimum_size} pixels per side; enlarge "
            "them, or use a backbone with fewer levels."
        )


def check_pair(network: FlowNetwork, image1: Tensor, image2: Tensor) -> None:
    """Raise ValueError unless two images pass :func:`check_frames`, and are multiples of the network's stride."""
    check_frames(network, image1, image2)
    height, width = image1.shape[-2:]
    if height % network.stride or width % network.stride:
        raise ValueError(
            f"frames are {height}x{width}; {type(network).__name__} needs multiples of {network.stride}: pad them with "
            "unrollflow.ops.pad_to_multiple, or use UnsupervisedFlow, which pads them."
        )


def centred(image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
    """Two images (B, 3, H, W) minus the mean of each channel over the pair.

    >>> [image.item() for image in centred(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))]
    [-0.5, 0.5]
    """
    mean = (image1.mean(dim=(2, 3), keepdim=True) + image2.mean(dim=(2, 3), keepdim=True)) / 2
    return image1 - mean, image2 - mean


def both_orders(image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
    """(image1, image2) and (image2, image1), concatenated along the batch."""
    return torch.cat([image1, image2]), torch.cat([image2, image1])


def halves(joint: list[FlowEstimate]) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
    """Split the estimates of :func:`both_orders` into forward and backward estimates."""
    pairs = [(raw.chunk(2), flow.chunk(2)) for raw, flow in joint]
    forward, backward = ([FlowEstimate(raw[i], flow[i]) for raw, flow in pairs] for i in (0, 1))
    return forward, backward
