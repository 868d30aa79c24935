from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F

from unrollflow.models import strips


@pytest.mark.parametrize("height", [7, 12, 13])
def test_a_convolution_of_stride_two_is_joined_exactly(height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    image, weight = torch.rand(1, 1, height, 5, generator=generator), torch.rand(1, 1, 3, 3, generator=generator)
    monkeypatch.setattr(strips, "MOST_PIXELS", 4 * 5)
    seen = []

    def compute(rows: slice) -> tuple[torch.Tensor]:
        seen.append((rows.start, rows.stop))
        return (F.conv2d(image[:, :, rows], weight, stride=2, padding=1),)

    with torch.no_grad():
        (joined,) = strips.in_strips(compute, image, halo=2, scales=(Fraction(1, 2),))
    torch.testing.assert_close(joined, F.conv2d(image, weight, stride=2, padding=1))
    assert seen[:2] == [(0, 6), (2, min(10, height))]


def test_what_is_differentiated_is_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.rand(1, 1, 8, 8)
    monkeypatch.setattr(strips, "MOST_PIXELS", 16)
    assert strips.rows_of_a_strip(image) is None
    with torch.no_grad():
        assert strips.rows_of_a_strip(image) == 2
        assert strips.rows_of_a_strip(image[:, :, :2]) is None
