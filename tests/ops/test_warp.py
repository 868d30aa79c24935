import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrollflow.ops import coords_grid, warp


def texture(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def test_zero_flow_is_the_identity() -> None:
    image = texture(2, 3, 7, 9)
    torch.testing.assert_close(warp(image, torch.zeros(2, 2, 7, 9, dtype=image.dtype)), image)


def test_flow_points_to_where_the_pixel_comes_from() -> None:
    image, flow = texture(1, 3, 8, 8), torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    flow[:, 0], flow[:, 1] = 2, -1  # (x, y) sees (x + 2, y - 1)
    torch.testing.assert_close(warp(image, flow)[..., 1:, :-2], image[..., :-1, 2:])


@pytest.mark.parametrize(("padding", "expected"), [("border", 5.0), ("zeros", 0.0)])
def test_outside_of_the_frame(padding: str, expected: float) -> None:
    image = torch.full((1, 1, 4, 4), 5.0)
    assert warp(image, torch.full((1, 2, 4, 4), 100.0), padding=padding).unique().item() == expected


def test_grid_has_x_then_y() -> None:
    grid = coords_grid(3, 5)
    assert grid[0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert grid[0, 1, :, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_gradcheck_in_image_and_flow(padding: str) -> None:
    image = texture(1, 2, 4, 5).requires_grad_()
    flow = (0.2 + 0.6 * texture(1, 2, 4, 5)).requires_grad_()  # away from whole pixels, where the slope jumps
    assert torch.autograd.gradcheck(lambda i, f: warp(i, f, padding=padding), (image, flow))


@given(
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 3e9]), st.sampled_from(["border", "zeros"])
)
@settings(deadline=None, max_examples=20)
def test_huge_and_non_finite_flow_is_safe(value: float, padding: str) -> None:
    image, flow = texture(1, 3, 6, 6, dtype=torch.float32).requires_grad_(), torch.zeros(1, 2, 6, 6)
    flow[..., 2:4, 3] = value
    flow.requires_grad_()
    warped = warp(image, flow, padding=padding)
    assert warped.isfinite().all()
    gradients = torch.autograd.grad(warped.sum(), (image, flow))  # would end the process on a NaN coordinate
    assert all(g.isfinite().all() for g in gradients)


def test_bfloat16_positions_keep_their_sub_pixels() -> None:
    ramp = torch.arange(600.0).expand(1, 1, 2, 600)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        warped = warp(ramp, torch.full((1, 2, 2, 600), 0.25, dtype=torch.bfloat16))
    torch.testing.assert_close(warped[..., :-1], ramp[..., :-1] + 0.25)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="do not match"):
        warp(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 4, 5))
