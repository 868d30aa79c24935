"""A weight's rise from zero during training."""


class Ramp:
    """Share of a weight that counts at a training step: 0 before the start, then rising linearly to 1.

    Args:
        start: last step of weight 0; with `steps` 0, the first of the whole weight.
        steps: from weight 0 to the whole weight; 0: at once.

    Raises:
        ValueError: if an argument is negative.

    >>> [Ramp(start=10, steps=4).at(step) for step in (10, 12, 14, 99)]
    [0.0, 0.5, 1.0, 1.0]
    """

    def __init__(self, *, start: int = 0, steps: int = 0) -> None:
        if min(start, steps) < 0:
            raise ValueError(f"start={start}, steps={steps}: neither may be negative.")
        self.start, self.steps = start, steps

    def at(self, step: int) -> float:
        """Share in [0, 1] at a training step."""
        since = step - self.start
        if since < 0:
            return 0.0
        return min(1.0, since / self.steps) if self.steps else 1.0
