"""Piecewise-constant signals with noise, their descent under several settings at once, and what is measured on them."""

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
"""Of exact total variation, in standard deviations of the noise, tried on the tuning signals."""


def clean_signals(count: int, seed: int) -> Tensor:
    """Signals (count, LENGTH) in float64 with JUMPS jumps of at least SMALLEST_JUMP between levels in [-1, 1]."""
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
    """With Gaussian noise of a standard deviation."""
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)).to(clean)


@lru_cache
def best_exact_weight(count: int, sigma: float, seed: int) -> float:
    """Weight of exact total variation with the lowest error on `count` tuning signals."""
    clean = clean_signals(count, seed)
    signals = noisy(clean, sigma, seed).numpy()

    def error(factor: float) -> float:
        solved = np.stack([exact_total_variation(signal, factor * sigma) for signal in signals])
        return float(root_mean_square(torch.from_numpy(solved) - clean).mean())

    return min(WEIGHTS, key=error) * sigma


def exact_energies(signals: Tensor, weight: float) -> Tensor:
    """Lowest energies of total variation, one for each signal (S,)."""
    solved = [(exact_total_variation(signal, weight), signal) for signal in signals.numpy()]
    return torch.tensor([energy(x, y, weight) for x, y in solved], dtype=torch.float64)


class Descent(NamedTuple):
    """What several settings R x K came to on signals S.

    Attributes:
        signals: (R, K, S, LENGTH).
        reached: of each of TOLERANCES the first step within it of the exact optimum of total variation, (R, K, S);
            one more than there were steps where none was.
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
    """Adam on 1/2 |x - start|^2 + weight * sum of the penalty of differences, from x = start, all settings at once.

    Args:
        start: noisy signals (S, LENGTH).
        penalty: elementwise.
        weights, scales: (K,) each, tried in pairs.
        rates: learning rates, each with all pairs.
        cosine: whether the rate falls to 0 over the steps.
        steps: of Adam.
        exact_weight: of the total variation that `reached` is about, whatever is minimised.
        optimum: its lowest energies (S,).
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
    """Over the last dimension."""
    return difference.square().mean(-1).sqrt()


def jumps_found(signals: Tensor, clean: Tensor) -> Tensor:
    """Share of the JUMPS true jumps that lie within one sample of one of the JUMPS largest differences, (..., S).

    A jump that is spread over several samples takes several of these places, so a blurred signal finds fewer.

    Args:
        signals: (..., S, LENGTH).
        clean: (S, LENGTH).
    """
    true = clean.diff(dim=-1).abs().topk(JUMPS).indices  # (S, JUMPS)
    largest = signals.diff(dim=-1).abs().topk(JUMPS).indices  # (..., S, JUMPS)
    return ((true.unsqueeze(-1) - largest.unsqueeze(-2)).abs() <= 1).any(-1).double().mean(-1)
