"""Objective of LikeNet: the cost of each displacement, multiplied by its predicted likelihood."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from unrollflow.contracts import FlowEstimate, FlowSample, LikelihoodEstimate, check_images
from unrollflow.losses.masking import Levels, level_weights
from unrollflow.losses.objective import Objective
from unrollflow.losses.photometric import Photometric
from unrollflow.losses.smoothness import Smoothness
from unrollflow.ops.precision import full_precision
from unrollflow.ops.resize import resize_image
from unrollflow.ops.shifts import window_shifts
from unrollflow.ops.warp import warp


class LikelihoodTerms(NamedTuple):
    """Cost of a training step; all scalars.

    Attributes:
        total: the minimised cost.
        matching: expected divergence, weighted by level.
        smoothness: smoothness term, weighted by level, but not by the smoothness weight.
    """

    total: Tensor
    matching: Tensor
    smoothness: Tensor

    @property
    def log(self) -> dict[str, Tensor]:
        """Detached terms, with names for a logger."""
        return {f"loss/{name}": value.detach() for name, value in self._asdict().items()}


class LikelihoodObjective(Objective):
    """C = sum over pixels i and displacements m_k of P(L_i = m_k) D(i, m_k), both ways, over the levels of LikeNet.

    D is the Jensen-Shannon divergence between feature vectors at x_i of image1 and at x_i + m_k of image2, warped by
    the flow of the coarser level. Here the sum over pixels is a mean. The compared features are our choice: the colours
    of a 3x3 patch at the size of the level, as a distribution (a softmax, which ignores the brightness of a patch).
    Learned features would collapse to equal values with zero cost. The gradient is complete: the initial flow of a
    level changes both the likelihoods P and the divergences D, so that a coarse level also learns from finer ones.
    Outside the frame, the border is repeated. No pixels are masked, and a smoothness term may be added to the expected
    flow.

    Args:
        photometric: photometric term, used only for the score in validation.
        smoothness: smoothness term of the raw flow of each level.
        smoothness_weight: weight of the smoothness term.
        level_weights: weights of both terms, see :func:`~unrollflow.losses.level_weights`.
        temperature: a colour difference of this size multiplies the share of a feature by e; smaller values emphasise
            contrast.

    Raises:
        ValueError: if the temperature is not positive or the weight negative.

    Source: Ahmadi, Marras and Patras, LikeNet, BMVC 2018.
    """

    def __init__(
        self,
        photometric: Photometric,
        smoothness: Smoothness,
        *,
        smoothness_weight: float,
        level_weights: Levels = 1.0,
        temperature: float = 0.1,
    ) -> None:
        super().__init__(photometric, smoothness)
        if temperature <= 0 or smoothness_weight < 0:
            raise ValueError(
                f"a value is out of range: temperature={temperature}, smoothness_weight={smoothness_weight}; expected "
                "temperature > 0 and smoothness_weight >= 0."
            )
        self.smoothness_weight, self.level_weights, self.temperature = smoothness_weight, level_weights, temperature

    def forward(
        self, sample: FlowSample, forward: list[FlowEstimate], backward: list[FlowEstimate], *, step: int
    ) -> LikelihoodTerms:
        """Cost of the two lists, with weight 1/2 for each direction; see :meth:`Objective.forward`.

        Raises:
            ValueError: if the estimates are not :class:`~unrollflow.contracts.LikelihoodEstimate`.
        """
        ways = [
            (sample["image1"], sample["image2"], with_likelihoods(forward)),
            (sample["image2"], sample["image1"], with_likelihoods(backward)),
        ]
        weights = level_weights(self.level_weights, len(forward))
        matching = smoothness = sample["image1"].new_zeros(())
        for image, other, estimates in ways:
            for weight, estimate in zip(weights, estimates, strict=True):
                if weight == 0:
                    continue
                costs = window_divergence(image, other, estimate, temperature=self.temperature)
                matching = matching + weight / 2 * (estimate.likelihood * costs).sum(dim=1).mean()
                smoothness = smoothness + weight / 2 * self.smoothness(estimate.raw, image)
        return LikelihoodTerms(matching + self.smoothness_weight * smoothness, matching, smoothness)


def with_likelihoods(estimates: list[FlowEstimate]) -> list[LikelihoodEstimate]:
    """Return the estimates, or raise ValueError unless all have likelihoods."""
    known = [estimate for estimate in estimates if isinstance(estimate, LikelihoodEstimate)]
    if len(known) < len(estimates):
        raise ValueError(
            "LikelihoodObjective needs likelihoods of displacements, which this backbone does not predict; use LikeNet "
            "(configs/backbone/likenet.yaml), or another objective."
        )
    return known


def window_divergence(image: Tensor, other: Tensor, estimate: LikelihoodEstimate, *, temperature: float) -> Tensor:
    """D(i, m_k) (B, K, h, w) of the displacements of an estimate, differentiable in its initial flow.

    Args:
        image, other: (B, 3, H, W) in [0, 1], resized to the size of the estimate.
        estimate: estimate of `image`, with K = (2r + 1)^2 likelihoods.
        temperature: see :class:`LikelihoodObjective`.
    """
    check_images(image, other, user="LikelihoodObjective")
    size = (estimate.raw.shape[-2], estimate.raw.shape[-1])
    search_range = (math.isqrt(estimate.likelihood.shape[1]) - 1) // 2
    p = patch_distribution(resize_image(image, size), temperature=temperature)
    q = patch_distribution(warp(resize_image(other, size), estimate.start), temperature=temperature)
    return jensen_shannon(p, q, search_range=search_range)


@full_precision
def patch_distribution(image: Tensor, *, temperature: float) -> Tensor:
    """Distribution (B, 9 C, H, W) of the 3x3 patch around each pixel of (B, C, H, W); the border is repeated."""
    padded = F.pad(image, [1] * 4, mode="replicate")
    patches = rearrange(F.unfold(padded, 3), "b k (h w) -> b k h w", h=image.shape[-2])
    return F.softmax(patches / temperature, dim=1)


@full_precision
def jensen_shannon(p: Tensor, q: Tensor, *, search_range: int = 0) -> Tensor:
    """Jensen-Shannon divergence of p(x) and q(x + d), H((p + q) / 2) - (H(p) + H(q)) / 2, for every d of a window.

    Args:
        p, q: distributions over the channels, (B, C, H, W).
        search_range: r; the window has (2r + 1)^2 displacements, in the order of
            :func:`~unrollflow.ops.shifts.window_offsets`; outside the frame, the border is repeated.

    Returns:
        (B, (2r + 1)^2, H, W), from 0 to ln 2.

    Source: Lin, Divergence Measures Based on the Shannon Entropy, IEEE Trans. Information Theory 1991.

    >>> apart = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    >>> round(jensen_shannon(apart, apart.flip(1)).item(), 4), jensen_shannon(apart, apart).item()
    (0.6931, 0.0)
    """
    h_p, h_q = entropy(p), entropy(q)
    shifts, entropies = (window_shifts(field, search_range, padding="border") for field in (q, h_q))
    divergences = [entropy((p + q_d) / 2) - (h_p + h_d) / 2 for q_d, h_d in zip(shifts, entropies, strict=True)]
    return torch.cat(divergences, dim=1).clamp_min(0)  # rounding may make it negative


def entropy(p: Tensor) -> Tensor:
    """Shannon entropy (B, 1, H, W), in nats, of distributions (B, C, H, W) over the channels.

    >>> certain = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    >>> entropy(certain).sum().backward()
    >>> certain.grad.flatten().tolist()
    [-1.0, 0.0]
    """
    # the slope of -p log p at 0 is infinite, and a softmax may round to 0
    terms: Tensor = torch.special.entr(p.clamp_min(torch.finfo(p.dtype).tiny))
    return terms.sum(dim=1, keepdim=True)
