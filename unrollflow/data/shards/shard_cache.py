"""Cache of remote shards: a folder of limited size, filled by fsspec."""

import hashlib
import os
from pathlib import Path
from typing import IO

import fsspec

from unrollflow.data.io.files import atomic_file
from unrollflow.data.io.locks import locked

SCHEMES = ("http", "https", "s3", "gs", "hf")
"""Supported schemes of remote files in fsspec; s3 and gs need s3fs and gcsfs, hf needs the extra `hub`."""


def open_cached(url: str, *, size: int, folder: Path, most_bytes: int) -> IO[bytes]:
    """Open a file at an address for reading; download it if it is not in the cache.

    Processes of one machine may share the cache: one process downloads, the others wait. Then the least recently used
    files are deleted until the cache is within its limit. Deleted files use disk space until they are closed, and
    current downloads are not counted.

    Args:
        url: address of the file.
        size: its size, bytes.
        folder: folder of the cache, on a file system with locks; it is created.
        most_bytes: maximum size of the cache, bytes.

    Raises:
        ImportError: if a package for the scheme is not installed.
        OSError, ValueError: naming the address, if it cannot be downloaded, or has another size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(f"{url} {size}".encode()).hexdigest()[:16]
    path = folder / f"{key}-{url.rpartition('/')[2]}"
    with locked(folder / f".{key}.lock"):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            for unfinished in folder.glob(f".{path.name}.*"):  # of killed processes
                unfinished.unlink()
            with atomic_file(path) as target:
                fetch(url, target.name)
                if (found := Path(target.name).stat().st_size) != size:
                    raise ValueError(f"{url} has {found} bytes, but the index says {size}.") from None
                file = Path(target.name).open("rb")  # noqa: SIM115, before other processes may delete it
        os.utime(file.fileno())
    delete_oldest(folder, most_bytes)
    return file


def delete_oldest(folder: Path, most_bytes: int) -> None:
    """Delete the least recently used tar files of a folder until at most `most_bytes` remain."""
    with locked(folder / ".deleting.lock"):
        states = {path: path.stat() for path in folder.glob("*.tar")}
        total = sum(state.st_size for state in states.values())
        for path in sorted(states, key=lambda path: states[path].st_mtime_ns):
            if total <= most_bytes:
                break
            path.unlink()
            total -= states[path].st_size


def fetch(url: str, target: str) -> None:
    """Download a file from an address of :data:`SCHEMES`; raise OSError, naming the address, if that fails."""
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        raise ValueError(f"unsupported scheme of {url}: {scheme}; expected one of {', '.join(SCHEMES)}.")
    try:
        files, place = fsspec.url_to_fs(url)
        files.get_file(place, target)
    except ImportError:  # its message says what to install
        raise
    except Exception as error:  # each kind of address has its own errors
        raise OSError(f"{url} cannot be fetched: {type(error).__name__}: {error}") from error
