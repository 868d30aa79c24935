import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from unrollflow.contracts import FlowEstimate, FlowSample, LikelihoodEstimate
from unrollflow.losses import L1, LikelihoodObjective, NoSmoothness, TotalVariation, jensen_shannon
from unrollflow.losses.likelihood import patch_distribution, window_divergence
from unrollflow.models import LikeNet


def images(count: int = 2, size: int = 8) -> tuple[Tensor, Tensor]:
    """Noise, and the same a pixel to the right."""
    image = torch.rand(count, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return image, image.roll(1, dims=-1)


def sample(image1: Tensor, image2: Tensor) -> FlowSample:
    return FlowSample(image1=image1, image2=image2, name="noise")


def certain(place: int, *, count: int = 2, size: int = 8) -> LikelihoodEstimate:
    """All likelihood on one displacement of a 3x3 window."""
    likelihood = torch.zeros(count, 9, size, size, dtype=torch.float64)
    likelihood[:, place] = 1
    start = torch.zeros(count, 2, size, size, dtype=torch.float64)
    return LikelihoodEstimate(start, start, likelihood=likelihood, start=start)


def objective(**options: Any) -> LikelihoodObjective:
    smoothness = options.pop("smoothness", NoSmoothness())
    return LikelihoodObjective(L1(), smoothness, **({"smoothness_weight": 0.0} | options))


RIGHT, LEFT = 5, 3
"""Places of (1, 0) and (-1, 0) in the window."""


def test_divergence_of_known_distributions() -> None:
    p, q = (torch.tensor(d).double().view(1, 2, 1, 1) for d in ([0.5, 0.5], [1.0, 0.0]))
    expected = math.log(2) - 0.5 * math.log(2) - (0.25 * math.log(0.25) + 0.75 * math.log(0.75)) - math.log(2)
    assert jensen_shannon(p, q).item() == pytest.approx(expected)
    assert jensen_shannon(p, q).item() == jensen_shannon(q, p).item()
    assert jensen_shannon(p, p).item() == 0


def test_divergence_lies_between_zero_and_ln_2() -> None:
    one, other = (patch_distribution(image, temperature=0.01) for image in images())
    found = jensen_shannon(one, other, search_range=2)
    assert found.shape == (2, 25, 8, 8)
    assert found.min() >= 0
    assert found.max() <= math.log(2) + 1e-9


def test_patches_of_other_brightness_are_alike() -> None:
    image, _ = images()
    p = patch_distribution(image, temperature=0.1)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(2, 8, 8, dtype=torch.float64))
    torch.testing.assert_close(patch_distribution(image + 0.3, temperature=0.1), p)


def test_the_right_displacement_costs_nothing() -> None:
    image1, image2 = images()
    costs = window_divergence(image1, image2, certain(0), temperature=0.1)[..., 1:-1, 1:-2]
    assert costs[:, RIGHT].max() < 1e-12
    assert all(costs[:, place].min() > 1e-6 for place in range(9) if place != RIGHT)


def test_displacements_add_to_where_the_level_starts() -> None:
    image1, image2 = images()
    estimate = certain(0)
    estimate.start = torch.tensor([1.0, 0.0]).double().view(1, 2, 1, 1).expand(2, 2, 8, 8)
    costs = window_divergence(image1, image2, estimate, temperature=0.1)[..., 1:-1, 2:-2]
    assert costs[:, 4].max() < 1e-12  # no displacement


def test_cost_is_the_expected_divergence_of_both_ways_by_level() -> None:
    image1, image2 = images()
    terms = objective(level_weights=[0.5, 1.0])(
        sample(image1, image2), [certain(4), certain(RIGHT)], [certain(LEFT), certain(0)], step=0
    )
    there, back = (
        window_divergence(*pair, certain(0), temperature=0.1) for pair in ((image1, image2), (image2, image1))
    )
    expected = (0.5 * there[:, 4].mean() + there[:, RIGHT].mean() + 0.5 * back[:, LEFT].mean() + back[:, 0].mean()) / 2
    assert terms.matching.item() == pytest.approx(expected.item())
    assert terms.total.item() == terms.matching.item()
    assert set(terms.log) == {"loss/total", "loss/matching", "loss/smoothness"}


def test_the_gradient_moves_likelihood_to_the_match() -> None:
    image1, image2 = images()
    scores = torch.zeros(2, 9, 8, 8, dtype=torch.float64, requires_grad=True)
    estimate = certain(0)
    estimate.likelihood = scores.softmax(dim=1)
    objective()(sample(image1, image2), [estimate], [certain(LEFT)], step=0).total.backward()
    assert (scores.grad[:, RIGHT, 1:-1, 1:-2] < 0).all()


def test_gradcheck() -> None:
    image1, image2 = images(1, 3)

    def cost(scores: Tensor) -> Tensor:
        estimate = certain(0, count=1, size=3)
        estimate.likelihood = scores.softmax(dim=1)
        return objective()(sample(image1, image2), [estimate], [estimate], step=0).total

    assert torch.autograd.gradcheck(cost, torch.randn(1, 9, 3, 3, dtype=torch.float64, requires_grad=True))


def test_the_gradient_through_where_a_level_starts_is_whole() -> None:
    """Gradient of the finer level's cost in the coarser level, through the likelihoods and the divergences."""
    torch.manual_seed(0)
    network = LikeNet(search_ranges=[1, 1], feature_channels=[3, 2], branch_channels=2).double()
    image1, image2 = images(1, 6)
    name = "branches.0.score.2.weight"
    found = network.get_parameter(name).detach().clone()

    def cost(weight: Tensor) -> Tensor:
        ways = (functional_call(network, {name: weight}, pair) for pair in ((image1, image2), (image2, image1)))
        return objective(level_weights=[0.0, 1.0])(sample(image1, image2), *ways, step=0).total

    assert torch.autograd.gradcheck(cost, found.requires_grad_())


def test_the_start_moves_towards_the_match() -> None:
    """If all displacements are equally likely for any start, only the divergences contribute to the gradient."""
    image1 = torch.linspace(0, 1, 16, dtype=torch.float64).square().expand(1, 3, 16, 16)  # brighter and steeper to x
    image2 = image1.roll(1, dims=-1)
    start = torch.full((1, 2, 16, 16), 0.5, dtype=torch.float64, requires_grad=True)  # the match is at 1
    there = certain(4, count=1, size=16)
    there.start = start
    objective()(sample(image1, image2), [there], [certain(4, count=1, size=16)], step=0).total.backward()
    assert (start.grad[:, 0, 3:-3, 3:-3] < 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_low_temperature_has_a_finite_gradient(dtype: torch.dtype) -> None:
    image1, image2 = (image.to(dtype) for image in images())
    start = torch.full((2, 2, 8, 8), 0.3, dtype=dtype, requires_grad=True)
    there = certain(4)
    there.start = start
    window_divergence(image1, image2, there, temperature=1e-4).sum().backward()
    assert start.grad.isfinite().all()


def test_smoothness_of_the_expected_flow_is_added() -> None:
    image1, image2 = images()
    raw = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    rough = LikelihoodEstimate(raw, raw, likelihood=certain(4).likelihood, start=raw * 0)
    term = TotalVariation(penalty="l1")
    terms = objective(smoothness=term, smoothness_weight=2.0)(sample(image1, image2), [rough], [certain(4)], step=0)
    assert terms.smoothness.item() == pytest.approx(term(raw, image1).item() / 2)
    assert terms.total.item() == pytest.approx((terms.matching + 2 * terms.smoothness).item())


def test_bad_input_is_named() -> None:
    plain = FlowEstimate(certain(0).raw, certain(0).flow)
    with pytest.raises(ValueError, match="use LikeNet"):
        objective()(sample(*images()), [plain], [plain], step=0)
    with pytest.raises(ValueError, match="temperature=0"):
        objective(temperature=0.0)
    with pytest.raises(ValueError, match="smoothness_weight=-1"):
        objective(smoothness_weight=-1.0)
