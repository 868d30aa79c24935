"""How well a flow's jumps lie where the motion's are."""

import torch
from torch import Tensor

from unrollflow.data.transforms.motion_boundaries import distance_to, motion_boundary

TOLERANCE = 2.0
"""Pixels within which a predicted and a true boundary pixel find each other."""

THRESHOLDS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
"""Pixels per pixel over which a flow's gradient may count as a predicted boundary; validation data choose one."""


def boundary_f1(flow: Tensor, target: Tensor, *, threshold: float, tolerance: float = TOLERANCE) -> float:
    """F1 of a flow's motion boundaries against the true ones, pixels of all images counted together.

    A true boundary is a jump of over 1 px between neighbours. A predicted one, which a network smears over a few
    pixels, is a gradient of over `threshold`. Precision: the share of predicted pixels within `tolerance` of a true
    one; recall: the share of true pixels within it of a predicted one.

    Args:
        flow, target: (B, 2, H, W), pixels.
        threshold: pixels per pixel.
        tolerance: pixels.

    Returns:
        in [0, 1]; 0 where nothing is found, NaN where there is no true boundary.

    Source: Martin et al., Learning to Detect Natural Image Boundaries, PAMI 2004 (F-measure with a tolerance).

    >>> flow = torch.zeros(1, 2, 8, 8)
    >>> flow[..., 4:] = 2
    >>> boundary_f1(flow, flow, threshold=0.5)
    1.0
    """
    found = predicted = missed = true = 0
    for guess, truth in zip(steep(flow, threshold), target, strict=True):
        edges = motion_boundary(truth, torch.ones_like(truth[0], dtype=torch.bool))
        predicted += int(guess.sum())
        true += int(edges.sum())
        found += int((distance_to(edges)[guess] <= tolerance).sum())
        missed += int((distance_to(guess)[edges] > tolerance).sum())
    if true == 0:
        return float("nan")
    precision, recall = found / max(predicted, 1), 1 - missed / true
    return 2 * precision * recall / (precision + recall) if found else 0.0


def steep(flow: Tensor, threshold: float) -> Tensor:
    """Pixels (B, H, W) bool at either side of a step of the flow of over `threshold` between neighbours."""
    chosen = torch.zeros_like(flow[:, 0], dtype=torch.bool)
    for dim in (-1, -2):
        step = torch.linalg.vector_norm(flow.diff(dim=dim), dim=1) > threshold
        length = step.shape[dim]
        chosen.narrow(dim, 0, length).logical_or_(step)
        chosen.narrow(dim, 1, length).logical_or_(step)
    return chosen


def best_threshold(flow: Tensor, target: Tensor) -> float:
    """The one of :data:`THRESHOLDS` with the best F1, to be taken over to other images."""
    return max(THRESHOLDS, key=lambda threshold: boundary_f1(flow, target, threshold=threshold))
