"""What every part of the package agrees on: a few types (see FlowEstimate, FlowNetwork, FlowSample), unknown flow."""

import math
from typing import NamedTuple, NotRequired, Protocol, Self, TypedDict, runtime_checkable

import torch
from torch import Tensor

UNKNOWN_FLOW = 1e9
"""Pixels; flow with a longer component, or one that is not finite, is unknown, as in Middlebury's .flo files."""


def known_flow(flow: Tensor, *, dim: int = -3) -> Tensor:
    """Where a flow is known: (..., H, W) bool of a flow (..., 2, H, W), whose components lie along `dim`.

    >>> from torch import nan, tensor
    >>> known_flow(tensor([[2.0, 1.7e9, 0.0], [3.0, 1.7e9, nan]]), dim=0).tolist()
    [True, False, False]
    """
    known: Tensor = flow.abs().amax(dim=dim) <= UNKNOWN_FLOW  # False for NaN
    return known


FARTHEST_OVERSHOOT = 0.5
"""Distance from [0, 1] that an interpolated image may have; beyond it an image has another range, such as 0..255."""


def check_floating(tensor: Tensor, *, user: str) -> None:
    """Raise ValueError unless a tensor holds floating-point numbers: differences of integers wrap around.

    >>> check_floating(torch.zeros(1, dtype=torch.uint8), user="census")
    Traceback (most recent call last):
    ValueError: census got a tensor of torch.uint8; floating-point numbers are needed: take image.float() / 255.
    """
    if not tensor.is_floating_point():
        raise ValueError(
            f"{user} got a tensor of {tensor.dtype}; floating-point numbers are needed: take image.float() / 255."
        )


def check_images(*images: Tensor, user: str) -> None:
    """Raise ValueError unless images are floating-point RGB (B, 3, H, W) in [0, 1], of one shape and type.

    The range is read of images on the CPU alone: on a GPU the host would wait for it.
    """
    for image in images:
        check_floating(image, user=user)
        if image.ndim != 4 or image.shape[1] != 3 or image.shape != images[0].shape:
            raise ValueError(
                f"{user} got images of {' and '.join(str(tuple(i.shape)) for i in images)}; it needs RGB (B, 3, H, W), "
                "all of one shape: a single image takes unsqueeze(0), a grey one expand(-1, 3, -1, -1), RGBA "
                "image[:, :3], and channels last permute(0, 3, 1, 2)."
            )
        if image.dtype != images[0].dtype:
            raise ValueError(f"{user} got images of {images[0].dtype} and {image.dtype}; they need one type.")
        holds_values = type(image) is Tensor and image.device.type == "cpu"  # a fake tensor has none
        if holds_values and image.numel() and not torch.compiler.is_compiling():
            low, high = (float(value) for value in torch.aminmax(image.detach()))
            if -math.inf < low < -FARTHEST_OVERSHOOT or 1 + FARTHEST_OVERSHOOT < high < math.inf:
                raise ValueError(
                    f"{user} got images with values from {low:.4g} to {high:.4g}; RGB in [0, 1] is needed: divide "
                    "0..255 by 255, and undo any other normalisation, which the networks do themselves."
                )


class FlowEstimate(NamedTuple):
    """One flow of a backbone's list, which runs from the coarsest (or first) estimate to the last.

    Attributes:
        raw: (B, 2, h, w), on the backbone's own grid, in pixels of that grid.
        flow: (B, 2, H, W), as the backbone up-samples it, in pixels of its own grid.
    """

    raw: Tensor
    flow: Tensor


class LikelihoodEstimate(FlowEstimate):
    """A flow that is the expected displacement of a distribution over a window of (2r + 1)^2 displacements.

    It unpacks as any estimate; the rest is for objectives that score the distribution.

    Attributes:
        likelihood: (B, (2r + 1)^2, h, w), of each displacement, in the order of
            :func:`~unrollflow.ops.shifts.window_offsets`; sums to 1.
        start: (B, 2, h, w), the flow that the displacements are added to, pixels of the raw flow's grid.
    """

    likelihood: Tensor
    start: Tensor

    def __new__(cls, raw: Tensor, flow: Tensor, *, likelihood: Tensor, start: Tensor) -> Self:
        """An estimate with its distribution."""
        estimate = super().__new__(cls, raw, flow)
        estimate.likelihood, estimate.start = likelihood, start
        return estimate


class Prediction(NamedTuple):
    """Flow of a batch at the size of its images.

    Attributes:
        flow: (B, 2, H, W), from image1 to image2, pixels.
        flow_backward: (B, 2, H, W), from image2 to image1.
        visible: (B, 1, H, W), 1 where the two agree (forward-backward test).
    """

    flow: Tensor
    flow_backward: Tensor
    visible: Tensor


@runtime_checkable
class FlowNetwork(Protocol):
    """What a backbone is: images RGB in [0, 1] go in, a list of estimates comes out; it normalises inside itself.

    Attributes:
        stride: image height and width must be multiples of it.
        minimum_size: smallest height and width in pixels.
    """

    stride: int
    minimum_size: int

    def __call__(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """Flow from image1 to image2, both (B, 3, H, W), coarsest or first estimate first."""
        ...

    def both(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow; the features of each image are computed once."""
        ...


class FlowSample(TypedDict):
    """One pair of frames as every data set yields it; batched, each tensor gains a leading B.

    Attributes:
        image1, image2: (3, H, W), RGB in [0, 1].
        name: file or index, for predictions and reports.
        flow: (2, H, W), from image1 to image2 in pixels; finite everywhere.
        valid: (H, W) bool, True where `flow` is known.
        flow_candidates: (K, 2, H, W), several true flows of each pixel, finite; an evaluation takes the closest one.
            Transforms do not map them.
        occluded: (H, W) bool, True where the pixel of image1 is not seen in image2.
        boundary_distance: (H, W), pixels to the nearest motion boundary; infinite if the frame has none.
        foreground: (H, W) bool, True on what moves by itself (KITTI's object map).
        segments: (H, W) int64, number of the superpixel of image2 that a pixel belongs to, from 0 up.
        full_image1, full_image2: (3, Hf, Wf), the frames that image1 and image2 were cropped from.
        crop_origin: (2,), x and y in pixels of image1's top left corner in full_image1.
        previous: (3, H, W), the frame before image1.
    """

    image1: Tensor
    image2: Tensor
    name: str
    flow: NotRequired[Tensor]
    valid: NotRequired[Tensor]
    flow_candidates: NotRequired[Tensor]
    occluded: NotRequired[Tensor]
    boundary_distance: NotRequired[Tensor]
    foreground: NotRequired[Tensor]
    segments: NotRequired[Tensor]
    full_image1: NotRequired[Tensor]
    full_image2: NotRequired[Tensor]
    crop_origin: NotRequired[Tensor]
    previous: NotRequired[Tensor]
