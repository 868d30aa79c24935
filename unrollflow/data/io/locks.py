"""Locks for processes that share a cache.

They are file locks of the operating system (flock), which are released when a process ends or is killed.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the exclusive lock of a file, across all processes; the file is created and not deleted."""
    with path.open("a") as file:
        acquire(file, path)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing is not sufficient if a process was forked meanwhile


def acquire(file: IO[str], path: Path) -> None:
    """Wait for the lock of an open file.

    Raises:
        OSError: naming the file, if its file system does not support locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        what = f"{error.strerror}: the cache needs a file system with locks; choose a folder on another disk"
        raise OSError(error.errno, what, str(path)) from error
