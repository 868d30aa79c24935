import pytest
import torch
from torch import Tensor

from unrollflow.losses import L1, SSIM, Census, Charbonnier, Photometric, WeightedSum, census, charbonnier, ssim

TERMS = [
    L1(),
    Charbonnier(epsilon=1e-6),
    Census(patch_size=3),
    Census(patch_size=7),
    SSIM(),
    SSIM(window="gaussian", window_size=7),
]


def image(seed: int = 0, size: int = 12) -> Tensor:
    return torch.rand(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("term", TERMS, ids=repr)
def test_perfect_reconstruction_costs_nothing_and_another_image_does(term: Photometric) -> None:
    assert term(image(), image()).abs().max() <= 1e-6
    assert term(image(), image(1)).mean() > 0.1


@pytest.mark.parametrize("term", TERMS, ids=repr)
def test_symmetric_in_the_two_images(term: Photometric) -> None:
    torch.testing.assert_close(term(image(), image(1)), term(image(1), image()))


@pytest.mark.parametrize("term", TERMS, ids=repr)
def test_finite_gradients_of_constant_images(term: Photometric) -> None:
    flat = torch.full((1, 3, 12, 12), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(term(torch.full((1, 3, 12, 12), 0.5), flat).sum(), flat)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("term", [t for t in TERMS if not isinstance(t, L1)], ids=repr)
def test_gradcheck(term: Photometric) -> None:
    other = image(1, 8)[:1].requires_grad_()
    assert torch.autograd.gradcheck(lambda r: term(image(size=8)[:1], r), other, atol=1e-4)


def test_census_ignores_a_change_of_brightness() -> None:
    assert census(0.5 * image(), 0.5 * image() + 0.3).max() < 1e-9
    assert (0.5 * image() - (0.5 * image() + 0.3)).abs().min() > 0.29


def test_census_by_hand() -> None:
    """One bright pixel beside a black centre: one soft sign of 255 / sqrt(0.81 + 255^2), the other eight equal."""
    black, spot = torch.zeros(1, 3, 3, 3), torch.zeros(1, 3, 3, 3)
    spot[..., 0, 0] = 1.0
    grey = 255 * (0.2989 + 0.5870 + 0.1140)
    squared = grey**2 / (0.81 + grey**2)
    assert census(black, spot, patch_size=3).item() == pytest.approx(squared / (0.1 + squared) / 9)


def test_census_border_is_cropped_or_zero() -> None:
    cropped, padded = census(image(), image(1)), census(image(), image(1), border="zero")
    assert cropped.shape[-2:] == (6, 6)
    assert padded[..., 3:-3, 3:-3].equal(cropped)
    assert padded.sum().item() == pytest.approx(cropped.sum().item())


def test_ssim_of_opposite_patterns_is_the_largest() -> None:
    checkers = (torch.arange(6)[:, None] + torch.arange(6)).remainder(2).double().expand(1, 3, 6, 6)
    assert ssim(checkers, 1 - checkers).min() > 0.9


def test_charbonnier_is_rounded_l1() -> None:
    torch.testing.assert_close(charbonnier(image(), image(1), epsilon=1e-9), (image() - image(1)).abs())


def test_weighted_sum_adds_maps_and_keeps_its_parts_apart() -> None:
    total = WeightedSum(
        parts=[L1(), WeightedSum(parts=[SSIM(), Census(patch_size=5)], weights=[2.0, 1.0])], weights=[0.5, 3.0]
    )
    assert [(w, type(t)) for w, t in total.terms()] == [(0.5, L1), (6.0, SSIM), (3.0, Census)]
    expected = 0.5 * L1()(image(), image(1)).mean(dim=1, keepdim=True)[..., 2:-2, 2:-2]
    expected = expected + 6 * ssim(image(), image(1)).mean(dim=1, keepdim=True)[..., 1:-1, 1:-1]
    torch.testing.assert_close(total(image(), image(1)), expected + 3 * census(image(), image(1), patch_size=5))


@pytest.mark.parametrize("term", TERMS, ids=repr)
def test_bfloat16_images_are_lifted(term: Photometric) -> None:
    a, b = image().bfloat16(), image(1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = term(a, b)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, term(a.float(), b.float()))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="census window is 4x4"):
        census(image(), image(), patch_size=4)
    with pytest.raises(ValueError, match="SSIM window is 2x2"):
        ssim(image(), image(), window_size=2)
    with pytest.raises(ValueError, match=r"is 6x6, smaller than the census window .* set the weight"):
        census(image(size=6), image(size=6))
    with pytest.raises(ValueError, match="1 parts and 2 weights"):
        WeightedSum(parts=[L1()], weights=[1.0, 2.0])
