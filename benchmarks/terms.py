"""The unrolled term against total variation, and against its own plain composition."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.measuring import Row, in_turn
from tests.references import composed_cost
from unrollflow import Smoothness, TotalVariation, UnrolledTotalVariation, unrolled_cost

FIELD = (8, 4, 96, 208)
"""Of the gradients: what a flow of 8 x 2 x 97 x 209 has, both directions."""

EAGER_TARGETS = {1: 1.5, 4: 2.5}
COMPILED_TARGET = 1.1
RELEASED = {"eta": 1.0, "detach": False, "initial_term": True}


def term_step(term: Smoothness, flow: Tensor, image: Tensor) -> Callable[[], None]:
    """Forward and backward of a smoothness term: the gradient, edge weights, penalty and mean."""

    def run() -> None:
        flow.grad = None
        term(flow, image).backward()  # type: ignore[no-untyped-call]

    return run


def penalty_step(penalty: Callable[[Tensor], Tensor], gradient: Tensor) -> Callable[[], None]:
    """Forward and backward of the mean of an elementwise penalty alone."""

    def run() -> None:
        gradient.grad = None
        penalty(gradient).mean().backward()  # type: ignore[no-untyped-call]

    return run


def rows(*, short: bool) -> list[Row]:
    """Whole terms, penalties alone, and compiled penalties."""
    repeats = 3 if short else 60
    batch, _, height, width = (1, 4, 16, 24) if short else FIELD
    random = torch.Generator().manual_seed(0)
    flow = torch.randn(batch, 2, height + 1, width + 1, generator=random).requires_grad_()
    image = torch.rand(batch, 3, height + 1, width + 1, generator=random)
    gradient = torch.randn(batch, 4, height, width, generator=random).requires_grad_()
    found = []
    for steps, target in EAGER_TARGETS.items():
        pair = (UnrolledTotalVariation(steps=steps), TotalVariation())
        times = in_turn([term_step(term, flow, image) for term in pair], repeats=repeats)
        found.append(Row(f"unrolled term T={steps} / TV term, eager", "ms", *times, target))
    for steps in EAGER_TARGETS:
        cost = partial(unrolled_cost, lam=1.0, rho=1.0, steps=steps)
        plain = partial(composed_cost, lam=1.0, rho=1.0, steps=steps, **RELEASED)
        ours, absolute, composed = in_turn(
            [penalty_step(penalty, gradient) for penalty in (cost, torch.abs, plain)], repeats=repeats
        )
        found.append(Row(f"penalty alone, unrolled T={steps} / absolute value, eager", "ms", ours, absolute))
        found.append(Row(f"penalty alone, unrolled T={steps} / its composition by autograd", "ms", ours, composed))
    return found if short else found + compiled_rows(flow, image, gradient, repeats)


def compiled_rows(flow: Tensor, image: Tensor, gradient: Tensor, repeats: int) -> list[Row]:
    """As in eager mode, by `torch.compile`."""
    found = []
    for steps in EAGER_TARGETS:
        terms = [
            torch.compile(term, fullgraph=True) for term in (UnrolledTotalVariation(steps=steps), TotalVariation())
        ]
        times = in_turn([term_step(term, flow, image) for term in terms], repeats=repeats)
        found.append(Row(f"unrolled term T={steps} / TV term, compiled", "ms", *times, COMPILED_TARGET))
        cost = torch.compile(partial(unrolled_cost, lam=1.0, rho=1.0, steps=steps), fullgraph=True)
        pair = (cost, torch.compile(torch.abs, fullgraph=True))
        times = in_turn([penalty_step(penalty, gradient) for penalty in pair], repeats=repeats)
        found.append(Row(f"penalty alone, unrolled T={steps} / absolute value, compiled", "ms", *times))
    return found
