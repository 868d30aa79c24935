"""From the two flows of a pair: which pixels of frame 1 are seen in frame 2 (1 = visible, always), and the confidence
of a flow; without gradient.
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
"""Side of the window that a mismatch is averaged over, pixels."""

MISMATCHES = (0.01, 100.0)
"""Range of a mismatch, pixels: values outside are clamped, and NaN counts as the largest."""


@torch.no_grad()
@full_precision
def forward_backward_visibility(
    flow_forward: Tensor, flow_backward: Tensor, *, scale: float = 0.01, bias: float = 0.5
) -> Tensor:
    """Visible where the flow there and the flow back cancel: |F + w|^2 <= scale (|F|^2 + |w|^2) + bias.

    Args:
        flow_forward: F, (B, 2, H, W), pixels.
        flow_backward: (B, 2, H, W), pixels; w is its value at p + F(p), zero outside the frame.
        scale: tolerance that grows with the motion.
        bias: tolerance in pixels squared.

    Returns:
        (B, 1, H, W), 1 = visible, in the flow's precision; not finite is not visible.

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
    """How much mass each pixel receives when every pixel is splatted bilinearly to p + F(p).

    Args:
        flow: (B, 2, H, W), pixels; corners outside the frame are dropped one by one.

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
    """Visible where the backward flow brings something: range map of at least `threshold`.

    Args:
        flow_backward: (B, 2, H, W), from frame 2 to frame 1, pixels.
        threshold: least mass of a visible pixel, in (0, 1].

    Returns:
        (B, 1, H, W), visibility in frame 1, 1 = visible.
    """
    mass = range_map(flow_backward).clamp(0, 1)
    return (mass >= threshold).to(mass.dtype)


@torch.no_grad()
@full_precision
def beside_crop(flow: Tensor, *, origin: Tensor, size: tuple[int, int]) -> Tensor:
    """Where p + F(p) leaves a crop, but not the frame that it was cut from.

    Args:
        flow: (B, 2, H, W), of the crop, pixels.
        origin: x and y (B, 2) of the crop's top left corner in the frame, pixels.
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
    """Where p + F(p) leaves the frame, or is not finite.

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
    """Which positions (B, 2, h, w), x and y in pixels, lie in an (H, W) frame, borders included: (B, 1, h, w) bool."""
    height, width = size
    x, y = coords[:, :1], coords[:, 1:]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


class Calibration(NamedTuple):
    """Numbers that turn a mismatch into a confidence: see :func:`flow_confidence`.

    Attributes:
        scale: mismatch whose confidence is halfway between 1 and the floor, pixels, over 0.
        power: steepness, over 0.
        floor: confidence of large mismatches, at least 0 and under 1; occluded pixels have large ones, but some of
            their flow is right.
    """

    scale: float
    power: float
    floor: float


CALIBRATION = Calibration(scale=0.527, power=2.683, floor=0.204)
"""Of the shipped weights "small", fitted by `python -m experiments.confidence` on MovingLayers that are held out."""

REFINED_CALIBRATION = Calibration(scale=0.338, power=1.882, floor=0.18)
"""As :data:`CALIBRATION`, of the flow that :func:`~unrollflow.variational.refine_flow` makes of that of the network."""


@torch.no_grad()
@full_precision
def mean_mismatch(flow: Tensor, flow_backward: Tensor) -> Tensor:
    """Geometric mean of the forward-backward mismatch |F + w| over the window around each pixel.

    Args:
        flow: F, (B, 2, H, W), pixels.
        flow_backward: (B, 2, H, W), pixels; w is its value at p + F(p), outside the frame that of the nearest pixel.

    Returns:
        (B, 1, H, W), pixels, within :data:`MISMATCHES`; at the border the nearest pixel is repeated.

    Raises:
        ValueError: if the flows are not (B, 2, H, W) of one shape.

    Source: the mismatch of Sundaram et al., Dense point trajectories by GPU-accelerated large displacement optical
        flow, ECCV 2010.

    >>> right, back = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.tensor([-0.75, 0.0]).view(1, 2, 1, 1)
    >>> round(mean_mismatch(right, back).item(), 4)
    0.25
    """
    if flow.ndim != 4 or flow.shape[1] != 2 or flow.shape != flow_backward.shape:
        shapes = f"{tuple(flow.shape)} and {tuple(flow_backward.shape)}"
        raise ValueError(f"the flows have the shapes {shapes}; two flows (B, 2, H, W) of one shape are needed.")
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
        flow, flow_backward: (B, 2, H, W), pixels, there and back.
        calibration: of the network; with the one of another network, the order of pixels is kept, and the
            probabilities may be wrong.

    Returns:
        (B, 1, H, W), in [0, 1]; 0 where the flow is unknown.

    Raises:
        ValueError: if the flows are not (B, 2, H, W) of one shape, or a number of the calibration is out of range.

    >>> right = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    >>> halfway = Calibration(scale=0.25, power=2.0, floor=0.5)
    >>> round(flow_confidence(right, -0.75 * right, calibration=halfway).item(), 4)
    0.75
    """
    scale, power, floor = calibration
    if not (scale > 0 and power > 0 and 0 <= floor < 1):
        raise ValueError(f"{calibration} is out of range: scale > 0, power > 0 and 0 <= floor < 1 are needed.")
    mismatch = mean_mismatch(flow, flow_backward)
    confidence = floor + (1 - floor) / (1 + (mismatch / scale) ** power)
    return torch.where(known_flow(flow).unsqueeze(1), confidence, 0.0)
