"""What a command will write is checked before it computes anything."""

from collections.abc import Iterable, Sequence
from pathlib import Path


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


def refuse_no_folder(output: Path) -> None:
    """Raise NotADirectoryError if a folder to write to, or one that it is in, is a file."""
    there = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"--output {output}: {there} is a file, not a folder; name another --output.")


def refuse_overwriting(inputs: Iterable[Path], results: Sequence[Path]) -> None:
    """Raise ValueError if a file to write is one of the files to read, by whatever name.

    Args: inputs: those that are not there are left to their reader.   results: there or not.
    """
    # identities, not names: links, and file systems that do not tell A.png from a.png
    read = {(status.st_dev, status.st_ino): path for path in inputs if path.exists() and (status := path.stat())}
    for result in results:
        if result.exists() and (path := read.get(((status := result.stat()).st_dev, status.st_ino))):
            raise ValueError(f"the result {result} would overwrite {path}, which is read; choose another --output.")
