"""Evaluation of confidences: errors of groups of similar confidence, and the sparsification curve."""

from typing import NamedTuple

import torch
from torch import Tensor

DECILES = 10


class ConfidenceGroup(NamedTuple):
    """Pixels of similar confidence.

    Attributes:
        confidence: mean confidence, in [0, 1].
        reached: share of the pixels with an error under 1 px, in [0, 1]; equal to a calibrated confidence.
        error: mean end-point error, pixels.
    """

    confidence: float
    reached: float
    error: float


def confidence_groups(error: Tensor, confidence: Tensor, *, groups: int = DECILES) -> list[ConfidenceGroup]:
    """Divide pixels into groups of equal size (up to one pixel), in order of increasing confidence.

    Args:
        error: (N,), end-point errors, pixels.
        confidence: (N,), in [0, 1].
        groups: number of groups, from 1 to N.

    Raises:
        ValueError: unless both are finite and of shape (N,), or if there are fewer pixels than groups.

    >>> confidence_groups(torch.tensor([0.5, 3.0]), torch.tensor([0.75, 0.25]), groups=2)[0]
    ConfidenceGroup(confidence=0.25, reached=0.0, error=3.0)
    """
    check_pixels(error, confidence)
    if not 1 <= groups <= len(error):
        raise ValueError(f"groups={groups} of {len(error)} pixels; it must be from 1 to the number of pixels.")
    order = confidence.argsort(stable=True)
    pairs = zip(*(values.double()[order].tensor_split(groups) for values in (confidence, error)), strict=True)
    return [ConfidenceGroup(c.mean().item(), (e < 1).double().mean().item(), e.mean().item()) for c, e in pairs]


def sparsification_curve(error: Tensor, confidence: Tensor) -> Tensor:
    """Mean error of the k most confident pixels, k = 1 to N.

    The errors of pixels with equal confidence are replaced by their mean, so that their order does not matter.

    Args:
        error: (N,), end-point errors, pixels.
        confidence: (N,); only its order matters. The oracle is the negative error.

    Returns:
        (N,), pixels, float64; the last value is the mean of all errors.

    Raises:
        ValueError: unless both are finite and of shape (N,).

    Source: Ilg et al., Uncertainty estimates and multi-hypotheses networks for optical flow, ECCV 2018, section 5.

    >>> sparsification_curve(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0.9, 0.1, 0.5])).tolist()
    [1.0, 1.5, 2.0]
    """
    check_pixels(error, confidence)
    order = confidence.argsort(descending=True)
    ordered = confidence[order]
    group = torch.cat([ordered.new_zeros(1, dtype=torch.bool), ordered.diff() != 0]).cumsum(dim=0)
    means = group.bincount(error[order].double()) / group.bincount()
    curve: Tensor = means[group].cumsum(dim=0) / torch.arange(1, len(error) + 1, device=error.device)
    return curve


def sparsification_area(error: Tensor, confidence: Tensor) -> float:
    """Area under :func:`sparsification_curve`, pixels: its mean over the share of remaining pixels.

    For a constant confidence, it is the mean error. The oracle, whose confidence is the negative error, has the
    smallest area.

    Args: error, confidence: (N,), as in :func:`sparsification_curve`, with the same errors.

    >>> sparsification_area(torch.tensor([1.0, 3.0]), torch.tensor([0.9, 0.1]))
    1.5
    """
    return sparsification_curve(error, confidence).mean().item()


def check_pixels(error: Tensor, confidence: Tensor) -> None:
    """Raise ValueError unless both are finite and of shape (N,), with N at least 1."""
    if error.ndim != 1 or error.shape != confidence.shape or not len(error):
        shapes = f"{tuple(error.shape)} and {tuple(confidence.shape)}"
        raise ValueError(f"error and confidence have the shapes {shapes}; expected (N,) with equal N >= 1.")
    if not (error.isfinite().all() and confidence.isfinite().all()):
        raise ValueError("error or confidence is not finite at some pixels; omit these pixels first.")
