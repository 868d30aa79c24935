"""Locks by which processes take turns at one cache.

They are locks of the operating system on open files (flock): whoever ends, or is killed, gives his back.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for a file's lock, which one at a time has, in all processes; the file is made, and stays."""
    with path.open("a") as file:
        acquire(file, path)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough where a process was forked meanwhile


def acquire(file: IO[str], path: Path) -> None:
    """Wait for the lock of an open file.

    Raises:
        OSError: naming the file, if its disk has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        what = f"{error.strerror}: the cache needs a disk with file locks; give a folder on another one"
        raise OSError(error.errno, what, str(path)) from error
