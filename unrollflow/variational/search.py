"""Coarse search for motion that is larger than the moving object, which descent from zero does not find."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from unrollflow.losses.photometric import census
from unrollflow.ops.warp import warp

SMALLEST = 64
"""Smallest side of frames, pixels; for smaller frames, OpenCV's search has no pyramid."""

CENSUS_SIDE = 3
COST_SIDE = 5
"""Side of the square over which the costs of two flows are averaged, pixels."""

LEAST_GAIN = 0.02
"""Smallest difference of the census cost (at most 1) for which the other flow is used."""


@torch.no_grad()
def inverse_search(image1: Tensor, image2: Tensor, *, preset: int = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM) -> Tensor:
    """Flow (B, 2, H, W) by OpenCV's dense inverse search, pixels; zero if a side is under 64 pixels.

    Args:
        image1, image2: (B, 3, H, W) in [0, 1].
        preset: one of OpenCV's presets.

    Source: Kroeger et al., Fast optical flow using dense inverse search, ECCV 2016.
    """
    if min(image1.shape[-2:]) < SMALLEST:
        return torch.zeros_like(image1[:, :2])
    search = cv2.DISOpticalFlow.create(preset)
    frames = [
        [cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (255 * pixels(image)).round().astype(np.uint8)]
        for image in (image1, image2)
    ]
    flows = np.stack([search.calc(first, second, None) for first, second in zip(*frames, strict=True)])  # type: ignore[call-overload]  # None: no initial flow
    return rearrange(torch.from_numpy(flows), "b h w c -> b c h w").to(image1)


def pixels(image: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Image (B, 3, H, W) as an array (B, H, W, 3) in [0, 1]."""
    array: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = (
        rearrange(image.float().clamp(0, 1), "b c h w -> b h w c").cpu().numpy()
    )
    return array


@torch.no_grad()
def better_of(flow: Tensor, other: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
    """Combine two flows (B, 2, H, W): at each pixel, use the other flow only if its local census cost is clearly lower.

    Args: image1, image2: (B, 3, H, W) in [0, 1], of the size of the flows.
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
