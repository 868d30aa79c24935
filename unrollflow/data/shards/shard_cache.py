"""Shards at an address, fetched by fsspec into a folder of limited size."""

import hashlib
import os
from pathlib import Path
from typing import IO

import fsspec

from unrollflow.data.io.files import atomic_file
from unrollflow.data.io.locks import locked

SCHEMES = ("http", "https", "s3", "gs", "hf")
"""Of the schemes of fsspec those that fetch files from elsewhere; s3 and gs need s3fs and gcsfs, hf the extra hub."""


def open_cached(url: str, *, size: int, folder: Path, most_bytes: int) -> IO[bytes]:
    """A file at an address, open for reading; fetched if the folder does not hold it.

    Processes of one machine may share the folder: one of them fetches, the others wait. Then the least recently used
    files are deleted until the folder is within its bound. A file that is open takes its room until it is closed, and
    files that are being fetched are not counted.

    Args:
        url: address of the file.
        size: its bytes.
        folder: of the cache, on a disk with file locks; it is made.
        most_bytes: bound of the folder.

    Raises:
        ImportError: if a package for the scheme is missing.
        OSError, ValueError: naming the address, if it cannot be fetched, or has another size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(f"{url} {size}".encode()).hexdigest()[:16]
    path = folder / f"{key}-{url.rpartition('/')[2]}"
    with locked(folder / f".{key}.lock"):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            for unfinished in folder.glob(f".{path.name}.*"):  # by killed processes
                unfinished.unlink()
            with atomic_file(path) as target:
                fetch(url, target.name)
                if (found := Path(target.name).stat().st_size) != size:
                    raise ValueError(f"{url} has {found} bytes; the index of its shards says {size}.") from None
                file = Path(target.name).open("rb")  # noqa: SIM115, before others may delete it again
        os.utime(file.fileno())
    delete_oldest(folder, most_bytes)
    return file


def delete_oldest(folder: Path, most_bytes: int) -> None:
    """Delete the least recently used tar files of a folder until the others have at most this number of bytes."""
    with locked(folder / ".deleting.lock"):
        states = {path: path.stat() for path in folder.glob("*.tar")}
        total = sum(state.st_size for state in states.values())
        for path in sorted(states, key=lambda path: states[path].st_mtime_ns):
            if total <= most_bytes:
                break
            path.unlink()
            total -= states[path].st_size


def fetch(url: str, target: str) -> None:
    """Copy what is at an address of :data:`SCHEMES` to a local file; OSError, naming the address, where that fails."""
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        raise ValueError(f"{url} is not read: its scheme is {scheme}; {', '.join(SCHEMES)} are.")
    try:
        files, place = fsspec.url_to_fs(url)
        files.get_file(place, target)
    except ImportError:  # it says what to install
        raise
    except Exception as error:  # each kind of address raises errors of its own
        raise OSError(f"{url} cannot be fetched: {type(error).__name__}: {error}") from error
