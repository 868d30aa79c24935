"""Classical flow from gradient constancy, by linear systems from coarse to fine, in seconds.

The energy is sum psi(|g2(p + w) - g1(p)|^2) + weight * sum e(p) psi(|dw|^2) with g the gradient of the grey image, w
the flow, e edge weights, psi(x^2) = sqrt(x^2 + epsilon^2). Each warp replaces g2(p + w) by its linear approximation and
psi by a tangent parabola (iteratively reweighted least squares), which gives a linear system.
"""

from typing import NamedTuple

import kornia
import torch
import torch.nn.functional as F
from kornia.geometry.transform import remap
from torch import Tensor

from unrollflow.contracts import Prediction
from unrollflow.losses.photometric import LUMA
from unrollflow.ops.gradient import edge_weights
from unrollflow.ops.occlusion import forward_backward_visibility, out_of_frame
from unrollflow.ops.precision import full_precision
from unrollflow.ops.resize import resize_flow
from unrollflow.ops.transfer import constant
from unrollflow.ops.warp import target_coords
from unrollflow.variational.median import median_flow, weighted_median_flow
from unrollflow.variational.search import better_of, inverse_search
from unrollflow.variational.system import Tensors, solve, weighted_laplacian

GREY_LEVELS = 255.0
DERIVATIVE = (1 / 12, -8 / 12, 0.0, 8 / 12, -1 / 12)
"""Central differences of fourth order; kornia's, with two or three taps, cause errors of the flow at fine texture."""

ROUNDING_OF_DATA = 1.0
"""Epsilon of the data term, grey levels per pixel; smaller differences have a quadratic cost."""

ROUNDING_OF_FLOW = 0.03
"""Epsilon of the smoothness term, pixels per pixel."""

OCCLUDED = 0.1
"""Weight of pixels whose forward and backward flows do not cancel; some of them are right."""

LARGEST_STEP = 1.0
"""Maximum change of the flow per warp, pixels of the level, because the linear approximation is only valid nearby."""


class Linearised(NamedTuple):
    """Difference of the gradients, t + mx du + my dv, for a small change (du, dv) of the flow; (B, 2, H, W) each."""

    t: Tensor
    mx: Tensor
    my: Tensor


class LinearisedFlow:
    """Solver for the flow in both directions, coarse to fine, and the visibility.

    Args:
        smoothness_weight: weight of the smoothness term relative to the difference of gradients in grey levels per
            pixel.
        edge_alpha: alpha of the edge weights exp(-alpha |grad I|).
        smallest: smallest height and width of the pyramid, pixels.
        warps: number of linearisations per level.
        steps: number of conjugate gradient steps per linearisation.
        weighted_median: twice per level, use a weighted median at motion boundaries, without occluded pixels; otherwise
            only use an unweighted median of all pixels.
        search: at a quarter of the size, use OpenCV's inverse search where it explains the frames better; it finds
            motion that is larger than the moving object.

    Source: Brox et al., High accuracy optical flow estimation based on a theory for warping, ECCV 2004; Sun, Roth,
    Black, Secrets of optical flow estimation and their principles, CVPR 2010.
    """

    def __init__(
        self,
        *,
        smoothness_weight: float = 3.0,
        edge_alpha: float = 10.0,
        smallest: int = 24,
        warps: int = 5,
        steps: int = 15,
        weighted_median: bool = True,
        search: bool = True,
    ) -> None:
        self.smoothness_weight, self.edge_alpha = smoothness_weight, edge_alpha
        self.smallest, self.warps, self.steps = smallest, warps, steps
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
        first, second = (pyramid(image, smallest=self.smallest)[:2] for image in (image1, image2))
        return list(zip(first, second, strict=True))[::-1]

    def _coarse_to_fine(self, image1: Tensor, image2: Tensor, *, both: bool) -> Tensor:
        flow = image1.new_zeros(len(image1), 2, 1, 1)
        pyramids = [pyramid(image, smallest=self.smallest) for image in (image1, image2)]
        searched = inverse_search(image1, image2) if self.search else None
        for level, (first, second) in reversed(list(enumerate(zip(*pyramids, strict=True)))):
            size = (first.shape[-2], first.shape[-1])
            flow = resize_flow(flow, size, align_corners=False)
            if level == min(2, len(pyramids[0]) - 1) and searched is not None:
                flow = better_of(flow, resize_flow(searched, size, align_corners=False), first, second)
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
        t, mx, my = linearise(image1, image2, flow)
        k = visible * robust_weight(t, ROUNDING_OF_DATA)
        data = Tensors(*(k * (a * b).sum(dim=1, keepdim=True) for a, b in ((mx, mx), (mx, my), (my, my))))
        pull = torch.cat([k * (m * t).sum(dim=1, keepdim=True) for m in (mx, my)], dim=1)
        wx, wy = (
            self.smoothness_weight * edge * robust_weight(flow.diff(dim=dim), ROUNDING_OF_FLOW)
            for edge, dim in zip(weights, (-1, -2), strict=True)
        )
        right = -pull - weighted_laplacian(flow, wx, wy)
        change = solve(data, right, wx, wy, torch.zeros_like(flow), steps=self.steps)
        return change.clamp(-LARGEST_STEP, LARGEST_STEP)


def linearise(image1: Tensor, image2: Tensor, flow: Tensor) -> Linearised:
    """Difference of the gradients of grey images for a flow, and its derivatives with respect to the flow."""
    coords = target_coords(flow)
    warped = remap(image2, coords[:, 0], coords[:, 1], mode="bicubic", padding_mode="border", align_corners=True)
    first, second = (torch.cat(derivatives(grey(image)), dim=1) for image in (image1, warped))
    return Linearised(second - first, *derivatives((first + second) / 2))


def grey(image: Tensor) -> Tensor:
    """Grey levels (B, 1, H, W), 0 to 255, of an image in [0, 1]."""
    levels: Tensor = GREY_LEVELS * kornia.color.rgb_to_grayscale(image, rgb_weights=constant(LUMA, like=image))
    return levels


def derivatives(field: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of every channel along x and y, each (B, C, H, W), with a repeated border."""
    taps = constant(DERIVATIVE, like=field).expand(field.shape[1], 1, 1, 5)
    x = F.conv2d(F.pad(field, [2, 2, 0, 0], mode="replicate"), taps, groups=field.shape[1])
    y = F.conv2d(F.pad(field, [0, 0, 2, 2], mode="replicate"), taps.mT, groups=field.shape[1])
    return x, y


def robust_weight(difference: Tensor, rounding: float) -> Tensor:
    """Weight 1 / (2 sqrt(|d|^2 + rounding^2)), (B, 1, H, W), of the tangent parabola, for vectors (B, C, H, W)."""
    return (difference.square().sum(dim=1, keepdim=True) + rounding**2).rsqrt() / 2


def pyramid(image: Tensor, *, smallest: int) -> list[Tensor]:
    """Image pyramid, fine to coarse, halved (with anti-aliasing) while no side is shorter than `smallest`."""
    levels = [image]
    while min(levels[-1].shape[-2:]) >= 2 * smallest:
        height, width = (round(n / 2) for n in levels[-1].shape[-2:])
        levels.append(F.interpolate(levels[-1], (height, width), mode="bilinear", antialias=True))
    return levels
