"""End-point error and outliers, per image and averaged over images, with the baselines that no one may lose to."""

import torch
from torch import Tensor
from torchmetrics import Metric

OUTLIER_PIXELS = 3.0
OUTLIER_SHARE = 0.05
"""KITTI 2015 counts an error over 3 px and over 5 % of the motion as an outlier."""

CONSTANT_FLOW_ITERATIONS = 50
MEASURES = ("epe", "epe_noc", "epe_occ", "fl", "epe_zero_flow", "epe_best_constant")


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
    """Pixels that KITTI counts as wrong: error over 3 px and over 5 % of the true motion; a broken flow is wrong.

    Args: flow, target: (B, 2, H, W), pixels.   Returns: (B, H, W) bool.
    Source: Menze and Geiger, Object Scene Flow for Autonomous Vehicles, CVPR 2015.

    >>> fl_outliers(torch.zeros(1, 2, 1, 1), torch.tensor([3., 4.]).view(1, 2, 1, 1)).item()
    True
    """
    error = endpoint_error(flow, target).nan_to_num(nan=torch.inf)
    outlier: Tensor = (error > OUTLIER_PIXELS) & (error > OUTLIER_SHARE * torch.linalg.vector_norm(target, dim=1))
    return outlier


def masked_image_mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of each image's chosen pixels; NaN for an image without any, which an average must leave out.

    Args: values: (B, H, W).   chosen: (B, H, W) bool.   Returns: (B,).

    >>> masked_image_mean(torch.tensor([[[1.0, 5.0]]]), torch.tensor([[[True, False]]])).item()
    1.0
    """
    total = torch.where(chosen, values, 0).flatten(1).sum(dim=1)
    return total / chosen.flatten(1).sum(dim=1)


def best_constant_flow(target: Tensor, valid: Tensor) -> Tensor:
    """The one flow vector an image that has the least mean end-point error: an oracle that needs the truth.

    It is the geometric median of the valid target vectors, found by Weiszfeld's iteration (no maintained library
    has it for tensors).

    Args: target: (B, 2, H, W), pixels.   valid: (B, H, W) bool.   Returns: (B, 2, 1, 1), pixels.
    Source: Weiszfeld, Sur le point pour lequel la somme des distances de n points donnes est minimum, 1937.

    >>> target = torch.tensor([1.0, 1.0, 9.0]).view(1, 1, 1, 3).repeat(1, 2, 1, 1)
    >>> best_constant_flow(target, torch.ones(1, 1, 3, dtype=torch.bool)).flatten().round(decimals=2).tolist()
    [1.0, 1.0]
    """
    chosen = valid.unsqueeze(1).to(target.dtype)
    count = chosen.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    constant = (target * chosen).sum(dim=(2, 3), keepdim=True) / count
    smallest = torch.finfo(target.dtype).eps
    for _ in range(CONSTANT_FLOW_ITERATIONS):
        distance = torch.linalg.vector_norm(target - constant, dim=1, keepdim=True).clamp_min(smallest)
        weight = chosen / distance
        constant = (target * weight).sum(dim=(2, 3), keepdim=True) / weight.sum(dim=(2, 3), keepdim=True).clamp_min(
            smallest
        )
    return constant


def image_measures(
    flow: Tensor, target: Tensor, *, valid: Tensor | None = None, occluded: Tensor | None = None
) -> dict[str, Tensor]:
    """Every measure of :data:`MEASURES`, one value an image.

    Args:
        flow, target: (B, 2, H, W), pixels.
        valid: (B, H, W) bool, where the target is known; None: everywhere.
        occluded: (B, H, W) bool; None: unknown, and the measures that need it are NaN.

    Returns:
        name to (B,): `epe`, `epe_noc`, `epe_occ` in pixels over all, visible and occluded valid pixels; `fl` in
        per cent; `epe_zero_flow` and `epe_best_constant` over all valid pixels. NaN where an image has no such pixel.
    """
    flow, target = flow.float(), target.float()
    valid = torch.ones_like(target[:, 0], dtype=torch.bool) if valid is None else valid
    nowhere = torch.zeros_like(valid)
    error = endpoint_error(flow, target).nan_to_num(nan=torch.inf)  # a broken flow is infinitely wrong, not left out
    constant = best_constant_flow(target, valid)
    return {
        "epe": masked_image_mean(error, valid),
        "epe_noc": masked_image_mean(error, nowhere if occluded is None else valid & ~occluded),
        "epe_occ": masked_image_mean(error, nowhere if occluded is None else valid & occluded),
        "fl": 100 * masked_image_mean(fl_outliers(flow, target).float(), valid),
        "epe_zero_flow": masked_image_mean(endpoint_error(torch.zeros_like(target), target), valid),
        "epe_best_constant": masked_image_mean(endpoint_error(constant.expand_as(target), target), valid),
    }


class FlowMetrics(Metric):
    """Averages of :func:`image_measures` over images: each image counts once, whatever its size.

    An image in which a measure is undefined (no occluded pixel, say) is left out of that measure's mean.

    >>> metrics = FlowMetrics()
    >>> truth = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    >>> metrics.update(image_measures(torch.zeros(1, 2, 1, 1), truth))
    >>> metrics.compute()["epe"].item()
    5.0
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(len(MEASURES)), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(len(MEASURES)), dist_reduce_fx="sum")

    def update(self, measures: dict[str, Tensor]) -> None:
        """Add a batch of images, as :func:`image_measures` gives them."""
        values = torch.stack([measures[name] for name in MEASURES])  # (measures, B)
        defined = ~values.isnan()
        self.total += torch.where(defined, values, 0).sum(dim=1)
        self.count += defined.sum(dim=1)

    def compute(self) -> dict[str, Tensor]:
        """Name to mean over images; NaN where no image defines a measure."""
        return dict(zip(MEASURES, self.total / self.count, strict=True))
