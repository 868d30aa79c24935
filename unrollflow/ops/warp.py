"""Backward warping by a flow, in pixels."""

from typing import Literal

import torch
from kornia.geometry.grid import create_meshgrid
from kornia.geometry.transform import remap
from torch import Tensor

from unrollflow.ops.precision import full_precision

Padding = Literal["border", "zeros"]

OUTSIDE = 2.0
"""Limit of positions outside the frame, pixels; farther positions give the same values: the border, or zero."""


def coords_grid(
    height: int, width: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Pixel positions (1, 2, H, W): channel 0 = x, channel 1 = y, from 0 to W - 1 and H - 1.

    >>> coords_grid(2, 3)[0, :, 1, 2].tolist()
    [2.0, 1.0]
    """
    grid: Tensor = create_meshgrid(
        height, width, normalized_coordinates=False, device=device, dtype=dtype
    )  # (1, H, W, 2)
    return grid.movedim(-1, 1)


@full_precision
def target_coords(flow: Tensor, *, origin: Tensor | None = None, size: tuple[int, int] | None = None) -> Tensor:
    """Positions p + F(p), (B, 2, H, W), with non-finite or far positions moved just outside the frame.

    torch's `grid_sample` crashes the process for NaN coordinates (backward, CPU). Moved positions have no gradient, and
    give the same values as other positions outside the frame.

    Args:
        flow: (B, 2, H, W), pixels.
        origin: x and y (B, 2) of the flow's grid in a larger frame, pixels; None: the grid is the frame.
        size: (H, W) of that frame; None: that of the flow.
    """
    height, width = size or flow.shape[-2:]
    coords = coords_grid(*flow.shape[-2:], device=flow.device, dtype=flow.dtype) + flow
    if origin is not None:
        coords = coords + origin.to(coords)[..., None, None]
    coords = coords.nan_to_num(nan=-OUTSIDE, posinf=-OUTSIDE, neginf=-OUTSIDE)
    x = coords[:, 0].clamp(-OUTSIDE, width - 1 + OUTSIDE)
    y = coords[:, 1].clamp(-OUTSIDE, height - 1 + OUTSIDE)
    return torch.stack([x, y], dim=1)


@full_precision
def warp(image: Tensor, flow: Tensor, *, padding: Padding = "border", origin: Tensor | None = None) -> Tensor:
    """Sample an image (or features, or a flow) of frame 2 at p + F(p), bilinearly.

    Convention: coordinates are in pixels of the common grid of flow and image, corner-aligned (`align_corners=True`);
    zero flow is the identity.

    Args:
        image: (B, C, H, W), or of any size with `origin`.
        flow: (B, 2, H, W), pixels; non-finite and huge values are safe.
        padding: values outside the frame: the nearest border pixel or zero.
        origin: x and y (B, 2) of the crop of the flow in the whole image, pixels; need not be integers.

    Returns:
        (B, C, H, W), differentiable in both; where `border` clamps, the gradient of the flow is zero.

    Raises:
        ValueError: if shapes or types do not match.

    Source: kornia's `remap`.

    >>> image = torch.tensor([0.0, 1.0, 2.0]).view(1, 1, 1, 3)
    >>> warp(image, torch.tensor([0.5, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 3)).flatten().tolist()
    [0.5, 1.5, 2.0]
    """
    one_grid = origin is not None or image.shape[-2:] == flow.shape[-2:]
    shaped = image.ndim == flow.ndim == 4 and flow.shape[1] == 2 and one_grid and image.shape[0] == flow.shape[0]
    if not shaped or image.dtype != flow.dtype:
        raise ValueError(
            f"image {tuple(image.shape)} of {image.dtype} and flow {tuple(flow.shape)} of {flow.dtype} do not match; "
            "expected (B, C, H, W) and (B, 2, H, W) of equal size and type, see unrollflow.ops.resize_flow."
        )
    size = (image.shape[-2], image.shape[-1])
    x, y = target_coords(flow, origin=origin, size=size).unbind(dim=1)  # each (B, H, W)
    return sample_at(image, x, y, padding=padding)


def sample_at(image: Tensor, x: Tensor, y: Tensor, *, padding: Padding) -> Tensor:
    """Values (B, C, h, w) of an image (B, C, H, W) at positions x and y, (B, h, w) each, pixels; bilinear.

    kornia's `remap` receives positions from -1 to 1, because it would copy the factors for pixels from the host.
    """
    # if a side has one pixel, sample its centre
    x, y = (p * (2 / (n - 1)) - 1 if n > 1 else p for p, n in ((x, image.shape[-1]), (y, image.shape[-2])))
    sampled: Tensor = remap(
        image, x, y, mode="bilinear", padding_mode=padding, align_corners=True, normalized_coordinates=True
    )
    return sampled
