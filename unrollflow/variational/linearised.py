"""Classical flow from constancy of colour and its gradient, by linear systems from coarse to fine, in seconds.

The energy is sum psi(|f2(p + w) - f1(p)|^2) + weight * sum e(p) phi(|dw|^2) with w the flow and e edge weights. The
features f of a pixel are the gradients of its three colours and, with a small factor, the colours. The penalties are
psi(x^2) = sqrt(x^2 + epsilon^2) and phi(x^2) = epsilon^(1 - 2a) (x^2 + epsilon^2)^a. With a < 1/2, phi is not convex
and permits sharper motion boundaries. Each warp replaces f2(p + w) by its linear approximation, and psi and phi by
tangent parabolas (iteratively reweighted least squares), which gives a linear system.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from kornia.geometry.transform import remap
from torch import Tensor

from unrollflow.contracts import Prediction
from unrollflow.ops.gradient import edge_weights
from unrollflow.ops.occlusion import forward_backward_visibility, out_of_frame
from unrollflow.ops.precision import full_precision
from unrollflow.ops.resize import Size, resize_flow
from unrollflow.ops.transfer import constant
from unrollflow.ops.warp import target_coords
from unrollflow.variational.median import median_flow, weighted_median_flow
from unrollflow.variational.search import better_of, inverse_search
from unrollflow.variational.system import Tensors, solve, weighted_laplacian

LEVELS = 255.0
DERIVATIVE = (1 / 12, -8 / 12, 0.0, 8 / 12, -1 / 12)
"""Central differences of fourth order; kornia's, with two or three taps, cause errors of the flow at fine texture."""

ROUNDING_OF_FLOW = 0.03
"""Epsilon of the smoothness term, pixels per pixel."""

SEARCHED = 0.25
"""Scale of the pyramid at which the inverse search is used: that of the coarsest level which is not smaller."""

OCCLUDED = 0.1
"""Weight of pixels whose forward and backward flows do not cancel; some of them are right."""

LARGEST_STEP = 1.0
"""Maximum change of the flow per warp, pixels of the level, because the linear approximation is only valid nearby."""


class Linearised(NamedTuple):
    """Difference of the features, t + mx du + my dv, for a small change (du, dv) of the flow; (B, 9, H, W) each."""

    t: Tensor
    mx: Tensor
    my: Tensor


class LinearisedFlow:
    """Solver for the flow in both directions, coarse to fine, and the visibility.

    Args:
        smoothness_weight: weight of the smoothness term relative to the difference of the features.
        edge_alpha: alpha of the edge weights exp(-alpha |grad I|).
        exponent: exponent a of the penalty phi of the flow, in (0, 1/2]; 1/2: total variation.
        colour: factor of the colours among the features, relative to their gradients, 1 / pixels.
        rounding: epsilon of the data term, levels (of 255) per pixel; smaller differences have a quadratic cost.
        shrinkage: ratio of the sides of a pyramid level to those of the next finer one, in (0, 1).
        smallest: smallest height and width of the pyramid, pixels.
        warps: number of linearisations per level.
        steps: number of conjugate gradient steps per linearisation.
        weighted_median: after every other warp, use a weighted median at motion boundaries, without occluded pixels;
            otherwise only use an unweighted median of all pixels.
        search: at a quarter of the size, use OpenCV's inverse search where it explains the frames better; it finds
            motion that is larger than the moving object.

    Source: Brox et al., High accuracy optical flow estimation based on a theory for warping, ECCV 2004; Sun, Roth,
    Black, Secrets of optical flow estimation and their principles, CVPR 2010, also for the penalty of the flow.
    """

    def __init__(
        self,
        *,
        smoothness_weight: float = 4.5,
        edge_alpha: float = 10.0,
        exponent: float = 0.4,
        colour: float = 0.3,
        rounding: float = 0.3,
        shrinkage: float = 0.7,
        smallest: int = 16,
        warps: int = 3,
        steps: int = 10,
        weighted_median: bool = True,
        search: bool = True,
    ) -> None:
        self.smoothness_weight, self.edge_alpha = smoothness_weight, edge_alpha
        self.exponent, self.colour, self.rounding = exponent, colour, rounding
        self.shrinkage, self.smallest, self.warps, self.steps = shrinkage, smallest, warps, steps
        self.weighted_median, self.search = weighted_median, search

    @torch.no_grad()
    @full_precision
    def forward_only(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Flow (B, 2, H, W) from image1 to image2, (B, 3, H, W) in [0, 1] each."""
        return self._coarse_to_fine(image1, image2, both=False)

    @torch.no_grad()
    @full_precision
    def __call__(self, image1: Tensor, image2: Tensor) -> Prediction:
        """Flow in both directions, from images (B, 3, H, W) in [0, 1]."""
        flow = self._coarse_to_fine(torch.cat([image1, image2]), torch.cat([image2, image1]), both=True)
        forward, backward = flow.chunk(2)
        return Prediction(forward, backward, forward_backward_visibility(forward, backward))

    @torch.no_grad()
    @full_precision
    def refined(self, image1: Tensor, image2: Tensor, flow: Tensor) -> Tensor:
        """Refine a flow (B, 2, H, W), pixels, by the warps at half size and at full size.

        The change at half size is enlarged and added, so that motion boundaries stay sharp.
        """
        for first, second in self._finest(image1, image2):
            size = (first.shape[-2], first.shape[-1])
            start = resize_flow(flow, size, align_corners=False)
            change = self._warped(first, second, start, both=False) - start
            flow = flow + resize_flow(change, (flow.shape[-2], flow.shape[-1]), align_corners=False)
        return flow

    def _finest(self, image1: Tensor, image2: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Both images at half and at full size; only at full size if half of it is too small."""
        half = scaled_size(image1, 0.5)
        halves = [(shrink(image1, half), shrink(image2, half))] if min(half) >= self.smallest else []
        return [*halves, (image1, image2)]

    def _coarse_to_fine(self, image1: Tensor, image2: Tensor, *, both: bool) -> Tensor:
        flow = image1.new_zeros(len(image1), 2, 1, 1)
        pyramids = [pyramid(image, smallest=self.smallest, shrinkage=self.shrinkage) for image in (image1, image2)]
        searched = inverse_search(image1, image2) if self.search else None
        smallest_searched = min(scaled_size(image1, SEARCHED))
        for first, second in reversed(list(zip(*pyramids, strict=True))):
            size = (first.shape[-2], first.shape[-1])
            flow = resize_flow(flow, size, align_corners=False)
            if searched is not None and min(size) >= smallest_searched:
                flow = better_of(flow, resize_flow(searched, size, align_corners=False), first, second)
                searched = None
            flow = self._warped(first, second, flow, both=both)
        return flow

    def _warped(self, image1: Tensor, image2: Tensor, flow: Tensor, *, both: bool) -> Tensor:
        """Flow of one level after its warps, each followed by a median."""
        weights = edge_weights(image1, alpha=self.edge_alpha)
        for number in range(self.warps):
            visible = (~out_of_frame(flow)).to(flow.dtype)
            if both and self.weighted_median:
                seen = forward_backward_visibility(flow, flow.roll(len(flow) // 2, dims=0))
                visible = visible * seen.clamp_min(OCCLUDED)
            flow = flow + self._change(image1, image2, flow, visible, weights)
            if self.weighted_median and (self.warps - 1 - number) % 2 == 0 and number > 0:
                flow = weighted_median_flow(flow, image1, visible)
            else:
                flow = median_flow(flow)
        return flow

    def _change(
        self, image1: Tensor, image2: Tensor, flow: Tensor, visible: Tensor, weights: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Change of the flow by a linear system, (B, 2, H, W), pixels."""
        t, mx, my = linearise(image1, image2, flow, colour=self.colour)
        k = visible * robust_weight(t, self.rounding)
        data = Tensors(*(k * (a * b).sum(dim=1, keepdim=True) for a, b in ((mx, mx), (mx, my), (my, my))))
        pull = torch.cat([k * (m * t).sum(dim=1, keepdim=True) for m in (mx, my)], dim=1)
        wx, wy = (
            self.smoothness_weight * edge * robust_weight(flow.diff(dim=dim), ROUNDING_OF_FLOW, self.exponent)
            for edge, dim in zip(weights, (-1, -2), strict=True)
        )
        right = -pull - weighted_laplacian(flow, wx, wy)
        change = solve(data, right, wx, wy, torch.zeros_like(flow), steps=self.steps)
        return change.clamp(-LARGEST_STEP, LARGEST_STEP)


def linearise(image1: Tensor, image2: Tensor, flow: Tensor, *, colour: float) -> Linearised:
    """Difference of the features of the images for a flow, and its derivatives with respect to the flow."""
    coords = target_coords(flow)
    warped = remap(image2, coords[:, 0], coords[:, 1], mode="bicubic", padding_mode="border", align_corners=True)
    first, second = (features(image, colour=colour) for image in (image1, warped))
    return Linearised(second - first, *derivatives((first + second) / 2))


def features(image: Tensor, *, colour: float) -> Tensor:
    """Gradients and colours (B, 9, H, W) of an image in [0, 1], levels; their square is a mean over three colours."""
    levels = LEVELS / 3**0.5 * image
    return torch.cat([*derivatives(levels), colour * levels], dim=1)


def derivatives(field: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of every channel along x and y, each (B, C, H, W), with a repeated border."""
    taps = constant(DERIVATIVE, like=field).expand(field.shape[1], 1, 1, 5)
    x = F.conv2d(F.pad(field, [2, 2, 0, 0], mode="replicate"), taps, groups=field.shape[1])
    y = F.conv2d(F.pad(field, [0, 0, 2, 2], mode="replicate"), taps.mT, groups=field.shape[1])
    return x, y


def robust_weight(difference: Tensor, rounding: float, exponent: float = 0.5) -> Tensor:
    """Factor of the tangent parabola of a penalty, (B, 1, H, W), for vectors (B, C, H, W).

    The penalty is rounding^(1 - 2 exponent) (|d|^2 + rounding^2)^exponent, and the factor its derivative by |d|^2.

    >>> round(robust_weight(torch.tensor([3.0, 0.0]).view(1, 2, 1, 1), 4.0).item(), 4)
    0.1
    """
    squares = difference.square().sum(dim=1, keepdim=True) + rounding**2
    factor: float = exponent * rounding ** (1 - 2 * exponent)
    return factor * squares.pow(exponent - 1)


def pyramid(image: Tensor, *, smallest: int, shrinkage: float) -> list[Tensor]:
    """Image pyramid, fine to coarse; no side is shorter than `smallest`, except those of the image.

    Each level is computed from the next finer one, which smooths it more than one step from the image would; flow from
    smoother levels is more accurate.
    """
    levels = [image]
    while min(size := scaled_size(image, shrinkage ** len(levels))) >= smallest:
        levels.append(shrink(levels[-1], size))
    return levels


def scaled_size(image: Tensor, scale: float) -> Size:
    """Height and width of an image, multiplied by a scale and rounded."""
    return round(image.shape[-2] * scale), round(image.shape[-1] * scale)


def shrink(image: Tensor, size: Size) -> Tensor:
    """Image of a smaller size, with anti-aliasing."""
    return F.interpolate(image, size, mode="bilinear", antialias=True)
