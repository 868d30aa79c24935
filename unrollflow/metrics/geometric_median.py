"""The point that has the least mean distance to others."""

import math
from functools import partial

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

ROUNDINGS = (1e-1, 1e-2, 1e-3, 1e-4)
"""Of the mean distance: radii within which the cost is round, one search after the other, each from the last's end."""

SLOPE = 1e-4
"""Of the rounded cost, where a search ends; a mean of unit vectors has at most 1."""


def geometric_median(points: Tensor) -> Tensor:
    """The geometric median of points in the plane, to 5e-4 of its mean distance, and never worse than the origin.

    The mean distance is convex, but has a kink at every point, before which Weiszfeld's iteration all but stops; so a
    rounded one is minimised. Its error is bounded: the component-wise median, where the search starts, costs at most
    sqrt(2) of the least; rounding adds at most 1e-4 of that; a slope of 1e-4 leaves at most that share of the way to
    the median, which is no longer than the two costs together. The point next to the end is tried, too: flow comes in
    plateaus, of which one often is the answer.

    Args: points: (2, N), finite.   Returns: (2,); 0 where there is no point.

    >>> geometric_median(torch.tensor([[1.0, 1.0, 9.0], [1.0, 1.0, 9.0]])).tolist()
    [1.0, 1.0]
    """
    origin = points.new_zeros(2)
    if not points.shape[1]:
        return origin
    median = points.median(dim=1).values
    spread = mean_distance(median, points)
    if not torch.finfo(points.dtype).tiny < spread < math.inf:  # all points are one, or one of them is no number
        return median
    scaled, centre = (points - median.view(2, 1)) / spread, np.zeros(2)
    for radius in ROUNDINGS:
        options = {"gtol": SLOPE, "initial_trust_radius": 10 * radius}  # the rounding before was ten times as wide
        search = partial(minimize, rounded_distance, jac=True, hess=rounded_curvature, method="trust-exact")
        centre = search(x0=centre, args=(scaled, radius), options=options).x
    found = median + spread * points.new_tensor(centre)
    nearest = points[:, distance(found, points).argmin()]
    return min((origin, median, nearest, found), key=lambda candidate: mean_distance(candidate, points))


def rounded_distance(centre: Array, points: Tensor, radius: float) -> tuple[float, Array]:
    """Mean of sqrt(distance^2 + radius^2) between a centre (2,) and points (2, N), and its gradient (2,)."""
    offset, length = rounded_offset(centre, points, radius)
    # float64, because a search compares costs that differ by less than float32 resolves
    return length.mean(dtype=torch.float64).item(), (offset / length).mean(dim=1).double().cpu().numpy()


def rounded_curvature(centre: Array, points: Tensor, radius: float) -> Array:
    """Second derivatives (2, 2) of :func:`rounded_distance`: the mean of (1 - d d^T) / length, directions d."""
    offset, length = rounded_offset(centre, points, radius)
    direction = offset / length
    outer = direction @ (direction / length).T / points.shape[1]
    return (length.reciprocal().mean() * torch.eye(2).to(outer) - outer).double().cpu().numpy()


def rounded_offset(centre: Array, points: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """From points (2, N) to a centre (2,): (2, N), and sqrt(distance^2 + radius^2), (N,)."""
    offset = points.new_tensor(centre).view(2, 1) - points
    return offset, torch.addcmul(offset[0].square() + radius**2, offset[1], offset[1]).sqrt()


def mean_distance(centre: Tensor, points: Tensor) -> float:
    """Mean distance between a centre (2,) and points (2, N)."""
    return distance(centre, points).mean(dtype=torch.float64).item()


def distance(centre: Tensor, points: Tensor) -> Tensor:
    """Distances (N,) between a centre (2,) and points (2, N)."""
    return torch.hypot(*(points - centre.view(2, 1)))  # many times as fast as vector_norm along so short a dimension
