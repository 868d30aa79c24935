"""Compare the unrolled term with total variation, and the census with its plain composition."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.measuring import Row, in_turn, peak_rise
from benchmarks.references import composed_census
from unrollflow import Smoothness, TotalVariation, UnrolledTotalVariation, unrolled_cost
from unrollflow.losses import census

FIELD = (8, 4, 96, 208)
"""Shape of the gradients of a flow of 8 x 2 x 97 x 209, both directions."""

EAGER_TARGETS = {1: 1.5, 4: 2.5}
COMPILED_TARGET = 1.1
IMAGES = (2, 3, 384, 832)
"""Shape of the images for the census: both directions of a pair."""


def term_step(term: Smoothness, flow: Tensor, image: Tensor) -> Callable[[], None]:
    """Return forward and backward of a smoothness term: gradient, edge weights, penalty and mean."""

    def run() -> None:
        flow.grad = None
        term(flow, image).backward()  # type: ignore[no-untyped-call]

    return run


def penalty_step(penalty: Callable[[Tensor], Tensor], gradient: Tensor) -> Callable[[], None]:
    """Return forward and backward of only the mean of an elementwise penalty."""

    def run() -> None:
        gradient.grad = None
        penalty(gradient).mean().backward()  # type: ignore[no-untyped-call]

    return run


def census_step(form: str, shape: tuple[int, ...], patch_size: int) -> Callable[[], None]:
    """Return forward and backward of the "fused" or the "composed" census; the second image has a gradient."""
    image, reconstruction = torch.rand(shape), torch.rand(shape).requires_grad_()
    function = census if form == "fused" else composed_census

    def run() -> None:
        reconstruction.grad = None
        function(image, reconstruction, patch_size=patch_size, border="crop").mean().backward()

    return run


def census_rows(*, short: bool) -> list[Row]:
    """Return time and memory of the census at both sizes of the recipes."""
    shape, found = (1, 3, 16, 24) if short else IMAGES, []
    for patch_size in (3, 7):
        forms = [partial(census_step, form, shape, patch_size) for form in ("fused", "composed")]
        times = in_turn([form() for form in forms], repeats=3 if short else 9)
        found.append(Row(f"census {patch_size}x{patch_size} / its composition by autograd", "ms", *times))
        if not short:
            memory = [peak_rise(form) for form in forms]
            found.append(Row(f"census {patch_size}x{patch_size} / its composition, peak memory", "MB", *memory))
    return found


def rows(*, short: bool) -> list[Row]:
    """Return the rows of whole terms, of only penalties, and of compiled penalties."""
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
        times = in_turn([penalty_step(penalty, gradient) for penalty in (cost, torch.abs)], repeats=repeats)
        found.append(Row(f"penalty alone, unrolled T={steps} / absolute value, eager", "ms", *times))
    found += census_rows(short=short)
    return found if short else found + compiled_rows(flow, image, gradient, repeats)


def compiled_rows(flow: Tensor, image: Tensor, gradient: Tensor, repeats: int) -> list[Row]:
    """Return the same rows with `torch.compile`."""
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
