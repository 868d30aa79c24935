"""Flow of occluded pixels from the flow to the previous frame, assuming continuous motion."""

from typing import NamedTuple

import torch
from torch import Tensor

from unrollflow.ops.precision import full_precision
from unrollflow.ops.transfer import constant
from unrollflow.ops.warp import coords_grid

LEAST_PIXELS = 150
"""Minimum number of pixels visible in both neighbouring frames for a fit: ten per term of the polynomial."""

REWEIGHTINGS = 5
"""Number of least-squares fits, reweighted after the first to approximate least absolute errors."""

SMALLEST_ERROR = 0.1
"""Lower bound of an error in its weight, pixels."""

RIDGE = 1e-3
"""Ridge relative to the mean squares of the terms, so that undetermined coefficients are 0."""

SMALLEST_MEAN_SQUARE = 1e-12
"""Lower bound of the mean square of a term in its ridge; some processors flush the smallest float64 to zero."""


class FusedFlow(NamedTuple):
    """Flow with occluded pixels filled in from the previous frame.

    Attributes:
        flow: (B, 2, H, W), pixels.
        known: (B, 1, H, W) bool, True at visible and filled pixels.
        filled: (B, 1, H, W) bool, True at pixels filled from the previous frame.
    """

    flow: Tensor
    known: Tensor
    filled: Tensor


@torch.no_grad()
@full_precision
def fuse_flow(forward: Tensor, visible: Tensor, backward: Tensor, visible_before: Tensor) -> FusedFlow:
    """Fill in the flow of pixels that are visible in the previous frame, but not in the next frame.

    For each image, constant velocity plus a quadratic polynomial of the flow to the previous frame and of the position
    is fitted to the pixels visible in both neighbouring frames, and evaluated at those visible only in the previous
    one. SMURF trains a small network per image instead, which is slower and not deterministic. Pixels with flow that is
    not finite are not visible.

    Args:
        forward: flow to the next frame, (B, 2, H, W), pixels.
        visible: (B, 1, H, W), > 0 if the pixel is visible in the next frame.
        backward: flow to the previous frame, (B, 2, H, W), pixels.
        visible_before: (B, 1, H, W), > 0 if the pixel is visible in the previous frame.

    Source: Stone et al., SMURF, CVPR 2021, section 3.4 (multi-frame self-supervision).
    """
    seen, seen_before = visible > 0, visible_before > 0
    finite, finite_before = (flow.isfinite().all(dim=1, keepdim=True) for flow in (forward, backward))
    seen, seen_before = seen & finite, seen_before & finite_before
    both = seen & seen_before
    flow, filled = forward.clone(), ~seen & seen_before
    for i in range(len(forward)):
        if both[i].sum() < LEAST_PIXELS:
            filled[i] = False
            continue
        # the polynomial is computed at every pixel, including those that are not finite, which are not used or filled
        guess = predict_motion(forward[i], backward[i].masked_fill(~finite_before[i], 0), both[i, 0])
        filled[i] &= guess.isfinite().all(dim=0)  # squares of very large flow overflow
        flow[i] = torch.where(filled[i], guess, forward[i])
    return FusedFlow(flow, seen | filled, filled)


def predict_motion(forward: Tensor, backward: Tensor, known: Tensor) -> Tensor:
    """Flow of every pixel of one image to the next frame, predicted from the flow to the previous frame.

    Args:
        forward, backward: (2, H, W), pixels.
        known: (H, W) bool, pixels for the fit.
    """
    terms = polynomial(backward)  # (15, H, W)
    deviation = forward + backward  # 0 for constant velocity
    x, y = terms[:, known].T.double(), deviation[:, known].T.double()  # (N, 15), (N, 2)
    weight = x.new_ones(len(x), 1)
    ridge = RIDGE * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    for _ in range(REWEIGHTINGS):
        normal = x.T @ (weight * x) / weight.sum()
        scale = normal.diagonal().clamp_min(SMALLEST_MEAN_SQUARE)
        coefficients = torch.linalg.solve(normal + ridge * scale, x.T @ (weight * y) / weight.sum())
        error = (y - x @ coefficients).norm(dim=1, keepdim=True)
        weight = 1 / error.clamp_min(SMALLEST_ERROR)
    return torch.einsum("khw,kc->chw", terms, coefficients.to(terms.dtype)) - backward


def polynomial(backward: Tensor) -> Tensor:
    """The 15 monomials (15, H, W) of degree at most 2 of a flow (2, H, W) and of the position.

    The flow is divided by its root mean square; the position is from -1 to 1.
    """
    height, width = backward.shape[-2:]
    grid = coords_grid(height, width, device=backward.device, dtype=backward.dtype)[0]
    half = constant([(width - 1) / 2, (height - 1) / 2], like=grid).view(2, 1, 1)
    speed = backward.square().mean().sqrt().clamp_min(SMALLEST_ERROR)
    variables = torch.cat([torch.ones_like(grid[:1]), backward / speed, grid / half - 1])
    rows, columns = torch.triu_indices(len(variables), len(variables))
    return variables[rows] * variables[columns]
