"""Masked averages of photometric maps, and weights over a backbone's list of estimates."""

from typing import Literal

import torch
from torch import Tensor

from unrollflow.contracts import check_images
from unrollflow.losses.photometric import Photometric
from unrollflow.ops.precision import full_precision
from unrollflow.ops.resize import crop_centre

Masking = Literal["image", "released"]
Levels = list[float] | float
LEAST_VISIBLE_PIXELS = 1.0
"""A masked mean divides by at least this many pixels, so a fully occluded image costs 0 instead of NaN."""


@full_precision
def visible_mean(difference: Tensor, visible: Tensor) -> Tensor:
    """Mean of a map over an image's visible pixels, then over the images: independent of how a batch is split.

    Args:
        difference: (B, C, H', W'), possibly without a border that `visible` has.
        visible: (B, 1, H, W), 1 = visible; cropped alike.

    Returns:
        a scalar; an image without a visible pixel counts as 0.

    >>> visible_mean(torch.tensor([2.0, 8.0]).view(1, 1, 1, 2), torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)).item()
    2.0
    """
    visible = crop_centre(visible, (difference.shape[-2], difference.shape[-1]))
    total = (difference.mean(dim=1, keepdim=True) * visible).sum(dim=(1, 2, 3))
    return (total / visible.sum(dim=(1, 2, 3)).clamp_min(LEAST_VISIBLE_PIXELS)).mean()


def photometric_loss(
    photometric: Photometric, image: Tensor, reconstruction: Tensor, visible: Tensor, *, masking: Masking
) -> Tensor:
    """Scalar photometric loss of the visible pixels.

    Args:
        photometric: the term, or a sum of terms.
        image, reconstruction: (B, 3, H, W) in [0, 1].
        visible: (B, 1, H, W), 1 = visible.
        masking: `image`: :func:`visible_mean` of each map; `released`: both images times visibility first, then
            the map's mean over the visibility's mean of the batch.
    """
    check_images(image, reconstruction, user="photometric_loss")
    if masking == "image":
        return torch.stack(
            [w * visible_mean(term(image, reconstruction), visible) for w, term in photometric.terms()]
        ).sum()
    total = torch.stack(
        [w * term(image * visible, reconstruction * visible).mean() for w, term in photometric.terms()]
    ).sum()
    return total / visible.mean().clamp_min(LEAST_VISIBLE_PIXELS / visible.numel())


def level_weights(levels: Levels, count: int) -> list[float]:
    """One weight for each of `count` estimates, coarsest or first first.

    Args:
        levels: the weights themselves, or gamma, which stands for gamma^(count - 1 - i); 0 keeps the last alone.
        count: how many estimates the backbone gave.

    Raises:
        ValueError: if a list has another length.

    >>> level_weights(0.5, 3), level_weights(0.0, 3)
    ([0.25, 0.5, 1.0], [0.0, 0.0, 1.0])
    """
    if isinstance(levels, (int, float)):
        return [levels ** (count - 1 - i) for i in range(count)]
    if len(levels) != count:
        raise ValueError(
            f"{len(levels)} level weights {levels}, but the backbone gives {count} estimates; "
            "list one weight for each, coarsest first, or give one number gamma for gamma^(n-1-i)."
        )
    return levels
