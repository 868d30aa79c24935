"""What a command reads and writes is checked before it computes anything."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryFile

from PIL import Image

from unrollflow.data.datasets.frames import read_pair

ORIENTATION = 0x0112
"""EXIF tag: a JPEG may be stored on its side."""


def refuse_replacing(results: Sequence[Path], *, remedy: str = "add --overwrite to replace them") -> None:
    """Raise FileExistsError if a result is there already."""
    there = [result for result in results if result.exists()]
    if there:
        raise FileExistsError(
            f"{there[0]} is there already, as {len(there)} of {len(results)} results are; name another --output, or "
            f"{remedy}."
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


def refuse_other_sizes(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Raise ValueError, naming both files, if the images of a pair have different sizes, or FileNotFoundError.

    Headers are compared; only pairs whose headers differ are decoded, so damaged pixels are left to their reader.
    """
    shapes: dict[Path, tuple[int, int, int] | None] = {}
    for pair in pairs:
        shapes |= {path: stored_shape(path) for path in pair if path not in shapes}
        first, second = (shapes[path] for path in pair)
        if first is None or first != second:
            read_pair(*pair)


def stored_shape(path: Path) -> tuple[int, int, int] | None:
    """Width, height and EXIF orientation in an image's header, None where it cannot be read."""
    try:
        with Image.open(path) as image:
            # of a PNG, Pillow would decode all pixels to find its EXIF data
            turned = image.getexif().get(ORIENTATION, 1) if image.format == "JPEG" else 1
            return *image.size, turned
    except Exception:  # Pillow raises nearly anything of damaged headers; our own reader says what is wrong
        return None
