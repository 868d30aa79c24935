"""Learning rates: a schedule that torch does not have, and how Lightning advances any schedule."""

import sys
from collections.abc import Sequence
from typing import Any

from pytorch_lightning.utilities.types import LRSchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

SCORE = "val/score"
"""What a validation logs for the choice of a checkpoint: the smaller, the better."""


class DecayAfter(LambdaLR):
    """A constant rate, from a step on multiplied by a factor at a fixed interval of steps, smoothly in between.

    Args:
        optimizer: whose rate it is.
        start: last step of the constant rate.
        every: steps in which the rate falls by the factor.
        factor: in (0, 1].

    Raises:
        ValueError: if an argument is out of range.

    Source: SMURF, Stone et al., CVPR 2021; the released code of Cost Unrolling (lr_decay_func).

    >>> from torch import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.4)
    >>> schedule = DecayAfter(optimizer, start=1, every=2)
    >>> rates = [schedule.get_last_lr()[0]]
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     rates.append(round(schedule.get_last_lr()[0], 3))
    >>> rates
    [0.4, 0.4, 0.283, 0.2]
    """

    def __init__(self, optimizer: Optimizer, *, start: int, every: int, factor: float = 0.5) -> None:
        if start < 0 or every < 1 or not 0 < factor <= 1:
            raise ValueError(
                f"start={start}, every={every}, factor={factor}: at least 0 steps, at least 1, and a factor in (0, 1]."
            )
        super().__init__(optimizer, lambda step: factor ** (max(0, step - start) / every))


def schedule(scheduler: LRScheduler) -> dict[str, Any]:
    """A scheduler as Lightning takes it: advanced once a step, or by :func:`step_on_plateau` alone."""
    if not isinstance(scheduler, ReduceLROnPlateau):
        return {"scheduler": scheduler, "interval": "step"}
    # by itself, Lightning would compare the score of the last validation again after every step or epoch
    return {"scheduler": scheduler, "interval": "step", "frequency": sys.maxsize, "monitor": SCORE}


def step_on_plateau(configs: Sequence[LRSchedulerConfig], score: float) -> None:
    """Advance those schedulers that lower the rate when a validation's score does not improve."""
    for config in configs:
        if isinstance(config.scheduler, ReduceLROnPlateau):
            config.scheduler.step(score)


def set_rate(optimizer: Optimizer, rate: float | None) -> None:
    """Set the learning rate of every parameter group; None: leave each group's own."""
    for group in optimizer.param_groups if rate is not None else ():
        group["lr"] = rate


def check_rate(scheduler: LRScheduler, rate: float | None) -> None:
    """Raise ValueError if a scheduler replaces a given learning rate by one of its own, as OneCycleLR does."""
    starts = [group.get("initial_lr", rate) for group in scheduler.optimizer.param_groups]
    if rate is not None and any(start != rate for start in starts):
        raise ValueError(
            f"learning_rate is {rate}, but {type(scheduler).__name__} has rates of its own; choose another "
            "--model.scheduler, or null."
        )
