"""Correlation lookup of RAFT: correlation of each pixel with a window around its target position, at four scales.

There are two equivalent implementations: `AllPairs` computes all correlations once and samples them; `OnDemand`
computes only the correlations in the windows of each lookup, with memory linear in the number of pixels.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from unrollflow.ops.precision import full_precision
from unrollflow.ops.transfer import constant

ON_DEMAND_PIXELS = 1024
"""Number of pixels whose windows, of a hundred feature vectors each, are gathered at once."""


class AllPairs:
    """All-pairs correlation volume, with the axes of the second image pooled by 1, 2, 4, ...

    Args:
        features1, features2: (B, C, H, W).
        levels: number of scales.
        radius: r of the window, pixels of each scale.

    Source: Teed and Deng, RAFT, ECCV 2020, section 3.2; the channel order is that of its released code:
        level, then x offset, then y offset.
    """

    def __init__(self, features1: Tensor, features2: Tensor, *, levels: int, radius: int) -> None:
        self.radius, self.size = radius, (features1.shape[-2], features1.shape[-1])
        self.pyramid = volume_pyramid(features1, features2, levels=levels)

    def __call__(self, coordinates: Tensor) -> Tensor:
        """Correlations (B, levels (2r + 1)^2, H, W) around positions (B, 2, H, W), pixels of features2."""
        height, width = self.size
        centres = rearrange(coordinates, "b xy h w -> (b h w) 1 1 xy")
        offsets = window(self.radius, like=coordinates)
        sampled = [sample(plane, centres / 2**i + offsets) for i, plane in enumerate(self.pyramid)]
        return rearrange(torch.stack(sampled), "l (b h w) x y -> b (l x y) h w", h=height, w=width)


class OnDemand:
    """As :class:`AllPairs`, without the volume: features2 are pooled instead, which is equivalent by linearity.

    Args:
        features1, features2: (B, C, H, W).
        levels: number of scales.
        radius: r of the window, pixels of each scale.
    """

    def __init__(self, features1: Tensor, features2: Tensor, *, levels: int, radius: int) -> None:
        self.radius = radius
        self.pixels, self.pyramid = feature_pyramid(features1, features2, levels=levels)

    def __call__(self, coordinates: Tensor) -> Tensor:
        """Correlations (B, levels (2r + 1)^2, H, W) around positions (B, 2, H, W), computed for groups of pixels."""
        height, width = coordinates.shape[-2:]
        centres = rearrange(coordinates, "b xy h w -> b (h w) xy")
        levels = []
        for i, features2 in enumerate(self.pyramid):
            rows = [
                checkpoint(windowed, p, features2[b], c / 2**i, self.radius, use_reentrant=False)
                for b in range(len(centres))
                for p, c in zip(*(torch.split(t[b], ON_DEMAND_PIXELS) for t in (self.pixels, centres)), strict=True)
            ]
            levels.append(torch.cat(rows))
        return rearrange(torch.stack(levels), "l (b h w) k -> b (l k) h w", h=height, w=width)


@full_precision
def volume_pyramid(features1: Tensor, features2: Tensor, *, levels: int) -> list[Tensor]:
    """Correlations <f1, f2> / sqrt(C) of all pairs of pixels, (B H W, 1, h, w) for each level."""
    batch, channels, height, width = features1.shape
    rows, columns = features1.flatten(2).transpose(1, 2), features2.flatten(2)
    volume = (torch.bmm(rows, columns) / channels**0.5).view(batch * height * width, 1, height, width)
    pyramid = [volume]
    for _ in range(levels - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid


@full_precision
def feature_pyramid(features1: Tensor, features2: Tensor, *, levels: int) -> tuple[Tensor, list[Tensor]]:
    """Features (B, H W, C) of the first image, divided by sqrt(C), and (B, C, h, w) of the second for each level."""
    pyramid = [features2]
    for _ in range(levels - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return rearrange(features1, "b c h w -> b (h w) c") / features1.shape[1] ** 0.5, pyramid


def window(radius: int, *, like: Tensor) -> Tensor:
    """Offsets (2r + 1, 2r + 1, 2) of a window, x before y: element (a, b) is (a - r, b - r)."""
    axis = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1)


@full_precision
def sample(plane: Tensor, positions: Tensor) -> Tensor:
    """Values (N, x, y) of planes (N, 1, h, w) at positions (N, x, y, 2), pixels; bilinear, zeros outside."""
    last = constant([plane.shape[-1] - 1, plane.shape[-2] - 1], like=positions)
    # move positions that are not finite, which crash torch's backward pass on the CPU, outside the frame
    safe = positions.nan_to_num(nan=-2.0).clamp(positions.new_full((), -2.0), last + 2)
    normalised = 2 * safe / last - 1
    return F.grid_sample(plane, normalised, align_corners=True, padding_mode="zeros")[:, 0]


@full_precision
def windowed(pixels: Tensor, features2: Tensor, centres: Tensor, radius: int) -> Tensor:
    """Correlations (N, (2r + 1)^2) of pixels (N, C) with windows of features2 (C, h, w) at centres (N, 2).

    All positions of a window have the same fraction, so whole pixels are correlated and then interpolated bilinearly.
    """
    side = 2 * radius + 2
    _, height, width = features2.shape
    size = constant([width, height], like=centres)
    # beyond this limit, the window is outside the frame
    safe = centres.nan_to_num(nan=-2.0 * side).clamp(centres.new_full((), -2.0 * side), size + 2 * side)
    corner = safe.floor()
    axis = torch.arange(side, device=centres.device) - radius
    x, y = (corner.long()[:, i, None] + axis for i in (0, 1))  # (N, side) each
    inside_x, inside_y = (x >= 0) & (x < width), (y >= 0) & (y < height)
    index = x.clamp(0, width - 1)[:, :, None] + width * y.clamp(0, height - 1)[:, None, :]  # (N, side x, side y)
    gathered = features2.flatten(1).t()[index.flatten(1)]  # (N, side^2, C)
    products = torch.bmm(gathered, pixels.unsqueeze(2)).view(-1, side, side)
    products = products * (inside_x[:, :, None] & inside_y[:, None, :])
    fx, fy = (safe - corner)[:, 0, None, None], (safe - corner)[:, 1, None, None]
    along_x = (1 - fx) * products[:, :-1] + fx * products[:, 1:]
    return ((1 - fy) * along_x[:, :, :-1] + fy * along_x[:, :, 1:]).flatten(1)
