"""Shared types of the package (FlowEstimate, FlowNetwork, FlowSample) and the convention for unknown flow."""

import math
from typing import NamedTuple, NotRequired, Protocol, Self, TypedDict, runtime_checkable

import torch
from torch import Tensor

UNKNOWN_FLOW = 1e9
"""Flow is unknown if a component is larger than this or not finite, pixels, as in Middlebury's .flo files."""


def known_flow(flow: Tensor, *, dim: int = -3) -> Tensor:
    """Mask (..., H, W) bool of the known pixels of a flow (..., 2, H, W), whose components are along `dim`.

    >>> from torch import nan, tensor
    >>> known_flow(tensor([[2.0, 1.7e9, 0.0], [3.0, 1.7e9, nan]]), dim=0).tolist()
    [True, False, False]
    """
    known: Tensor = flow.abs().amax(dim=dim) <= UNKNOWN_FLOW  # False for NaN
    return known


FARTHEST_OVERSHOOT = 0.5
"""Tolerated distance from [0, 1] of interpolated images; values beyond it indicate another range, such as 0..255."""


def check_floating(tensor: Tensor, *, user: str) -> None:
    """Raise ValueError unless a tensor is floating-point, because differences of unsigned integers wrap around.

    >>> check_floating(torch.zeros(1, dtype=torch.uint8), user="census")
    Traceback (most recent call last):
    ValueError: census got a tensor of torch.uint8; expected floating-point numbers: use image.float() / 255.
    """
    if not tensor.is_floating_point():
        raise ValueError(
            f"{user} got a tensor of {tensor.dtype}; expected floating-point numbers: use image.float() / 255."
        )


def check_images(*images: Tensor, user: str) -> None:
    """Raise ValueError unless images are floating-point RGB (B, 3, H, W) in [0, 1], of equal shape and type.

    The range is only checked on the CPU, because the check would synchronise with a GPU.
    """
    for image in images:
        check_floating(image, user=user)
        if image.ndim != 4 or image.shape[1] != 3 or image.shape != images[0].shape:
            raise ValueError(
                f"{user} got images of {' and '.join(str(tuple(i.shape)) for i in images)}; expected RGB (B, 3, H, W) "
                "of equal shape: use unsqueeze(0) for a single image, expand(-1, 3, -1, -1) for a grey one, "
                "image[:, :3] for RGBA, and permute(0, 3, 1, 2) for channels last."
            )
        if image.dtype != images[0].dtype:
            raise ValueError(f"{user} got images of {images[0].dtype} and {image.dtype}; expected equal types.")
        holds_values = type(image) is Tensor and image.device.type == "cpu"  # a fake tensor has no values
        if holds_values and image.numel() and not torch.compiler.is_compiling():
            low, high = (float(value) for value in torch.aminmax(image.detach()))
            if -math.inf < low < -FARTHEST_OVERSHOOT or 1 + FARTHEST_OVERSHOOT < high < math.inf:
                raise ValueError(
                    f"{user} got images with values from {low:.4g} to {high:.4g}; expected RGB in [0, 1]: divide "
                    "0..255 by 255, and undo any other normalisation, which the networks do themselves."
                )


class FlowEstimate(NamedTuple):
    """One estimate in the list of a backbone, which is ordered from the coarsest (or first) to the last.

    Attributes:
        raw: (B, 2, h, w), on the grid of the backbone, in pixels of that grid.
        flow: (B, 2, H, W), up-sampled by the backbone, in pixels of the up-sampled grid.
    """

    raw: Tensor
    flow: Tensor


class LikelihoodEstimate(FlowEstimate):
    """Flow that is the expectation of a distribution over a window of (2r + 1)^2 displacements.

    It unpacks like any estimate; objectives that score the distribution use its attributes.

    Attributes:
        likelihood: (B, (2r + 1)^2, h, w), likelihood of each displacement, in the order of
            :func:`~unrollflow.ops.shifts.window_offsets`; sums to 1.
        start: (B, 2, h, w), flow to which the displacements are added, pixels of the raw flow's grid.
    """

    likelihood: Tensor
    start: Tensor

    def __new__(cls, raw: Tensor, flow: Tensor, *, likelihood: Tensor, start: Tensor) -> Self:
        """Create an estimate with its distribution."""
        estimate = super().__new__(cls, raw, flow)
        estimate.likelihood, estimate.start = likelihood, start
        return estimate


class Prediction(NamedTuple):
    """Flow of a batch at the size of its images.

    Attributes:
        flow: (B, 2, H, W), from image1 to image2, pixels.
        flow_backward: (B, 2, H, W), from image2 to image1, pixels.
        visible: (B, 1, H, W), 1 where both flows agree (forward-backward test).
    """

    flow: Tensor
    flow_backward: Tensor
    visible: Tensor


@runtime_checkable
class FlowNetwork(Protocol):
    """Interface of a backbone, which maps RGB images in [0, 1] to a list of estimates and normalises them itself.

    Attributes:
        stride: image height and width must be multiples of it, pixels.
        minimum_size: smallest height and width, pixels.
    """

    stride: int
    minimum_size: int

    def __call__(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """Flow from image1 to image2, both (B, 3, H, W), from the coarsest (or first) estimate to the last."""
        ...

    def bidirectional(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow; the features of each image are computed once."""
        ...


class FlowSample(TypedDict):
    """One pair of frames, as yielded by every data set; in a batch, each tensor has a leading dimension B.

    Attributes:
        image1, image2: (3, H, W), RGB in [0, 1].
        name: file or index, for predictions and reports.
        flow: (2, H, W), from image1 to image2, pixels; finite everywhere.
        valid: (H, W) bool, True where `flow` is known.
        flow_candidates: (K, 2, H, W), several true flows of each pixel, finite; an evaluation uses the closest one.
            Transforms do not map them.
        occluded: (H, W) bool, True where the pixel of image1 is not visible in image2.
        boundary_distance: (H, W), distance to the nearest motion boundary, pixels; infinite if the frame has none.
        foreground: (H, W) bool, True on independently moving objects (KITTI's object map).
        segments: (H, W) int64, index of the superpixel of image2 that a pixel belongs to, from 0.
        full_image1, full_image2: (3, Hf, Wf), the frames from which image1 and image2 were cropped.
        crop_origin: (2,), x and y of image1's top left corner in full_image1, pixels.
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
