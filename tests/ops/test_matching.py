"""Operations of matching networks: hand-computed values, properties, gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unrollflow.ops.matching import (
    LARGEST_STEP,
    convex_upsample,
    lucas_kanade,
    neighbour_differences,
    propagate,
    soft_argmax,
    window_means,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def texture(height: int, width: int, *, x: float = 0.0, y: float = 0.0) -> Tensor:
    """A smooth texture (1, 1, H, W) in [0, 4], moved by (x, y) pixels."""
    rows = torch.arange(height, dtype=torch.float64).view(-1, 1) - y
    columns = torch.arange(width, dtype=torch.float64) - x
    return (2 + torch.sin(0.7 * columns + 0.2 * rows) + torch.cos(0.5 * rows - 0.3 * columns)).view(1, 1, height, width)


def test_the_displacement_of_two_equal_scores_lies_between_them() -> None:
    scores = torch.full((1, 25, 1, 1), -100.0)
    scores[0, [2, 14]] = 0.0  # (0, -2) and (2, 0)
    likelihood, displacement = soft_argmax(scores)
    torch.testing.assert_close(displacement.flatten(), torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(likelihood.sum(), torch.tensor(1.0))


def test_equal_scores_mean_no_displacement() -> None:
    assert soft_argmax(torch.zeros(2, 9, 3, 4))[1].abs().max() < 1e-6


def test_propagation_is_the_weighted_mean_of_the_neighbours() -> None:
    flow, scores = normal(2, 2, 4, 5), normal(2, 9, 4, 5, seed=1)
    padded = F.pad(flow, [1] * 4, mode="replicate")
    expected = torch.zeros_like(flow)
    for n in range(9):
        y, x = divmod(n, 3)
        expected += scores.softmax(dim=1)[:, n : n + 1] * padded[..., y : y + 4, x : x + 5]
    torch.testing.assert_close(propagate(flow, scores), expected)


def test_propagation_stays_within_the_neighbours() -> None:
    flow, scores = normal(1, 2, 6, 6), normal(1, 9, 6, 6, seed=1)
    result = propagate(flow, scores)
    assert result.max() <= flow.max()
    assert result.min() >= flow.min()


@pytest.mark.parametrize("factor", [2, 4])
def test_up_sampling_by_the_centre_alone_repeats_pixels(factor: int) -> None:
    flow, scores = normal(2, 2, 3, 4), torch.full((2, 9 * factor**2, 3, 4), -1e3, dtype=torch.float64)
    scores[:, 4 * factor**2 : 5 * factor**2] = 0
    expected = factor * flow.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    torch.testing.assert_close(convex_upsample(flow, scores, factor=factor), expected)


def test_up_sampling_scores_belong_to_the_pixel_that_they_stand_for() -> None:
    flow, scores = normal(1, 2, 3, 3), torch.full((1, 36, 3, 3), -1e3, dtype=torch.float64)
    scores[:, [4 * 4, 4 * 4 + 2, 4 * 4 + 3]] = 0  # the pixel itself, but for (0, 1):
    scores[:, 4 * 5 + 1] = 0  # the right neighbour
    assert convex_upsample(flow, scores, factor=2)[0, 0, 0, 1] == 2 * flow[0, 0, 0, 1]
    assert convex_upsample(flow, scores, factor=2)[0, 0, 1, 1] == 2 * flow[0, 0, 0, 0]


def test_zero_padding_pulls_the_border_to_zero() -> None:
    flow, scores = torch.ones(1, 2, 2, 2), torch.zeros(1, 36, 2, 2)
    assert convex_upsample(flow, scores, factor=2, padding="zeros")[0, 0, 0, 0].item() == pytest.approx(2 * 4 / 9)


def test_differences_do_not_see_a_translation() -> None:
    flow = normal(1, 2, 5, 6)
    torch.testing.assert_close(neighbour_differences(flow + 31.7), neighbour_differences(flow))


@pytest.mark.parametrize(("x", "y"), [(0.3, 0.0), (0.0, -0.4), (0.25, 0.35)])
def test_lucas_kanade_finds_a_small_translation(x: float, y: float) -> None:
    step = lucas_kanade(texture(24, 24), texture(24, 24, x=x, y=y))[..., 4:-4, 4:-4]
    assert (step - torch.tensor([x, y]).view(1, 2, 1, 1)).abs().mean() < 0.05


def test_lucas_kanade_is_zero_without_texture_and_bounded_without_reason() -> None:
    flat = torch.full((1, 1, 8, 8), 2.0)
    assert not lucas_kanade(flat, flat + 1).any()
    noise = 4 * torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert lucas_kanade(noise, noise.flip(-1)).abs().max() <= LARGEST_STEP


@pytest.mark.parametrize("window", [1, 3, 5])
def test_window_means_are_a_pooling_with_its_gradient(window: int) -> None:
    image = torch.rand(2, 3, 7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ours, reference = window_means(image, window), F.avg_pool2d(image, window, stride=1)
    torch.testing.assert_close(ours, reference)
    slopes = [torch.autograd.grad(means.square().sum(), image)[0] for means in (ours, reference)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("window", [0, 4])
def test_an_even_window_is_refused(window: int) -> None:
    with pytest.raises(ValueError, match=f"window={window}: it must be odd"):
        lucas_kanade(texture(8, 8), texture(8, 8), window=window)


def test_gradients() -> None:
    flow, scores = normal(1, 2, 3, 4).requires_grad_(), normal(1, 9, 3, 4, seed=1).requires_grad_()
    upsampling = normal(1, 36, 3, 4, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: soft_argmax(s), scores)
    assert torch.autograd.gradcheck(propagate, (flow, scores))
    assert torch.autograd.gradcheck(lambda f, s: convex_upsample(f, s, factor=2), (flow, upsampling))
    assert torch.autograd.gradcheck(neighbour_differences, flow)
    images = texture(5, 6).requires_grad_(), (texture(5, 6, x=0.2) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: lucas_kanade(a, b, window=3), images)


def test_half_precision_is_lifted() -> None:
    flow, scores = normal(1, 2, 3, 4).bfloat16(), normal(1, 9, 3, 4).bfloat16()
    assert propagate(flow, scores).dtype == soft_argmax(scores)[1].dtype == torch.float32
