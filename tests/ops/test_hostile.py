"""Inputs of any shape, range and precision: finite values stay finite, with finite gradients; other values are safe."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.reliability.numerics import PHOTOMETRIC, SMOOTHNESS
from unrollflow.losses import Photometric, Smoothness
from unrollflow.losses.masking import photometric_loss
from unrollflow.metrics import angular_error, endpoint_error, fl_outliers
from unrollflow.ops import (
    edge_weights,
    forward_backward_visibility,
    image_gradient,
    range_map_visibility,
    resize_flow,
    soft_threshold,
    unrolled_cost,
    warp,
)

SHAPES = st.tuples(st.integers(1, 2), st.integers(7, 17), st.integers(7, 17))
SCALES = st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e3, 1e6])
DTYPES = st.sampled_from([torch.float32, torch.float64])
WILD = st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e30, -1e38])
OPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "warp": lambda flow, image: warp(image, flow),
    "warp, zeros": lambda flow, image: warp(image, flow, padding="zeros"),
    "gradient": lambda flow, image: sum(g.sum() for g in image_gradient(flow)),  # type: ignore[return-value, misc]
    "sobel": lambda flow, image: sum(g.sum() for g in image_gradient(flow, operator="sobel", order=2)),  # type: ignore[return-value, misc]
    "threshold": lambda flow, image: soft_threshold(flow, 0.3),
    "unrolled": lambda flow, image: unrolled_cost(flow, lam=0.3, rho=1.0, steps=3),
    "resize": lambda flow, image: resize_flow(flow, (5, 9)),
    "error": lambda flow, image: endpoint_error(flow, torch.zeros_like(flow)),
    "angle": lambda flow, image: angular_error(flow, torch.zeros_like(flow)),
}


def flow_and_image(shape: tuple[int, int, int], scale: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    count, height, width = shape
    generator = torch.Generator().manual_seed(sum(shape))
    flow = scale * torch.randn(count, 2, height, width, dtype=dtype, generator=generator)
    return flow.requires_grad_(), torch.rand(count, 3, height, width, dtype=dtype, generator=generator)


@pytest.mark.parametrize("name", OPS)
@settings(max_examples=25, deadline=None)
@given(shape=SHAPES, scale=SCALES, dtype=DTYPES)
def test_finite_flow_gives_finite_values_and_gradients(
    name: str, shape: tuple[int, int, int], scale: float, dtype: torch.dtype
) -> None:
    flow, image = flow_and_image(shape, scale, dtype)
    result = OPS[name](flow, image)
    result.sum().backward()  # type: ignore[no-untyped-call]
    assert result.dtype == dtype
    assert result.isfinite().all()
    assert flow.grad is not None
    assert flow.grad.isfinite().all()


@pytest.mark.parametrize("term", SMOOTHNESS, ids=lambda term: type(term).__name__)
@settings(max_examples=20, deadline=None)
@given(shape=SHAPES, scale=SCALES, dtype=DTYPES)
def test_every_smoothness_term_is_finite(
    term: Smoothness, shape: tuple[int, int, int], scale: float, dtype: torch.dtype
) -> None:
    flow, image = flow_and_image(shape, scale, dtype)
    cost = term(flow, image) + 0 * flow.sum()
    cost.backward()
    assert cost >= 0
    assert flow.grad is not None
    assert flow.grad.isfinite().all()


@pytest.mark.parametrize("term", PHOTOMETRIC, ids=lambda term: type(term).__name__)
@settings(max_examples=20, deadline=None)
@given(shape=SHAPES, scale=SCALES, dtype=DTYPES, seen=st.sampled_from([0.0, 1.0]))
def test_every_photometric_term_is_finite_also_where_nothing_is_visible(
    term: Photometric, shape: tuple[int, int, int], scale: float, dtype: torch.dtype, seen: float
) -> None:
    flow, image = flow_and_image(shape, scale, dtype)
    visible = torch.full_like(flow[:, :1], seen).detach()
    for other in (image.flip(-1), torch.full_like(image, 0.5)):
        loss = photometric_loss(term, image, warp(other, flow), visible, masking="image")
        assert loss.isfinite()
        assert torch.autograd.grad(loss, flow)[0].isfinite().all()


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, value=WILD, dtype=DTYPES, place=st.integers(0, 10**6))
def test_huge_or_non_finite_flow_is_safe_in_warp_and_visibility(
    shape: tuple[int, int, int], value: float, dtype: torch.dtype, place: int
) -> None:
    flow, image = flow_and_image(shape, 1.0, dtype)
    wild = flow.detach().clone()
    wild.view(-1)[place % wild.numel()] = value
    wild.requires_grad_()
    warped = warp(image.requires_grad_(), wild)
    warped.sum().backward()  # type: ignore[no-untyped-call]
    assert warped.isfinite().all()
    for leaf in (wild, image):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
    for visible in (forward_backward_visibility(wild, -wild), range_map_visibility(wild)):
        assert set(visible.unique().tolist()) <= {0.0, 1.0}


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, dtype=DTYPES, value=st.floats(0, 1, width=32))
def test_edge_weights_of_a_constant_image_are_one(
    shape: tuple[int, int, int], dtype: torch.dtype, value: float
) -> None:
    weights = edge_weights(torch.full((shape[0], 3, *shape[1:]), value, dtype=dtype), alpha=10.0)
    for weight in weights:
        torch.testing.assert_close(weight, torch.ones_like(weight))


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, value=WILD)
def test_huge_or_non_finite_predictions_are_outliers_without_an_exception(
    shape: tuple[int, int, int], value: float
) -> None:
    flow = torch.full((shape[0], 2, *shape[1:]), value)
    outliers = fl_outliers(flow, torch.zeros_like(flow))
    assert outliers.float().isfinite().all()
