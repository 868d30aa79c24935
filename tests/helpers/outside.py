"""A smoothness term of an external package."""

from torch import Tensor

from unrollflow import Smoothness


class Mine(Smoothness):
    """Squared differences."""

    def penalty(self, gradient: Tensor) -> Tensor:
        return gradient.square()
