"""Checks of the metrics 09: the reference's averages per image, then over images."""

import torch
from torch import Tensor

from tests.parity.conftest import Fixture
from unrollflow.metrics import image_measures
from unrollflow.metrics.averages import image_mean
from unrollflow.ops import resize_flow

TOLERANCE = 1e-5
"""Relative; the reference measures in float32."""

RESIZE_TOLERANCE = 1e-4
"""Of the largest flow; OpenCV, which the reference resizes with, has its positions in float32."""


def check_metrics(fixture: Fixture) -> None:
    """Same size, another size, moving and static regions, ground truth without masks, each image by itself."""
    arrays = {name: torch.from_numpy(array).double() for name, array in fixture.arrays.items()}
    truth, prediction = arrays["gt4"], batched(arrays["pred"])
    other = batched(arrays["pred_other_size_resized"])
    ours = resize_flow(batched(arrays["pred_other_size"]), truth.shape[1:3], align_corners=False)
    torch.testing.assert_close(ours, other, rtol=0, atol=RESIZE_TOLERANCE * other.abs().max().item())
    compare(measured(prediction, truth), arrays["res_same_size"])
    compare(measured(other, truth), arrays["res_other_size"])
    compare(measured(prediction, truth, moving=arrays["moving"]), arrays["res_moving"])
    for i in range(len(truth)):
        compare(measured(prediction[i : i + 1], truth[i : i + 1]), arrays[f"res_same_size_b{i}"])
    plain = image_measures(prediction, batched(arrays["gt2"])).mean["epe"]
    compare([plain.mean().item()], arrays["res_gt2"])


def batched(field: Tensor) -> Tensor:
    """The reference's (B, H, W, 2) as (B, 2, H, W)."""
    return field.movedim(-1, 1)


def measured(flow: Tensor, truth: Tensor, *, moving: Tensor | None = None) -> list[float]:
    """The reference's columns: EPE all, noc, occ, Fl and, with a mask, of moving and static pixels."""
    valid, visible = truth[..., 2] > 0, truth[..., 3] > 0
    foreground = None if moving is None else moving.reshape(valid.shape) > 0
    means = image_measures(flow, batched(truth[..., :2]), valid=valid, occluded=~visible, foreground=foreground).mean
    # an image without occluded pixels counts as 0 in the reference's occluded mean; ours leaves it out
    columns = [means["epe"], means["epe_noc"], means["epe_occ"].nan_to_num(nan=0.0), means["fl"]]
    columns += [] if moving is None else [means["epe_fg"], means["epe_bg"]]
    return [image_mean(column.tolist()) for column in columns]


def compare(ours: list[float], expected: Tensor) -> None:
    torch.testing.assert_close(torch.tensor(ours).double(), expected.flatten(), rtol=TOLERANCE, atol=TOLERANCE)
