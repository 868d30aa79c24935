import itertools

import pytest
import torch
from torch import Tensor

from benchmarks.references import composed_census
from unrollflow.losses import census
from unrollflow.ops.census import CensusDistance, shifts


def grey(seed: int, *shape: int) -> Tensor:
    """Grey levels close to each other, where the soft signs are not flat."""
    return 4 * torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("patch_size", [3, 5, 7])
def test_each_pixel_of_a_window_is_compared_with_its_centre_once(patch_size: int) -> None:
    margin, height, width = patch_size // 2, 9, 11
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = rows * width + columns
    found: list[tuple[int, int]] = []
    for shift in shifts(height, width, patch_size):
        here, there = place[shift.here], place[shift.neighbour]
        assert here.shape == there.shape == shift.shape
        found += zip(here[shift.window].flatten().tolist(), there[shift.window].flatten().tolist(), strict=True)
        found += zip(there[shift.opposite].flatten().tolist(), here[shift.opposite].flatten().tolist(), strict=True)
    expected = {
        (y * width + x, (y + dy) * width + x + dx)
        for y in range(margin, height - margin)
        for x in range(margin, width - margin)
        for dy, dx in itertools.product(range(-margin, margin + 1), repeat=2)
        if (dy, dx) != (0, 0)
    }
    assert set(found) == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize("border", ["crop", "zero"])
@pytest.mark.parametrize("patch_size", [3, 7])
def test_value_and_gradients_are_the_definitions(patch_size: int, border: str) -> None:
    images = [torch.rand(2, 3, 13, 10, dtype=torch.float64).requires_grad_() for _ in range(2)]
    weights = torch.rand(2, 1, 13, 10, dtype=torch.float64)
    results = []
    for form in (census, composed_census):
        distance = form(*images, patch_size=patch_size, border=border)
        total = (distance * weights[..., : distance.shape[-2], : distance.shape[-1]]).sum()
        results.append([distance, *torch.autograd.grad(total, images)])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("needed", [(True, True), (False, True), (True, False)])
def test_gradcheck(needed: tuple[bool, bool]) -> None:
    pair = [grey(seed, 2, 1, 6, 5).requires_grad_(wanted) for seed, wanted in enumerate(needed)]
    assert torch.autograd.gradcheck(lambda one, other: CensusDistance.apply(one, other, 3), pair, eps=1e-5)


def test_a_second_derivative_is_refused() -> None:
    pair = [grey(seed, 1, 1, 5, 5).requires_grad_() for seed in range(2)]
    total = CensusDistance.apply(*pair, 3).sum()
    with pytest.raises(RuntimeError, match="census does not support second derivatives"):
        torch.autograd.grad(total, pair, create_graph=True)


def test_what_is_saved_does_not_grow_with_the_window() -> None:
    pair = [grey(seed, 1, 1, 9, 9).requires_grad_() for seed in range(2)]
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        CensusDistance.apply(*pair, 7)
    assert [tensor.numel() for tensor in saved] == [81, 81]
