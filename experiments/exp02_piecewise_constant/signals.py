"""Piecewise-constant signals with noise, descent with several settings at once, and the measures of the results."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from experiments.common.penalties import Penalty, scaled
from experiments.exp02_piecewise_constant.exact_tv import energy, exact_total_variation

LENGTH = 128
JUMPS = 5
SMALLEST_JUMP = 0.3
TOLERANCES = (0.01, 0.001)
WEIGHTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Weights of exact total variation in standard deviations of the noise, for the tuning signals."""


def clean_signals(count: int, seed: int) -> Tensor:
    """Return float64 signals (count, LENGTH) with JUMPS jumps of >= SMALLEST_JUMP between levels in [-1, 1]."""
    generator = np.random.default_rng(seed)
    signals = []
    for _ in range(count):
        places = np.sort(4 + 6 * generator.choice((LENGTH - 8) // 6, JUMPS, replace=False))  # at least 6 apart
        levels = [generator.uniform(-1, 1)]
        while len(levels) <= JUMPS:
            level = generator.uniform(-1, 1)
            if abs(level - levels[-1]) >= SMALLEST_JUMP:
                levels.append(level)
        signals.append(np.repeat(levels, np.diff([0, *places, LENGTH])))
    return torch.from_numpy(np.stack(signals))


def noisy(clean: Tensor, sigma: float, seed: int) -> Tensor:
    """Add Gaussian noise of a standard deviation."""
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)).to(clean)


@lru_cache
def best_exact_weight(count: int, sigma: float, seed: int) -> float:
    """Return the weight of exact total variation with the lowest error on `count` tuning signals."""
    clean = clean_signals(count, seed)
    signals = noisy(clean, sigma, seed).numpy()

    def error(factor: float) -> float:
        solved = np.stack([exact_total_variation(signal, factor * sigma) for signal in signals])
        return float(root_mean_square(torch.from_numpy(solved) - clean).mean())

    return min(WEIGHTS, key=error) * sigma


def exact_energies(signals: Tensor, weight: float) -> Tensor:
    """Return the lowest energy of total variation of each signal, (S,)."""
    solved = [(exact_total_variation(signal, weight), signal) for signal in signals.numpy()]
    return torch.tensor([energy(x, y, weight) for x, y in solved], dtype=torch.float64)


class Descent(NamedTuple):
    """Results of R x K settings on S signals.

    Attributes:
        signals: (R, K, S, LENGTH).
        reached: for each of TOLERANCES, the first step within it of the exact optimum of total variation, (R, K, S);
            the number of steps + 1 if no step is.
    """

    signals: Tensor
    reached: list[Tensor]


def descend(
    start: Tensor,
    penalty: Penalty,
    weights: Tensor,
    scales: Tensor,
    rates: Sequence[float],
    *,
    cosine: bool,
    steps: int,
    exact_weight: float,
    optimum: Tensor,
) -> Descent:
    """Minimise 1/2 |x - start|^2 + weight * sum of the penalty of differences with Adam, from x = start.

    All settings are computed at once.

    Args:
        start: noisy signals (S, LENGTH).
        penalty: elementwise penalty.
        weights, scales: (K,) each, used in pairs.
        rates: learning rates, each used with all pairs.
        cosine: whether the rate falls to 0 over the steps.
        steps: number of steps of Adam.
        exact_weight: weight of the total variation for `reached`, for every penalty.
        optimum: lowest energies (S,) of this total variation.
    """
    weights, scales = (values.to(start).view(-1, 1, 1) for values in (weights, scales))
    copies = [start.expand(len(weights), -1, -1).clone().requires_grad_() for _ in rates]
    groups = [{"params": [x], "lr": rate} for x, rate in zip(copies, rates, strict=True)]
    optimizer = torch.optim.Adam(groups)
    factor = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (1 + np.cos(np.pi * step / steps)) / 2 if cosine else 1.0
    )
    reached = [torch.full((len(rates), len(weights), len(start)), steps + 1) for _ in TOLERANCES]
    for step in range(steps):
        x = torch.stack(copies)
        fidelity = (x - start).square().sum(-1, keepdim=True) / 2
        cost = fidelity + (weights * scaled(penalty, x.diff(dim=-1), scales)).sum(-1, keepdim=True)
        optimizer.zero_grad()
        cost.sum().backward()
        optimizer.step()
        factor.step()
        total_variation = fidelity.squeeze(-1) + exact_weight * x.diff(dim=-1).abs().sum(-1)
        excess = total_variation.detach() / optimum - 1
        for found, tolerance in zip(reached, TOLERANCES, strict=True):
            found[(excess <= tolerance) & (found > steps)] = step
    return Descent(torch.stack(copies).detach(), reached)


def root_mean_square(difference: Tensor) -> Tensor:
    """Return the root mean square error over the last dimension."""
    return difference.square().mean(-1).sqrt()


def jumps_found(signals: Tensor, clean: Tensor) -> Tensor:
    """Return the share of the JUMPS true jumps within one sample of one of the JUMPS largest differences, (..., S).

    A jump that is spread over several samples has several of these differences, so a blurred signal finds fewer jumps.

    Args:
        signals: (..., S, LENGTH).
        clean: (S, LENGTH).
    """
    true = clean.diff(dim=-1).abs().topk(JUMPS).indices  # (S, JUMPS)
    largest = signals.diff(dim=-1).abs().topk(JUMPS).indices  # (..., S, JUMPS)
    return ((true.unsqueeze(-1) - largest.unsqueeze(-2)).abs() <= 1).any(-1).double().mean(-1)
