"""Linear warm-up of a loss weight."""


class Ramp:
    """Factor of a weight at a training step: 0 up to `start`, then increasing linearly to 1 within `steps`.

    Args:
        start: last step with factor 0; with `steps=0`, first step with factor 1.
        steps: length of the ramp; 0: switch at `start`.

    Raises:
        ValueError: if an argument is negative.

    >>> [Ramp(start=10, steps=4).at(step) for step in (10, 12, 14, 99)]
    [0.0, 0.5, 1.0, 1.0]
    """

    def __init__(self, *, start: int = 0, steps: int = 0) -> None:
        if min(start, steps) < 0:
            raise ValueError(f"a value is negative: start={start}, steps={steps}; both must be at least 0.")
        self.start, self.steps = start, steps

    def at(self, step: int) -> float:
        """Factor in [0, 1] at a training step."""
        since = step - self.start
        if since < 0:
            return 0.0
        return min(1.0, since / self.steps) if self.steps else 1.0
