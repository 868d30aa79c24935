"""F1 score of the motion boundaries of a flow."""

import torch
from torch import Tensor

from unrollflow.data.transforms.motion_boundaries import distance_to, motion_boundary

TOLERANCE = 2.0
"""Largest distance of matching predicted and true boundary pixels, in pixels."""

THRESHOLDS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
"""Thresholds of the flow gradient for a predicted boundary, pixels per pixel; chosen on validation data."""


def boundary_f1(flow: Tensor, target: Tensor, *, threshold: float, tolerance: float = TOLERANCE) -> float:
    """Return the F1 score of the motion boundaries of a flow, over the pixels of all images.

    A true boundary is a jump of more than 1 px between neighbours. A predicted boundary is a gradient of more than
    `threshold`, because a network blurs it over a few pixels. Precision: share of predicted pixels within `tolerance`
    of a true one; recall: share of true pixels within `tolerance` of a predicted one.

    Args:
        flow, target: (B, 2, H, W), pixels.
        threshold: pixels per pixel.
        tolerance: pixels.

    Returns:
        Score in [0, 1]; 0 if no boundary is predicted, NaN if there is no true boundary.

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
    """Return (B, H, W) bool: the pixels on both sides of a jump of the flow of more than `threshold`."""
    chosen = torch.zeros_like(flow[:, 0], dtype=torch.bool)
    for dim in (-1, -2):
        step = torch.linalg.vector_norm(flow.diff(dim=dim), dim=1) > threshold
        length = step.shape[dim]
        chosen.narrow(dim, 0, length).logical_or_(step)
        chosen.narrow(dim, 1, length).logical_or_(step)
    return chosen


def best_threshold(flow: Tensor, target: Tensor) -> float:
    """Return the value of :data:`THRESHOLDS` with the best F1, for use with other images."""
    return max(THRESHOLDS, key=lambda threshold: boundary_f1(flow, target, threshold=threshold))
