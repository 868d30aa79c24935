"""Definition of a fault of the suite."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest


class Fault(NamedTuple):
    """A row of the table; `run` injects it below an empty folder, asserts the promise and returns what happened."""

    injected: str
    promised: str
    run: Callable[[Path], str]


def refusal(action: Callable[[], object], *, names: str, kind: type[Exception] = ValueError) -> str:
    """Type and message of the error of an action; the message contains `names`."""
    with pytest.raises(kind) as reported:
        action()
    text = " ".join(str(reported.value).split())
    assert names in text, text
    return f"{type(reported.value).__name__}: {text}"
