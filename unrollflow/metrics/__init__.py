"""Metrics of optical flow and of its confidence, averages, and rank correlations of label-free metrics."""

from unrollflow.metrics.averages import bootstrap_interval, image_mean, pooled_mean
from unrollflow.metrics.confidence import (
    ConfidenceGroup,
    confidence_groups,
    sparsification_area,
    sparsification_curve,
)
from unrollflow.metrics.flow import (
    FlowMetrics,
    ImageMeasures,
    angular_error,
    endpoint_error,
    fl_outliers,
    image_measures,
    median_flow,
)
from unrollflow.metrics.paired import Interval, mean_difference, relative_change
from unrollflow.metrics.rank_correlation import rank_correlations

__all__ = [
    "ConfidenceGroup",
    "FlowMetrics",
    "ImageMeasures",
    "Interval",
    "angular_error",
    "bootstrap_interval",
    "confidence_groups",
    "endpoint_error",
    "fl_outliers",
    "image_mean",
    "image_measures",
    "mean_difference",
    "median_flow",
    "pooled_mean",
    "rank_correlations",
    "relative_change",
    "sparsification_area",
    "sparsification_curve",
]
