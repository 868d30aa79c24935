"""Label-free signals of an error at each pixel: forward-backward mismatch and matching entropies."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unrollflow.contracts import FlowSample, Prediction
from unrollflow.metrics import endpoint_error
from unrollflow.models import strips
from unrollflow.models.matching_stages import FullResolutionStage, MatchingStage, certainty
from unrollflow.models.pyramid_matcher import PyramidMatcher
from unrollflow.ops import Calibration, crop_centre, flow_confidence, mean_mismatch, warp
from unrollflow.ops.matching import soft_argmax
from unrollflow.ops.occlusion import CALIBRATION
from unrollflow.training.module import UnsupervisedFlow

Stage = MatchingStage | FullResolutionStage


class Pixels(NamedTuple):
    """Values at the pixels of a set with known true flow, each (N,).

    Attributes:
        error: end-point error, pixels.
        confidence: see :func:`~unrollflow.ops.flow_confidence`.
        mismatch: see :func:`~unrollflow.ops.mean_mismatch`, pixels.
        own_mismatch: forward-backward mismatch of the pixel alone, pixels.
        full_entropy: entropy of the displacements of the last stage, at full size, nats.
        half_entropy: entropy of the displacements of the previous stage, at half the size, nats.
    """

    error: Tensor
    confidence: Tensor
    mismatch: Tensor
    own_mismatch: Tensor
    full_entropy: Tensor
    half_entropy: Tensor


Refinement = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Function of two images and a flow that returns a flow."""


@torch.no_grad()
def pixels_of(
    module: UnsupervisedFlow,
    pairs: Iterable[FlowSample],
    *,
    calibration: Calibration = CALIBRATION,
    refinement: Refinement | None = None,
) -> Pixels:
    """Return the errors and signals of a network's flow, or of its refined flow, over all pairs of a set."""
    backbone = cast(PyramidMatcher, module.backbone)
    found: list[list[Tensor]] = []
    for pair in pairs:
        images = pair["image1"].unsqueeze(0), pair["image2"].unsqueeze(0)
        prediction: Prediction = module(*images)
        with in_one_strip(), recorded(backbone.refinement) as full, recorded(backbone.matching) as half:
            module.one_way(*images)
        forward, backward = prediction.flow, prediction.flow_backward
        if refinement is not None:
            forward = refinement(*images, prediction.flow)
            backward = refinement(*images[::-1], prediction.flow_backward)
        maps = [
            endpoint_error(forward, pair["flow"].unsqueeze(0)),
            flow_confidence(forward, backward, calibration=calibration),
            mean_mismatch(forward, backward),
            torch.linalg.vector_norm(forward + warp(backward, forward), dim=1),
            *(enlarged(entropies[-1], full[-1], forward) for entropies in (full, half)),
        ]
        found.append([values.reshape(pair["valid"].shape)[pair["valid"]] for values in maps])
    return Pixels(*(torch.cat(values) for values in zip(*found, strict=True)))


def enlarged(entropy: Tensor, padded: Tensor, flow: Tensor) -> Tensor:
    """Resize an entropy (1, 1, h, w) to the size of the padded images, and crop it to the size of the flow."""
    size = (flow.shape[-2], flow.shape[-1])
    return crop_centre(F.interpolate(entropy, (padded.shape[-2], padded.shape[-1]), mode="bilinear"), size)


@contextmanager
def in_one_strip() -> Iterator[None]:
    """Make networks process whole frames instead of strips, so that the output of a stage is of the whole frame."""
    with mock.patch.object(strips, "MOST_PIXELS", sys.maxsize):
        yield


@contextmanager
def recorded(stage: Stage) -> Iterator[list[Tensor]]:
    """Collect the entropies (B, 1, h, w), nats, of the displacements of a stage, one for each call of the stage."""
    displacements = stage.outputs[0]
    costs: list[Tensor] = []
    entropies: list[Tensor] = []

    def keep_costs(body: nn.Module, inputs: tuple[Tensor]) -> None:
        costs.append(inputs[0][:, :displacements])

    def add_entropy(head: nn.Module, inputs: tuple[Tensor], scores: Tensor) -> None:
        likelihood, _ = soft_argmax(stage.temperature * costs.pop() + scores[:, :displacements])
        entropies.append(-certainty(likelihood)[:, :1])

    hooks = [stage.body.register_forward_pre_hook(keep_costs), stage.head.register_forward_hook(add_entropy)]
    try:
        yield entropies
    finally:
        for hook in hooks:
            hook.remove()
