"""Loss terms as functions and modules, and the objectives that combine them."""

from unrollflow.losses.distillation import Distillation, consistency_loss
from unrollflow.losses.held_out import unlabelled_measures
from unrollflow.losses.likelihood import LikelihoodObjective, jensen_shannon
from unrollflow.losses.masking import level_weights, photometric_loss, visible_mean
from unrollflow.losses.objective import Cost, Objective
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
from unrollflow.losses.ramp import Ramp
from unrollflow.losses.random_affine import RandomAffine
from unrollflow.losses.smoothness import (
    NoSmoothness,
    Smoothness,
    TotalVariation,
    UnrolledTotalVariation,
    edge_aware_mean,
    hard_penalty,
)
from unrollflow.losses.staged import Staged, StagedPhotometric
from unrollflow.losses.supervised import LabelledObjective, SupervisedEndpointError, endpoint_loss
from unrollflow.losses.unsupervised import LossTerms, UnsupervisedObjective
from unrollflow.losses.views import Appearance, HallucinatedOcclusion, LabelledPair, Margin, RandomWindow, View
from unrollflow.losses.visibility import AllVisible, ForwardBackward, RangeMap, Visibility

__all__ = [
    "L1",
    "SSIM",
    "AllVisible",
    "Appearance",
    "Census",
    "Charbonnier",
    "Cost",
    "Distillation",
    "ForwardBackward",
    "HallucinatedOcclusion",
    "LabelledObjective",
    "LabelledPair",
    "LikelihoodObjective",
    "LossTerms",
    "Margin",
    "NoSmoothness",
    "Objective",
    "Photometric",
    "Ramp",
    "RandomAffine",
    "RandomWindow",
    "RangeMap",
    "Smoothness",
    "Staged",
    "StagedPhotometric",
    "SupervisedEndpointError",
    "TotalVariation",
    "UnrolledTotalVariation",
    "UnsupervisedObjective",
    "View",
    "Visibility",
    "WeightedSum",
    "census",
    "charbonnier",
    "consistency_loss",
    "edge_aware_mean",
    "endpoint_loss",
    "hard_penalty",
    "jensen_shannon",
    "level_weights",
    "photometric_loss",
    "ssim",
    "unlabelled_measures",
    "visible_mean",
]
