"""How well a confidence tells small errors from large ones: errors by confidence, and the sparsification curve."""

from typing import NamedTuple

import torch
from torch import Tensor

DECILES = 10


class ConfidenceGroup(NamedTuple):
    """Pixels of similar confidence.

    Attributes:
        confidence: mean, in [0, 1].
        reached: share of the pixels whose error is under 1 px, in [0, 1]; calibrated if it equals the confidence.
        error: mean end-point error, pixels.
    """

    confidence: float
    reached: float
    error: float


def confidence_groups(error: Tensor, confidence: Tensor, *, groups: int = DECILES) -> list[ConfidenceGroup]:
    """Pixels in groups of equal size (to one pixel), the least confident first.

    Args:
        error: (N,), end-point errors, pixels.
        confidence: (N,), in [0, 1].
        groups: how many, from 1 to N.

    Raises:
        ValueError: if the two are not (N,) of one length and finite, or there are fewer pixels than groups.

    >>> confidence_groups(torch.tensor([0.5, 3.0]), torch.tensor([0.75, 0.25]), groups=2)[0]
    ConfidenceGroup(confidence=0.25, reached=0.0, error=3.0)
    """
    check_pixels(error, confidence)
    if not 1 <= groups <= len(error):
        raise ValueError(f"groups={groups} of {len(error)} pixels; a number from 1 to that of the pixels is needed.")
    order = confidence.argsort(stable=True)
    pairs = zip(*(values.double()[order].tensor_split(groups) for values in (confidence, error)), strict=True)
    return [ConfidenceGroup(c.mean().item(), (e < 1).double().mean().item(), e.mean().item()) for c, e in pairs]


def sparsification_curve(error: Tensor, confidence: Tensor) -> Tensor:
    """Mean error of the k most confident pixels, k = 1 to N.

    Pixels of equal confidence count with the mean of their errors, so that their order does not matter.

    Args:
        error: (N,), end-point errors, pixels.
        confidence: (N,); only its order counts. The negative error is the oracle.

    Returns:
        (N,), pixels, float64; the last value is the mean of all errors.

    Raises:
        ValueError: if the two are not (N,) of one length and finite.

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
    """Area under :func:`sparsification_curve`, pixels: the mean over the share of pixels that remain.

    A constant confidence has the mean error, and no confidence has less than the oracle, whose confidence is the
    negative error.

    Args: error, confidence: (N,), as of :func:`sparsification_curve`, whose errors it raises.

    >>> sparsification_area(torch.tensor([1.0, 3.0]), torch.tensor([0.9, 0.1]))
    1.5
    """
    return sparsification_curve(error, confidence).mean().item()


def check_pixels(error: Tensor, confidence: Tensor) -> None:
    """Raise ValueError unless both are (N,) of one length, at least 1, and finite."""
    if error.ndim != 1 or error.shape != confidence.shape or not len(error):
        shapes = f"{tuple(error.shape)} and {tuple(confidence.shape)}"
        raise ValueError(f"error and confidence have the shapes {shapes}; (N,) of one length is needed.")
    if not (error.isfinite().all() and confidence.isfinite().all()):
        raise ValueError("error or confidence is not finite at some pixels; omit these pixels first.")
