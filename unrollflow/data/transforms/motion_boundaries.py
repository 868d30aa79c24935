"""Motion boundaries and the distance of each pixel to the nearest one."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unrollflow.contracts import FlowSample

SMALLEST_JUMP = 1.0
"""Smallest difference between the flows of neighbouring pixels at a motion boundary, pixels."""

DENSE = 0.9
"""Smallest share of pixels with known flow; in sparser ground truth, most boundaries are not detected."""


class WithBoundaryDistance(Dataset[FlowSample]):
    """Adds `boundary_distance` to samples with dense ground truth, for evaluation.

    Args:
        dataset: data set of samples with or without flow.
    """

    def __init__(self, dataset: Dataset[FlowSample]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # torch's type does not declare a length

    def __getitem__(self, index: int) -> FlowSample:
        sample = self.dataset[index]
        if "flow" not in sample or "boundary_distance" in sample:
            return sample
        valid = sample.get("valid", torch.ones(sample["flow"].shape[-2:], dtype=torch.bool))
        if valid.float().mean() < DENSE:
            return sample
        return sample | {"boundary_distance": distance_to(motion_boundary(sample["flow"], valid))}


def motion_boundary(flow: Tensor, valid: Tensor) -> Tensor:
    """Mask (H, W) bool of the pixels at both sides of a jump of the flow by more than :data:`SMALLEST_JUMP`.

    It replaces Sintel's boundaries, which are not published.

    Args: flow: (2, H, W), pixels.   valid: (H, W) bool; jumps beside invalid pixels are not detected.

    >>> flow = torch.zeros(2, 1, 4)
    >>> flow[0, 0, 2:] = 3
    >>> motion_boundary(flow, torch.ones(1, 4, dtype=torch.bool)).tolist()
    [[False, True, True, False]]
    """
    jump_x = torch.linalg.vector_norm(flow.diff(dim=-1), dim=0) > SMALLEST_JUMP
    jump_y = torch.linalg.vector_norm(flow.diff(dim=-2), dim=0) > SMALLEST_JUMP
    return beside(jump_x & valid[:, 1:] & valid[:, :-1], jump_y & valid[1:] & valid[:-1])


def beside(jump_x: Tensor, jump_y: Tensor) -> Tensor:
    """Mask (H, W) bool of the pixels at both sides of jumps, given as (H, W - 1) along x and (H - 1, W) along y."""
    boundary = torch.zeros(jump_x.shape[0], jump_y.shape[1], dtype=torch.bool)
    boundary[:, 1:] |= jump_x
    boundary[:, :-1] |= jump_x
    boundary[1:] |= jump_y
    boundary[:-1] |= jump_y
    return boundary


def distance_to(boundary: Tensor) -> Tensor:
    """Distance (H, W) float32, pixels, to the nearest pixel of a boundary (H, W) bool; infinite if there is none.

    >>> distance_to(torch.tensor([[True, False, False]])).tolist()
    [[0.0, 1.0, 2.0]]
    """
    if not boundary.any():
        return torch.full(boundary.shape, torch.inf)
    distance = cv2.distanceTransform((~boundary).numpy().astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # the last bit of OpenCV's result varies between calls; round, because squared distances are integers
    return torch.from_numpy(distance).double().square().round().sqrt().float()
