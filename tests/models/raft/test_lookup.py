import pytest
import torch
from torch import Tensor

from unrollflow.models.raft.lookup import AllPairs, OnDemand, windowed
from unrollflow.ops import coords_grid

LOOKUPS = [AllPairs, OnDemand]


def features(channels: int = 5, height: int = 8, width: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(2, channels, height, width, generator=generator).double() for _ in range(2))
    return first, second


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_values_by_hand(lookup: type[AllPairs] | type[OnDemand]) -> None:
    """One channel, f1 = 1, f2 = x + 10 y: the window around (2, 1) holds the positions' own values."""
    f1, x, y = torch.ones(1, 1, 4, 6), torch.arange(6.0), torch.arange(4.0)
    f2 = (x + 10 * y[:, None]).view(1, 1, 4, 6)
    centre = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 6)
    found = lookup(f1, f2, levels=1, radius=1)(centre)[0, :, 0, 0]
    # x offset first: (1, 0) (1, 1) (1, 2), (2, 0) (2, 1) (2, 2), (3, 0) (3, 1) (3, 2)
    assert found.tolist() == pytest.approx([1, 11, 21, 2, 12, 22, 3, 13, 23])
    between = lookup(f1, f2, levels=1, radius=1)(centre + torch.tensor([0.5, 0.25]).view(1, 2, 1, 1))
    assert between[0, 4, 0, 0].item() == pytest.approx(15)


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_outside_is_zero_and_the_border_fades(lookup: type[AllPairs] | type[OnDemand]) -> None:
    ones = torch.ones(1, 1, 4, 4)
    left = torch.tensor([-0.25, 1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    found = lookup(ones, ones, levels=1, radius=1)(left)[0, :, 0, 0]
    assert found.tolist() == pytest.approx([0, 0, 0, 0.75, 0.75, 0.75, 1, 1, 1])
    for far in (-1e30, 1e30, float("nan"), float("inf")):
        assert not lookup(ones, ones, levels=2, radius=1)(torch.full((1, 2, 4, 4), far)).any()


def test_on_demand_equals_the_volume_also_in_its_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    positions = coords_grid(9, 13).double() + 6 * torch.randn(2, 2, 9, 13, generator=generator).double()
    results = []
    for lookup in LOOKUPS:
        f1, f2 = (f.requires_grad_() for f in features(height=9, width=13))
        values = lookup(f1, f2, levels=3, radius=2)(positions)
        weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(2)).double()
        results.append([values, *torch.autograd.grad((weights * values).sum(), [f1, f2])])
    assert results[0][0].shape == (2, 3 * 25, 9, 13)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_windows_have_correct_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels, f2 = (torch.randn(*s, generator=generator).double().requires_grad_() for s in ((3, 4), (4, 5, 6)))
    centres = 5 * torch.rand(3, 2, generator=generator).double()
    assert torch.autograd.gradcheck(lambda p, f: windowed(p, f, centres, 1), (pixels, f2))
