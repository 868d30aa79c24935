"""Learning-rate schedules: exponential decay after a constant phase, and helpers for Lightning."""

import sys
from collections.abc import Sequence
from typing import Any

from pytorch_lightning.utilities.types import LRSchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

SCORE = "val/score"
"""Logged figure of a validation that selects the best checkpoint; lower is better."""


class DecayAfter(LambdaLR):
    """Constant rate, followed by exponential decay by a factor per interval of steps.

    Args:
        optimizer: the optimizer.
        start: last step with the constant rate.
        every: number of steps in which the rate is multiplied by the factor.
        factor: factor in (0, 1].

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
                f"a value is out of range: start={start}, every={every}, factor={factor}; expected start >= 0, "
                "every >= 1 and 0 < factor <= 1."
            )
        super().__init__(optimizer, lambda step: factor ** (max(0, step - start) / every))


def schedule(scheduler: LRScheduler) -> dict[str, Any]:
    """Lightning's configuration of a scheduler that is advanced once per step, or only by :func:`step_on_plateau`."""
    if not isinstance(scheduler, ReduceLROnPlateau):
        return {"scheduler": scheduler, "interval": "step"}
    # otherwise, Lightning would use the score of the last validation again after every step or epoch
    return {"scheduler": scheduler, "interval": "step", "frequency": sys.maxsize, "monitor": SCORE}


def step_on_plateau(configs: Sequence[LRSchedulerConfig], score: float) -> None:
    """Advance the ReduceLROnPlateau schedulers with the score of a validation."""
    for config in configs:
        if isinstance(config.scheduler, ReduceLROnPlateau):
            config.scheduler.step(score)


def set_rate(optimizer: Optimizer, rate: float | None) -> None:
    """Set the learning rate of every parameter group; None: keep the rates."""
    for group in optimizer.param_groups if rate is not None else ():
        group["lr"] = rate


def check_rate(scheduler: LRScheduler, rate: float | None) -> None:
    """Raise ValueError if a scheduler replaces a given learning rate by its own, like OneCycleLR."""
    starts = [group.get("initial_lr", rate) for group in scheduler.optimizer.param_groups]
    if rate is not None and any(start != rate for start in starts):
        raise ValueError(
            f"learning_rate is {rate}, but {type(scheduler).__name__} sets its own rates; use another "
            "--model.scheduler, or null."
        )
