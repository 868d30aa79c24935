"""Checks of a command's inputs and outputs, made before it computes anything."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryFile

import yaml
from PIL import Image

from unrollflow.data.datasets.frames import read_pair

ORIENTATION = 0x0112
"""EXIF tag of a JPEG's orientation."""


def refuse_replacing(results: Sequence[Path], *, remedy: str = "add --overwrite to replace them") -> None:
    """Raise FileExistsError if a result already exists."""
    existing = [result for result in results if result.exists()]
    if existing:
        raise FileExistsError(
            f"{len(existing)} of {len(results)} results already exist, such as {existing[0]}; choose another --output, "
            f"or {remedy}."
        )


def refuse_clashes(written: Iterable[tuple[Path, Path]]) -> None:
    """Raise ValueError if the results of two frames have the same path; `written` are results and their frames."""
    frames: dict[Path, Path] = {}
    for file, frame in written:
        if file in frames:
            raise ValueError(f"the results of {frames[file]} and {frame} have the same path {file}; rename a frame.")
        frames[file] = frame


def refuse_unwritable(results: Iterable[Path]) -> None:
    """Raise OSError, naming the result, if one cannot be created; no file or folder is created.

    Args: results: files to write; they and their folders need not exist.
    """
    tried: set[Path] = set()
    for result in results:
        if result.is_dir():
            raise IsADirectoryError(f"{result} cannot be written: it is a folder; choose another --output.")
        folder = next(path for path in result.absolute().parents if path.exists())
        if folder in tried:
            continue
        tried.add(folder)
        if not folder.is_dir():
            raise NotADirectoryError(
                f"{result} cannot be written: {folder} is a file, not a folder; choose another --output."
            )
        try:
            TemporaryFile(dir=folder).close()  # permissions do not reveal a read-only or full disk
        except OSError as error:
            raise type(error)(
                f"{result} cannot be written: no file can be created in {folder} ({error.strerror}); "
                "choose another --output."
            ) from error


def refuse_overwriting(inputs: Iterable[Path], results: Sequence[Path]) -> None:
    """Raise ValueError if a file to write is one of the files to read, even under another name.

    Args: inputs: missing files are ignored.   results: files to write, which need not exist.
    """
    # compare file identities, because of links and case-insensitive file systems
    read = {(status.st_dev, status.st_ino): path for path in inputs if path.exists() and (status := path.stat())}
    for result in results:
        if result.exists() and (path := read.get(((status := result.stat()).st_dev, status.st_ino))):
            raise ValueError(f"the result {result} would overwrite the input {path}; choose another --output.")


def refuse_other_sizes(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Raise ValueError, naming both files, if the images of a pair differ in size, or FileNotFoundError.

    Only headers are compared, and pairs whose headers differ are decoded; other damaged images are not detected here.
    """
    shapes: dict[Path, tuple[int, int, int] | None] = {}
    for pair in pairs:
        shapes |= {path: stored_shape(path) for path in pair if path not in shapes}
        first, second = (shapes[path] for path in pair)
        if first is None or first != second:
            read_pair(*pair)


def stored_shape(path: Path) -> tuple[int, int, int] | None:
    """Width, height and EXIF orientation from an image's header; None if it cannot be read."""
    try:
        with Image.open(path) as image:
            # JPEG only: for a PNG, Pillow would decode all pixels to find the EXIF data
            turned = image.getexif().get(ORIENTATION, 1) if image.format == "JPEG" else 1
            return *image.size, turned
    except Exception:  # Pillow raises many kinds of errors for damaged headers; our own reader reports the reason
        return None


def refuse_lost_options(arguments: Sequence[str]) -> None:
    """Raise ValueError, naming both options, if a later option would replace the value of an earlier one.

    This applies to `--a.b.c` before `--a.b`, and to an option before a `--config` that replaces its part or, for the
    first `--config`, sets the same value. A later `--config` may override single values.

    Args: arguments: arguments of LightningCLI, as `--name value` or `--name=value`.
    """
    options = named_options(arguments)
    first = next((i for i, (name, _) in enumerate(options) if name == "config"), 0)
    for i, (name, value) in enumerate(options):
        for later, text in options[i + 1 :]:
            lost = sets(config_content(text), name, overlays=i > first) if later == "config" else is_part(later, name)
            if lost:
                raise ValueError(
                    f"--{name} {value} has no effect before --{later} {text}, which replaces it; "
                    f"move it after --{later}."
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
    """Content of a configuration, given as a file or as YAML; {} if it cannot be read, which the parser reports."""
    try:
        content = yaml.safe_load(Path(text).read_text() if Path(text).is_file() else text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def sets(config: object, name: str, *, overlays: bool) -> bool:
    """Whether a configuration replaces a parent of a dotted name or, unless it overlays, sets the name itself.

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
