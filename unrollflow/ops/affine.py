"""Affine transforms of frames, and of the flow between them.

An affine map is a (B, 2, 3) tensor that acts on normalised positions, in which the frame spans -1 to 1 in both
directions: pixel x of W is at 2 x / (W - 1) - 1. kornia's affine warps do not support flow, and blend the border of the
frame with the zeros outside. Positions are float64, so that rounding does not decide which pixels leave the frame.
"""

import torch
from torch import Tensor

from unrollflow.ops.precision import full_precision
from unrollflow.ops.transfer import constant
from unrollflow.ops.warp import coords_grid, sample_at

Size = tuple[int, int]

SLACK = 1e-6
"""Tolerance for rounding errors of float64 at the border of the frame, pixels."""


def affine_map(*, zoom: Tensor, squeeze: Tensor, shift_x: Tensor, shift_y: Tensor, angle: Tensor) -> Tensor:
    """Affine maps (B, 2, 3) of five parameters, each (B,).

    Args:
        zoom: factor of both sides; above 1 enlarges.
        squeeze: additional factor of the width; the height is divided by it.
        shift_x, shift_y: shifts, in halves of a side.
        angle: rotation, radians, from right towards up if the frame is square.

    Source: Liu et al., Learning by Analogy, CVPR 2020, and its released code (sp_transfroms.py).
    """
    across, down = zoom * squeeze, zoom / squeeze
    rows = [
        [angle.cos() * across, angle.sin() * down, shift_x],
        [-angle.sin() * across, angle.cos() * down, shift_y],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def compose_affine(second: Tensor, first: Tensor) -> Tensor:
    """Map (B, 2, 3) that applies `first`, then `second`."""
    composed = second[..., :2] @ first
    return torch.cat([composed[..., :2], composed[..., 2:] + second[..., 2:]], dim=-1)


def invert_affine(theta: Tensor) -> Tensor:
    """Inverse maps (B, 2, 3)."""
    inverse = torch.linalg.inv_ex(theta[..., :2]).inverse  # `inv` would synchronise with the GPU to check for errors
    return torch.cat([inverse, -inverse @ theta[..., 2:]], dim=-1)


def affine_points(theta: Tensor, points: Tensor, size: Size) -> Tensor:
    """Positions of points of a frame after affine maps.

    Args:
        theta: (B, 2, 3).
        points: (B or 1, 2, h, w), x and y in pixels.
        size: (H, W) of the frame.

    Returns:
        (B, 2, h, w) float64, pixels.

    >>> double = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> affine_points(double, torch.tensor([3.0, 1.0]).view(1, 2, 1, 1), (5, 5)).flatten().tolist()
    [4.0, 1.0]
    """
    points = points.double()
    half = constant([(size[1] - 1) / 2, (size[0] - 1) / 2], like=points).view(1, 2, 1, 1)
    x, y = (points / half - 1).unsqueeze(2).unbind(dim=1)  # each (B, 1, h, w)
    matrix = theta.double()[..., None, None]  # (B, 2, 3, 1, 1)
    return (matrix[:, :, 0] * x + matrix[:, :, 1] * y + matrix[:, :, 2] + 1) * half


def leaves_frame(theta: Tensor, size: Size) -> Tensor:
    """Whether each map (B, 2, 3) needs values from outside of a frame of size (H, W): (B,) bool.

    This is the case if its inverse moves a corner out of [0, W) x [0, H).
    """
    height, width = size
    corners = theta.new_tensor([[[0, width - 1]] * 2, [[0, 0], [height - 1] * 2]]).unsqueeze(0)  # (1, 2, 2, 2)
    return ~inside(affine_points(invert_affine(theta), corners, size), size).flatten(1).all(dim=1)


@full_precision
def affine_warp(field: Tensor, theta: Tensor) -> Tensor:
    """Warp a field by an affine map: field(A^-1(p)), bilinear, 0 if A^-1(p) is outside.

    Args:
        field: (B, C, H, W), an image, a mask (which becomes fractional), or any other map.
        theta: A, (B, 2, 3).

    >>> mirror = torch.tensor([[[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> affine_warp(torch.arange(3.0).expand(1, 1, 2, 3), mirror)[0, 0, 0].tolist()
    [2.0, 1.0, 0.0]
    """
    size = (field.shape[-2], field.shape[-1])
    pixels = coords_grid(*size, device=field.device, dtype=torch.float64)
    sources = affine_points(invert_affine(theta.double()), pixels, size)
    x, y = sources.to(field.dtype).unbind(dim=1)
    # `border` repeats the last column between W - 1 and W, which is inside the frame in the released code
    return sample_at(field, x, y, padding="border") * inside(sources, size)


@full_precision
def affine_flow(flow: Tensor, theta1: Tensor, theta2: Tensor) -> Tensor:
    """Flow between two frames after affine maps of both: A2(p + F(p)) - A1(p), warped by the first map.

    Args:
        flow: F, (B, 2, H, W), pixels.
        theta1, theta2: A1 and A2, the maps of the first and the second frame, (B, 2, 3).

    Returns:
        (B, 2, H, W), pixels; 0 if A1^-1(p) is outside.

    >>> shift = torch.tensor([[[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]])  # of two half sides: 4 pixels of 5
    >>> none = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> affine_flow(torch.zeros(1, 2, 5, 5), none, shift)[0, :, 0, 0].tolist()
    [4.0, 0.0]
    """
    size = (flow.shape[-2], flow.shape[-1])
    pixels = coords_grid(*size, device=flow.device, dtype=torch.float64)
    moved = affine_points(theta2, pixels + flow, size) - affine_points(theta1, pixels, size)
    return affine_warp(moved.to(flow.dtype), theta1)


def inside(points: Tensor, size: Size) -> Tensor:
    """Mask (B, 1, h, w) bool of the points (B, 2, h, w), pixels, in [0, W) x [0, H)."""
    sides = constant([size[1], size[0]], like=points).view(1, 2, 1, 1)
    return ((points >= -SLACK) & (points < sides)).all(dim=1, keepdim=True)
