import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.references import shifted_products
from unrollflow.models import strips
from unrollflow.models.correlation import BLOCK, cost_volume, patch_correlation, unit_features, unit_features_in_place


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("width", [1, 5, BLOCK, BLOCK + 3, 3 * BLOCK])
@pytest.mark.parametrize("search_range", [1, 4])
def test_equals_the_loop_over_shifts_with_its_gradients(width: int, search_range: int) -> None:
    f1, f2 = random(2, 6, 4, width), random(2, 6, 4, width, seed=1)
    ours, reference = (f(f1, f2, search_range=search_range) for f in (cost_volume, shifted_products))
    torch.testing.assert_close(ours, reference)
    weight = random(*ours.shape, seed=2).detach()
    for mine, theirs in zip(
        torch.autograd.grad((ours * weight).sum(), (f1, f2)),
        torch.autograd.grad((reference * weight).sum(), (f1, f2)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(
        lambda a, b: cost_volume(a, b, search_range=1), (random(1, 2, 3, 4), random(1, 2, 3, 4, seed=1))
    )


def test_best_match_is_where_the_pixel_went() -> None:
    f1 = F.normalize(random(1, 16, 9, 9).detach(), dim=1)
    f2 = f1.roll((2, -1), dims=(-2, -1))  # y + 2, x - 1
    best = cost_volume(f1, f2, search_range=3).argmax(dim=1)[0, 4, 4].item()
    assert divmod(best, 7) == (2 + 3, -1 + 3)


def test_bfloat16_features_are_lifted() -> None:
    f = random(1, 4, 5, 5).detach().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cost_volume(f, f, search_range=2).dtype == torch.float32


def test_unit_features_make_each_cost_a_cosine() -> None:
    f = unit_features(100 + 7 * random(2, 4, 6, 6))
    torch.testing.assert_close(f.square().mean(dim=1), torch.ones(2, 6, 6, dtype=torch.float64))
    cost = cost_volume(f, f, search_range=1)
    assert cost.abs().max() <= 1 + 1e-9
    torch.testing.assert_close(cost[:, 4], torch.ones(2, 6, 6, dtype=torch.float64))  # dx = dy = 0


def test_unit_features_of_constant_features_are_zero_with_a_finite_gradient() -> None:
    flat = torch.ones(1, 2, 3, 3, requires_grad=True)
    features = unit_features(flat)
    assert features.abs().max() == 0
    assert torch.autograd.grad(features.sum(), flat)[0].isfinite().all()


@pytest.mark.parametrize(("search_range", "step", "patch_size"), [(1, 2, 1), (2, 2, 3), (1, 3, 1), (2, 1, 3)])
def test_patch_correlation_is_its_definition(search_range: int, step: int, patch_size: int) -> None:
    f1, f2 = random(2, 3, 7, 8), random(2, 3, 7, 8, seed=1)
    ours = patch_correlation(f1, f2, search_range=search_range, step=step, patch_size=patch_size)
    margin = search_range * step
    padded = F.pad(f2, [margin] * 4)
    offsets = [step * d for d in range(-search_range, search_range + 1)]
    products = [
        (f1 * padded[..., margin + y : margin + y + 7, margin + x : margin + x + 8]).mean(dim=1)
        for y in offsets
        for x in offsets
    ]
    reach = patch_size // 2
    around = F.pad(torch.stack(products, dim=1), [reach] * 4)  # outside the frame all features are zero
    sums = [around[..., y : y + 7, x : x + 8] for y in range(patch_size) for x in range(patch_size)]
    torch.testing.assert_close(ours, torch.stack(sums).mean(dim=0))


def test_patch_correlation_gradcheck() -> None:
    assert torch.autograd.gradcheck(
        lambda a, b: patch_correlation(a, b, search_range=1, step=2, patch_size=3),
        (random(1, 2, 3, 4), random(1, 2, 3, 4, seed=1)),
    )


def test_patches_without_a_centre_are_refused() -> None:
    f = random(1, 2, 4, 4)
    for options in ({"patch_size": 2}, {"step": 0}):
        with pytest.raises(ValueError, match="patch_size must be odd, and step at least 1"):
            patch_correlation(f, f, search_range=1, **options)


def test_unit_features_in_place_are_unit_features(monkeypatch: pytest.MonkeyPatch) -> None:
    features = random(2, 6, 9, 4).detach()
    expected = unit_features(features)
    monkeypatch.setattr(strips, "MOST_PIXELS", 16)
    with torch.no_grad():
        assert unit_features_in_place(features) is features
        torch.testing.assert_close(features, expected)
        half = features.bfloat16()
        assert unit_features_in_place(half).dtype == torch.float32
