"""Median filters of flow, which remove outliers and align motion boundaries with image edges."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unrollflow.ops.gradient import image_gradient
from unrollflow.ops.precision import full_precision

BOUNDARY = 0.2
"""Smallest change of the flow at a motion boundary, pixels per pixel."""

NEAR = 5
"""Side of the square around such a change in which the weighted filter is used, pixels."""

CHUNK = 20_000
"""Number of pixels that are filtered at once, which limits the memory."""


@torch.no_grad()
def median_flow(flow: Tensor, side: int = 5) -> Tensor:
    """Median of each component of a flow (B, 2, H, W) over a square of 3 or 5 pixels, on the CPU, in float32.

    It uses OpenCV, because kornia's filter sorts the values of every window.

    Raises:
        ValueError: for another side, which OpenCV does not support for floating-point numbers.

    >>> median_flow(torch.tensor([[0.0, 0, 0], [0, 9, 0], [0, 0, 0]]).expand(1, 2, 3, 3), 3).abs().max().item()
    0.0
    """
    if side not in (3, 5):
        raise ValueError(f"the side of the median filter is {side}; it must be 3 or 5 pixels.")
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
    colour_scale: float = 0.03,
    distance_scale: float = 7.0,
) -> Tensor:
    """Median of each component, weighted by similarity of colour, distance and visibility, near motion boundaries.

    This moves motion boundaries to nearby image edges. Elsewhere, the result is that of :func:`median_flow`. (OpenCV
    has a similar filter only in its contributed modules, without visibility.)

    Args:
        flow: (B, 2, H, W), pixels.
        image: (B, 3, H, W) in [0, 1].
        visible: (B, 1, H, W), weight of the flow of a pixel, such as 1 = visible, 0 = occluded; occluded pixels are
            also filtered.
        radius: the window extends `radius` pixels in every direction, with every other pixel, as on a chessboard.
        colour_scale: scale of the weight exp(-|difference|^2 / (2 colour_scale^2)) of colours.
        distance_scale: scale of the same weight of distances, pixels.

    Source: Sun, Roth, Black, Secrets of optical flow estimation and their principles, CVPR 2010, equation 11.
    """
    filtered = median_flow(flow)
    chosen = near_boundaries(flow) | (visible[:, 0] < 1 / 2)
    offsets = torch.arange(-radius, radius + 1, device=flow.device)
    dy, dx = torch.meshgrid(offsets, offsets, indexing="ij")
    used = (dy + dx) % 2 == 0
    dy, dx = dy[used], dx[used]
    nearness = torch.exp(-(dx.square() + dy.square()) / (2 * distance_scale**2))
    height, width = flow.shape[-2:]
    for i in range(len(flow)):
        values, colours, seen = flow[i].flatten(1), image[i].flatten(1), visible[i].flatten()
        for y, x in zip(*(torch.split(index, CHUNK) for index in chosen[i].nonzero(as_tuple=True)), strict=True):
            window = (y[:, None] + dy).clamp(0, height - 1) * width + (x[:, None] + dx).clamp(0, width - 1)  # (N, K)
            # take() has a third of the time of indexing with a matrix
            difference = torch.stack([(c.take(window) - c[y * width + x, None]).square() for c in colours]).sum(dim=0)
            weight = nearness * torch.exp(-difference / (2 * colour_scale**2)) * seen.take(window).clamp_min(1e-6)
            filtered[i][:, y, x] = torch.stack([weighted_median(plane.take(window), weight) for plane in values])
    return filtered


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted medians (N,) of the rows of values (N, K), with weights (N, K).

    >>> weighted_median(torch.tensor([[5.0, 1.0, 3.0]]), torch.tensor([[3.0, 1.0, 1.0]])).item()
    5.0
    """
    # numpy sorts short rows three times as fast as torch
    order = torch.from_numpy(values.cpu().numpy().argsort(axis=1)).to(values.device)
    reached = weights.gather(1, order).cumsum(dim=1)
    index = (reached < reached[:, -1:] / 2).sum(dim=1, keepdim=True)
    return values.gather(1, order.gather(1, index)).squeeze(1)


def near_boundaries(flow: Tensor) -> Tensor:
    """Mask (B, H, W) bool of the pixels within a few pixels of an abrupt change of the flow (B, 2, H, W)."""
    gx, gy = image_gradient(flow, operator="sobel")
    steep = (gx.square() + gy.square()).sum(dim=1, keepdim=True) > BOUNDARY**2
    return F.max_pool2d(steep.to(flow.dtype), NEAR, stride=1, padding=NEAR // 2)[:, 0] > 0
