"""Helpers of the codecs: checks of files, sizes and flow shapes, and atomic writing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from torch import Tensor

LARGEST_SIDE = 2**15
LARGEST_PIXELS = 2**26
"""Maximum size of maps and images, pixels; 67 million pixels need 805 MB as an RGB image."""

UMASK = os.umask(0)
os.umask(UMASK)  # the mask can only be read by setting another one


def existing(path: str | Path) -> Path:
    """Return the path of a file, or raise FileNotFoundError if it does not exist."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    return path


def check_size(path: Path, width: int, height: int) -> None:
    """Raise ValueError unless the size in a file's header is supported."""
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE and width * height <= LARGEST_PIXELS):
        raise ValueError(
            f"unsupported size in the header of {path}: {width}x{height}; sides must be from 1 to {LARGEST_SIDE}, with "
            f"at most {LARGEST_PIXELS} pixels in total."
        )


def check_flow(flow: Tensor, path: str | Path) -> None:
    """Raise ValueError unless a flow to be written to a file has shape (2, H, W) and is not empty."""
    if flow.ndim != 3 or flow.shape[0] != 2 or 0 in flow.shape:
        raise ValueError(f"flow for {path} has shape {tuple(flow.shape)}; expected (2, H, W).")


def write_atomic(path: str | Path, content: bytes) -> None:
    """Write a file atomically; missing folders are created."""
    with atomic_file(Path(path)) as file:
        file.write(content)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for atomic writing; it appears at the end of the context, unless an error occurs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield file
            file.close()
            os.chmod(file.name, 0o666 & ~UMASK)  # noqa: PTH101, by default only the owner can read a temporary file
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
