"""Linear system of one linearisation: a data term per pixel, and weighted differences of neighbours."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-12
"""Keeps quotients of sums of squares finite if the system is already solved."""

RIDGE = 1e-6
"""Ridge of the diagonal of the data term, so that isolated pixels without texture do not change."""


class Tensors(NamedTuple):
    """Symmetric 2 x 2 matrices [[uu, uv], [uv, vv]] of every pixel, each part (B, 1, H, W)."""

    uu: Tensor
    uv: Tensor
    vv: Tensor

    def times(self, flow: Tensor) -> Tensor:
        """Products with the vectors of a field (B, 2, H, W)."""
        u, v = flow[:, :1], flow[:, 1:]
        return torch.cat([self.uu * u + self.uv * v, self.uv * u + self.vv * v], dim=1)

    def inverse(self) -> "Tensors":
        """Inverse matrices."""
        determinant = self.uu * self.vv - self.uv.square()
        return Tensors(self.vv / determinant, -self.uv / determinant, self.uu / determinant)


def weighted_laplacian(field: Tensor, weight_x: Tensor, weight_y: Tensor) -> Tensor:
    """Negative divergence of weighted forward differences: the gradient of half the sum of weight * difference^2.

    Args:
        field: (B, C, H, W).
        weight_x, weight_y: weights of the differences along x and y, (B, 1, H, W - 1) and (B, 1, H - 1, W).

    Returns:
        (B, C, H, W).

    >>> weighted_laplacian(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2), torch.ones(1, 1, 1, 1), torch.ones(1, 1, 0, 2))
    tensor([[[[-1.,  1.]]]])
    """
    x, y = weight_x * field.diff(dim=-1), weight_y * field.diff(dim=-2)
    result = torch.zeros_like(field)  # adding to its parts takes half the time of adding padded copies
    result[..., 1:] += x
    result[..., :-1] -= x
    result[..., 1:, :] += y
    result[..., :-1, :] -= y
    return result


def solve(data: Tensors, right: Tensor, weight_x: Tensor, weight_y: Tensor, start: Tensor, *, steps: int) -> Tensor:
    """Solution (B, 2, H, W) of (data + weighted Laplacian) x = right, after some steps from `start`.

    It uses conjugate gradients, preconditioned with the 2 x 2 matrix of each pixel. scipy's solver needs a matrix on
    the CPU and does not support batches.

    Args:
        data: positive semidefinite matrices.
        right, start: (B, 2, H, W).
        weight_x, weight_y: as in :func:`weighted_laplacian`, >= 0.
        steps: number of steps.

    Source: Saad, Iterative Methods for Sparse Linear Systems, 2003, algorithm 9.1.
    """
    held = F.pad(weight_x, [1, 0]) + F.pad(weight_x, [0, 1])
    held = held + F.pad(weight_y, [0, 0, 1, 0]) + F.pad(weight_y, [0, 0, 0, 1]) + RIDGE
    preconditioner = Tensors(data.uu + held, data.uv, data.vv + held).inverse()
    x = start
    r = right - data.times(x) - weighted_laplacian(x, weight_x, weight_y)
    z = preconditioner.times(r)
    p, rz = z, inner(r, z)
    for _ in range(steps):
        product = data.times(p) + weighted_laplacian(p, weight_x, weight_y)
        alpha = rz / inner(p, product).clamp_min(TINY)
        x = x + alpha * p
        r = r - alpha * product
        z = preconditioner.times(r)
        before, rz = rz, inner(r, z)
        p = z + rz / before.clamp_min(TINY) * p
    return x


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of the images of two batches, (B, 1, 1, 1)."""
    return (a * b).sum(dim=(1, 2, 3), keepdim=True)
