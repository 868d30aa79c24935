"""Plain implementations of functions that the package computes faster, for tests and benchmarks."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate
from unrollflow.losses.photometric import grey_levels
from unrollflow.models.pwclite import PWCLite, ReducedEstimator
from unrollflow.ops.census import SATURATION, SOFTNESS


def composed_census(image: Tensor, reconstruction: Tensor, *, patch_size: int, border: str) -> Tensor:
    """Return the census distance by its definition: all differences of a window at once, zero padded."""
    margin = patch_size // 2

    def soft_signs(grey: Tensor) -> Tensor:
        patches = F.unfold(grey, patch_size, padding=margin)
        difference = rearrange(patches, "b k (h w) -> b k h w", h=grey.shape[-2]) - grey
        return difference / (SOFTNESS + difference.square()).sqrt()

    squared = (soft_signs(grey_levels(image)) - soft_signs(grey_levels(reconstruction))).square()
    distance = (squared / (SATURATION + squared)).mean(dim=1, keepdim=True)
    inner = distance[..., margin:-margin, margin:-margin]
    return inner if border == "crop" else F.pad(inner, [margin] * 4)


def shifted_products(features1: Tensor, features2: Tensor, *, search_range: int) -> Tensor:
    """Return the cost volume by its definition: a product for each shift."""
    height, width = features1.shape[-2:]
    padded = F.pad(features2, [search_range] * 4)
    shifts = [(y, x) for y in range(2 * search_range + 1) for x in range(2 * search_range + 1)]
    return torch.stack([(features1 * padded[..., y : y + height, x : x + width]).mean(1) for y, x in shifts], dim=1)


class Concatenating(ReducedEstimator):
    """Reduced estimator by its definition: each layer gets the concatenated outputs of the two before it."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As ReducedEstimator's."""
        previous, current = x, self.layers[0](x)
        pair = current
        for layer in list(self.layers)[1:]:
            previous, current = current, layer(pair)
            pair = torch.cat([previous, current], dim=1)
        return current, self.head(pair)


class OneAfterTheOther(PWCLite):
    """PWC-Lite that decodes forward and then backward flow with whole tensors, as the released code does."""

    def __init__(self) -> None:
        super().__init__()
        self.estimator.__class__ = Concatenating
        self.context.__class__ = nn.Sequential

    def bidirectional(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Compute both directions like PWCLite, in two batches."""
        pairs = [features.chunk(2) for features in self._features(image1, image2)]
        first, second = ([pair[i] for pair in pairs] for i in (0, 1))
        return self._decode(first, second), self._decode(second, first)
