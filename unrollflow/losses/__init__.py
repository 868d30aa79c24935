"""Loss terms as functions and modules, and the objective that combines them."""

from unrollflow.losses.objective import LossTerms, UnsupervisedObjective, level_weights, photometric_loss, visible_mean
from unrollflow.losses.photometric import (
    L1,
    SSIM,
    Census,
    Charbonnier,
    Photometric,
    WeightedSum,
    census,
    charbonnier,
    ssim,
)
from unrollflow.losses.smoothness import (
    NoSmoothness,
    Smoothness,
    TotalVariation,
    UnrolledTotalVariation,
    edge_aware_mean,
    hard_penalty,
)
from unrollflow.losses.visibility import AllVisible, ForwardBackward, RangeMap, Staged, Visibility

__all__ = [
    "L1",
    "SSIM",
    "AllVisible",
    "Census",
    "Charbonnier",
    "ForwardBackward",
    "LossTerms",
    "NoSmoothness",
    "Photometric",
    "RangeMap",
    "Smoothness",
    "Staged",
    "TotalVariation",
    "UnrolledTotalVariation",
    "UnsupervisedObjective",
    "Visibility",
    "WeightedSum",
    "census",
    "charbonnier",
    "edge_aware_mean",
    "hard_penalty",
    "level_weights",
    "photometric_loss",
    "ssim",
    "visible_mean",
]
