"""Values of images, flows and labels between their pixels, for a grid of another size."""

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
"""What stays in its place: "centres", the frame's outer edge, x' + 1/2 = (x + 1/2) W'/W (half-pixel centres, as
OpenCV resizes); "corners", the centres of the four corner pixels, x' = x (W' - 1)/(W - 1)."""


def sample_image(image: Tensor, size: Size, convention: Convention) -> Tensor:
    """An image (3, h, w) at another size, bilinearly, after a Gaussian along the sides that shrink.

    Without it, frames of different sub-pixel phase would alias differently, against brightness constancy. Torch's own
    antialiasing leaves the pixels of "corners" in the wrong places; kornia's smooths less.

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
    """A flow at positions between its pixels, bilinearly where it is smooth, else as at the nearest pixel.

    Beside unknown flow and across a jump of over `SMALLEST_JUMP`, a mean would be the motion of nothing.
    Written out, because torch's `interpolate` knows no unknown pixels.

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
    """Each 2x2 neighbours of a map (..., h, w) combined, (..., h - 1, w - 1); torch's pooling is far slower."""
    pairs = combine(field[..., :-1, :], field[..., 1:, :])
    return combine(pairs[..., :-1], pairs[..., 1:])


def positions(old: int, new: int, convention: Convention) -> Tensor:
    """Where along a side of `old` pixels the `new` ones lie, (new,) float64, pixels; none outside the frame.

    >>> positions(4, 2, "centres").tolist(), positions(4, 2, "corners").tolist()
    ([0.5, 2.5], [0.0, 3.0])
    """
    pixel = torch.arange(new, dtype=torch.float64)
    if convention == "corners":
        return pixel * (old - 1) / (new - 1)
    return ((pixel + 0.5) * old / new - 0.5).clamp(0, old - 1)


def factor(old: int, new: int, convention: Convention) -> float:
    """By which lengths along a side grow, from `old` to `new` pixels."""
    return (new - 1) / (old - 1) if convention == "corners" else new / old


def nearest(places: Tensor) -> Tensor:
    """The pixels nearest to positions, of two the higher."""
    return (places + 0.5).long()


def at(field: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Whole rows and columns (..., H, W) of a map (..., h, w)."""
    return field[..., rows, :][..., columns]
