"""What a fault of the suite is."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest


class Fault(NamedTuple):
    """A row of the table; `run` injects it below an empty folder, asserts the promise and tells what happened."""

    injected: str
    promised: str
    run: Callable[[Path], str]


def refusal(action: Callable[[], object], *, names: str, kind: type[Exception] = ValueError) -> str:
    """The words of the error with which an action is refused, which name what was wrong."""
    with pytest.raises(kind) as reported:
        action()
    text = " ".join(str(reported.value).split())
    assert names in text, text
    return f"{type(reported.value).__name__}: {text}"
