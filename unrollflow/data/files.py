"""What the codecs share: files that must be there, flows of the right shape, files written whole or not at all."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from torch import Tensor

UMASK = os.umask(0)
os.umask(UMASK)  # the mask can only be read by setting it


def existing(path: str | Path) -> Path:
    """The path of a file, or a FileNotFoundError that names it."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    return path


def check_flow(flow: Tensor, path: str | Path) -> None:
    """Raise ValueError unless a flow that is to be written to a file is (2, H, W) and holds pixels."""
    if flow.ndim != 3 or flow.shape[0] != 2 or 0 in flow.shape:
        raise ValueError(f"flow for {path} has shape {tuple(flow.shape)}; (2, H, W) is needed.")


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all; missing folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.close()
            os.chmod(file.name, 0o666 & ~UMASK)  # noqa: PTH101, a temporary file is readable by its owner alone
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
