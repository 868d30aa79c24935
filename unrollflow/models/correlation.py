"""Cost volumes: correlation of each pixel of a feature map with a neighbourhood in another."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from unrollflow.models.strips import rows_of_a_strip
from unrollflow.ops.precision import full_precision
from unrollflow.ops.shifts import window_shifts

BLOCK = 16
"""Pixels of a row per matrix product; larger blocks also multiply more pairs out of range."""

SMALLEST_SQUARE = 1e-12
"""Added to the mean square of the features of a pixel, so that a zero vector stays zero."""


@full_precision
def cost_volume(features1: Tensor, features2: Tensor, *, search_range: int) -> Tensor:
    """Mean over the channels of f1(x, y) f2(x + dx, y + dy), zero outside the frame.

    Rows are divided into blocks of pixels. For each dy, one batched matrix product compares every pixel of a block with
    the surroundings of the block, and the band |dx| <= r of each product is extracted. On a CPU, this is four times
    faster than a loop over shifted products, which is the reference in the tests.

    Args:
        features1, features2: (B, C, H, W).
        search_range: r; dx and dy are from -r to r, pixels.

    Returns:
        (B, (2r + 1)^2, H, W), channel (2r + 1) (dy + r) + (dx + r).

    Source: Sun et al., PWC-Net, CVPR 2018, Eq. 1.

    >>> features = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2)
    >>> cost_volume(features, features, search_range=1)[0, 3:6, 0, 0].tolist()  # dy = 0; dx = -1, 0, 1
    [0.0, 1.0, 2.0]
    """
    if torch.compiler.is_exporting():  # blocks of a row would fix the width of the program
        views = window_shifts(features2, search_range, padding="zeros")
        return torch.stack([(features1 * view).mean(dim=1) for view in views], dim=1)
    batch, channels, height, width = features1.shape
    side = 2 * search_range + 1
    block = min(width, BLOCK)
    extra = -width % block
    pixels = rearrange(F.pad(features1, (0, extra)), "b c h (n k) -> (h b n) k c", k=block)
    padded = F.pad(features2, (search_range, search_range + extra, search_range, search_range))
    windows = padded.unfold(-1, block + side - 1, block)  # (B, C, H + 2r, n, block + 2r)
    surroundings = rearrange(windows, "b c h n s -> h b n c s").contiguous()
    bands = [band(torch.bmm(pixels, surroundings[dy : dy + height].flatten(0, 2)), side) for dy in range(side)]
    volume = torch.stack(bands) / channels  # (2r + 1, H * B * n, block, 2r + 1)
    return rearrange(volume, "y (h b n) k x -> b (y x) h (n k)", h=height, b=batch)[..., :width]


def patch_correlation(
    features1: Tensor, features2: Tensor, *, search_range: int, step: int = 1, patch_size: int = 1
) -> Tensor:
    """Correlation of FlowNet: c(p, p + d) = mean over the channels and over o of f1(p + o) f2(p + d + o).

    Only pixels at multiples of `step` are compared: this is :func:`cost_volume` on each of the step x step grids of
    such pixels, followed by a mean over the patch in the volume.

    Args:
        features1, features2: (B, C, H, W).
        search_range: r; dx and dy are from -r to r steps.
        step: pixels.
        patch_size: K, odd; o is in a window of K x K pixels.

    Returns:
        (B, (2r + 1)^2, H, W), channels as in :func:`cost_volume`; products outside the frame are zero.

    Raises:
        ValueError: if the patch has no centre, or the step is not positive.

    Source: Dosovitskiy et al., FlowNet, ICCV 2015, Eq. 1, divided by the number of its terms, as in their code.

    >>> features = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3)
    >>> patch_correlation(features, features, search_range=1, step=2)[0, 3:6, 0, 0].tolist()  # dx = -2, 0, 2
    [0.0, 1.0, 3.0]
    """
    if patch_size < 1 or patch_size % 2 == 0 or step < 1:
        raise ValueError(f"patch_size={patch_size}, step={step}: patch_size must be odd, and step at least 1.")
    height, width = features1.shape[-2:]
    margins = [0, -width % step, 0, -height % step]
    grids = [
        rearrange(F.pad(f, margins), "b c (h p) (w q) -> (b p q) c h w", p=step, q=step) for f in (features1, features2)
    ]
    volume = rearrange(
        cost_volume(*grids, search_range=search_range), "(b p q) k h w -> b k (h p) (w q)", p=step, q=step
    )[..., :height, :width]
    return volume if patch_size == 1 else F.avg_pool2d(volume, patch_size, stride=1, padding=patch_size // 2)


def band(products: Tensor, side: int) -> Tensor:
    """Elements (i, i + j), 0 <= j < side, of contiguous matrices (N, k, k + side - 1), as a view (N, k, side)."""
    count, rows, columns = products.shape
    return products.as_strided((count, rows, side), (rows * columns, columns + 1, 1))


@full_precision
def unit_features(features: Tensor) -> Tensor:
    """Features (B, C, H, W) minus the mean of each channel over the image, scaled to length sqrt(C) at every pixel.

    The cost volume, a mean over the channels, becomes the cosine of two centred feature vectors. It is between -1 and
    1, independent of the scale of the features, and informative already for random features, so that learning starts
    immediately. (With one mean and one variance for all channels, as in UFlow, the small network did not learn for 250
    steps.)

    >>> unit_features(torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)).flatten().tolist()
    [-1.0, 1.0]
    """
    return unit_length(features - features.mean(dim=(2, 3), keepdim=True))


@full_precision
def unit_features_in_place(features: Tensor) -> Tensor:
    """As :func:`unit_features`, overwriting large features; half-precision features are copied first."""
    mean = features.mean(dim=(2, 3), keepdim=True)
    for rows in torch.split(features, rows_of_a_strip(features) or features.shape[2], dim=2):
        rows.copy_(unit_length(rows - mean))
    return features


def unit_length(features: Tensor) -> Tensor:
    """Features (B, C, H, W) scaled to length sqrt(C) at every pixel."""
    # three times faster than F.normalize, whose norm is slow along dim 1
    return features * (features.square().mean(dim=1, keepdim=True) + SMALLEST_SQUARE).rsqrt()
