"""Classical primal-dual method for total variation, as a reference for the energy of descent.

It minimises :class:`~unrollflow.variational.FlowEnergy` with `L1()` and `TotalVariation(edge_alpha=...)`, both without
smoothing at 0. For a linearised image, this is convex: min_x sum |K x + b| over a box around the flow, with x the flow
and K the stacked operators of both terms.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unrollflow.losses.photometric import L1
from unrollflow.losses.smoothness import TotalVariation
from unrollflow.ops.gradient import edge_weights
from unrollflow.ops.precision import full_precision
from unrollflow.ops.warp import warp
from unrollflow.variational.checks import check_pair
from unrollflow.variational.descent import FlowEnergy, OnStep, start
from unrollflow.variational.linearised import derivatives

FIRST_BOX = 1.0
"""Maximum change of the flow in the first linearisation, pixels."""

LAST_BOX = 1e-3
"""Smallest box, pixels. The method ends if moves of this size do not lower the energy. This need not be a minimum: for
photographs, the linear approximation may only be valid for smaller moves, and descent may lower the energy further."""

TINY = 1e-9


class Operator(NamedTuple):
    """Operator K: the data rows, (B, 3, H, W) each, and the weights of the differences of neighbours, >= 0."""

    mx: Tensor
    my: Tensor
    wx: Tensor
    wy: Tensor

    def times(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """K x: the data part, and the differences along x and y."""
        return self.mx * x[:, :1] + self.my * x[:, 1:], self.wx * x.diff(dim=-1), self.wy * x.diff(dim=-2)

    def transposed(self, data: Tensor, along_x: Tensor, along_y: Tensor) -> Tensor:
        """K^T y, (B, 2, H, W)."""
        gx, gy = self.wx * along_x, self.wy * along_y
        pull = torch.cat([(m * data).sum(dim=1, keepdim=True) for m in (self.mx, self.my)], dim=1)
        return pull + F.pad(gx, [1, 0]) - F.pad(gx, [0, 1]) + F.pad(gy, [0, 0, 1, 0]) - F.pad(gy, [0, 0, 0, 1])

    def steps(self) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Primal and dual step sizes: inverse absolute sums of the columns and rows of K."""
        columns = torch.cat([m.abs().sum(dim=1, keepdim=True) for m in (self.mx, self.my)], dim=1)
        columns = columns + F.pad(self.wx, [1, 0]) + F.pad(self.wx, [0, 1])
        columns = columns + F.pad(self.wy, [0, 0, 1, 0]) + F.pad(self.wy, [0, 0, 0, 1])
        rows = self.mx.abs() + self.my.abs(), 2 * self.wx, 2 * self.wy
        sigma_data, sigma_x, sigma_y = (1 / row.clamp_min(TINY) for row in rows)
        return 1 / columns.clamp_min(TINY), (sigma_data, sigma_x, sigma_y)


@torch.no_grad()
@full_precision
def primal_dual_flow(
    image1: Tensor,
    image2: Tensor,
    *,
    smoothness_weight: float,
    edge_alpha: float = 10.0,
    warps: int = 10,
    steps: int = 100,
    initial: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Flow (B, 2, H, W) that minimises L1 differences of colour + smoothness_weight * total variation.

    Each warp solves a linearised problem in a box around the flow. A solution that does not lower the energy of the
    batch is rejected, and the box is halved, so the energy never increases.

    Args:
        image1, image2: (B, 3, H, W), RGB in [0, 1].
        smoothness_weight: weight of the mean total variation relative to the mean difference, > 0.
        edge_alpha: alpha of the edge weights exp(-alpha |grad I|).
        warps: maximum number of linearisations, with `steps` steps of the method each.
        initial: initial flow, pixels; None: zero.
        on_step: receives flow and energy of each warp.

    Raises:
        ValueError: if images or flow are invalid, or the weight is negative.

    Source: Chambolle and Pock, A first-order primal-dual algorithm, JMIV 2011; its step sizes: Pock and Chambolle,
    Diagonal preconditioning for first order primal-dual algorithms, ICCV 2011; the flow's formulation: Zach et al., A
    duality based approach for realtime TV-L1 optical flow, DAGM 2007.
    """
    check_pair(image1, image2)
    energy = FlowEnergy(L1(), TotalVariation(edge_alpha=edge_alpha), smoothness_weight=smoothness_weight)
    flow, box = start(initial, image1), FIRST_BOX
    cost = float(energy(image1, image2, flow))
    for _ in range(warps):
        operator, offset = linearise(image1, image2, flow, smoothness_weight=smoothness_weight, edge_alpha=edge_alpha)
        moved = solve_in_box(operator, offset, flow, box=box, steps=steps)
        moved_cost = float(energy(image1, image2, moved))
        flow, cost, box = (moved, moved_cost, box) if moved_cost < cost else (flow, cost, box / 2)
        if on_step is not None:
            on_step(flow, cost)
        if box < LAST_BOX:
            break
    return flow


def linearise(
    image1: Tensor, image2: Tensor, flow: Tensor, *, smoothness_weight: float, edge_alpha: float
) -> tuple[Operator, Tensor]:
    """K and the data offset: energy times number of pixels is about sum |K x + (offset, 0, 0)| near the flow."""
    warped = warp(image2, flow)
    mx, my = (m / image1.shape[1] for m in derivatives(warped))  # mean over the colours
    offset = (warped - image1) / image1.shape[1] - mx * flow[:, :1] - my * flow[:, 1:]
    pixels = flow[0, 0].numel()
    # mean over two directions and two components: weight / (2 * 2) for each difference of a component
    wx, wy = (
        smoothness_weight / 4 * edge * pixels / edge[0, 0].numel() for edge in edge_weights(image1, alpha=edge_alpha)
    )
    return Operator(mx, my, wx, wy), offset


def solve_in_box(operator: Operator, offset: Tensor, flow: Tensor, *, box: float, steps: int) -> Tensor:
    """Flow x after some steps towards the minimum of sum |K x + (offset, 0, 0)| with |x - flow| <= box."""
    tau, (sigma_data, sigma_x, sigma_y) = operator.steps()
    x = ahead = flow
    data, along_x, along_y = (torch.zeros_like(part) for part in operator.times(flow))
    for _ in range(steps):
        by_data, by_x, by_y = operator.times(ahead)
        data = (data + sigma_data * (by_data + offset)).clamp(-1, 1)
        along_x = (along_x + sigma_x * by_x).clamp(-1, 1)
        along_y = (along_y + sigma_y * by_y).clamp(-1, 1)
        before = x
        x = (x - tau * operator.transposed(data, along_x, along_y)).clamp(flow - box, flow + box)
        ahead = 2 * x - before
    return x
