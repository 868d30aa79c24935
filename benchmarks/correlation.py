"""Compare the cost volume with a loop over shifted products: time and memory of forward and backward."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.measuring import Row, in_turn, peak_rise
from benchmarks.references import shifted_products
from unrollflow.models import cost_volume

FEATURES = (4, 32, 96, 208)
SEARCH_RANGE = 4
VOLUMES: dict[str, Callable[..., Tensor]] = {"ours": cost_volume, "loop": shifted_products}


def volume_step(name: str, shape: tuple[int, ...]) -> Callable[[], None]:
    """Return the forward and backward pass of a cost volume of random features."""
    random = torch.Generator().manual_seed(0)
    one, other = (torch.randn(shape, generator=random).requires_grad_() for _ in range(2))
    gradient = torch.rand(shape[0], (2 * SEARCH_RANGE + 1) ** 2, *shape[2:], generator=random)

    def run() -> None:
        one.grad = other.grad = None
        VOLUMES[name](one, other, search_range=SEARCH_RANGE).backward(gradient)  # type: ignore[no-untyped-call]

    return run


def rows(*, short: bool) -> list[Row]:
    """Return the rows of time and of peak memory."""
    shape = (1, 8, 12, 20) if short else FEATURES
    times = in_turn([volume_step(name, shape) for name in VOLUMES], repeats=2 if short else 15)
    memory = [peak_rise(volume_step, name, shape) for name in VOLUMES]
    return [
        Row("cost volume of 81 channels / loop over shifts", "ms", *times, 0.5),
        Row("cost volume of 81 channels / loop over shifts, peak memory", "MB", *memory, 1.0),
    ]
