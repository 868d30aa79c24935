"""Check of arguments with a fixed set of values."""

from typing import get_args


def check_choice(name: str, value: object, choices: object) -> None:
    """Raise ValueError unless an argument is one of the values of a Literal.

    >>> from typing import Literal
    >>> check_choice("window", "bx", Literal["box", "gaussian"])
    Traceback (most recent call last):
    ValueError: window='bx'; choose one of 'box', 'gaussian'.
    """
    allowed = get_args(choices)
    if value not in allowed:
        raise ValueError(f"{name}={value!r}; choose one of {', '.join(map(repr, allowed))}.")
