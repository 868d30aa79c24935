"""Locks by which processes share one cache: turns, and leases of what each of them uses.

They are locks of the operating system on open files (flock): whoever ends, or is killed, gives his back.
"""

import fcntl
import json
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import IO

LEASE = ".lease-"


class Lease:
    """Tells all processes what of a folder is in use, as long as this object, or one of a forked process, lives.

    One open file, however much is held. Pickled it becomes None: a process that gets a copy reads beside the one
    that holds.

    Args:
        folder: where it lies; make it, and let it live, while the folder's lock is held.
    """

    def __init__(self, folder: Path) -> None:
        number, name = mkstemp(prefix=LEASE, dir=folder)
        # closed, never unlocked: an end in a worker, which shares the lock, must not end it for the others
        weakref.finalize(self, os.close, number)
        self.path = Path(name)
        acquire(number, self.path, wait=True)

    def add(self, name: str, size: int) -> None:
        """Hold something of so many bytes."""
        with self.path.open("a") as file:
            print(json.dumps([name, size]), file=file)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    def __deepcopy__(self, memo: dict[int, object]) -> "Lease":
        return self


def leased(folder: Path) -> dict[str, int]:
    """Names and bytes of what is in use; leases that nobody holds any more are deleted. Hold the folder's lock."""
    held: dict[str, int] = {}
    for path in folder.glob(f"{LEASE}*"):
        with path.open("r+") as file:
            if acquire(file, path, wait=False):
                path.unlink()
            else:
                held |= dict(json.loads(line) for line in file)
    return held


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for a file's lock, which one at a time has, in all processes; the file is made, and stays."""
    with path.open("a") as file:
        acquire(file, path, wait=True)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough where a process was forked meanwhile


def acquire(file: IO[str] | int, path: Path, *, wait: bool) -> bool:
    """Lock an open file; whether it was free, which it is in the end if one waits.

    Raises:
        OSError: naming the file, if its disk has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        what = f"{error.strerror}: the cache needs a disk with file locks; give a folder on another one"
        raise OSError(error.errno, what, str(path)) from error
    return True
