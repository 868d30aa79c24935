"""What a command reads and writes is checked before it computes anything."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryFile

import yaml
from PIL import Image

from unrollflow.data.datasets.frames import read_pair

ORIENTATION = 0x0112
"""EXIF tag: a JPEG may be stored on its side."""


def refuse_replacing(results: Sequence[Path], *, remedy: str = "add --overwrite to replace them") -> None:
    """Raise FileExistsError if a result is there already."""
    existing = [result for result in results if result.exists()]
    if existing:
        raise FileExistsError(
            f"{existing[0]} is there already, as {len(existing)} of {len(results)} results are; name another --output, "
            f"or {remedy}."
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


def refuse_lost_options(arguments: Sequence[str]) -> None:
    """Raise ValueError, naming both, if an option stands before one that replaces what it changes.

    Such are `--a.b.c` before `--a.b`, and an option before a `--config` that replaces its part or, if it is
    the first `--config`, sets the same value. A later `--config` may overlay single values.

    Args: arguments: of LightningCLI, as `--name value` or `--name=value`.
    """
    options = named_options(arguments)
    first = next((i for i, (name, _) in enumerate(options) if name == "config"), 0)
    for i, (name, value) in enumerate(options):
        for later, text in options[i + 1 :]:
            lost = sets(config_content(text), name, overlays=i > first) if later == "config" else is_part(later, name)
            if lost:
                raise ValueError(
                    f"--{name} {value} stands before --{later} {text}, which replaces it; write it after --{later}."
                )


def named_options(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Name and value of every option; -c is --config.

    >>> named_options(["fit", "-c", "a.yaml", "--model.smoothness.init_args.lam=0.5", "--print_config"])
    [('config', 'a.yaml'), ('model.smoothness.init_args.lam', '0.5'), ('print_config', '')]
    """
    options = []
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=True):
        name, separator, value = argument.partition("=")
        if name.startswith("--") or name == "-c":
            given = value if separator else "" if following.startswith("--") else following
            options.append(("config" if name == "-c" else name.removeprefix("--"), given))
    return options


def is_part(whole: str, name: str) -> bool:
    """Whether a dotted name is below another one.

    >>> is_part("model.smoothness", "model.smoothness.lam"), is_part("data", "database.x"), is_part("data", "data")
    (True, False, False)
    """
    return name.startswith(f"{whole}.")


def config_content(text: str) -> dict[str, object]:
    """What a configuration, a file or YAML itself, holds; nothing where it cannot be read, which its parser reports."""
    try:
        content = yaml.safe_load(Path(text).read_text() if Path(text).is_file() else text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def sets(config: object, name: str, *, overlays: bool) -> bool:
    """Whether a configuration replaces a part that a dotted name is below or, unless it overlays, sets the name itself.

    >>> [sets({"a": {"b": 1, "c": "c.yaml"}}, name, overlays=True) for name in ("a.b", "a.c.d", "a.d")]
    [False, True, False]
    >>> sets({"a": {"b": 1}}, "a.b", overlays=False)
    True
    """
    first, _, rest = name.partition(".")
    if not isinstance(config, dict) or "class_path" in config:
        return True
    if first not in config:
        return False
    return sets(config[first], rest, overlays=overlays) if rest else not overlays
