"""The unsupervised objective: the only place that masks and averages photometric maps."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate
from unrollflow.losses.photometric import Photometric
from unrollflow.losses.smoothness import Smoothness
from unrollflow.losses.visibility import Visibility
from unrollflow.ops.choice import check_choice
from unrollflow.ops.precision import float32_island
from unrollflow.ops.resize import crop_centre, resize_image
from unrollflow.ops.warp import Padding, warp

Masking = Literal["image", "released"]
Field = Literal["raw", "flow"]
Unit = Literal["pixels", "side"]
Levels = list[float] | float
LEAST_VISIBLE_PIXELS = 1.0
"""A masked mean divides by at least this many pixels, so a fully occluded image costs 0 instead of NaN."""


class LossTerms(NamedTuple):
    """What a training step costs; all scalars.

    Attributes:
        total: what is minimised.
        photometric: sum over the levels, weighted.
        smoothness: sum over the levels, weighted by level but not by the smoothness weight.
        visible: share of the pixels that the photometric loss may compare, finest level.
    """

    total: Tensor
    photometric: Tensor
    smoothness: Tensor
    visible: Tensor

    @property
    def log(self) -> dict[str, Tensor]:
        """Detached, named for a logger."""
        names = {"total": "loss/total", "photometric": "loss/photometric", "smoothness": "loss/smoothness"}
        return {names.get(k, "visible_fraction"): v.detach() for k, v in self._asdict().items()}


@float32_island
def visible_mean(difference: Tensor, visible: Tensor) -> Tensor:
    """Mean of a map over an image's visible pixels, then over the images: independent of how a batch is split.

    Args:
        difference: (B, C, H', W'), possibly without a border that `visible` has.
        visible: (B, 1, H, W), 1 = visible; cropped alike.

    Returns:
        a scalar; an image without a visible pixel counts as 0.

    >>> visible_mean(torch.tensor([2.0, 8.0]).view(1, 1, 1, 2), torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)).item()
    2.0
    """
    visible = crop_centre(visible, (difference.shape[-2], difference.shape[-1]))
    total = (difference.mean(dim=1, keepdim=True) * visible).sum(dim=(1, 2, 3))
    return (total / visible.sum(dim=(1, 2, 3)).clamp_min(LEAST_VISIBLE_PIXELS)).mean()


def photometric_loss(
    photometric: Photometric, image: Tensor, reconstruction: Tensor, visible: Tensor, *, masking: Masking
) -> Tensor:
    """Scalar photometric loss of the visible pixels.

    Args:
        photometric: the term, or a sum of terms.
        image, reconstruction: (B, 3, H, W) in [0, 1].
        visible: (B, 1, H, W), 1 = visible.
        masking: `image`: :func:`visible_mean` of each map; `released`: both images times visibility first, then
            the map's mean over the visibility's mean of the batch.
    """
    if masking == "image":
        return torch.stack(
            [w * visible_mean(term(image, reconstruction), visible) for w, term in photometric.terms()]
        ).sum()
    total = torch.stack(
        [w * term(image * visible, reconstruction * visible).mean() for w, term in photometric.terms()]
    ).sum()
    return total / visible.mean().clamp_min(LEAST_VISIBLE_PIXELS / visible.numel())


def level_weights(levels: Levels, count: int) -> list[float]:
    """One weight for each of `count` estimates, coarsest or first first.

    Args:
        levels: the weights themselves, or gamma, which stands for gamma^(count - 1 - i); 0 keeps the last alone.
        count: how many estimates the backbone gave.

    Raises:
        ValueError: if a list has another length.

    >>> level_weights(0.5, 3), level_weights(0.0, 3)
    ([0.25, 0.5, 1.0], [0.0, 0.0, 1.0])
    """
    if isinstance(levels, (int, float)):
        return [levels ** (count - 1 - i) for i in range(count)]
    if len(levels) != count:
        raise ValueError(
            f"{len(levels)} level weights {levels}, but the backbone gives {count} estimates; "
            "list one weight for each, coarsest first, or give one number gamma for gamma^(n-1-i)."
        )
    return levels


class UnsupervisedObjective(nn.Module):
    """Photometric loss of the visible pixels plus weighted smoothness, over pyramid levels or iterates, both ways.

    Args:
        photometric: how images differ.
        smoothness: how rough a flow is.
        visibility: which pixels are compared; from the last estimate's flows, used for all.
        smoothness_weight: weight of the smoothness term against the photometric one.
        level_weights: photometric weights, see :func:`level_weights`; a level of weight 0 costs nothing.
        smoothness_level_weights: the smoothness term's.
        smoothness_field: where it acts: `raw`, the backbone's own resolution, or `flow`, as up-sampled.
        smoothness_unit: of the flow it sees: `pixels` of its grid, or `side`: divided by min(H, W) of the last
            flow, for every level (the released TV).
        masking: see :func:`photometric_loss`.
        padding: what the warped frame shows outside its border.

    Raises:
        ValueError: for a negative smoothness weight, or a word that is not among the choices.
    """

    def __init__(
        self,
        photometric: Photometric,
        smoothness: Smoothness,
        *,
        visibility: Visibility,
        smoothness_weight: float,
        level_weights: Levels,
        smoothness_level_weights: Levels,
        smoothness_field: Field = "raw",
        smoothness_unit: Unit = "pixels",
        masking: Masking = "image",
        padding: Padding = "border",
    ) -> None:
        super().__init__()
        if smoothness_weight < 0:
            raise ValueError(f"smoothness_weight={smoothness_weight}: a weight is at least 0.")
        check_choice("smoothness_field", smoothness_field, Field)
        check_choice("smoothness_unit", smoothness_unit, Unit)
        check_choice("masking", masking, Masking)
        check_choice("padding", padding, Padding)
        self.photometric, self.smoothness, self.visibility = photometric, smoothness, visibility
        self.smoothness_weight = smoothness_weight
        self.level_weights, self.smoothness_level_weights = level_weights, smoothness_level_weights
        self.smoothness_field: Field = smoothness_field
        self.smoothness_unit: Unit = smoothness_unit
        self.masking: Masking = masking
        self.padding: Padding = padding

    def forward(
        self, image1: Tensor, image2: Tensor, forward: list[FlowEstimate], backward: list[FlowEstimate], *, step: int
    ) -> LossTerms:
        """Cost of the two lists of estimates, each direction counting half.

        Args:
            image1, image2: (B, 3, H, W), RGB in [0, 1].
            forward: estimates from image1 to image2, coarsest or first first.
            backward: from image2 to image1.
            step: training step, for what changes with it.
        """
        visibility = self.visibility.at(step)
        visible1 = visibility(forward[-1].flow, backward[-1].flow)
        visible2 = visibility(backward[-1].flow, forward[-1].flow)
        photometric = self._photometric(image1, image2, forward, visible1) + self._photometric(
            image2, image1, backward, visible2
        )
        smoothness = self._smoothness(image1, forward) + self._smoothness(image2, backward)
        return LossTerms(
            total=photometric / 2 + self.smoothness_weight * smoothness / 2,
            photometric=photometric / 2,
            smoothness=smoothness / 2,
            visible=(visible1.mean() + visible2.mean()) / 2,
        )

    @torch.no_grad()
    def held_out(self, image1: Tensor, image2: Tensor, flow: Tensor) -> Tensor:
        """Photometric loss of all pixels of image1 for one flow at full size: a score without labels.

        All pixels: a mean over visible ones alone is best, 0, for a flow that calls everything occluded.

        Args:
            image1, image2: (B, 3, H, W), RGB in [0, 1].
            flow: (B, 2, H, W), pixels.
        """
        visible = torch.ones_like(flow[:, :1])
        reconstruction = warp(image2, flow, padding=self.padding)
        return photometric_loss(self.photometric, image1, reconstruction, visible, masking=self.masking)

    def _photometric(self, image1: Tensor, image2: Tensor, estimates: list[FlowEstimate], visible: Tensor) -> Tensor:
        total = image1.new_zeros(())
        for weight, (_, flow) in zip(level_weights(self.level_weights, len(estimates)), estimates, strict=True):
            if weight == 0:
                continue
            size = (flow.shape[-2], flow.shape[-1])
            reconstruction = warp(resize_image(image2, size), flow, padding=self.padding)
            level_visible = F.interpolate(visible, size, mode="nearest")
            loss = photometric_loss(
                self.photometric, resize_image(image1, size), reconstruction, level_visible, masking=self.masking
            )
            total = total + weight * loss
        return total

    def _smoothness(self, image: Tensor, estimates: list[FlowEstimate]) -> Tensor:
        total = image.new_zeros(())
        side = min(estimates[-1].flow.shape[-2:]) if self.smoothness_unit == "side" else 1
        for weight, estimate in zip(
            level_weights(self.smoothness_level_weights, len(estimates)), estimates, strict=True
        ):
            if weight == 0:
                continue
            field = estimate.raw if self.smoothness_field == "raw" else estimate.flow
            total = total + weight * self.smoothness(field / side, image)
        return total
