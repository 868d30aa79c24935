"""Unsupervised optical flow with Cost Unrolling.

Names that need Lightning or torchmetrics (UnsupervisedFlow, FlowMetrics, FlowDataModule) load on first access.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from unrollflow.contracts import FlowEstimate, FlowNetwork, FlowSample
from unrollflow.losses import (
    L1,
    SSIM,
    AllVisible,
    Census,
    Charbonnier,
    ForwardBackward,
    LossTerms,
    NoSmoothness,
    Photometric,
    RangeMap,
    Smoothness,
    Staged,
    TotalVariation,
    UnrolledTotalVariation,
    UnsupervisedObjective,
    Visibility,
    WeightedSum,
)
from unrollflow.models import RAFT, PWCLite
from unrollflow.ops import (
    edge_weights,
    forward_backward_visibility,
    image_gradient,
    range_map_visibility,
    resize_flow,
    soft_threshold,
    unroll,
    unrolled_cost,
    warp,
)

if TYPE_CHECKING:
    from unrollflow.data.datamodule import FlowDataModule
    from unrollflow.data.moving_layers.dataset import MovingLayers
    from unrollflow.metrics import FlowMetrics
    from unrollflow.training.module import UnsupervisedFlow

__version__ = version("unrollflow")
__all__ = [
    "L1",
    "RAFT",
    "SSIM",
    "AllVisible",
    "Census",
    "Charbonnier",
    "FlowDataModule",
    "FlowEstimate",
    "FlowMetrics",
    "FlowNetwork",
    "FlowSample",
    "ForwardBackward",
    "LossTerms",
    "MovingLayers",
    "NoSmoothness",
    "PWCLite",
    "Photometric",
    "RangeMap",
    "Smoothness",
    "Staged",
    "TotalVariation",
    "UnrolledTotalVariation",
    "UnsupervisedFlow",
    "UnsupervisedObjective",
    "Visibility",
    "WeightedSum",
    "edge_weights",
    "forward_backward_visibility",
    "image_gradient",
    "range_map_visibility",
    "resize_flow",
    "soft_threshold",
    "unroll",
    "unrolled_cost",
    "warp",
]

_ON_FIRST_ACCESS = {
    "FlowDataModule": "unrollflow.data.datamodule",
    "FlowMetrics": "unrollflow.metrics",
    "MovingLayers": "unrollflow.data.moving_layers.dataset",
    "UnsupervisedFlow": "unrollflow.training.module",
}


def __getattr__(name: str) -> object:
    if name in _ON_FIRST_ACCESS:
        return getattr(import_module(_ON_FIRST_ACCESS[name]), name)
    raise AttributeError(f"module 'unrollflow' has no attribute {name!r}")
