import pytest
import torch

from unrollflow.ops.shifts import window_offsets, window_shifts


@pytest.mark.parametrize("search_range", [0, 1, 3])
def test_a_shift_is_the_map_at_its_offset(search_range: int) -> None:
    image = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    offsets = window_offsets(search_range, like=image).int().tolist()
    shifts = window_shifts(image, search_range, padding="zeros")
    assert len(offsets) == len(shifts) == (2 * search_range + 1) ** 2
    r = search_range
    for (x, y), shifted in zip(offsets, shifts, strict=True):
        assert shifted.shape == image.shape
        inside = image[..., r + y : 9 - r + y, r + x : 11 - r + x]
        assert shifted[..., r : 9 - r, r : 11 - r].equal(inside)


def test_outside_is_zero_or_the_border() -> None:
    row = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2)
    right = window_offsets(1, like=row).tolist().index([1.0, 0.0])
    assert window_shifts(row, 1, padding="zeros")[right].flatten().tolist() == [2.0, 0.0]
    assert window_shifts(row, 1, padding="border")[right].flatten().tolist() == [2.0, 2.0]
