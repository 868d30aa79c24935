import pytest
import torch

from experiments.common.denoiser import Denoiser, unsupervised_energy
from experiments.common.penalties import COMPARED, HARD, PENALTIES, final_cells, scaled, trials, unrolled_name
from experiments.exp02_piecewise_constant.signals import (
    JUMPS,
    LENGTH,
    SMALLEST_JUMP,
    clean_signals,
    descend,
    exact_energies,
    jumps_found,
)
from unrollflow import unrolled_cost


def test_one_detached_step_without_the_plain_term_is_twice_huber() -> None:
    c = torch.linspace(-3, 3, 60, dtype=torch.float64).requires_grad_()
    name = unrolled_name(1, detach=True, initial_term=False)
    (ours,) = torch.autograd.grad(scaled(PENALTIES[name], c, 0.7).sum(), c)
    (huber,) = torch.autograd.grad(scaled(HARD["huber"], c, 0.7).sum(), c)
    torch.testing.assert_close(ours, 2 * huber)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 2.0])
def test_a_scaled_unrolled_penalty_is_that_of_total_variation_of_weight_one(threshold: float) -> None:
    c = torch.linspace(-3, 3, 61, dtype=torch.float64) + 1e-3
    ours = scaled(PENALTIES["unrolled T=4 attached t0"], c, threshold)
    torch.testing.assert_close(ours, unrolled_cost(c, lam=1.0, rho=1 / threshold, steps=4))


@pytest.mark.parametrize("name", COMPARED)
def test_every_penalty_gets_as_many_trials(name: str) -> None:
    weights, scales = trials(name, [0.5, 1.0, 2.0], [0.1, 0.3])
    pairs = set(zip(weights.tolist(), scales.tolist(), strict=True))
    assert len(pairs) == 6
    assert (float(weights.min()), float(weights.max())) == pytest.approx((0.5, 2.0))


def test_signals_have_their_jumps_and_descent_starts_at_them() -> None:
    clean = clean_signals(5, 0)
    sizes = clean.diff(dim=-1).abs()
    assert clean.shape == (5, LENGTH)
    assert ((sizes > 0).sum(-1) == JUMPS).all()
    assert sizes[sizes > 0].min() >= SMALLEST_JUMP
    assert (jumps_found(clean, clean) == 1).all()
    assert (jumps_found(clean.roll(3, dims=-1), clean) < 1).all()


def test_descent_on_total_variation_comes_near_the_exact_optimum() -> None:
    start = clean_signals(2, 0) + 0.1 * torch.randn(2, LENGTH, generator=torch.Generator().manual_seed(0))
    optimum = exact_energies(start.double(), 0.3)
    found = descend(
        start.double(), HARD["tv"], torch.tensor([0.3]), torch.ones(1), [0.01], cosine=True, steps=300,
        exact_weight=0.3, optimum=optimum,
    )  # fmt: skip
    x = found.signals[0, 0]
    energies = (x - start).square().sum(-1) / 2 + 0.3 * x.diff(dim=-1).abs().sum(-1)
    assert (energies >= optimum - 1e-12).all()
    assert (energies <= 1.01 * optimum).all()
    coarse, fine = found.reached
    assert (coarse <= fine).all()
    assert (coarse < 300).all()


@pytest.mark.parametrize("shape", [(2, 1, 20), (2, 1, 12, 10)])
def test_an_untrained_denoiser_gives_its_input_back(shape: tuple[int, ...]) -> None:
    noisy = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Denoiser(dimensions=len(shape) - 2)(noisy), noisy)


def test_energy_of_a_step_by_hand() -> None:
    noisy = torch.zeros(1, 1, 2, 2)
    x = torch.tensor([[0.0, 2.0], [0.0, 2.0]]).view(1, 1, 2, 2)
    # (4 + 4) / 2 of the data and 0.5 times two jumps of 2, over four pixels
    assert unsupervised_energy(x, noisy, HARD["tv"], weight=0.5, scale=1.0).item() == pytest.approx((4 + 2) / 4)


def test_finals_take_each_penalty_s_best_trial_to_other_seeds() -> None:
    tried = [
        {"settings": {"penalty": name, "weight": weight, "seed": 0, "split": "tuning"}, "results": {"worth": worth}}
        for name, weight, worth in (("tv", 1.0, 3.0), ("tv", 2.0, 5.0), ("huber", 1.0, 4.0), ("huber", 2.0, 2.0))
    ]
    cells = final_cells(tried, lambda row: row["results"]["worth"], split="test", seeds=(1, 2))
    assert [(cell["penalty"], cell["weight"], cell["seed"]) for cell in cells] == [
        ("tv", 2.0, 1), ("tv", 2.0, 2), ("huber", 1.0, 1), ("huber", 1.0, 2),
    ]  # fmt: skip
    assert {cell["split"] for cell in cells} == {"test"}
