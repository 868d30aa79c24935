"""Unsupervised optical flow with Cost Unrolling.

Names are imported on first access, so that the command line prints its help quickly.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unrollflow.contracts import FlowEstimate, FlowNetwork, FlowSample
    from unrollflow.data.datamodule import FlowDataModule
    from unrollflow.data.moving_layers.dataset import MovingLayers
    from unrollflow.inference import flow, flow_and_confidence, pretrained
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
    from unrollflow.metrics import FlowMetrics
    from unrollflow.models import RAFT, PWCLite
    from unrollflow.ops import (
        edge_weights,
        flow_confidence,
        forward_backward_visibility,
        image_gradient,
        range_map_visibility,
        resize_flow,
        soft_threshold,
        unroll,
        unrolled_cost,
        warp,
    )
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
    "flow",
    "flow_and_confidence",
    "flow_confidence",
    "forward_backward_visibility",
    "image_gradient",
    "pretrained",
    "range_map_visibility",
    "resize_flow",
    "soft_threshold",
    "unroll",
    "unrolled_cost",
    "warp",
]

_PARTS = ("contracts", "losses", "models", "ops")
"""Submodules that are attributes and whose names are exported; :data:`_ELSEWHERE` holds the other names."""

_ELSEWHERE = {
    "FlowDataModule": "unrollflow.data.datamodule",
    "FlowMetrics": "unrollflow.metrics",
    "MovingLayers": "unrollflow.data.moving_layers.dataset",
    "UnsupervisedFlow": "unrollflow.training.module",
    "flow": "unrollflow.inference",
    "flow_and_confidence": "unrollflow.inference",
    "pretrained": "unrollflow.inference",
}


def __getattr__(name: str) -> object:
    if name in _PARTS:
        return import_module(f"unrollflow.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'unrollflow' has no attribute {name!r}")
    modules = [_ELSEWHERE[name]] if name in _ELSEWHERE else [f"unrollflow.{part}" for part in _PARTS]
    return next(getattr(module, name) for module in map(import_module, modules) if hasattr(module, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})
