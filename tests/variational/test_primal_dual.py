import pytest
import torch

from tests.helpers.pairs import error, moved
from unrollflow.losses import L1, TotalVariation
from unrollflow.variational import FlowEnergy, estimate_flow, primal_dual_flow
from unrollflow.variational.primal_dual import Operator, linearise


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_transposed_operator_is_the_transposed() -> None:
    operator = Operator(
        random(1, 3, 4, 5, seed=0), random(1, 3, 4, 5, seed=1), random(1, 1, 4, 4, seed=2), random(1, 1, 3, 5, seed=3)
    )
    x = random(1, 2, 4, 5, seed=4)
    rows = operator.times(x)
    y = [random(*row.shape, seed=5 + i) for i, row in enumerate(rows)]
    forth = torch.stack([(row * dual).sum() for row, dual in zip(rows, y, strict=True)]).sum()
    torch.testing.assert_close(forth, (x * operator.transposed(*y)).sum())


def test_what_is_linearised_is_the_packages_own_energy() -> None:
    image1, image2 = moved(0.6, 0.3, size=(24, 32), dtype=torch.float64)
    flow = random(1, 2, 24, 32, seed=0)
    operator, offset = linearise(image1, image2, flow, smoothness_weight=0.7, edge_alpha=10.0)
    data, along_x, along_y = operator.times(flow)
    total = (data + offset).abs().sum() + along_x.abs().sum() + along_y.abs().sum()
    energy = FlowEnergy(L1(), TotalVariation(edge_alpha=10.0), smoothness_weight=0.7)
    assert (total / (24 * 32)).item() == pytest.approx(energy(image1, image2, flow).item())


def test_its_energy_never_rises_and_comes_to_that_of_descent() -> None:
    pair = moved(0.6, 0.3)
    energy = FlowEnergy(L1(), TotalVariation(), smoothness_weight=0.05)
    costs = [energy(*pair, torch.zeros(1, 2, 48, 64)).item()]
    flow = primal_dual_flow(*pair, smoothness_weight=0.05, warps=6, on_step=lambda _, cost: costs.append(cost))
    assert costs == sorted(costs, reverse=True)
    assert error(flow, 0.6, 0.3) < 0.25
    descended = estimate_flow(
        *pair, photometric=L1(), smoothness=TotalVariation(), smoothness_weight=0.05, steps=100, rate=0.05
    )
    assert costs[-1] == pytest.approx(energy(*pair, flow).item())
    assert costs[-1] < 1.05 * energy(*pair, descended)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="smoothness_weight is negative: -1"):
        primal_dual_flow(*moved(0.6, 0.3), smoothness_weight=-1)
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 3\)"):
        primal_dual_flow(*moved(0.6, 0.3), smoothness_weight=1, initial=torch.zeros(1, 2, 3, 3))
