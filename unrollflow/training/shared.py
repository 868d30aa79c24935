"""Functions that the copies of a module share."""

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Shared(Generic[P, R]):
    """A function that `copy.deepcopy` does not copy.

    The command line's factories refer to the command line itself, with its trainer: a copy of a module, such as its
    weights' average, would copy all of it, and fails where a trainer has started other processes.

    Args:
        function: is called.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's value."""
        return self.function(*args, **kwargs)

    def __deepcopy__(self, memo: object) -> "Shared[P, R]":
        return self
