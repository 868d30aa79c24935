"""Photometric terms: maps of the difference between an image and its reconstruction."""

from abc import ABC, abstractmethod
from typing import Literal, cast

import kornia
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unrollflow.contracts import check_images
from unrollflow.ops.census import CensusDistance
from unrollflow.ops.choice import check_choice
from unrollflow.ops.precision import full_precision
from unrollflow.ops.resize import crop_centre
from unrollflow.ops.transfer import constant

Border = Literal["crop", "zero"]
Window = Literal["box", "gaussian"]

LUMA = (0.2989, 0.5870, 0.1140)
"""Weights of R, G, B in the census's grey image, as released."""

CENSUS_GREY_LEVELS = 255.0

SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
"""Wang et al., Image quality assessment: from error visibility to structural similarity, TIP 2004; range 1."""


def check_window(image: Tensor, side: int, name: str) -> None:
    """Raise ValueError unless the side of a window is odd, at least 3, and fits in the image."""
    height, width = image.shape[-2:]
    if side < 3 or side % 2 == 0:
        raise ValueError(f"the {name} window is {side}x{side}; its side must be odd and at least 3.")
    if min(height, width) < side:
        raise ValueError(
            f"the image is {height}x{width}, smaller than the {name} window of {side}x{side}; "
            "use a smaller window, or set the weight of this pyramid level to 0."
        )


def grey_levels(image: Tensor) -> Tensor:
    """Grey image (B, 1, H, W), in [0, 255], for the census of RGB (B, 3, H, W) in [0, 1]."""
    return CENSUS_GREY_LEVELS * kornia.color.rgb_to_grayscale(image, rgb_weights=constant(LUMA, like=image))


@full_precision
def census(image: Tensor, reconstruction: Tensor, *, patch_size: int = 7, border: Border = "crop") -> Tensor:
    """Soft Hamming distance of the ternary census transforms, which is robust to changes of brightness.

    Args:
        image, reconstruction: (B, 3, H, W), RGB in [0, 1].
        patch_size: odd side of the window, pixels: 3 (released code) or 7 (UFlow, SMURF).
        border: `crop` the pixels without a full window, or keep them as `zero`, included in the mean (as released).

    Returns:
        (B, 1, H', W'), in [0, 1); H' = H - patch_size + 1 if cropped.

    Raises:
        ValueError: if the patch size is even, or the image is smaller than the patch.
        RuntimeError: if it is differentiated twice.

    Source: Meister et al., UnFlow, AAAI 2018; released code (losses/loss_blocks.py).

    >>> image = torch.rand(1, 3, 9, 9)
    >>> census(image, image).sum().item(), tuple(census(image, image).shape)
    (0.0, (1, 1, 3, 3))
    """
    check_images(image, reconstruction, user="census")
    check_window(image, patch_size, "census")
    check_choice("border", border, Border)
    inner: Tensor = CensusDistance.apply(grey_levels(image), grey_levels(reconstruction), patch_size)  # type: ignore[no-untyped-call]  # torch's has no annotations
    return inner if border == "crop" else F.pad(inner, [patch_size // 2] * 4)


def _box_similarity(image: Tensor, reconstruction: Tensor, window_size: int) -> Tensor:
    mean_x, mean_y = (F.avg_pool2d(z, window_size, 1) for z in (image, reconstruction))
    variance_x = F.avg_pool2d(image.square(), window_size, 1) - mean_x.square()
    variance_y = F.avg_pool2d(reconstruction.square(), window_size, 1) - mean_y.square()
    covariance = F.avg_pool2d(image * reconstruction, window_size, 1) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + SSIM_C1) * (2 * covariance + SSIM_C2)
    return numerator / ((mean_x.square() + mean_y.square() + SSIM_C1) * (variance_x + variance_y + SSIM_C2))


@full_precision
def ssim(image: Tensor, reconstruction: Tensor, *, window: Window = "box", window_size: int = 3) -> Tensor:
    """Structural dissimilarity clamp((1 - SSIM) / 2, 0, 1) of each pixel with a full window.

    Args:
        image, reconstruction: (B, C, H, W) in [0, 1].
        window: `box` means (as released; not in kornia), or kornia's `gaussian` of sigma 1.5.
        window_size: odd side of the window, pixels.

    Returns:
        (B, C, H - window_size + 1, W - window_size + 1).

    Raises:
        ValueError: if the window size is even, or the image is smaller than the window.

    >>> image = torch.rand(1, 3, 9, 9)
    >>> ssim(image, image).abs().max().item() < 1e-6
    True
    """
    check_window(image, window_size, "SSIM")
    check_choice("window", window, Window)
    if window == "box":
        similarity = _box_similarity(image, reconstruction, window_size)
    else:
        similarity = kornia.metrics.ssim(image, reconstruction, window_size, padding="valid")
    return ((1 - similarity) / 2).clamp(0, 1)


@full_precision
def charbonnier(image: Tensor, reconstruction: Tensor, *, epsilon: float = 0.01) -> Tensor:
    """Smoothed absolute difference sqrt(d^2 + epsilon^2), (B, C, H, W) (in kornia, epsilon is fixed at 1).

    >>> charbonnier(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 3.0), epsilon=4.0).item()
    5.0
    """
    return ((image - reconstruction).square() + epsilon**2).sqrt()


class Photometric(nn.Module, ABC):
    """Base class of photometric terms, which compute a map (B, C, H', W') of two images (B, 3, H, W) in [0, 1].

    The map may lack a border of equal width on all sides, where there is no full window.
    """

    @abstractmethod
    def forward(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """Map (B, C, H', W') of the difference between the reconstruction and the image."""

    def terms(self) -> list[tuple[float, "Photometric"]]:
        """(weight, term) of every part whose map is averaged separately."""
        return [(1.0, self)]

    def at(self, step: int) -> "Photometric":
        """Term of a training step."""
        return self


class Census(Photometric):
    """Module form of :func:`census`."""

    def __init__(self, *, patch_size: int = 7, border: Border = "crop") -> None:
        super().__init__()
        self.patch_size = patch_size
        self.border: Border = border

    def forward(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """See :func:`census`."""
        return census(image, reconstruction, patch_size=self.patch_size, border=self.border)


class SSIM(Photometric):
    """Module form of :func:`ssim`."""

    def __init__(self, *, window: Window = "box", window_size: int = 3) -> None:
        super().__init__()
        self.window: Window = window
        self.window_size = window_size

    def forward(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """See :func:`ssim`."""
        return ssim(image, reconstruction, window=self.window, window_size=self.window_size)


class L1(Photometric):
    """Absolute difference of the colours."""

    @full_precision
    def forward(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """|image - reconstruction|, (B, 3, H, W)."""
        return (image - reconstruction).abs()


class Charbonnier(Photometric):
    """Module form of :func:`charbonnier`."""

    def __init__(self, *, epsilon: float = 0.01) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """See :func:`charbonnier`."""
        return charbonnier(image, reconstruction, epsilon=self.epsilon)


class WeightedSum(Photometric):
    """Weighted sum of photometric terms; the objective averages the map of each term over its own pixels.

    Args:
        parts: the terms.
        weights: weights of the terms, in the same order.

    Raises:
        ValueError: if the lists differ in length, or are empty.
    """

    def __init__(self, *, parts: list[Photometric], weights: list[float]) -> None:
        super().__init__()
        if len(parts) != len(weights) or not parts:
            raise ValueError(
                f"{len(parts)} parts and {len(weights)} weights; expected at least one part, and one weight per part."
            )
        self.parts = nn.ModuleList(parts)
        self.weights = weights

    def at(self, step: int) -> Photometric:
        """Sum of the parts of a training step."""
        return WeightedSum(parts=[part.at(step) for part in self._parts()], weights=self.weights)

    def terms(self) -> list[tuple[float, Photometric]]:
        """(weight, term) of every part, with nested sums flattened."""
        return [
            (weight * inner, term)
            for weight, part in zip(self.weights, self._parts(), strict=True)
            for inner, term in part.terms()
        ]

    def _parts(self) -> list[Photometric]:
        return cast(list[Photometric], list(self.parts))

    def forward(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """Map (B, 1, H', W'): weighted sum of the channel means of all parts, cropped to the smallest map."""
        maps = [weight * term(image, reconstruction).mean(dim=1, keepdim=True) for weight, term in self.terms()]
        height, width = (min(m.shape[d] for m in maps) for d in (-2, -1))
        return torch.stack([crop_centre(m, (height, width)) for m in maps]).sum(dim=0)
