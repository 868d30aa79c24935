"""Operations of matching networks: soft-argmax, propagation, convex up-sampling and the Lucas-Kanade step."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from unrollflow.ops.precision import full_precision
from unrollflow.ops.shifts import window_offsets, window_shifts
from unrollflow.ops.warp import Padding

LARGEST_STEP = 1.0
"""Bound of a Lucas-Kanade step, pixels, because the linearisation is only valid for small steps."""

ABSOLUTE_RIDGE, RELATIVE_RIDGE = 1e-3, 1e-2
"""Added to the diagonal of the structure tensor: in squared intensity per pixel, and as a share of the trace."""


@full_precision
def soft_argmax(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax of matching scores over a window, and the expected displacement.

    Args:
        scores: (B, (2r + 1)^2, H, W), one per displacement, in the order of
            :func:`~unrollflow.ops.shifts.window_offsets`.

    Returns:
        likelihood (B, (2r + 1)^2, H, W), which sums to 1, and displacement (B, 2, H, W), pixels.

    Source: Xu et al., GMFlow, CVPR 2022, Eq. 3, over a window instead of the whole image.

    >>> certain = torch.zeros(1, 9, 1, 1)
    >>> certain[0, 5] = 100.0  # the one to the right, of (2r + 1)^2 = 9 displacements
    >>> soft_argmax(certain)[1].flatten().tolist()
    [1.0, 0.0]
    """
    likelihood = F.softmax(scores, dim=1)
    search_range = (round(scores.shape[1] ** 0.5) - 1) // 2
    return likelihood, torch.einsum("bkhw,kc->bchw", likelihood, window_offsets(search_range, like=likelihood))


@full_precision
def propagate(flow: Tensor, scores: Tensor) -> Tensor:
    """Replace the flow of each pixel by a convex combination of that of its 3x3 neighbours.

    Args:
        flow: (B, 2, H, W), pixels; the border is repeated.
        scores: (B, 9, H, W), scores of the neighbours, row by row; their softmax gives the weights.

    Returns:
        (B, 2, H, W), pixels.

    Source: Hui et al., LiteFlowNet, CVPR 2018 (feature-driven local convolution), with softmax weights.

    >>> flow = torch.tensor([1.0, 2.0, 3.0]).expand(1, 2, 1, 3)
    >>> from_the_right = torch.zeros(1, 9, 1, 3)
    >>> from_the_right[:, 5] = 100.0
    >>> propagate(flow, from_the_right)[0, 0, 0].tolist()
    [2.0, 3.0, 3.0]
    """
    return (F.softmax(scores, dim=1).unsqueeze(1) * neighbourhood(flow)).sum(dim=2)


@full_precision
def convex_upsample(flow: Tensor, scores: Tensor, *, factor: int, padding: Padding = "border") -> Tensor:
    """Enlarge a flow; each new pixel is a convex combination of the 3x3 old pixels around it.

    Args:
        flow: (B, 2, h, w), pixels of its grid.
        scores: (B, 9 k^2, h, w), k = factor; channel k^2 n + k y + x is the score of neighbour n at (y, x) in the old
            pixel.
        factor: factor k of both sides.
        padding: values outside the old frame: the nearest pixel or zero.

    Returns:
        (B, 2, k h, k w), pixels of the new grid.

    Source: Teed and Deng, RAFT, ECCV 2020, section 3.3.

    >>> convex_upsample(torch.ones(1, 2, 1, 1), torch.zeros(1, 36, 1, 1), factor=2)[0, 0].round(decimals=3).tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """
    scores = rearrange(scores, "b (n y x) h w -> b 1 n y x h w", y=factor, x=factor)
    neighbours = rearrange(neighbourhood(factor * flow, padding=padding), "b c n h w -> b c n 1 1 h w")
    fine = (scores.softmax(dim=2) * neighbours).sum(dim=2)  # (B, 2, k, k, h, w)
    return rearrange(fine, "b c y x h w -> b c (h y) (w x)")


def neighbourhood(field: Tensor, *, padding: Padding = "border") -> Tensor:
    """Values (B, C, 9, H, W) of a field (B, C, H, W) at the 3x3 pixels around each pixel, row by row."""
    return torch.stack(window_shifts(field, 1, padding=padding), dim=2)


@full_precision
def neighbour_differences(flow: Tensor) -> Tensor:
    """Differences to the flow of the left, right, upper and lower neighbour, (B, 8, H, W), pixels.

    Networks with these inputs instead of the flow are invariant to a constant translation.

    >>> ramp = torch.arange(3.0).expand(1, 2, 3, 3)
    >>> neighbour_differences(ramp)[0, :, 1, 1].tolist()  # (u, v) of each neighbour in turn
    [-1.0, -1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    around = window_shifts(flow, 1, padding="border")
    return torch.cat([around[n] - flow for n in (3, 5, 1, 7)], dim=1)


@full_precision
def lucas_kanade(image: Tensor, warped: Tensor, *, window: int = 5) -> Tensor:
    """Least-squares update of the flow between an image and its reconstruction, to first order, in a window.

    Args:
        image, warped: (B, C, H, W), intensities of about [0, 4], because the ridge of the normal equations is absolute.
        window: odd side of the window with one common change, pixels.

    Returns:
        (B, 2, H, W), pixels, at most :data:`LARGEST_STEP` in u and in v; zero where there is no texture.

    Raises:
        ValueError: if the window is even or less than 1.

    Source: Lucas and Kanade, An iterative image registration technique, IJCAI 1981, with a ridge.

    >>> ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    >>> change = lucas_kanade(ramp, ramp - 0.5)  # the second image is the first one, 0.5 px further right
    >>> round(change[0, 0, 8, 8].item(), 2)
    0.49
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window={window}: it must be odd and at least 1.")
    x_slope, y_slope = central_differences((image + warped) / 2)
    change = warped - image
    products = (x_slope**2, x_slope * y_slope, y_slope**2, x_slope * change, y_slope * change)
    sums = torch.stack([product.sum(dim=1) for product in products], dim=1)
    sums = window_means(F.pad(sums, [window // 2] * 4, mode="replicate"), window)
    xx, xy, yy, xt, yt = sums.unbind(dim=1)
    ridge = ABSOLUTE_RIDGE + RELATIVE_RIDGE * (xx + yy)
    xx, yy = xx + ridge, yy + ridge
    determinant = xx * yy - xy**2
    step = torch.stack([xy * yt - yy * xt, xy * xt - xx * yt], dim=1) / determinant.unsqueeze(1)
    return step.clamp(-LARGEST_STEP, LARGEST_STEP)


def window_means(image: Tensor, window: int) -> Tensor:
    """Means (B, C, H - window + 1, W - window + 1) over all full square windows of an image (B, C, H, W).

    It sums shifted views along columns, then rows, which is ten times faster on a CPU than `avg_pool2d`.
    """
    height, width = image.shape[-2] - window + 1, image.shape[-1] - window + 1
    columns = sum((image[..., y : y + height, :] for y in range(1, window)), image[..., :height, :])
    rows = sum((columns[..., x : x + width] for x in range(1, window)), columns[..., :width])
    return rows / window**2


def central_differences(image: Tensor) -> tuple[Tensor, Tensor]:
    """Half the difference of the two neighbours along x and y, (B, C, H, W) each; the border is repeated."""
    padded = F.pad(image, [1] * 4, mode="replicate")
    return (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2, (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
