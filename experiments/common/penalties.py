"""Penalties that the experiments on signals and photographs compare, all in the unit of total variation."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from experiments.common.grid import Row, Value, significant
from unrollflow.losses.smoothness import hard_penalty
from unrollflow.ops import unrolled_cost

Penalty = Callable[[Tensor], Tensor]

HARD: dict[str, Penalty] = {
    "tv": partial(hard_penalty, penalty="l1"),
    "charbonnier": partial(hard_penalty, penalty="charbonnier", epsilon=1.0),
    "huber": partial(hard_penalty, penalty="huber", delta=1.0),
}


def unrolled_name(steps: int, *, detach: bool, initial_term: bool) -> str:
    """Return the name of an unrolled penalty.

    >>> unrolled_name(1, detach=False, initial_term=True)
    'unrolled T=1 attached t0'
    """
    return f"unrolled T={steps} {'detached' if detach else 'attached'}{' t0' if initial_term else ''}"


def unrolled_penalties(steps: Sequence[int]) -> dict[str, Penalty]:
    """Return all forms of the unrolled cost at lam = rho = 1, by name: detached or attached, with and without t = 0."""
    return {
        unrolled_name(count, detach=detach, initial_term=initial): partial(
            unrolled_cost, lam=1.0, rho=1.0, steps=count, detach=detach, initial_term=initial
        )
        for count in steps
        for detach in (False, True)
        for initial in (True, False)
    }


PENALTIES: dict[str, Penalty] = HARD | unrolled_penalties((1, 4))
COMPARED = (
    "tv", "charbonnier", "huber", "unrolled T=1 attached t0", "unrolled T=1 attached", "unrolled T=1 detached t0",
    "unrolled T=4 attached t0", "unrolled T=4 detached",
)  # fmt: skip
"""Forms for signals and photographs. T = 1 detached without t = 0 is twice Huber's penalty."""


def scaled(penalty: Penalty, differences: Tensor, scale: Tensor | float) -> Tensor:
    """Return scale * penalty(differences / scale): a penalty with its bend at `scale`, in the unit of total variation.

    For large differences, hard penalties have the slope 1 at any scale (Charbonnier's epsilon, Huber's delta). The
    unrolled penalty has lam = 1 and rho = 1 / scale, like ADMM for total variation of weight 1. Total variation has no
    scale.

    >>> scaled(HARD["huber"], torch.tensor([0.05, 3.0]), 0.1).tolist()  # 0.05^2 / 0.2 and 3 - 0.1 / 2
    [0.012500000186264515, 2.950000047683716]
    """
    value: Tensor = scale * penalty(differences / scale)
    return value


def trials(name: str, weights: Sequence[float], scales: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return the weights and scales to try, (K,) each; K is the product of the two numbers for every penalty.

    Total variation has no scale. It gets K weights between the same ends instead.

    Args:
        name: name of the penalty.
        weights, scales: values for the other penalties, in ascending order.
    """
    count = len(weights) * len(scales)
    if name == "tv":
        ends = torch.tensor([weights[0], weights[-1]]).log10()
        return torch.logspace(float(ends[0]), float(ends[1]), count), torch.ones(count)
    grid = torch.cartesian_prod(torch.tensor(weights), torch.tensor(scales))
    return grid[:, 0], grid[:, 1]


def numbers(text: str) -> list[float]:
    """Return the list of numbers of a text; settings of a run are plain values.

    >>> numbers("0.5 1 1.5")
    [0.5, 1.0, 1.5]
    """
    return [float(word) for word in text.split()]


def beside(name: str, best: Mapping[str, float]) -> list[dict[str, Value]]:
    """Return penalty, weight and scale of the 4 settings around the best one, for trials of a network.

    >>> beside("tv", {"weight": 1.0, "scale": 1.0})[0]
    {'penalty': 'tv', 'weight': 0.7, 'scale': 1.0}
    """
    weights, scales = trials(name, [best["weight"] * f for f in (0.7, 1.4)], [best["scale"] * f for f in (0.5, 2.0)])
    return [
        {"penalty": name, "weight": significant(weight), "scale": significant(scale)}
        for weight, scale in zip(weights.tolist(), scales.tolist(), strict=True)
    ]


def final_cells(
    tried: Sequence[Row], better: Callable[[Row], float], *, split: Value, seeds: Sequence[int]
) -> list[dict[str, Value]]:
    """Return the settings of the best trial of each penalty, with other seeds and another split.

    Args:
        tried: trials of all penalties.
        better: function of a row; a larger value is better.
        split, seeds: split and seeds of the finals.
    """
    best: dict[str, Row] = {}
    for row in tried:
        name = row["settings"]["penalty"]
        best[name] = max(best.get(name, row), row, key=better)
    return [row["settings"] | {"seed": seed, "split": split} for row in best.values() for seed in seeds]
