"""Pairs of frames whose motion is known."""

import kornia
import torch
from torch import Tensor

from unrollflow.ops import warp

MARGIN = 32
SCALES = (1.5, 4.0)
"""Pixels: fine texture, and coarser one that is left in a pyramid."""


def moved(
    u: float, v: float, *, size: tuple[int, int] = (48, 64), seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """A smooth texture (1, 3, H, W), and the same moved by (u, v) pixels, with new texture at the border."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(1, 1, *(n + 2 * MARGIN for n in size), generator=generator, dtype=dtype).repeat(1, 3, 1, 1)
    blurred = (kornia.filters.gaussian_blur2d(noise, (31, 31), (scale, scale)) for scale in SCALES)
    texture = torch.stack([layer / layer.std() for layer in blurred]).sum(dim=0)
    texture = (texture - texture.min()) / (texture.max() - texture.min())
    shift = torch.tensor([-u, -v], dtype=dtype).view(1, 2, 1, 1).expand(1, 2, *texture.shape[-2:])
    inner = slice(MARGIN, -MARGIN)
    return texture[..., inner, inner], warp(texture, shift)[..., inner, inner]


def error(flow: Tensor, u: float, v: float) -> float:
    """Mean end-point error in pixels of a flow (1, 2, H, W) of frames moved by (u, v)."""
    return float((flow - torch.tensor([u, v], dtype=flow.dtype).view(1, 2, 1, 1)).norm(dim=1).mean())
