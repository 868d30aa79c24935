import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrollflow.ops import soft_threshold, unroll, unrolled_cost

UNIT = {"lam": 1.0, "rho": 1.0}
POINTS = (0.1, 0.24, 0.3, 0.45, 0.6, 0.9, 1.1, 2.0, 5.0)
RELEASED_SLOPES = {  # algorithm.md of the reference, section 1
    1: (0.25, 0.6, 0.75, 1.125, 1.5, 2.25, 0.55, 1.0, 2.5),
    2: (0.4667, 1.12, 1.4, 2.1, 0.5333, 1.1333, 0.3667, 0.6667, 1.6667),
    4: (1.1, 2.64, 1.14, 0.82, 0.32, 0.68, 0.22, 0.4, 1.0),
}
CHARACTERS = [  # steps, detach, initial_term, slopes at 0.6, 1.1, 5, 20
    (1, False, True, (1.5, 0.55, 2.5, 10.0)),
    (1, False, False, (2.4, 0.0, 0.0, 0.0)),
    (4, True, False, (1.15, 1.25, 1.25, 1.25)),
]


def slopes(points: tuple[float, ...], **options: object) -> torch.Tensor:
    c = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(unrolled_cost(c, **UNIT, **options).sum(), c)
    return gradient


@pytest.mark.parametrize(("steps", "expected"), RELEASED_SLOPES.items())
def test_released_slopes(steps: int, expected: tuple[float, ...]) -> None:
    torch.testing.assert_close(slopes(POINTS, steps=steps), torch.tensor(expected).double(), atol=5e-5, rtol=0)


@pytest.mark.parametrize(("steps", "detach", "initial_term", "expected"), CHARACTERS)
def test_the_two_choices_decide_the_penalty(
    steps: int, detach: bool, initial_term: bool, expected: tuple[float, ...]
) -> None:
    found = slopes((0.6, 1.1, 5.0, 20.0), steps=steps, detach=detach, initial_term=initial_term)
    torch.testing.assert_close(found, torch.tensor(expected).double())


def test_closed_form_for_one_step() -> None:
    c = torch.linspace(-4, 4, 81, dtype=torch.float64)
    rho, tau, eta = 0.7, 1.3, 0.5
    expected = rho / 4 * (c.square() + (1 + eta) ** 2 * c.abs().clamp_max(tau).square())
    torch.testing.assert_close(unrolled_cost(c, lam=rho * tau, rho=rho, eta=eta), expected)


def test_threshold_passes_the_gradient_at_the_threshold_itself() -> None:
    x = torch.tensor([1.0, -1.0, 0.999], requires_grad=True)
    (gradient,) = torch.autograd.grad(soft_threshold(x, 1.0).sum(), x)
    assert gradient.tolist() == [1.0, 1.0, 0.0]


@given(
    st.floats(0, 2),
    st.floats(0.01, 2),
    st.floats(0.1, 1.5),
    st.integers(1, 8),
    st.booleans(),
    st.sampled_from([(0,), (), (7,), (2, 4, 3, 5)]),
)
@settings(deadline=None, max_examples=60)
def test_the_cost_is_the_mean_over_the_iterates(
    lam: float, rho: float, eta: float, steps: int, initial_term: bool, shape: tuple[int, ...]
) -> None:
    c = 2 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(steps))
    iterates = unroll(c, lam=lam, rho=rho, eta=eta, steps=steps)[0 if initial_term else 1 :]
    expected = torch.stack([rho / 2 * (q - c + beta).square() for q, beta in iterates]).mean(dim=0)
    torch.testing.assert_close(
        unrolled_cost(c, lam=lam, rho=rho, eta=eta, steps=steps, initial_term=initial_term), expected
    )


def scalar_cost(c: torch.Tensor) -> torch.Tensor:
    return unrolled_cost(c, lam=0.3, rho=0.7, steps=3).sum()


def test_second_derivatives_are_right() -> None:
    c = torch.randn(2, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda c: unrolled_cost(c, lam=0.3, rho=0.7, steps=3), c)


def test_function_transforms_and_the_compiler_agree_with_autograd() -> None:
    c = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = c.clone().requires_grad_()
    (expected,) = torch.autograd.grad(scalar_cost(x), x)
    torch.testing.assert_close(torch.func.grad(scalar_cost)(c), expected)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(scalar_cost))(c), expected)
    compiled = torch.compile(scalar_cost, backend="aot_eager", fullgraph=True)
    (found,) = torch.autograd.grad(compiled(x), x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("initial_term", [True, False])
def test_unrolled_cost_has_correct_gradient(steps: int, initial_term: bool) -> None:
    c = torch.randn(2, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    options = {"lam": 0.05, "rho": 0.1, "eta": 0.8, "steps": steps, "initial_term": initial_term}
    assert torch.autograd.gradcheck(lambda c: unrolled_cost(c, **options), c)


@pytest.mark.parametrize("initial_term", [True, False])
def test_detached_gradient_is_that_of_the_primal_step(initial_term: bool) -> None:
    c = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    lam, rho, steps = 0.3, 0.9, 3
    cost = unrolled_cost(c, lam=lam, rho=rho, steps=steps, detach=True, initial_term=initial_term)
    iterates = unroll(c.detach(), lam=lam, rho=rho, steps=steps)[0 if initial_term else 1 :]
    expected = torch.stack([-rho * (q - c.detach() + beta) for q, beta in iterates]).mean(dim=0)
    torch.testing.assert_close(torch.autograd.grad(cost.sum(), c)[0], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_lifted_also_under_autocast(dtype: torch.dtype) -> None:
    c = torch.linspace(-3, 3, 31).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cost = unrolled_cost(c, **UNIT, steps=4)
    assert cost.dtype == torch.float32
    torch.testing.assert_close(cost, unrolled_cost(c.float(), **UNIT, steps=4))


def test_float64_stays() -> None:
    assert unrolled_cost(torch.zeros(1, dtype=torch.float64), **UNIT).dtype == torch.float64


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8),
    st.floats(0, 10),
    st.floats(1e-3, 10),
    st.integers(1, 6),
    st.booleans(),
)
@settings(deadline=None, max_examples=50)
def test_cost_is_finite_even_and_not_negative(
    values: list[float], lam: float, rho: float, steps: int, detach: bool
) -> None:
    c = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    cost = unrolled_cost(c, lam=lam, rho=rho, steps=steps, detach=detach)
    assert cost.isfinite().all()
    assert (cost >= 0).all()
    torch.testing.assert_close(cost, unrolled_cost(-c, lam=lam, rho=rho, steps=steps, detach=detach))
    assert torch.autograd.grad(cost.sum(), c)[0].isfinite().all()


@pytest.mark.parametrize("bad", [{"lam": -1.0}, {"rho": 0.0}, {"steps": 0}, {"lam": float("nan")}])
def test_bad_parameters_are_named(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"needs lam >= 0, rho > 0 and steps >= 1"):
        unrolled_cost(torch.zeros(1), **{**UNIT, **bad})
