"""Operations and losses raise an error that names an invalid image."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unrollflow.contracts import Prediction, check_images
from unrollflow.losses import (
    L1,
    SSIM,
    Census,
    Charbonnier,
    StagedPhotometric,
    TotalVariation,
    UnrolledTotalVariation,
    WeightedSum,
    endpoint_loss,
    jensen_shannon,
    photometric_loss,
    unlabelled_measures,
    visible_mean,
)
from unrollflow.models import cost_volume, patch_correlation
from unrollflow.models.correlation import unit_features
from unrollflow.ops import (
    affine_warp,
    edge_weights,
    forward_backward_visibility,
    image_gradient,
    out_of_frame,
    pad_to_multiple,
    range_map,
    resize_flow,
    resize_image,
    shrink_image,
    warp,
)
from unrollflow.ops.matching import lucas_kanade

IMAGE = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))
FLOW, SEEN = torch.zeros(2, 2, 12, 16), torch.ones(2, 1, 12, 16)
LOSSES: dict[str, Callable[[Tensor], Any]] = {
    "L1": lambda x: L1()(x, x),
    "Charbonnier": lambda x: Charbonnier()(x, x),
    "SSIM": lambda x: SSIM()(x, x),
    "Census": lambda x: Census()(x, x),
    "WeightedSum": lambda x: WeightedSum(parts=[L1()], weights=[1.0])(x, x),
    "StagedPhotometric": lambda x: StagedPhotometric(stages=[L1()], starts=[0])(x, x),
    "visible_mean": lambda x: visible_mean(x, SEEN),
    "photometric_loss": lambda x: photometric_loss(L1(), x, x, SEEN, masking="image"),
    "photometric_loss, released": lambda x: photometric_loss(L1(), x, x, SEEN, masking="released"),
    "TotalVariation": lambda x: TotalVariation()(FLOW, x),
    "UnrolledTotalVariation": lambda x: UnrolledTotalVariation()(FLOW, x),
    "jensen_shannon": lambda x: jensen_shannon(x, x),
    "endpoint_loss": lambda x: endpoint_loss(x[:, :2], FLOW, SEEN, epsilon=0.01),
    "unlabelled_measures": lambda x: unlabelled_measures(x, x, Prediction(FLOW, FLOW, SEEN)),
}
OPERATIONS: dict[str, Callable[[Tensor], Any]] = {
    "warp": lambda x: warp(x, FLOW),
    "warp by": lambda x: warp(IMAGE, x[:, :2]),
    "resize_image": lambda x: resize_image(x, (6, 8)),
    "resize_flow": lambda x: resize_flow(x[:, :2], (6, 8)),
    "shrink_image": lambda x: shrink_image(x, 2),
    "pad_to_multiple": lambda x: pad_to_multiple(x, 5),
    "image_gradient": image_gradient,
    "edge_weights": lambda x: edge_weights(x, alpha=10.0),
    "affine_warp": lambda x: affine_warp(x, torch.eye(2, 3).expand(2, 2, 3)),
    "forward_backward_visibility": lambda x: forward_backward_visibility(x[:, :2], x[:, :2]),
    "range_map": lambda x: range_map(x[:, :2]),
    "out_of_frame": lambda x: out_of_frame(x[:, :2]),
    "lucas_kanade": lambda x: lucas_kanade(x, x),
    "cost_volume": lambda x: cost_volume(x, x, search_range=1),
    "patch_correlation": lambda x: patch_correlation(x, x, search_range=1),
    "unit_features": unit_features,
}
GUARDED = ("Census", "photometric_loss", "TotalVariation", "UnrolledTotalVariation", "unlabelled_measures")
"""Losses that see whole images, and so check their shape and range, too."""


@pytest.mark.parametrize("name", [*LOSSES, *OPERATIONS])
def test_integers_are_refused(name: str) -> None:
    function = (LOSSES | OPERATIONS)[name]
    function(IMAGE)
    with pytest.raises(ValueError, match=r"got a tensor of torch\.uint8; expected floating-point numbers"):
        function((255 * IMAGE).byte())


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: 255 * x, r"values from .*; expected RGB in \[0, 1\]: divide 0\.\.255 by 255"),
        (lambda x: x[0], r"expected RGB \(B, 3, H, W\)"),
        (lambda x: x[:, :1], r"expected RGB \(B, 3, H, W\)"),
        (lambda x: torch.cat([x, x[:, :1]], dim=1), r"expected RGB \(B, 3, H, W\)"),
        (lambda x: x.permute(0, 2, 3, 1), r"expected RGB \(B, 3, H, W\)"),
    ],
    ids=["0..255", "one image", "grey", "RGBA", "channels last"],
)
def test_losses_name_images_of_another_range_or_shape(
    name: str, change: Callable[[Tensor], Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LOSSES[name](change(IMAGE))


def test_two_types_are_named() -> None:
    with pytest.raises(ValueError, match=r"images of torch\.float32 and torch\.float64; expected equal types"):
        photometric_loss(L1(), IMAGE, IMAGE.double(), SEEN, masking="image")
    with pytest.raises(ValueError, match=r"of torch\.float32 and flow .* of torch\.float64 do not match"):
        warp(IMAGE, FLOW.double())
    with pytest.raises(ValueError, match=r"image \(3, 12, 16\) of torch\.float32 and flow .* do not match"):
        warp(IMAGE[0], FLOW[:1])


def test_the_range_on_a_gpu_is_not_read() -> None:
    """Reading it would synchronise with the GPU: the meta device has no values, and raises an error if one is read."""
    check_images((255 * IMAGE).to("meta"), user="the test")
