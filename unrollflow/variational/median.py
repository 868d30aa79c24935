"""Median filters of flow: outliers between the levels of a pyramid, and motion boundaries that follow the image."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unrollflow.ops.gradient import image_gradient
from unrollflow.ops.precision import full_precision

BOUNDARY = 0.2
"""Pixels per pixel; where flow changes by more, a motion boundary may be near."""

NEAR = 5
"""Side in pixels of the square around such a change that is filtered with weights."""

CHUNK = 20_000
"""Pixels that are filtered at a time: what bounds the memory."""


@torch.no_grad()
def median_flow(flow: Tensor, side: int = 5) -> Tensor:
    """Median of each component of a flow (B, 2, H, W) over a square of 3 or 5 pixels, on the CPU, in float32.

    OpenCV's, because kornia's sorts every window's values anew.

    Raises:
        ValueError: for another side: OpenCV has no other one of floating-point numbers.

    >>> median_flow(torch.tensor([[0.0, 0, 0], [0, 9, 0], [0, 0, 0]]).expand(1, 2, 3, 3), 3).abs().max().item()
    0.0
    """
    if side not in (3, 5):
        raise ValueError(f"a median over {side}x{side} pixels; 3 or 5 is possible.")
    planes = flow.detach().float().cpu().flatten(0, 1).numpy()
    filtered = np.stack([cv2.medianBlur(np.ascontiguousarray(plane), side) for plane in planes])
    return torch.from_numpy(filtered).view(flow.shape).to(flow)


@torch.no_grad()
@full_precision
def weighted_median_flow(
    flow: Tensor,
    image: Tensor,
    visible: Tensor,
    *,
    radius: int = 7,
    spacing: int = 2,
    colour_scale: float = 0.03,
    distance_scale: float = 7.0,
) -> Tensor:
    """Median of each component, weighted by likeness of colour, nearness and visibility, near motion boundaries.

    A boundary of the motion so moves to the boundary of the image beside it. Elsewhere the flow is that of
    :func:`median_flow`. (OpenCV has such a filter in its contributed modules only, without visibility.)

    Args:
        flow: (B, 2, H, W), pixels.
        image: (B, 3, H, W) in [0, 1].
        visible: (B, 1, H, W), weight of a pixel's flow, such as 1 = visible, 0 = occluded; not visible pixels are
            filtered, too.
        radius, spacing: the window reaches `radius` pixels in every direction; every `spacing`-th pixel counts.
        colour_scale: of the weight exp(-|difference|^2 / (2 colour_scale^2)) of colours.
        distance_scale: pixels, of the weight of distances, alike.

    Source: Sun, Roth, Black, Secrets of optical flow estimation and their principles, CVPR 2010, equation 11.
    """
    filtered = median_flow(flow)
    chosen = near_boundaries(flow) | (visible[:, 0] < 1 / 2)
    offsets = torch.arange(-radius, radius + 1, spacing, device=flow.device)
    dy, dx = (d.flatten() for d in torch.meshgrid(offsets, offsets, indexing="ij"))
    nearness = torch.exp(-(dx.square() + dy.square()) / (2 * distance_scale**2))
    height, width = flow.shape[-2:]
    for i in range(len(flow)):
        values, colours, seen = flow[i].flatten(1), image[i].flatten(1), visible[i].flatten()
        for y, x in zip(*(torch.split(index, CHUNK) for index in chosen[i].nonzero(as_tuple=True)), strict=True):
            window = (y[:, None] + dy).clamp(0, height - 1) * width + (x[:, None] + dx).clamp(0, width - 1)  # (N, K)
            difference = (colours[:, window] - colours[:, y * width + x].unsqueeze(-1)).square().sum(dim=0)
            weight = nearness * torch.exp(-difference / (2 * colour_scale**2)) * seen[window].clamp_min(1e-6)
            filtered[i][:, y, x] = torch.stack([weighted_median(plane[window], weight) for plane in values])
    return filtered


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Of each row of values (N, K), the least one at which half of the weights (N, K) is reached; (N,).

    >>> weighted_median(torch.tensor([[5.0, 1.0, 3.0]]), torch.tensor([[3.0, 1.0, 1.0]])).item()
    5.0
    """
    values, order = values.sort(dim=1)
    reached = weights.gather(1, order).cumsum(dim=1)
    index = (reached < reached[:, -1:] / 2).sum(dim=1, keepdim=True)
    return values.gather(1, index).squeeze(1)


def near_boundaries(flow: Tensor) -> Tensor:
    """(B, H, W) bool, where the flow (B, 2, H, W) changes abruptly within a few pixels."""
    gx, gy = image_gradient(flow, operator="sobel")
    steep = (gx.square() + gy.square()).sum(dim=1, keepdim=True) > BOUNDARY**2
    return F.max_pool2d(steep.to(flow.dtype), NEAR, stride=1, padding=NEAR // 2)[:, 0] > 0
