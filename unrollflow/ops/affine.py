"""Affine changes of frames, and of the flow between them.

An affine map is a (B, 2, 3) tensor that acts on positions for which the frame spans -1 to 1 both ways: a pixel x of W
lies at 2 x / (W - 1) - 1. Written out, because kornia's affine warps know no flow, and blend the frame's border with
the zeros outside. Positions are float64: which pixels a map takes out of the frame must not hang on a rounding.
"""

import torch
from torch import Tensor

from unrollflow.ops.precision import full_precision
from unrollflow.ops.transfer import constant
from unrollflow.ops.warp import coords_grid, sample_at

Size = tuple[int, int]

SLACK = 1e-6
"""Pixels outside the frame at which a position still counts as on its border: a rounding of float64, not a motion."""


def affine_map(*, zoom: Tensor, squeeze: Tensor, shift_x: Tensor, shift_y: Tensor, angle: Tensor) -> Tensor:
    """Affine maps (B, 2, 3) of five parameters, each (B,).

    Args:
        zoom: factor of both sides; above 1 enlarges.
        squeeze: factor of the width over `zoom`; the height's is its inverse.
        shift_x, shift_y: in halves of a side.
        angle: radians, from right towards up, where the frame is square.

    Source: Liu et al., Learning by Analogy, CVPR 2020, and its released code (sp_transfroms.py).
    """
    across, down = zoom * squeeze, zoom / squeeze
    rows = [
        [angle.cos() * across, angle.sin() * down, shift_x],
        [-angle.sin() * across, angle.cos() * down, shift_y],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def compose_affine(second: Tensor, first: Tensor) -> Tensor:
    """The map (B, 2, 3) that applies `first`, then `second`."""
    composed = second[..., :2] @ first
    return torch.cat([composed[..., :2], composed[..., 2:] + second[..., 2:]], dim=-1)


def invert_affine(theta: Tensor) -> Tensor:
    """The inverse maps (B, 2, 3)."""
    inverse = torch.linalg.inv_ex(theta[..., :2]).inverse  # `inv` would ask the GPU whether it could
    return torch.cat([inverse, -inverse @ theta[..., 2:]], dim=-1)


def affine_points(theta: Tensor, points: Tensor, size: Size) -> Tensor:
    """Where affine maps take points of a frame.

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
    """Which of the maps (B, 2, 3) show something from outside of an H x W frame, (B,) bool.

    These are the maps whose inverse takes one of the corners out of [0, W) x [0, H).
    """
    height, width = size
    corners = theta.new_tensor([[[0, width - 1]] * 2, [[0, 0], [height - 1] * 2]]).unsqueeze(0)  # (1, 2, 2, 2)
    return ~inside(affine_points(invert_affine(theta), corners, size), size).flatten(1).all(dim=1)


@full_precision
def affine_warp(field: Tensor, theta: Tensor) -> Tensor:
    """A map as an affine change of its positions shows it: field(A^-1(p)), bilinear, 0 where that lies outside.

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
    # `border` repeats the last column between W - 1 and W, which the released code takes for inside
    return sample_at(field, x, y, padding="border") * inside(sources, size)


@full_precision
def affine_flow(flow: Tensor, theta1: Tensor, theta2: Tensor) -> Tensor:
    """The flow between two frames after affine changes of both: A2(p + F(p)) - A1(p), as the first change shows it.

    Args:
        flow: F, (B, 2, H, W), pixels.
        theta1, theta2: the changes of the first and the second frame, (B, 2, 3).

    Returns:
        (B, 2, H, W), pixels; 0 where A1^-1(p) lies outside.

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
    """Which points (B, 2, h, w), pixels, lie in [0, W) x [0, H), (B, 1, h, w) bool."""
    sides = constant([size[1], size[0]], like=points).view(1, 2, 1, 1)
    return ((points >= -SLACK) & (points < sides)).all(dim=1, keepdim=True)
