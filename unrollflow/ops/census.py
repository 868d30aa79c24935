"""Distance of two census transforms, computed for one shift at a time; see `losses.census`."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

SOFTNESS = 0.81
"""A grey difference d becomes d / sqrt(SOFTNESS + d^2): a soft sign (0.9^2, in grey levels squared)."""

SATURATION = 0.1
"""A squared difference D of two soft signs becomes D / (SATURATION + D): a soft Hamming distance."""


class Shift(NamedTuple):
    """Slices of an image for a shift (y, x) and its opposite.

    Attributes:
        here, neighbour: pixels and the pixels that they are compared with, as slices of the image.
        shape: rows and columns of both.
        window, opposite: the pixels with a full window, as slices of `here`, for the shift and for the opposite shift
            (-y, -x).
    """

    here: tuple[slice, slice]
    neighbour: tuple[slice, slice]
    shape: tuple[int, int]
    window: tuple[slice, slice]
    opposite: tuple[slice, slice]


def shifts(height: int, width: int, patch_size: int) -> Iterator[Shift]:
    """Yield one of each two opposite shifts of a window, because the difference at x to -k is that at x - k to k."""
    margin = patch_size // 2
    inner = (height - 2 * margin, width - 2 * margin)
    for y, x in itertools.product(range(margin + 1), range(-margin, margin + 1)):
        if (y, x) <= (0, 0):
            continue
        right, left = max(x, 0), max(-x, 0)
        shape = (inner[0] + y, inner[1] + abs(x))
        first = (margin - y, margin - right)
        yield Shift(
            here=_block(*first, shape),
            neighbour=_block(first[0] + y, first[1] + x, shape),
            shape=shape,
            window=_block(y, right, inner),
            opposite=_block(0, left, inner),
        )


def _block(top: int, left: int, shape: tuple[int, int]) -> tuple[slice, slice]:
    return slice(top, top + shape[0]), slice(left, left + shape[1])


class CensusDistance(torch.autograd.Function):
    """Soft Hamming distance of the soft census transforms of two grey images, averaged over a square window.

    A direct implementation keeps several maps per shift until the backward pass (hundreds of MB for a 7x7 window).
    This function only keeps the two images, and computes the differences again.
    """

    @staticmethod
    def forward(ctx: Any, grey1: Tensor, grey2: Tensor, patch_size: int) -> Tensor:
        """Distance (B, 1, H - patch_size + 1, W - patch_size + 1), in [0, 1), of images (B, 1, H, W) in grey levels."""
        ctx.save_for_backward(grey1, grey2)
        ctx.patch_size = patch_size
        *batch, height, width = grey1.shape
        total = grey1.new_zeros(*batch, height - patch_size + 1, width - patch_size + 1)
        for shift in shifts(height, width, patch_size):
            (sign1, _), (sign2, _) = (_soft_sign(grey, shift) for grey in (grey1, grey2))
            squared = sign1.sub_(sign2).square_()
            distance = squared.div_(squared + SATURATION)
            total += distance[..., *shift.window]
            total += distance[..., *shift.opposite]
        return total / patch_size**2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Gradients of both images, if needed.

        Raises:
            RuntimeError: if a second derivative is requested.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(
                "census does not support second derivatives, which backward(create_graph=True) requests; use L1, "
                "Charbonnier or SSIM as the photometric term."
            )
        greys = ctx.saved_tensors
        first, second, _ = ctx.needs_input_grad
        needed = zip(greys, (first, second), strict=True)
        gradients = [torch.zeros_like(grey) if wanted else None for grey, wanted in needed]
        gradient = gradient / ctx.patch_size**2
        *_, height, width = greys[0].shape
        for shift in shifts(height, width, ctx.patch_size):
            (sign1, inverse1), (sign2, inverse2) = (_soft_sign(grey, shift) for grey in greys)
            slope = _distance_slope(sign1.sub_(sign2)) * _spread(gradient, shift)
            for total, inverse, side in zip(gradients, (inverse1, inverse2), (1, -1), strict=True):
                if total is None:
                    continue
                part = inverse.pow_(3).mul_(slope).mul_(side * SOFTNESS)  # derivative of d / sqrt(SOFTNESS + d^2)
                total[..., *shift.neighbour] += part
                total[..., *shift.here] -= part
        return gradients[0], gradients[1], None


def _soft_sign(grey: Tensor, shift: Shift) -> tuple[Tensor, Tensor]:
    """Soft sign of the difference d, and 1 / sqrt(SOFTNESS + d^2)."""
    difference = grey[..., *shift.neighbour] - grey[..., *shift.here]
    inverse = difference.square().add_(SOFTNESS).rsqrt_()
    return difference.mul_(inverse), inverse


def _distance_slope(difference: Tensor) -> Tensor:
    """Derivative of D / (SATURATION + D), with D = difference^2."""
    return 2 * SATURATION * difference / (difference.square() + SATURATION).square_()


def _spread(gradient: Tensor, shift: Shift) -> Tensor:
    """Gradient of the distance of each pixel and shift, which contributes to the windows of both of its ends."""
    spread = gradient.new_zeros(*gradient.shape[:-2], *shift.shape)
    spread[..., *shift.window] += gradient
    spread[..., *shift.opposite] += gradient
    return spread
