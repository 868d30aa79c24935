"""Shards from elsewhere, fetched by webdataset into a folder of bounded size."""

import hashlib
import os
from pathlib import Path
from typing import IO, Any

from unrollflow.data.io.files import whole_file
from unrollflow.data.io.locks import locked

GIGABYTE = 10**9
BLOCK = 2**20
TAKING = ".taking.lock"
SCHEMES = ("http", "https", "gs", "hf", "ais")
"""Of webdataset's ways to open an address those that only read; `pipe:` would run any command."""


class ShardCache:
    """Files of a folder, fetched when they are first wanted; the least recently used go when there are too many.

    Processes of one machine may share the folder: each file is fetched by one of them, and the others wait for it. One
    that goes while a process has it open takes its room until that process closes it, and files that are on their way
    take theirs besides.

    Args:
        folder: where they lie, on a disk with file locks; it is made.
        gigabytes: bound of their size.
    """

    def __init__(self, folder: Path, *, gigabytes: float) -> None:
        self.folder, self.bound = Path(folder).expanduser(), int(gigabytes * GIGABYTE)

    def open(self, url: str, *, size: int) -> IO[bytes]:
        """The file of an address, which has `size` bytes.

        Raises:
            ImportError: if webdataset is not installed.
            OSError, ValueError: naming the address, if it cannot be fetched, or is of another size.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256(f"{url} {size}".encode()).hexdigest()[:16]
        path = self.folder / f"{key}-{url.rpartition('/')[2]}"
        with locked(self.folder / f".{key}.lock"):
            file = self._take(path)
            for left in self.folder.glob(f".{path.name}.*"):  # by killed processes
                left.unlink()
            while file is None:  # again, if others fill the cache before it is taken
                self._make_room(size)
                with whole_file(path) as target:
                    fetch(url, target, size=size)
                file = self._take(path)
        return file

    def _take(self, path: Path) -> IO[bytes] | None:
        """An open file, as the one that was used last; None where it is not there."""
        with locked(self.folder / TAKING):
            if not path.is_file():
                return None
            os.utime(path)
            return path.open("rb")

    def _make_room(self, size: int) -> None:
        """Delete the least recently used files until this number of bytes more is within the bound."""
        with locked(self.folder / TAKING):
            states = [(path.stat(), path) for path in self.folder.glob("*.tar")]
            total = size + sum(state.st_size for state, _ in states)
            for state, path in sorted(states, key=lambda pair: pair[0].st_mtime_ns):
                if total <= self.bound:
                    break
                path.unlink()
                total -= state.st_size


def fetch(url: str, target: IO[bytes], *, size: int) -> None:
    """Write what is at an address to a file.

    Raises:
        ImportError: if webdataset is not installed.
        OSError, ValueError: naming the address, if it cannot be read, or does not have this number of bytes.
    """
    left = size + 1
    with open_address(url) as stream:
        while left and (block := stream.read(min(BLOCK, left))):
            target.write(block)
            left -= len(block)
    if left != 1:
        came = f"{size - left + 1}" if left else "more"
        raise ValueError(f"{url} came with {came} bytes; the index of its shards says {size}.")


def read_address(url: str, *, most: int) -> bytes:
    """What is at an address, up to a number of bytes."""
    with open_address(url) as stream:
        return b"".join(iter(lambda: stream.read(BLOCK), b""))[:most]


def open_address(url: str) -> Any:
    """A stream of what is at an address of :data:`SCHEMES`."""
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        raise ValueError(f"{url} is not read: its scheme is {scheme}; {', '.join(SCHEMES)} are.")
    return import_webdataset().gopen(url)


def import_webdataset() -> Any:
    """The module webdataset, or an ImportError that says how to install it."""
    try:
        import webdataset
    except ImportError as error:
        raise ImportError(
            "shards are written, and fetched from elsewhere, by webdataset: pip install 'unrollflow[streaming]'"
        ) from error
    return webdataset
