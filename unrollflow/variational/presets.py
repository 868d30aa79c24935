"""Flow of a pair with one fixed set of parameters: `fast`, or `default`, the more accurate."""

from typing import Literal

from torch import Tensor

from unrollflow.ops.choice import check_choice
from unrollflow.variational.checks import check_flow, check_pair
from unrollflow.variational.linearised import LinearisedFlow

Preset = Literal["fast", "default"]


def preset_flow(image1: Tensor, image2: Tensor, *, preset: Preset = "default") -> Tensor:
    """Flow (B, 2, H, W), pixels, from image1 to image2.

    Args:
        image1, image2: (B, 3, H, W), RGB in [0, 1].
        preset: `fast`: one way, plain medians; `default`: both ways, occluded pixels found by their consistency,
            weighted medians at motion boundaries.

    Raises:
        ValueError: for images that are not what they should be, or another preset.
    """
    solver = preset_solver(preset)
    check_pair(image1, image2)
    return solver.forward_only(image1, image2) if preset == "fast" else solver(image1, image2).flow


def preset_solver(preset: Preset) -> LinearisedFlow:
    """The solver of a preset, which computes the flow both ways and where the two agree.

    Raises:
        ValueError: for another preset.
    """
    check_choice("preset", preset, Preset)
    return LinearisedFlow(weighted_median=preset == "default")


def refine_flow(image1: Tensor, image2: Tensor, flow: Tensor) -> Tensor:
    """A flow (B, 2, H, W), such as a network's, after two warps of the linearised solver at half and at full size.

    Args:
        image1, image2: (B, 3, H, W), RGB in [0, 1].
        flow: pixels.

    Raises:
        ValueError: for images or a flow that are not what they should be.
    """
    check_pair(image1, image2)
    check_flow(flow, image1)
    return LinearisedFlow(warps=2, weighted_median=False).refined(image1, image2, flow)
