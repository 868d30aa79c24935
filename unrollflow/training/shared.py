"""Functions that are shared by copies of a module."""

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Shared(Generic[P, R]):
    """Function that `copy.deepcopy` does not copy.

    The factories of the command line refer to the command line and its trainer. A copy of a module, such as the average
    of its weights, would copy all of it, which fails if the trainer has started other processes.

    Args:
        function: the function.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.function(*args, **kwargs)

    def __deepcopy__(self, memo: object) -> "Shared[P, R]":
        return self
