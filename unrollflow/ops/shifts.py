"""Offsets of a window of displacements, and shifted views of a map."""

import torch.nn.functional as F
from torch import Tensor

from unrollflow.ops.warp import Padding, coords_grid


def window_offsets(search_range: int, *, like: Tensor) -> Tensor:
    """Displacements (K, 2), K = (2r + 1)^2, x and y from -r to r, x fastest, with type and device of a tensor.

    >>> import torch
    >>> window_offsets(1, like=torch.zeros(()))[:4].tolist()
    [[-1.0, -1.0], [0.0, -1.0], [1.0, -1.0], [-1.0, 0.0]]
    """
    side = 2 * search_range + 1
    grid = coords_grid(side, side, device=like.device, dtype=like.dtype)
    return grid[0].flatten(1).T - search_range


def window_shifts(features: Tensor, search_range: int, *, padding: Padding) -> list[Tensor]:
    """Features (B, C, H, W) at p + d for every d of :func:`window_offsets`, as views (B, C, H, W).

    Args:
        features: (B, C, H, W).
        search_range: r, pixels.
        padding: values outside the frame: the nearest border pixel or zero.

    >>> import torch
    >>> [view.item() for view in window_shifts(torch.ones(1, 1, 1, 1), 1, padding="zeros")].index(1.0)
    4
    """
    height, width = features.shape[-2:]
    padded = F.pad(features, [search_range] * 4, mode="replicate" if padding == "border" else "constant")
    side = 2 * search_range + 1
    return [padded[..., y : y + height, x : x + width] for y in range(side) for x in range(side)]
