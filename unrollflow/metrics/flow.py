"""Measures of the benchmarks and of baselines, per image, averaged over images and pooled over pixels."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from unrollflow.contracts import known_flow
from unrollflow.metrics.names import MEASURES
from unrollflow.ops import full_precision

OUTLIER_PIXELS = 3.0
OUTLIER_SHARE = 0.05
"""Outliers of KITTI 2015 have an error over 3 px and over 5 % of the motion."""

RATES = (1, 3, 5)
"""Thresholds of the error in the rates, pixels."""

SPEEDS = {"s0_10": (0, 10), "s10_40": (10, 40), "s40": (40, math.inf)}
"""Ranges of the true motion, as in Sintel: lower bound (inclusive) and upper bound, pixels."""

DISTANCES = {"d0_5": (0, 5), "d0_10": (0, 10), "d10_60": (10, 60), "d60_140": (60, 140)}
"""Ranges of the distance to the nearest motion boundary, as in Sintel, and a closer one, pixels."""


def endpoint_error(flow: Tensor, target: Tensor) -> Tensor:
    """Per-pixel Euclidean distance between two flows.

    Args: flow, target: (B, 2, H, W), pixels.   Returns: (B, H, W), pixels.
    Source: Baker et al., A Database and Evaluation Methodology for Optical Flow, IJCV 2011.

    >>> endpoint_error(torch.zeros(1, 2, 1, 1), torch.tensor([3., 4.]).view(1, 2, 1, 1)).item()
    5.0
    """
    distance: Tensor = torch.linalg.vector_norm(flow - target, dim=1)
    return distance


def fl_outliers(flow: Tensor, target: Tensor) -> Tensor:
    """Mask of KITTI's outliers: error over 3 px and over 5 % of the true motion, or a flow that is NaN.

    Args: flow, target: (B, 2, H, W), pixels.   Returns: (B, H, W) bool.
    Source: Menze and Geiger, Object Scene Flow for Autonomous Vehicles, CVPR 2015.

    >>> fl_outliers(torch.zeros(1, 2, 1, 1), torch.tensor([3., 4.]).view(1, 2, 1, 1)).item()
    True
    """
    error = endpoint_error(flow, target).nan_to_num(nan=torch.inf)
    return is_outlier(error, torch.linalg.vector_norm(target, dim=1))


def is_outlier(error: Tensor, speed: Tensor) -> Tensor:
    """Mask of errors, pixels, over 3 px and over 5 % of the true motion `speed`, pixels."""
    outlier: Tensor = (error > OUTLIER_PIXELS) & (error > OUTLIER_SHARE * speed)
    return outlier


def closest(measure: Callable[[Tensor, Tensor], Tensor], flow: Tensor, candidates: Tensor) -> Tensor:
    """Smallest measure (B, H, W) of a flow (B, 2, H, W) over the candidate true flows (B, K, 2, H, W) of each pixel."""
    smallest: Tensor = torch.stack([measure(flow, target) for target in candidates.unbind(dim=1)]).amin(dim=0)
    return smallest


def angular_error(flow: Tensor, target: Tensor) -> Tensor:
    """Angle in space-time between (u, v, 1) of two flows.

    Args: flow, target: (B, 2, H, W), pixels.   Returns: (B, H, W), degrees, 0 to 180.
    Source: Barron et al., Performance of Optical Flow Techniques, IJCV 1994.

    >>> angular_error(torch.zeros(1, 2, 1, 1), torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)).item()
    45.0
    """
    a, b = (torch.cat([f, torch.ones_like(f[:, :1])], dim=1) for f in (flow, target))
    # atan2 of |a x b| and a . b is precise at small angles, unlike arccos
    sine = torch.linalg.vector_norm(torch.linalg.cross(a, b, dim=1), dim=1)
    return torch.rad2deg(torch.atan2(sine, (a * b).sum(dim=1)))


def masked_image_mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen pixels of each image; NaN for an image without any, which an average must omit.

    Args: values: (B, H, W).   chosen: (B, H, W) bool.   Returns: (B,).

    >>> masked_image_mean(torch.tensor([[[1.0, 5.0]]]), torch.tensor([[[True, False]]])).item()
    1.0
    """
    total = torch.where(chosen, values, 0).flatten(1).sum(dim=1)
    return total / chosen.flatten(1).sum(dim=1)


def median_flow(target: Tensor, valid: Tensor) -> Tensor:
    """Component-wise (lower) median of the true flow of each image: a baseline that needs ground truth.

    Args: target: (B, 2, H, W), pixels.   valid: (B, H, W) bool.   Returns: (B, 2, 1, 1), pixels; 0 if none is valid.

    >>> target = torch.tensor([[1.0, 2.0, 9.0], [4.0, 0.0, 5.0]]).view(1, 2, 1, 3)
    >>> median_flow(target, torch.ones(1, 1, 3, dtype=torch.bool)).flatten().tolist()
    [2.0, 4.0]
    """
    known = torch.where(valid.unsqueeze(1), target, torch.nan).flatten(2)  # (B, 2, H W)
    return known.nanmedian(dim=2).values.nan_to_num().view(-1, 2, 1, 1)


class ImageMeasures(NamedTuple):
    """Measures of a batch of images.

    Attributes:
        mean: by name of :data:`~unrollflow.metrics.names.MEASURES`: (B,), mean over the pixels of an image, or NaN.
        pixels: by name: (B,), number of pixels in that mean.
    """

    mean: dict[str, Tensor]
    pixels: dict[str, Tensor]


@full_precision
def image_measures(
    flow: Tensor,
    target: Tensor,
    *,
    valid: Tensor | None = None,
    occluded: Tensor | None = None,
    foreground: Tensor | None = None,
    boundary_distance: Tensor | None = None,
    flow_candidates: Tensor | None = None,
) -> ImageMeasures:
    """Every measure of :data:`~unrollflow.metrics.names.MEASURES` for every image.

    If an optional map is None, the measures that need it are undefined.

    Args:
        flow, target: (B, 2, H, W), pixels.
        valid: (B, H, W) bool, the evaluated pixels; None: all pixels with a known target
            (:func:`~unrollflow.contracts.known_flow`).
        occluded: (B, H, W) bool, occluded pixels.
        foreground: (B, H, W) bool, independently moving objects.
        boundary_distance: (B, H, W), distance to the nearest motion boundary, pixels; infinite (in no region) if there
            is none.
        flow_candidates: (B, K, 2, H, W), several true flows of each pixel, of which the closest is used (Spring); None:
            only the target. Regions of speed and the baseline's median use the target.

    Source: Butler et al., ECCV 2012 (Sintel: s, d); Menze and Geiger, CVPR 2015 (KITTI: Fl, foreground); Barron et al.,
        IJCV 1994 (angle); Baker et al., IJCV 2011 (Middlebury: rates); Mehl et al., CVPR 2023 (Spring: candidates).
    """
    valid = known_flow(target) if valid is None else valid
    candidates = target.unsqueeze(1) if flow_candidates is None else flow_candidates
    error = closest(endpoint_error, flow, candidates).nan_to_num(nan=torch.inf)  # NaN flow is an error, not omitted
    longest = torch.linalg.vector_norm(candidates, dim=2).amax(dim=1)
    outlier = 100 * is_outlier(error, longest).to(error.dtype)
    speed = torch.linalg.vector_norm(target, dim=1)
    regions = {"": valid}
    regions |= {} if occluded is None else {"noc": valid & ~occluded, "occ": valid & occluded}
    regions |= {} if foreground is None else {"fg": valid & foreground, "bg": valid & ~foreground}
    regions |= {name: valid & within(speed, *limits) for name, limits in SPEEDS.items()}
    if boundary_distance is not None:
        regions |= {name: valid & within(boundary_distance, *limits) for name, limits in DISTANCES.items()}
    constant = median_flow(target, valid).expand_as(target)
    maps = {
        "epe": error,
        "fl": outlier,
        "angular": closest(angular_error, flow, candidates).nan_to_num(nan=180.0),
        "epe_zero_flow": closest(endpoint_error, torch.zeros_like(flow), candidates),
        "epe_median_flow": closest(endpoint_error, constant, candidates),
    }
    maps |= {f"over_{limit}px": 100 * (error > limit).to(error.dtype) for limit in RATES}
    nowhere = torch.zeros_like(valid)
    chosen = {name: measured(name, maps, regions, nowhere) for name in MEASURES}
    return ImageMeasures(
        mean={name: masked_image_mean(*pair) for name, pair in chosen.items()},
        pixels={name: region.flatten(1).sum(dim=1) for name, (_, region) in chosen.items()},
    )


def within(values: Tensor, low: float, high: float) -> Tensor:
    """Mask of low <= values < high."""
    return (values >= low) & (values < high)


def measured(name: str, maps: dict[str, Tensor], regions: dict[str, Tensor], nowhere: Tensor) -> tuple[Tensor, Tensor]:
    """Map (B, H, W) of a measure and mask (B, H, W) of the pixels in its mean, such as `fl` and `bg` for `fl_bg`."""
    if name in maps:
        return maps[name], regions[""]
    kind, _, region = name.partition("_")
    return maps[kind], regions.get(region, nowhere)


class FlowMetrics(Metric):
    """Averages of :func:`image_measures` over images, with equal weights, and pooled over pixels (`_pooled`).

    An image in which a measure is undefined (for example, without occluded pixels) is omitted from its mean.

    >>> metrics = FlowMetrics()
    >>> truth = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    >>> metrics.update(image_measures(torch.zeros(1, 2, 1, 1), truth))
    >>> metrics.compute()["epe"].item(), metrics.compute()["epe_pooled"].item()
    (5.0, 5.0)
    """

    full_state_update = False
    means: list[Tensor]
    pixels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        # lists, because a running sum of pixels in float32 saturates at 2^24
        self.add_state("means", [], dist_reduce_fx="cat")
        self.add_state("pixels", [], dist_reduce_fx="cat")

    def update(self, measures: ImageMeasures) -> None:
        """Add a batch of images."""
        self.means.append(torch.stack([measures.mean[name] for name in MEASURES], dim=1))  # (B, measures)
        self.pixels.append(torch.stack([measures.pixels[name] for name in MEASURES], dim=1))

    def compute(self) -> dict[str, Tensor]:
        """`name`: mean over images; `name_pooled`: mean over all pixels; NaN if no image defines a measure."""
        # a list, or one tensor after a reduction over processes
        means, pixels = (dim_zero_cat(state).cpu().double() for state in (self.means, self.pixels))
        averages = means.nanmean(dim=0)
        pooled = torch.where(pixels > 0, means * pixels, 0).sum(dim=0) / pixels.sum(dim=0)
        names = [*MEASURES, *(f"{name}_pooled" for name in MEASURES)]
        return dict(zip(names, torch.cat([averages, pooled]).float(), strict=True))
