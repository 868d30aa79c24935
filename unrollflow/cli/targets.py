"""What a command will write is checked before it computes anything."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryFile


def refuse_replacing(results: Sequence[Path]) -> None:
    """Raise FileExistsError if a result is there already."""
    there = [result for result in results if result.exists()]
    if there:
        raise FileExistsError(
            f"{there[0]} is there already, as {len(there)} of {len(results)} results are; name another --output, or "
            "add --overwrite to replace them."
        )


def refuse_clashes(written: Iterable[tuple[Path, Path]]) -> None:
    """Raise ValueError if two frames have a result in one file; `written` are files and their frames."""
    frames: dict[Path, Path] = {}
    for file, frame in written:
        if file in frames:
            raise ValueError(f"{frames[file]} and {frame} would both have a result in {file}; rename one of them.")
        frames[file] = frame


def refuse_unwritable(results: Iterable[Path]) -> None:
    """Raise OSError, naming the result, if one could not be created; nothing is created, folders neither.

    Args: results: files to write, there or not, in folders that are there or not.
    """
    tried: set[Path] = set()
    for result in results:
        if result.is_dir():
            raise IsADirectoryError(f"{result} cannot be written: it is a folder; name another --output.")
        folder = next(path for path in result.absolute().parents if path.exists())
        if folder in tried:
            continue
        tried.add(folder)
        if not folder.is_dir():
            raise NotADirectoryError(
                f"{result} cannot be written: {folder} is a file, not a folder; name another --output."
            )
        try:
            TemporaryFile(dir=folder).close()  # permissions alone tell neither a read-only disk nor a full one
        except OSError as error:
            raise type(error)(
                f"{result} cannot be written: no file can be created in {folder} ({error.strerror}); "
                "name another --output."
            ) from error


def refuse_overwriting(inputs: Iterable[Path], results: Sequence[Path]) -> None:
    """Raise ValueError if a file to write is one of the files to read, by whatever name.

    Args: inputs: those that are not there are left to their reader.   results: there or not.
    """
    # identities, not names: links, and file systems that do not tell A.png from a.png
    read = {(status.st_dev, status.st_ino): path for path in inputs if path.exists() and (status := path.stat())}
    for result in results:
        if result.exists() and (path := read.get(((status := result.stat()).st_dev, status.st_ino))):
            raise ValueError(f"the result {result} would overwrite {path}, which is read; choose another --output.")
