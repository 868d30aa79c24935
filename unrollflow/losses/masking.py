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
"""Smallest divisor of a masked mean, pixels, so that a fully occluded image costs 0 instead of NaN."""


@full_precision
def visible_mean(difference: Tensor, visible: Tensor) -> Tensor:
    """Mean of a map over the visible pixels of each image, then over the images; independent of how a batch is split.

    Args:
        difference: (B, C, H', W'), may lack a border that `visible` has.
        visible: (B, 1, H, W), 1 = visible; cropped to the same size.

    Returns:
        a scalar; the mean of an image without visible pixels is 0.

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
        masking: `image`: :func:`visible_mean` of each map; `released`: multiply both images by the visibility, then
            divide the mean of the map by the mean visibility of the batch.
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
    """Weights of `count` estimates, from the coarsest (or first) to the last.

    Args:
        levels: the weights, or gamma for weights gamma^(count - 1 - i); gamma = 0 uses only the last estimate.
        count: number of estimates of the backbone.

    Raises:
        ValueError: if a list has another length.

    >>> level_weights(0.5, 3), level_weights(0.0, 3)
    ([0.25, 0.5, 1.0], [0.0, 0.0, 1.0])
    """
    if isinstance(levels, (int, float)):
        return [levels ** (count - 1 - i) for i in range(count)]
    if len(levels) != count:
        raise ValueError(
            f"{len(levels)} level weights {levels}, but the backbone has {count} estimates; "
            "give one weight per estimate, coarsest first, or one number gamma for weights gamma^(n-1-i)."
        )
    return levels
