"""What the codecs share: files that must be there, honest sizes, flows of the right shape, files written whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from torch import Tensor

LARGEST_SIDE = 2**15
LARGEST_PIXELS = 2**26
"""Larger maps and pictures are refused, whatever the file holds: 67 million pixels are 805 MB as an RGB image."""

UMASK = os.umask(0)
os.umask(UMASK)  # the mask can only be read by setting it


def existing(path: str | Path) -> Path:
    """The path of a file, or a FileNotFoundError that names it."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    return path


def check_size(path: Path, width: int, height: int) -> None:
    """Raise ValueError unless the size that a file's header claims is one that is read."""
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE and width * height <= LARGEST_PIXELS):
        raise ValueError(
            f"{path} says {width}x{height} pixels; sides from 1 to {LARGEST_SIDE} and at most {LARGEST_PIXELS} pixels "
            "are read."
        )


def check_flow(flow: Tensor, path: str | Path) -> None:
    """Raise ValueError unless a flow that is to be written to a file is (2, H, W) and holds pixels."""
    if flow.ndim != 3 or flow.shape[0] != 2 or 0 in flow.shape:
        raise ValueError(f"flow for {path} has shape {tuple(flow.shape)}; (2, H, W) is needed.")


def write_atomic(path: str | Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all; missing folders are made."""
    with atomic_file(Path(path)) as file:
        file.write(content)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that is there at the end of the context, or, after an error, not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield file
            file.close()
            os.chmod(file.name, 0o666 & ~UMASK)  # noqa: PTH101, a temporary file is readable by its owner alone
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
