"""Visibility of the pixels of frame 1 in frame 2 (always 1 = visible), and confidence of a flow, from both flows of a
pair, without gradient.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from unrollflow.contracts import known_flow
from unrollflow.ops.matching import window_means
from unrollflow.ops.precision import full_precision
from unrollflow.ops.warp import target_coords, warp

MISMATCH_WINDOW = 5
"""Side of the window in the mean mismatch, pixels."""

MISMATCHES = (0.01, 100.0)
"""Range of a mismatch, pixels: values outside are clamped, and NaN is replaced by the largest."""


@torch.no_grad()
@full_precision
def forward_backward_visibility(
    flow_forward: Tensor, flow_backward: Tensor, *, scale: float = 0.01, bias: float = 0.5
) -> Tensor:
    """Visible where the forward and backward flow cancel: |F + w|^2 <= scale (|F|^2 + |w|^2) + bias.

    Args:
        flow_forward: F, (B, 2, H, W), pixels.
        flow_backward: (B, 2, H, W), pixels; w is its value at p + F(p), zero outside the frame.
        scale: tolerance relative to the motion.
        bias: tolerance, pixels squared.

    Returns:
        (B, 1, H, W), 1 = visible, in the precision of the flow; flow that is not finite is not visible.

    Source: Sundaram et al., Dense point trajectories by GPU-accelerated large displacement optical flow, ECCV 2010.

    >>> right, back = torch.ones(1, 2, 3, 3), -torch.ones(1, 2, 3, 3)
    >>> forward_backward_visibility(right, back)[0, 0, 0].tolist()  # the last column left the frame
    [1.0, 1.0, 0.0]
    """
    returned = warp(flow_backward, flow_forward, padding="zeros")  # w
    mismatch = (flow_forward + returned).square().sum(dim=1, keepdim=True)
    motion = (flow_forward.square() + returned.square()).sum(dim=1, keepdim=True)
    return (mismatch.isfinite() & (mismatch <= scale * motion + bias)).to(mismatch.dtype)


@torch.no_grad()
@full_precision
def range_map(flow: Tensor) -> Tensor:
    """Mass that each pixel receives if all pixels are splatted bilinearly to p + F(p).

    Args:
        flow: (B, 2, H, W), pixels; each of the four target pixels outside the frame is dropped.

    Returns:
        (B, 1, H, W), >= 0; 1 everywhere for zero flow.

    Source: Wang et al., Occlusion aware unsupervised learning of optical flow, CVPR 2018.

    >>> range_map(torch.zeros(1, 2, 2, 2)).unique().item()
    1.0
    """
    height, width = flow.shape[-2:]
    x, y = target_coords(flow).unbind(dim=1)  # each (B, H, W)
    mass = flow.new_zeros(len(flow), height * width)
    for corner_x in (x.floor(), x.floor() + 1):
        for corner_y in (y.floor(), y.floor() + 1):
            weight = (1 - (x - corner_x).abs()) * (1 - (y - corner_y).abs())
            inside = within(torch.stack([corner_x, corner_y], dim=1), (height, width))[:, 0]
            index = corner_y.clamp(0, height - 1) * width + corner_x.clamp(0, width - 1)
            mass.scatter_add_(1, index.flatten(1).long(), (weight * inside).flatten(1))
    return rearrange(mass, "b (h w) -> b 1 h w", h=height)


@torch.no_grad()
@full_precision
def range_map_visibility(flow_backward: Tensor, *, threshold: float = 0.2) -> Tensor:
    """Visible where the range map of the backward flow is at least `threshold`.

    Args:
        flow_backward: (B, 2, H, W), from frame 2 to frame 1, pixels.
        threshold: smallest mass of a visible pixel, in (0, 1].

    Returns:
        (B, 1, H, W), visibility in frame 1, 1 = visible.
    """
    mass = range_map(flow_backward).clamp(0, 1)
    return (mass >= threshold).to(mass.dtype)


@torch.no_grad()
@full_precision
def beside_crop(flow: Tensor, *, origin: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask of the pixels for which p + F(p) is outside of a crop, but inside of the whole frame.

    Args:
        flow: (B, 2, H, W), flow of the crop, pixels.
        origin: x and y (B, 2) of the top left corner of the crop in the frame, pixels.
        size: (H, W) of the frame.

    Returns:
        (B, 1, H, W) bool.

    >>> right = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    >>> beside_crop(right, origin=torch.tensor([[0.0, 0.0]]), size=(2, 3))[0, 0, 0].tolist()
    [False, True]
    """
    inside_crop = within(target_coords(flow), (flow.shape[-2], flow.shape[-1]))
    inside_frame = within(target_coords(flow, origin=origin, size=size), size)
    return ~inside_crop & inside_frame


@torch.no_grad()
@full_precision
def out_of_frame(flow: Tensor) -> Tensor:
    """Mask of the pixels for which p + F(p) is outside of the frame, or not finite.

    Args:
        flow: (B, 2, H, W), pixels.

    Returns:
        (B, 1, H, W) bool.

    >>> right = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 3)
    >>> out_of_frame(right).flatten().tolist()
    [False, False, True]
    """
    return ~within(target_coords(flow), (flow.shape[-2], flow.shape[-1]))


def within(coords: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask (B, 1, h, w) bool of the positions (B, 2, h, w), x and y in pixels, in an (H, W) frame including borders."""
    height, width = size
    x, y = coords[:, :1], coords[:, 1:]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


class Calibration(NamedTuple):
    """Parameters of the confidence as a function of the mismatch, see :func:`flow_confidence`.

    Attributes:
        scale: mismatch with a confidence halfway between 1 and the floor, pixels, over 0.
        power: steepness, over 0.
        floor: confidence for large mismatches, at least 0 and under 1; occluded pixels have large mismatches, but the
            flow of some is right.
    """

    scale: float
    power: float
    floor: float


CALIBRATION = Calibration(scale=0.527, power=2.683, floor=0.204)
"""Calibration of the shipped weights "small", fitted by `python -m experiments.confidence` on held-out MovingLayers."""

REFINED_CALIBRATION = Calibration(scale=0.4, power=2.344, floor=0.272)
"""As :data:`CALIBRATION`, for the flow of these weights refined by :func:`~unrollflow.variational.refine_flow`."""


@torch.no_grad()
@full_precision
def mean_mismatch(flow: Tensor, flow_backward: Tensor) -> Tensor:
    """Geometric mean of the forward-backward mismatch |F + w| over the window around each pixel.

    Args:
        flow: F, (B, 2, H, W), pixels.
        flow_backward: (B, 2, H, W), pixels; w is its value at p + F(p), or at the nearest pixel if that is outside.

    Returns:
        (B, 1, H, W), pixels, within :data:`MISMATCHES`; at the border, the nearest pixel is repeated.

    Raises:
        ValueError: unless the flows are (B, 2, H, W) of equal shape.

    Source: the mismatch of Sundaram et al., Dense point trajectories by GPU-accelerated large displacement optical
        flow, ECCV 2010.

    >>> right, back = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.tensor([-0.75, 0.0]).view(1, 2, 1, 1)
    >>> round(mean_mismatch(right, back).item(), 4)
    0.25
    """
    if flow.ndim != 4 or flow.shape[1] != 2 or flow.shape != flow_backward.shape:
        shapes = f"{tuple(flow.shape)} and {tuple(flow_backward.shape)}"
        raise ValueError(f"the flows have the shapes {shapes}; expected two flows (B, 2, H, W) of equal shape.")
    returned = warp(flow_backward, flow)  # w
    mismatch = torch.linalg.vector_norm(flow + returned, dim=1, keepdim=True)
    smallest, largest = MISMATCHES
    logarithm = mismatch.nan_to_num(nan=largest).clamp(smallest, largest).log()
    padded = F.pad(logarithm, [MISMATCH_WINDOW // 2] * 4, mode="replicate")
    return window_means(padded, MISMATCH_WINDOW).exp()


@torch.no_grad()
@full_precision
def flow_confidence(flow: Tensor, flow_backward: Tensor, *, calibration: Calibration = CALIBRATION) -> Tensor:
    """Estimated probability that the end-point error of a flow is under 1 px, at each pixel.

    With the mismatch m of :func:`mean_mismatch`, the confidence is floor + (1 - floor) / (1 + (m / scale)^power).

    Args:
        flow, flow_backward: (B, 2, H, W), pixels.
        calibration: calibration of the network; with that of another network, the order of pixels is the same, but the
            probabilities may be wrong.

    Returns:
        (B, 1, H, W), in [0, 1]; 0 where the flow is unknown.

    Raises:
        ValueError: unless the flows are (B, 2, H, W) of equal shape, or if the calibration is out of range.

    >>> right = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    >>> halfway = Calibration(scale=0.25, power=2.0, floor=0.5)
    >>> round(flow_confidence(right, -0.75 * right, calibration=halfway).item(), 4)
    0.75
    """
    scale, power, floor = calibration
    if not (scale > 0 and power > 0 and 0 <= floor < 1):
        raise ValueError(f"{calibration} is out of range; expected scale > 0, power > 0 and 0 <= floor < 1.")
    mismatch = mean_mismatch(flow, flow_backward)
    confidence = floor + (1 - floor) / (1 + (mismatch / scale) ** power)
    return torch.where(known_flow(flow).unsqueeze(1), confidence, 0.0)
