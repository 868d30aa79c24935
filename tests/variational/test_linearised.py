"""The classical solver: its linear system, its filters, and what it finds."""

import pytest
import torch

from tests.helpers.pairs import error, moved
from unrollflow.data import MovingLayers
from unrollflow.metrics import endpoint_error
from unrollflow.variational import LinearisedFlow, preset_flow, refine_flow
from unrollflow.variational.linearised import derivatives, linearise, pyramid, robust_weight
from unrollflow.variational.search import better_of, inverse_search
from unrollflow.variational.system import Tensors, solve, weighted_laplacian


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_laplacian_is_the_gradient_of_half_the_weighted_squares() -> None:
    field, wx, wy = random(2, 2, 4, 5).requires_grad_(), random(2, 1, 4, 4, seed=1), random(2, 1, 3, 5, seed=2)
    half = (wx * field.diff(dim=-1).square()).sum() / 2 + (wy * field.diff(dim=-2).square()).sum() / 2
    (expected,) = torch.autograd.grad(half, [field])
    torch.testing.assert_close(weighted_laplacian(field, wx, wy), expected)


def test_the_system_is_solved() -> None:
    wx, wy, right = random(2, 1, 3, 3), random(2, 1, 2, 4, seed=1), random(2, 2, 3, 4, seed=2)
    uu, uv, vv = 1 + random(2, 1, 3, 4, seed=3), random(2, 1, 3, 4, seed=4), 1 + random(2, 1, 3, 4, seed=5)
    data = Tensors(uu, uv, vv)
    x = solve(data, right, wx, wy, torch.zeros_like(right), steps=40)
    torch.testing.assert_close(data.times(x) + weighted_laplacian(x, wx, wy), right, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(data.inverse().times(data.times(right)), right)


def test_a_system_without_data_stays_where_it_is() -> None:
    nothing = torch.zeros(1, 1, 3, 4)
    weights = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 4)
    start = torch.full((1, 2, 3, 4), 2.0)
    x = solve(Tensors(nothing, nothing, nothing), torch.zeros(1, 2, 3, 4), *weights, start, steps=10)
    assert x.equal(start)


def test_derivatives_are_exact_up_to_the_fourth_power() -> None:
    x = torch.arange(9, dtype=torch.float64)
    along_x, along_y = derivatives(x.pow(4).expand(1, 2, 9, 9))
    torch.testing.assert_close(along_x[0, 1, 4, 2:-2], 4 * x[2:-2] ** 3)
    assert along_y.abs().max() < 1e-9


@pytest.mark.parametrize(
    ("shrinkage", "sizes"),
    [(0.5, [(100, 130), (50, 65), (25, 32)]), (0.7, [(100, 130), (70, 91), (49, 64), (34, 45), (24, 31)])],
)
def test_a_pyramid_ends_at_the_smallest_size(shrinkage: float, sizes: list[tuple[int, int]]) -> None:
    levels = pyramid(torch.rand(1, 3, 100, 130), smallest=24, shrinkage=shrinkage)
    assert [tuple(level.shape[-2:]) for level in levels] == sizes


@pytest.mark.parametrize("exponent", [0.4, 0.5])
def test_the_robust_weight_is_the_derivative_of_the_penalty(exponent: float) -> None:
    square = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(0.3 ** (1 - 2 * exponent) * (square + 0.3**2) ** exponent, [square])
    vector = square.detach().sqrt().view(1, 1, 1, 1)
    torch.testing.assert_close(robust_weight(vector, 0.3, exponent).squeeze(), expected)


def test_the_linear_approximation_predicts_the_difference_after_a_small_change() -> None:
    first, second = moved(1.0, 0.5, size=(48, 64))
    flow, change = (torch.tensor(v).view(1, 2, 1, 1).expand(1, 2, 48, 64) for v in ([1.0, 0.5], [0.05, -0.03]))
    before, after = (linearise(first, second, at, colour=0.3) for at in (flow, flow + change))
    predicted = before.t + before.mx * change[:, :1] + before.my * change[:, 1:]
    assert (after.t - predicted).abs().mean() < 0.3 * (after.t - before.t).abs().mean()


@pytest.mark.parametrize("motion", [(0.0, 0.0), (0.7, -0.4), (7.0, 3.0)])
def test_a_moved_texture_is_found(motion: tuple[float, float]) -> None:
    assert error(LinearisedFlow(search=False).forward_only(*moved(*motion, size=(96, 128))), *motion) < 0.1


def test_both_ways_agree_but_at_the_border_that_left() -> None:
    found = LinearisedFlow()(*moved(4.0, 0.0, size=(64, 80)))
    assert error(found.flow_backward[..., 8:], -4.0, 0.0) < 0.1
    assert found.visible[..., :70].mean() > 0.99
    assert found.visible[..., -3:].mean() < 0.1


def test_a_batch_is_its_images() -> None:
    pairs = [moved(1.0, 0.5, seed=seed) for seed in (0, 1)]
    batch = LinearisedFlow()(*(torch.cat([pair[i] for pair in pairs]) for i in (0, 1))).flow
    torch.testing.assert_close(batch, torch.cat([LinearisedFlow()(*p).flow for p in pairs]), rtol=1e-3, atol=1e-3)


def test_layers_that_occlude_each_other() -> None:
    sample = MovingLayers(split="test", size=(64, 80))[3]
    first, second, truth = (sample[name].unsqueeze(0) for name in ("image1", "image2", "flow"))
    zero = endpoint_error(torch.zeros_like(truth), truth).mean()
    fast, default = (preset_flow(first, second, preset=preset) for preset in ("fast", "default"))
    for flow in (fast, default):
        assert endpoint_error(flow, truth).mean() < 0.5 * zero


@pytest.mark.parametrize("size", [(40, 40), (97, 131)])
def test_a_refinement_corrects_a_rough_flow(size: tuple[int, int]) -> None:
    """Also where half of the size is too small for a level."""
    pair = moved(2.0, -1.0, size=size)
    rough = torch.tensor([1.6, -0.6]).view(1, 2, 1, 1).expand(1, 2, *size)
    assert error(refine_flow(*pair, rough), 2.0, -1.0) < 0.1 * error(rough, 2.0, -1.0)


def test_a_refinement_leaves_a_perfect_flow_as_it_is() -> None:
    pair = moved(2.0, -1.0, size=(96, 128))
    perfect = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 96, 128)
    assert error(refine_flow(*pair, perfect), 2.0, -1.0) < 0.02


def test_the_search_finds_far_motion_and_leaves_small_frames_alone() -> None:
    pair = moved(12.0, 0.0, size=(96, 128))
    assert error(inverse_search(*pair)[..., :90], 12.0, 0.0) < 1
    assert inverse_search(*moved(1.0, 0.0)).abs().max() == 0


def test_of_two_flows_the_one_that_explains_the_frames_is_taken() -> None:
    pair = moved(3.0, 0.0)
    right = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1).repeat(1, 1, 48, 64)
    for flow, other in ((right, -right), (-right, right)):
        assert better_of(flow, other, *pair)[..., 6:-6].ne(right[..., 6:-6]).float().mean() < 0.05
    assert better_of(right, right + 0.01, *pair).equal(right)  # in doubt the first


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="preset='slow'; choose one of 'fast', 'default'"):
        preset_flow(*moved(0.0, 0.0), preset="slow")
    with pytest.raises(ValueError, match="image1 has values"):
        preset_flow(*(image + 2 for image in moved(0.0, 0.0)))
