"""Maximum-likelihood fits: the calibration of a mismatch, and a logistic regression of several signals."""

import math
from collections.abc import Sequence

import torch
from scipy.optimize import minimize
from torch import Tensor

from unrollflow.ops import Calibration

START = Calibration(scale=0.5, power=2.0, floor=0.3)


def fitted_calibration(mismatch: Tensor, right: Tensor) -> Calibration:
    """Return the calibration with the largest likelihood.

    Args: mismatch: (N,), pixels.   right: (N,) bool, where the error is under 1 px.
    """
    mismatch, right = mismatch.double(), right.double()

    def cost(numbers: Sequence[float]) -> float:
        return negative_log_likelihood(probability(mismatch, positive(numbers)), right)

    start = [math.log(START.scale), math.log(START.power), math.log(START.floor / (1 - START.floor))]
    return positive(minimize(cost, start, method="Nelder-Mead").x)


def positive(numbers: Sequence[float]) -> Calibration:
    """Return a valid calibration from any three numbers."""
    scale, power, floor = (float(number) for number in numbers)
    return Calibration(math.exp(scale), math.exp(power), 1 / (1 + math.exp(-floor)))


def probability(mismatch: Tensor, calibration: Calibration) -> Tensor:
    """Return the confidence like :func:`~unrollflow.ops.flow_confidence`, from mismatches (N,) instead of flows."""
    scale, power, floor = calibration
    return floor + (1 - floor) / (1 + (mismatch / scale) ** power)


def negative_log_likelihood(confidence: Tensor, right: Tensor) -> float:
    """Mean over pixels (N,), nats."""
    tiny = torch.finfo(torch.float32).eps
    return torch.nn.functional.binary_cross_entropy(confidence.double().clamp(tiny, 1 - tiny), right.double()).item()


def logistic(signals: Tensor, right: Tensor, *, steps: int = 20) -> Tensor:
    """Return the weights (K + 1,), the constant first, of the logistic regression of right (N,) on signals (N, K)."""
    signals, right = with_constant(signals), right.double()
    weights = signals.new_zeros(signals.shape[1])
    for _ in range(steps):
        p = (signals @ weights).sigmoid()
        hessian = signals.mT @ (signals * (p * (1 - p)).unsqueeze(1))
        weights = weights + torch.linalg.solve(hessian, signals.mT @ (right - p))
    return weights


def with_constant(signals: Tensor) -> Tensor:
    """Return the signals (N, K + 1), float64, with a first column of ones."""
    return torch.cat([torch.ones(len(signals), 1, dtype=torch.float64), signals.double()], dim=1)
