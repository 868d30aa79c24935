"""Learning rates that torch has no scheduler for."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


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
