"""Interpolation of images, flows and labels for a grid of another size."""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

from unrollflow.data.transforms.motion_boundaries import SMALLEST_JUMP

Size = tuple[int, int]

Convention = Literal["centres", "corners"]
"""Alignment of the grids: "centres" keeps the outer edge of the frame, x' + 1/2 = (x + 1/2) W'/W (half-pixel centres,
as in OpenCV); "corners" keeps the centres of the four corner pixels, x' = x (W' - 1)/(W - 1)."""


def sample_image(image: Tensor, size: Size, convention: Convention) -> Tensor:
    """Resize an image (3, h, w) bilinearly, after a Gaussian blur along the sides that shrink.

    Without the blur, frames with different sub-pixel phases would alias differently and violate brightness constancy.
    Torch's antialiasing misplaces the pixels for "corners"; kornia's antialiasing smooths less.

    Source: Lowe, IJCV 2004: from a blur of 1/2 pixel to one of 1/2 pixel of the new grid.
    """
    shrinkage = (max(1.0, old / new) for old, new in zip(image.shape[-2:], size, strict=True))
    sigma_y, sigma_x = (math.sqrt(times**2 - 1) / 2 for times in shrinkage)
    widths = (2 * math.ceil(3 * sigma_y) + 1, 2 * math.ceil(3 * sigma_x) + 1)
    batch = image.unsqueeze(0)
    if max(widths) > 1:
        batch = gaussian_blur2d(batch, widths, (max(sigma_y, 1e-3), max(sigma_x, 1e-3)), border_type="replicate")
    return F.interpolate(batch, size, mode="bilinear", align_corners=convention == "corners")[0]


def sample_flow(flow: Tensor, valid: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Sample a flow between its pixels, bilinearly where it is smooth, otherwise from the nearest pixel.

    Beside unknown flow, and across a jump of more than `SMALLEST_JUMP`, a mean would not be a real motion.
    torch's `interpolate` does not support unknown pixels.

    Args: flow: (2, h, w), pixels.   valid: (h, w) bool.   rows, columns: (H,) and (W,) float64, inside the frame.
    Returns: (2, H, W), in pixels of the old grid.

    >>> flow = torch.tensor([0.0, 0.5, 9.0]).expand(2, 2, 3)
    >>> everywhere, between = torch.ones(2, 3, dtype=torch.bool), torch.tensor([0.5, 1.6]).double()
    >>> sample_flow(flow, everywhere, torch.zeros(1).double(), between)[0].tolist()
    [[0.25, 9.0]]
    """
    height, width = flow.shape[-2:]
    row, column = (p.long().clamp(max=side - 2) for p, side in ((rows, height), (columns, width)))
    down, right = (rows - row).to(flow.dtype), (columns - column).to(flow.dtype)
    rowwise = torch.lerp(flow[:, row], flow[:, row + 1], down.view(-1, 1))  # (2, H, w)
    smooth = torch.lerp(rowwise[..., column], rowwise[..., column + 1], right)  # (2, H, W)
    spread = (of_four(flow, torch.maximum) - of_four(flow, torch.minimum)).amax(dim=0)  # (h - 1, w - 1)
    even = of_four(valid, torch.logical_and) & (spread <= SMALLEST_JUMP)
    return torch.where(at(even, row, column), smooth, at(flow, nearest(rows), nearest(columns)))


def of_four(field: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine each 2x2 neighbours of a map (..., h, w) to (..., h - 1, w - 1); torch's pooling is much slower."""
    pairs = combine(field[..., :-1, :], field[..., 1:, :])
    return combine(pairs[..., :-1], pairs[..., 1:])


def positions(old: int, new: int, convention: Convention) -> Tensor:
    """Positions (new,) float64 of `new` pixels along a side of `old` pixels, all inside the frame.

    >>> positions(4, 2, "centres").tolist(), positions(4, 2, "corners").tolist()
    ([0.5, 2.5], [0.0, 3.0])
    """
    pixel = torch.arange(new, dtype=torch.float64)
    if convention == "corners":
        return pixel * (old - 1) / (new - 1)
    return ((pixel + 0.5) * old / new - 0.5).clamp(0, old - 1)


def factor(old: int, new: int, convention: Convention) -> float:
    """Factor of lengths along a side that is resized from `old` to `new` pixels."""
    return (new - 1) / (old - 1) if convention == "corners" else new / old


def nearest(places: Tensor) -> Tensor:
    """Indices of the pixels nearest to positions; of two equally near pixels, the higher index."""
    return (places + 0.5).long()


def at(field: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Values (..., H, W) of a map (..., h, w) at given rows and columns."""
    return field[..., rows, :][..., columns]
