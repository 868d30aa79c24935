"""Descent on the objective: it lowers the energy, finds the motion, and names invalid inputs."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from tests.helpers.pairs import error, moved
from unrollflow.losses import Census, Charbonnier, ForwardBackward, Smoothness, TotalVariation, UnrolledTotalVariation
from unrollflow.variational import OPTIMIZERS, FlowEnergy, Optimizer, estimate_flow
from unrollflow.variational.descent import level_sizes

RATES = {"sgd": 3.0, "momentum": 0.3, "nesterov": 0.3, "adagrad": 0.3, "adadelta": 30.0, "rmsprop": 0.03, "adam": 0.1,
         "lbfgs": 1.0}  # fmt: skip


class Broken(Smoothness):
    """A term that overflows."""

    def penalty(self, gradient: Tensor) -> Tensor:
        return gradient + float("nan")


def estimate(pair: tuple[Tensor, Tensor], **settings: Any) -> Tensor:
    objective = {
        "photometric": Charbonnier(),
        "smoothness": TotalVariation(penalty="charbonnier", epsilon=0.1),
        "smoothness_weight": 0.1,
    }
    return estimate_flow(*pair, **(objective | settings))


def test_every_named_optimizer_is_there() -> None:
    assert set(OPTIMIZERS) == set(get_args(Optimizer)) == set(RATES)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_lowers_the_energy_and_finds_the_motion(optimizer: Optimizer) -> None:
    costs: list[float] = []
    flow = estimate(
        moved(0.8, -0.5, size=(24, 32)), optimizer=optimizer, rate=RATES[optimizer], steps=60,
        on_step=lambda _, cost: costs.append(cost),
    )  # fmt: skip
    assert len(costs) == 60
    assert costs[-1] < 0.75 * costs[0]
    assert error(flow, 0.8, -0.5) < 0.75 * error(torch.zeros_like(flow), 0.8, -0.5)
    assert not flow.requires_grad


@pytest.mark.parametrize("smoothness", [TotalVariation(), UnrolledTotalVariation()])
def test_any_terms_of_the_package_are_minimised(smoothness: Smoothness) -> None:
    flow = estimate(moved(0.8, -0.5), photometric=Census(patch_size=3), smoothness=smoothness, steps=40, levels=2)
    assert error(flow, 0.8, -0.5) < 0.7 * error(torch.zeros_like(flow), 0.8, -0.5)


def test_coarse_to_fine_finds_what_one_level_loses() -> None:
    pair = moved(6.0, 0.0)
    alone, pyramid = (estimate(pair, levels=levels, steps=50) for levels in (1, 3))
    assert error(pyramid, 6.0, 0.0) < 1 < 4 < error(alone, 6.0, 0.0)


def test_a_start_at_the_truth_stays_there_and_is_not_changed() -> None:
    truth = torch.tensor([9.0, 0.0]).view(1, 2, 1, 1).repeat(1, 1, 48, 64)
    flow = estimate(moved(9.0, 0.0), initial=truth, steps=10, rate=0.02)
    assert error(flow[..., 12:-12], 9.0, 0.0) < 0.1
    assert truth.unique().tolist() == [0.0, 9.0]


def test_both_ways_are_solved_together_where_visibility_counts() -> None:
    image1, image2 = moved(1.0, 0.0)
    seen: list[tuple[int, ...]] = []
    flow = estimate(
        (image1, image2), visibility=ForwardBackward(), steps=40, on_step=lambda both, _: seen.append(tuple(both.shape))
    )
    assert set(seen) == {(2, 2, 48, 64)}
    assert tuple(flow.shape) == (1, 2, 48, 64)
    assert error(flow, 1.0, 0.0) < 0.2


def test_what_is_not_visible_is_not_compared() -> None:
    image1, image2 = moved(8.0, 0.0, dtype=torch.float64)
    truth = torch.tensor([8.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1).repeat(1, 1, 48, 64)
    energy, all_visible = (
        FlowEnergy(Charbonnier(), TotalVariation(), smoothness_weight=0, visibility=visibility)
        for visibility in (ForwardBackward(), None)
    )
    ways = torch.cat([image1, image2]), torch.cat([image2, image1]), torch.cat([truth, -truth])
    # the columns that left the frame are all that differs
    assert energy(*ways).item() == pytest.approx(0.01, rel=1e-3)
    assert all_visible(*ways) > 1.2 * energy(*ways)


def test_a_batch_is_its_images() -> None:
    pairs = [moved(0.8, -0.5, seed=seed) for seed in (0, 1)]
    batch = torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs])
    alone = torch.cat([estimate(pair, steps=5, optimizer="sgd", rate=1.0) for pair in pairs])
    torch.testing.assert_close(estimate(batch, steps=5, optimizer="sgd", rate=1.0), alone, rtol=1e-4, atol=1e-5)


def test_it_ends_where_the_energy_does_not_fall_any_more() -> None:
    costs: list[float] = []
    estimate(moved(0.3, 0.0), steps=300, tolerance=0.01, on_step=lambda _, cost: costs.append(cost))
    assert 10 < len(costs) < 200


def test_the_energy_has_the_gradient_that_descent_follows() -> None:
    image1, image2 = moved(0.5, 0.5, size=(5, 6), dtype=torch.float64)
    energy = FlowEnergy(
        Charbonnier(epsilon=0.1), TotalVariation(penalty="charbonnier", epsilon=0.5), smoothness_weight=1
    )
    flow = 0.2 + 0.3 * torch.rand(1, 2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda field: energy(image1, image2, field), flow.requires_grad_())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "newton"}, "optimizer='newton'; choose one of 'sgd'"),
        ({"rate": 0.0}, r"rate=0\.0"),
        ({"rate": float("nan")}, "rate=nan"),
        ({"steps": 0}, "steps=0"),
        ({"levels": 0}, "levels=0"),
        ({"factor": 1.0}, r"factor=1\.0"),
        ({"levels": 5}, "3x4"),
        ({"smoothness_weight": -1.0}, r"smoothness_weight is negative: -1\.0"),
        ({"median": 7, "levels": 2}, "median filter is 7"),
        ({"initial": torch.zeros(1, 2, 9, 9)}, r"\(1, 2, 9, 9\).*expected \(1, 2, 48, 64\)"),
        ({"initial": torch.full((1, 2, 48, 64), torch.nan)}, "at 3072 pixel"),
        ({"smoothness": Broken()}, r"the energy is nan after 0 steps of adam; use a rate below 0\.1"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate(moved(0.5, 0.5), **({"steps": 1} | settings))


@pytest.mark.parametrize(
    ("image1", "image2", "message"),
    [
        (torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 33), r"differ in size"),
        (torch.rand(3, 32, 32), torch.rand(3, 32, 32), r"unsqueeze\(0\)"),
        (torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32), "RGB"),
        (torch.rand(1, 3, 8, 32), torch.rand(1, 3, 8, 32), "too small: 8x32"),
        (torch.full((1, 3, 32, 32), torch.nan), torch.rand(1, 3, 32, 32), "image1 has values from nan"),
        (torch.rand(1, 3, 32, 32), 255 * torch.rand(1, 3, 32, 32), "image2 has values"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "divide by 255"),
    ],
)
def test_bad_images_are_named(image1: Tensor, image2: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate((image1, image2))


def test_a_pyramid_ends_at_the_images_size() -> None:
    assert level_sizes((48, 64), 3, 0.5) == [(12, 16), (24, 32), (48, 64)]
