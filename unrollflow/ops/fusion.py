"""Flow where it is occluded, from the flow to the frame before: what moves goes on moving."""

from typing import NamedTuple

import torch
from torch import Tensor

from unrollflow.ops.precision import full_precision
from unrollflow.ops.transfer import constant
from unrollflow.ops.warp import coords_grid

LEAST_PIXELS = 150
"""Fewer pixels that both neighbours show say nothing: ten for each of the polynomial's terms."""

REWEIGHTINGS = 5
"""Least-squares fits of a pair, each but the first with weights that make it one of absolute errors."""

SMALLEST_ERROR = 0.1
"""Pixels; smaller errors of a fit do not weigh more."""

RIDGE = 1e-3
"""Of the mean squares of the terms: a term that the pair does not determine stays 0."""

SMALLEST_MEAN_SQUARE = 1e-12
"""Lower bound of a term's mean square in its ridge; the smallest float64 is flushed to zero on some processors."""


class FusedFlow(NamedTuple):
    """Flow with what the frame before adds to it.

    Attributes:
        flow: (B, 2, H, W), pixels.
        known: (B, 1, H, W) bool, where it is the network's own and visible, or filled in.
        filled: (B, 1, H, W) bool, where it comes from the frame before.
    """

    flow: Tensor
    known: Tensor
    filled: Tensor


@torch.no_grad()
@full_precision
def fuse_flow(forward: Tensor, visible: Tensor, backward: Tensor, visible_before: Tensor) -> FusedFlow:
    """Fill flow in where the next frame does not show a pixel, but the frame before does.

    For each image, constant velocity plus a quadratic polynomial of the flow to the frame before and of the position
    is fitted to the pixels that both neighbours show, and evaluated at those that only the frame before shows. SMURF
    trains a small network for each image in its place, which takes longer and is not determined by the data alone.

    Args:
        forward: flow to the next frame, (B, 2, H, W), pixels.
        visible: (B, 1, H, W), where the next frame shows the pixel (> 0).
        backward: flow to the frame before, (B, 2, H, W), pixels.
        visible_before: (B, 1, H, W), where the frame before shows the pixel (> 0).

    Flow that is not finite counts as not seen.

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
        # the polynomial is taken of every pixel: of those that are not finite, too, which are neither used nor filled
        guess = predict_motion(forward[i], backward[i].masked_fill(~finite_before[i], 0), both[i, 0])
        filled[i] &= guess.isfinite().all(dim=0)  # squares of wild flow overflow
        flow[i] = torch.where(filled[i], guess, forward[i])
    return FusedFlow(flow, seen | filled, filled)


def predict_motion(forward: Tensor, backward: Tensor, known: Tensor) -> Tensor:
    """Flow to the next frame of every pixel of one image, from the flow to the frame before.

    Args:
        forward, backward: (2, H, W), pixels.
        known: (H, W) bool, pixels to fit to.
    """
    terms = polynomial(backward)  # (15, H, W)
    deviation = forward + backward  # of a constant velocity, 0
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
    """The 15 monomials of up to the second degree of a flow (2, H, W) and of the position, (15, H, W).

    The flow is divided by its root mean square, the position runs from -1 to 1.
    """
    height, width = backward.shape[-2:]
    grid = coords_grid(height, width, device=backward.device, dtype=backward.dtype)[0]
    half = constant([(width - 1) / 2, (height - 1) / 2], like=grid).view(2, 1, 1)
    speed = backward.square().mean().sqrt().clamp_min(SMALLEST_ERROR)
    variables = torch.cat([torch.ones_like(grid[:1]), backward / speed, grid / half - 1])
    rows, columns = torch.triu_indices(len(variables), len(variables))
    return variables[rows] * variables[columns]
