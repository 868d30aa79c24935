"""Pure tensor functions without parameters or state."""

from unrollflow.ops.affine import affine_flow, affine_map, affine_warp, compose_affine, leaves_frame
from unrollflow.ops.fusion import fuse_flow
from unrollflow.ops.gradient import edge_weights, image_gradient
from unrollflow.ops.occlusion import (
    Calibration,
    beside_crop,
    flow_confidence,
    forward_backward_visibility,
    mean_mismatch,
    out_of_frame,
    range_map,
    range_map_visibility,
)
from unrollflow.ops.precision import full_precision
from unrollflow.ops.resize import crop_centre, pad_to_multiple, resize_flow, resize_image, shrink_image
from unrollflow.ops.unroll import soft_threshold, unroll, unrolled_cost
from unrollflow.ops.warp import coords_grid, target_coords, warp

__all__ = [
    "Calibration",
    "affine_flow",
    "affine_map",
    "affine_warp",
    "beside_crop",
    "compose_affine",
    "coords_grid",
    "crop_centre",
    "edge_weights",
    "flow_confidence",
    "forward_backward_visibility",
    "full_precision",
    "fuse_flow",
    "image_gradient",
    "leaves_frame",
    "mean_mismatch",
    "out_of_frame",
    "pad_to_multiple",
    "range_map",
    "range_map_visibility",
    "resize_flow",
    "resize_image",
    "shrink_image",
    "soft_threshold",
    "target_coords",
    "unroll",
    "unrolled_cost",
    "warp",
]
