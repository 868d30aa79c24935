"""Flow of a pair with fixed parameters: `fast`, or `default`, which is more accurate."""

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
        preset: `fast`: one direction, two warps per level; `default`: both directions, with detection of occluded
            pixels by consistency, three warps per level.

    Raises:
        ValueError: if images are invalid, or the preset is unknown.
    """
    solver = preset_solver(preset)
    check_pair(image1, image2)
    return solver.forward_only(image1, image2) if preset == "fast" else solver(image1, image2).flow


def preset_solver(preset: Preset) -> LinearisedFlow:
    """Solver of a preset, which computes the flow in both directions and the visibility.

    Raises:
        ValueError: if the preset is unknown.
    """
    check_choice("preset", preset, Preset)
    return LinearisedFlow(warps=2 if preset == "fast" else 3)


def refine_flow(image1: Tensor, image2: Tensor, flow: Tensor) -> Tensor:
    """Refine a flow (B, 2, H, W), such as that of a network, by two warps of the solver at half and at full size.

    Args:
        image1, image2: (B, 3, H, W), RGB in [0, 1].
        flow: (B, 2, H, W), pixels.

    Raises:
        ValueError: if images or flow are invalid.
    """
    check_pair(image1, image2)
    check_flow(flow, image1)
    return LinearisedFlow(warps=2).refined(image1, image2, flow)
