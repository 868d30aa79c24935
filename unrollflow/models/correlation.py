"""The cost volume: how well each pixel of one feature map matches its neighbourhood in another."""

import torch
import torch.nn.functional as F
from torch import Tensor

from unrollflow.ops.precision import float32_island


@float32_island
def cost_volume(features1: Tensor, features2: Tensor, *, search_range: int) -> Tensor:
    """Mean over the channels of f1(x, y) f2(x + dx, y + dy), zero outside the frame.

    Args:
        features1, features2: (B, C, H, W).
        search_range: r; dx and dy run from -r to r.

    Returns:
        (B, (2r + 1)^2, H, W), channel (2r + 1) (dy + r) + (dx + r).

    Source: Sun et al., PWC-Net, CVPR 2018, Eq. 1.

    >>> features = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2)
    >>> cost_volume(features, features, search_range=1)[0, 3:6, 0, 0].tolist()  # dy = 0; dx = -1, 0, 1
    [0.0, 1.0, 2.0]
    """
    height, width = features1.shape[-2:]
    side = 2 * search_range + 1
    padded = F.pad(features2, [search_range] * 4)  # (B, C, H + 2r, W + 2r)
    costs = [
        (features1 * padded[..., y : y + height, x : x + width]).mean(dim=1) for y in range(side) for x in range(side)
    ]
    return torch.stack(costs, dim=1)


@float32_island
def standardise(features: Tensor) -> Tensor:
    """Features (B, C, H, W) with mean 0 and variance 1 over each sample's channels and pixels together.

    Keeps the cost volume at one scale, whatever the features' scale at the start of training.
    Source: Jonschkowski et al., What matters in unsupervised optical flow, ECCV 2020, section 3.

    >>> standardise(torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)).round(decimals=3).flatten().tolist()
    [-1.0, 1.0]
    """
    epsilon = torch.finfo(features.dtype).eps
    variance, mean = torch.var_mean(features, dim=(1, 2, 3), keepdim=True, correction=0)
    return (features - mean) / (variance + epsilon).sqrt()
