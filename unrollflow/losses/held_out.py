"""Label-free measures of a flow on held-out pairs, to select runs and to detect failures."""

import torch
from torch import Tensor

from unrollflow.contracts import Prediction, check_images
from unrollflow.losses.photometric import census
from unrollflow.ops.occlusion import out_of_frame
from unrollflow.ops.precision import full_precision
from unrollflow.ops.resize import crop_centre
from unrollflow.ops.warp import warp

PATCH_SIZE = 3
"""Patch size of the census, equal for all runs. (On a CPU, size 7 costs four times as much as the network.)"""

UNEXPLAINED = 1.0
"""Census of an image without visible pixels: the worst value, because 0 would reward a flow that hides all pixels."""

LEAST_DIFFERENCE = 1e-3
"""Added to both sides of the ratio to zero flow, so that equal frames give 1."""


@torch.no_grad()
@full_precision
def unlabelled_measures(image1: Tensor, image2: Tensor, prediction: Prediction) -> dict[str, Tensor]:
    """Every measure of :data:`~unrollflow.metrics.names.UNLABELLED` except the training loss, for every image.

    Args:
        image1, image2: (B, 3, H, W), RGB in [0, 1], of at least 3 pixels per side.
        prediction: prediction for these images.

    Returns:
        measures (B,) by name; infinite if the flow is not finite.

    Source: Meister et al., UnFlow, AAAI 2018 (census); Sundaram et al., ECCV 2010 (forward-backward).

    >>> flow, image = torch.zeros(1, 2, 8, 8), torch.rand(1, 3, 8, 8)
    >>> measures = unlabelled_measures(image, image, Prediction(flow, flow, torch.ones(1, 1, 8, 8)))
    >>> [round(measures[name].item(), 6) for name in ("census", "zero_flow_ratio", "visible_fraction")]
    [0.0, 1.0, 1.0]
    """
    check_images(image1, image2, user="unlabelled_measures")
    flow, flow_backward, visible = (field.to(image1) for field in prediction)
    difference = census(image1, warp(image2, flow), patch_size=PATCH_SIZE)  # (B, 1, H - 2, W - 2)
    unmoved = census(image1, image2, patch_size=PATCH_SIZE)
    inner = crop_centre(visible, (difference.shape[-2], difference.shape[-1]))
    seen = image_mean(inner)
    # for a pixel that leaves the frame, the backward flow is that of the nearest border pixel
    mismatch = torch.linalg.vector_norm(flow + warp(flow_backward, flow), dim=1)
    outside = out_of_frame(flow).to(flow)
    ratio = (image_mean(difference) + LEAST_DIFFERENCE) / (image_mean(unmoved) + LEAST_DIFFERENCE)
    motion = image_mean(torch.linalg.vector_norm(flow, dim=1))
    explained = torch.where(
        seen > 0, image_mean(difference * inner) / seen.clamp_min(1 / inner[0].numel()), UNEXPLAINED
    )
    whole = motion.isfinite()  # warp accepts a flow that is not finite, and would hide it
    return {
        "census": explained.where(whole, torch.inf),
        "zero_flow_ratio": ratio.where(whole, torch.inf),
        "consistency": image_mean(mismatch).where(whole, torch.inf),
        "visible_fraction": image_mean(visible),
        "occluded_fraction": image_mean((1 - visible) * (1 - outside)),
        "out_of_frame_fraction": image_mean(outside),
        "motion": motion.where(whole, torch.inf),
    }


def image_mean(values: Tensor) -> Tensor:
    """Mean of each image, from (B, ...) to (B,)."""
    return values.flatten(1).mean(dim=1)
