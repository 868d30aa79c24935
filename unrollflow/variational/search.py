"""Coarse search: motion that is larger than what moves, which no descent from zero finds."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from unrollflow.losses.photometric import census
from unrollflow.ops.warp import warp

SMALLEST = 64
"""Pixels; of smaller frames OpenCV's search has no pyramid."""

CENSUS_SIDE = 3
COST_SIDE = 5
"""Side in pixels of the square over which the costs of two flows are compared."""

LEAST_GAIN = 0.02
"""By how much of the census (of at most 1) another flow must be cheaper to be taken."""


@torch.no_grad()
def inverse_search(image1: Tensor, image2: Tensor) -> Tensor:
    """Flow (B, 2, H, W) by OpenCV's dense inverse search, in pixels; zero for frames under 64 pixels.

    Args: image1, image2: (B, 3, H, W) in [0, 1].

    Source: Kroeger et al., Fast optical flow using dense inverse search, ECCV 2016.
    """
    if min(image1.shape[-2:]) < SMALLEST:
        return torch.zeros_like(image1[:, :2])
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    frames = [
        [cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (255 * pixels(image)).round().astype(np.uint8)]
        for image in (image1, image2)
    ]
    flows = np.stack([search.calc(first, second, None) for first, second in zip(*frames, strict=True)])  # type: ignore[call-overload]  # None: no flow to start from
    return rearrange(torch.from_numpy(flows), "b h w c -> b c h w").to(image1)


def pixels(image: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """An image (B, 3, H, W) as an array (B, H, W, 3) in [0, 1]."""
    array: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = (
        rearrange(image.float().clamp(0, 1), "b c h w -> b h w c").cpu().numpy()
    )
    return array


@torch.no_grad()
def better_of(flow: Tensor, other: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
    """Of two flows (B, 2, H, W), at each pixel the one that explains its surroundings better; the first, in doubt.

    Args: image1, image2: (B, 3, H, W) in [0, 1], of the flows' size.
    """
    cost, cost_of_other = (
        F.avg_pool2d(
            census(image1, warp(image2, candidate), patch_size=CENSUS_SIDE, border="zero"),
            COST_SIDE,
            stride=1,
            padding=COST_SIDE // 2,
        )
        for candidate in (flow, other)
    )
    return torch.where(cost_of_other + LEAST_GAIN < cost, other, flow)
