"""Flow of a pair with one fixed set of parameters: `fast`, or `default`, the more accurate."""

from typing import Literal

from torch import Tensor

from unrollflow.losses.photometric import Census
from unrollflow.losses.smoothness import TotalVariation
from unrollflow.ops.choice import check_choice
from unrollflow.variational.checks import check_pair
from unrollflow.variational.descent import estimate_flow
from unrollflow.variational.linearised import LinearisedFlow

LEVELS, SMALLEST = 4, 16
"""Of the refinement's pyramid: as many levels, unless the coarsest would have a shorter side."""

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
    check_choice("preset", preset, Preset)
    check_pair(image1, image2)
    if preset == "fast":
        return LinearisedFlow(weighted_median=False).forward_only(image1, image2)
    return LinearisedFlow()(image1, image2).flow


def refine_flow(image1: Tensor, image2: Tensor, flow: Tensor, *, progress: bool = False) -> Tensor:
    """A flow (B, 2, H, W), such as a network's, after descent on census and total variation.

    Args:
        image1, image2: (B, 3, H, W), RGB in [0, 1].
        flow: pixels.
        progress: show a bar.

    Raises:
        ValueError: for images or a flow that are not what they should be.
    """
    levels = next(n for n in range(LEVELS, 0, -1) if n == 1 or min(image1.shape[-2:]) >= SMALLEST * 2 ** (n - 1))
    return estimate_flow(
        image1,
        image2,
        photometric=Census(patch_size=3),
        smoothness=TotalVariation(penalty="charbonnier", epsilon=0.01, edge_alpha=10.0),
        smoothness_weight=1.0,
        optimizer="adam",
        rate=0.1,
        steps=25,
        levels=levels,
        initial=flow,
        progress=progress,
    )
