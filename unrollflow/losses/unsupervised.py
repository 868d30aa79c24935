"""Unsupervised objective: photometric loss of visible pixels, and smoothness, of the estimates of a backbone."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unrollflow.contracts import FlowEstimate, FlowSample
from unrollflow.losses.masking import Levels, Masking, level_weights, photometric_loss
from unrollflow.losses.objective import Objective
from unrollflow.losses.photometric import Photometric
from unrollflow.losses.ramp import Ramp
from unrollflow.losses.smoothness import Smoothness
from unrollflow.losses.visibility import Visibility
from unrollflow.ops.choice import check_choice
from unrollflow.ops.occlusion import beside_crop
from unrollflow.ops.resize import resize_image, shrink_image
from unrollflow.ops.warp import Padding, warp

Field = Literal["raw", "flow"]
Unit = Literal["pixels", "side"]


class Direction(NamedTuple):
    """One direction of a pair: from an image to the other one, which may be a crop of a whole frame.

    Attributes:
        image, other: (B, 3, H, W).
        estimates: estimates from `image` to `other`.
        whole: (B, 3, Hf, Wf), the frame from which `other` was cropped, or None.
        origin: (B, 2), x and y of the crop in the frame, pixels, or None.
    """

    image: Tensor
    other: Tensor
    estimates: list[FlowEstimate]
    whole: Tensor | None
    origin: Tensor | None


class LossTerms(NamedTuple):
    """Cost of a training step; all scalars.

    Attributes:
        total: the minimised cost.
        photometric: weighted sum over the levels.
        smoothness: sum over the levels, weighted by level but not by the smoothness weight.
        visible: share of the pixels in the photometric loss, finest level.
    """

    total: Tensor
    photometric: Tensor
    smoothness: Tensor
    visible: Tensor

    @property
    def log(self) -> dict[str, Tensor]:
        """Detached terms, with names for a logger."""
        names = {"total": "loss/total", "photometric": "loss/photometric", "smoothness": "loss/smoothness"}
        return {names.get(k, "visible_fraction"): v.detach() for k, v in self._asdict().items()}


class UnsupervisedObjective(Objective):
    """Photometric loss of the visible pixels plus weighted smoothness, over pyramid levels or iterates, both ways.

    If a sample has whole frames beside its crops, these are warped (full-image warping, SMURF): pixels that leave the
    crop are reconstructed, and are visible if they stay in the frame.

    Args:
        photometric: photometric term.
        smoothness: smoothness term.
        visibility: selects the compared pixels from the flows of the last estimates, for all estimates.
        smoothness_weight: weight of the smoothness term relative to the photometric term.
        smoothness_ramp: warm-up of that weight; None: full weight from the first step.
        level_weights: photometric weights, see :func:`level_weights`; a level with weight 0 is not computed.
        smoothness_level_weights: weights of the smoothness term.
        smoothness_field: the flow in the smoothness term: `raw`, at the resolution of the backbone, or `flow`,
            up-sampled.
        smoothness_unit: the unit of that flow: `pixels` of its grid, or `side`: divided by min(H, W) of the last flow,
            for every level (the released TV).
        masking: see :func:`photometric_loss`.
        padding: values of the warped frame outside its border.

    Raises:
        ValueError: if the smoothness weight is negative, or a choice is unknown.
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
        smoothness_ramp: Ramp | None = None,
        masking: Masking = "image",
        padding: Padding = "border",
    ) -> None:
        super().__init__(photometric, smoothness, masking=masking, padding=padding)
        if smoothness_weight < 0:
            raise ValueError(f"smoothness_weight is negative: {smoothness_weight}; it must be at least 0.")
        check_choice("smoothness_field", smoothness_field, Field)
        check_choice("smoothness_unit", smoothness_unit, Unit)
        self.visibility = visibility
        self.smoothness_weight, self.smoothness_ramp = smoothness_weight, smoothness_ramp or Ramp()
        self.level_weights, self.smoothness_level_weights = level_weights, smoothness_level_weights
        self.smoothness_field: Field = smoothness_field
        self.smoothness_unit: Unit = smoothness_unit

    def forward(
        self, sample: FlowSample, forward: list[FlowEstimate], backward: list[FlowEstimate], *, step: int
    ) -> LossTerms:
        """Cost of the two lists of estimates, with weight 1/2 for each direction; see :meth:`Objective.forward`."""
        image1, image2, origin = sample["image1"], sample["image2"], sample.get("crop_origin")
        ways = [
            Direction(image1, image2, forward, sample.get("full_image2"), origin),
            Direction(image2, image1, backward, sample.get("full_image1"), origin),
        ]
        visible = [self._visible(way, reverse, step) for way, reverse in (ways, ways[::-1])]
        if self.masking == "image":  # per-image means: both directions can run as one batch
            ways, visible = [joined(*ways)], [torch.cat(visible)]
        term = self.photometric.at(step)
        photometric = torch.stack([self._photometric(term, w, v) for w, v in zip(ways, visible, strict=True)]).mean()
        smoothness = torch.stack([self._smoothness(way.image, way.estimates) for way in ways]).mean()
        return LossTerms(
            total=photometric + self.smoothness_weight * self.smoothness_ramp.at(step) * smoothness,
            photometric=photometric,
            smoothness=smoothness,
            visible=torch.stack(visible).mean(),
        )

    def _visible(self, way: Direction, reverse: Direction, step: int) -> Tensor:
        """(B, 1, H, W), 1 = visible: according to the test of the step, or outside the crop but inside the frame."""
        flow = way.estimates[-1].flow
        visible: Tensor = self.visibility.at(step)(flow, reverse.estimates[-1].flow)
        if way.whole is None or way.origin is None:
            return visible
        size = (way.whole.shape[-2], way.whole.shape[-1])
        return visible.masked_fill(beside_crop(flow, origin=way.origin, size=size), 1)

    def _photometric(self, term: Photometric, way: Direction, visible: Tensor) -> Tensor:
        total = way.image.new_zeros(())
        weights = level_weights(self.level_weights, len(way.estimates))
        for weight, (_, flow) in zip(weights, way.estimates, strict=True):
            if weight == 0:
                continue
            size = (flow.shape[-2], flow.shape[-1])
            loss = photometric_loss(
                term,
                resize_image(way.image, size),
                self._reconstruct(way, flow),
                F.interpolate(visible, size, mode="nearest"),
                masking=self.masking,
            )
            total = total + weight * loss
        return total

    def _reconstruct(self, way: Direction, flow: Tensor) -> Tensor:
        """Reconstruction of the image from the other image or its whole frame, at the size of a flow."""
        if way.whole is None or way.origin is None:
            return warp(resize_image(way.other, (flow.shape[-2], flow.shape[-1])), flow, padding=self.padding)
        factor = way.image.shape[-1] // flow.shape[-1]
        return warp(shrink_image(way.whole, factor), flow, padding=self.padding, origin=way.origin / factor)

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


def joined(forward: Direction, backward: Direction) -> Direction:
    """Concatenate both directions along the batch."""
    estimates = [
        FlowEstimate(torch.cat([a.raw, b.raw]), torch.cat([a.flow, b.flow]))
        for a, b in zip(forward.estimates, backward.estimates, strict=True)
    ]
    whole, origin = (
        None if a is None or b is None else torch.cat([a, b])
        for a, b in ((forward.whole, backward.whole), (forward.origin, backward.origin))
    )
    image, other = (torch.cat(pair) for pair in ((forward.image, backward.image), (forward.other, backward.other)))
    return Direction(image, other, estimates, whole, origin)
