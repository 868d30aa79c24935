import pytest
import torch

from unrollflow.ops import edge_weights, image_gradient
from unrollflow.ops.gradient import OPERATORS


def ramp(height: int = 6, width: int = 7) -> torch.Tensor:
    """2 x + 3 y, as two equal channels."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (2.0 * x + 3.0 * y).double().expand(1, 2, height, width)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("order", [1, 2])
def test_constant_has_no_gradient_inside(operator: str, order: int) -> None:
    for g in image_gradient(torch.full((1, 2, 8, 8), 3.0), operator=operator, order=order):
        assert g[..., 2:-2, 2:-2].abs().max() == 0


@pytest.mark.parametrize(("operator", "gain"), [("forward", 1.0), ("sobel", 1.0), ("sobel_unnormalised", 8.0)])
def test_ramp_has_its_slope_inside(operator: str, gain: float) -> None:
    gx, gy = image_gradient(ramp(), operator=operator)
    torch.testing.assert_close(gx[..., 1:-1, 1:-1], torch.full_like(gx[..., 1:-1, 1:-1], 2 * gain))
    torch.testing.assert_close(gy[..., 1:-1, 1:-1], torch.full_like(gy[..., 1:-1, 1:-1], 3 * gain))


def test_zero_padding_makes_the_frame_an_edge_and_replication_does_not() -> None:
    constant = torch.ones(1, 1, 5, 5)
    assert image_gradient(constant, operator="sobel")[0].abs().max() == 0
    assert image_gradient(constant, operator="sobel_unnormalised")[0][..., 0].abs().min() > 0


def test_shapes_of_forward_differences() -> None:
    gx, gy = image_gradient(torch.zeros(1, 2, 5, 6), order=2)
    assert (gx.shape, gy.shape) == ((1, 2, 5, 4), (1, 2, 3, 6))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("order", [1, 2])
def test_weights_have_the_shape_of_the_gradient_and_lie_in_the_unit_interval(operator: str, order: int) -> None:
    image = torch.rand(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    for w, g in zip(
        edge_weights(image, alpha=10.0, operator=operator, order=order),
        image_gradient(image[:, :2], operator=operator, order=order),
        strict=True,
    ):
        assert w.shape[-2:] == g.shape[-2:]
        assert w.min() > 0
        assert w.max() <= 1


def test_weight_of_a_second_difference_is_that_of_the_later_first_one() -> None:
    image = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 3, 4, 4)
    wx, _ = edge_weights(image, alpha=2.0, order=2)
    torch.testing.assert_close(wx[0, 0, 0], torch.tensor([-2.0, 0.0]).exp())


@pytest.mark.parametrize("operator", OPERATORS)
def test_gradcheck(operator: str) -> None:
    field = torch.randn(1, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: image_gradient(z, operator=operator, order=2), field)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="prewitt"):
        image_gradient(torch.zeros(1, 1, 4, 4), operator="prewitt")
    with pytest.raises(ValueError, match="sides of at least 3"):
        image_gradient(torch.zeros(1, 1, 2, 9), order=2)
