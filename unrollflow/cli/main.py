"""The command line: `unrollflow fit | validate | test` (LightningCLI); `predict`, `label` and others on plain files."""

import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import yaml
from jsonargparse import set_parsing_settings
from lightning_fabric.utilities.exceptions import MisconfigurationException

from unrollflow.checkpoints import (
    TRUSTED,
    check_trusted,
    read_checkpoint,
    refuse_weights_alone,
    with_current_names,
)
from unrollflow.cli.estimate import estimate_from_arguments
from unrollflow.cli.fit import FlowCLI, SaveRunConfig
from unrollflow.cli.import_weights import import_from_arguments
from unrollflow.cli.label import label_from_arguments
from unrollflow.cli.predict import predict_from_arguments
from unrollflow.data import FlowDataModule
from unrollflow.training.module import UnsupervisedFlow

PACKAGE = Path(__file__).parents[1]
WORKER = "DataLoader worker process"
REASON = re.compile(r"^  - (.*(?:\n {4,}.*)*)", re.MULTILINE)
"""An entry of jsonargparse's list of what is wrong, with the lines that belong to it."""

FILE_SCHEME = re.compile("^file:///?")


def main(args: Sequence[str] | None = None) -> None:
    """Run a subcommand; bad input ends in one message and exit status 1 (2 for arguments that cannot be parsed)."""
    arguments, trusted = split_trusted(list(sys.argv[1:] if args is None else args))
    # Lightning 2.6 still calls what torch has renamed; no user can mend that
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
    try:
        if arguments[:1] == ["predict"]:
            predict_from_arguments(arguments[1:], trusted)
        elif arguments[:1] == ["label"]:
            label_from_arguments(arguments[1:], trusted)
        elif arguments[:1] == ["estimate"]:
            estimate_from_arguments(arguments[1:])
        elif arguments[:1] == ["import"]:
            import_from_arguments([shipped_config(argument) for argument in arguments[1:]])
        else:
            run_lightning(arguments, trusted)
    except (ValueError, OSError, MisconfigurationException) as error:
        if not expected(error):
            raise
        sys.exit(f"unrollflow: {message(error)}")


def split_trusted(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Arguments without every `--trust PREFIX`, and the prefixes: names that checkpoints may ask for besides ours.

    >>> split_trusted(["predict", "--trust", "mypackage.", "frames"])
    (['predict', 'frames'], ['mypackage.'])
    """
    flags = [i for i, argument in enumerate(arguments[:-1]) if argument == "--trust"]
    taken = {i + offset for i in flags for offset in (0, 1)}
    return [a for i, a in enumerate(arguments) if i not in taken], [arguments[i + 1] for i in flags]


def run_lightning(arguments: list[str], trusted: list[str]) -> None:
    """LightningCLI on arguments in which shipped configurations and those of checkpoints are filled in."""
    # Lightning warns that `args` might be given by mistake; here they are the command line's own, with paths filled in
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    FlowCLI(
        UnsupervisedFlow,
        FlowDataModule,
        args=[shipped_config(argument) for argument in with_saved_config(arguments, trusted)],
        trusted=trusted,
        auto_configure_optimizers=False,
        save_config_callback=SaveRunConfig,
        seed_everything_default=0,
        parser_kwargs={"description": __doc__},
    )


def shipped_config(argument: str) -> str:
    """An argument whose YAML file is not there, but is one that the package ships, with that file's path."""
    flag, separator, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
    if not value.endswith(".yaml") or Path(value).is_file():
        return argument
    name = value.removeprefix("configs/")
    # in the wheel the configurations lie inside the package; in a checkout, beside it
    found = [folder / name for folder in (PACKAGE / "configs", PACKAGE.parent / "configs") if (folder / name).is_file()]
    return f"{flag}{separator}{found[0]}" if found else argument


def with_saved_config(arguments: list[str], trusted: list[str]) -> list[str]:
    """With a checkpoint and no configuration: the one saved beside the run, if it names trusted classes only.

    Raises:
        FileNotFoundError: if there is no such checkpoint, or no configuration beside it.
        ValueError: if the configuration asks for other classes.
    """
    flags = [argument.split("=")[0] for argument in arguments]
    if "--ckpt_path" not in flags or {"--config", "-c"} & set(flags):
        return arguments
    position = flags.index("--ckpt_path")
    path = Path(arguments[position].partition("=")[2] or "".join(arguments[position + 1 : position + 2]))
    refuse_weights_alone(read_checkpoint(path), path)
    found = [folder / "config.yaml" for folder in (path.parent, path.parent.parent)]
    config = next((file for file in found if file.is_file()), None)
    if config is None:
        raise FileNotFoundError(f"no config.yaml at {found[0]} or {found[1]}; name the run's with --config.")
    # a file that was found and not named: it may build no more than a checkpoint, and what Lightning brings
    saved = yaml.safe_load(config.read_text())
    current = with_current_names(saved)
    names = class_paths(current, config.parent)
    check_trusted(names, config, trusted=trusted, packages=(*TRUSTED, "pytorch_lightning."))
    set_parsing_settings(config_read_mode_fsspec_enabled=False)  # nor may it fetch what it builds from elsewhere
    print(f"configuration {config}", flush=True)  # noqa: T201, the user should know
    source = str(config) if current == saved else yaml.safe_dump(current)  # a saved configuration refers to no files
    return [arguments[0], "--config", source, *arguments[1:]]


def class_paths(config: object, folder: Path, key: str = "config") -> dict[str, object]:
    """Every class that a run's own configuration, in a folder, may import, by its place.

    >>> class_paths({"model": {"parts": [{"class_path": "os.system"}]}, "root": "last.ckpt"}, Path())
    {'config.model.parts.0.class_path': 'os.system'}
    """
    if isinstance(config, str):
        config, folder = contents(config, folder)
    if isinstance(config, dict):
        items = [(f"{key}.{name}", value) for name, value in config.items()]
    elif isinstance(config, list):
        items = [(f"{key}.{i}", value) for i, value in enumerate(config)]
    else:
        return {key: config} if isinstance(config, str) and may_name_a_class(config) else {}
    return {place: name for inner, value in items for place, name in class_paths(value, folder, inner).items()}


def contents(value: str, folder: Path) -> tuple[object, Path]:
    """What jsonargparse may take a string for, and the folder that its paths are of: a file's YAML, or its own.

    >>> contents("{class_path: os.system}", Path())[0]
    {'class_path': 'os.system'}
    """
    try:
        path = folder / Path(FILE_SCHEME.sub("/", value)).expanduser()
        if not path.is_file():
            return yaml.safe_load(value), folder
        with path.open() as file:  # as a stream: of a video or a checkpoint, the first bytes will do
            return yaml.safe_load(file), path.parent
    except (OSError, ValueError, RuntimeError, yaml.YAMLError):
        return value, folder  # jsonargparse cannot read it either


def may_name_a_class(value: str) -> bool:
    """Whether a string may be imported from: a dotted name that begins with a module that is there, unlike `last.ckpt`.

    >>> may_name_a_class("os.system"), may_name_a_class("last.ckpt"), may_name_a_class("runs/last.ckpt")
    (True, False, False)
    """
    first, *rest = value.split(".")
    if not rest or not all(part.isidentifier() for part in (first, *rest)):
        return False
    try:
        return find_spec(first) is not None
    except ValueError:  # a module of this process without a specification, such as __main__
        return True


def expected(error: BaseException) -> bool:
    """Whether an error is about the input: raised by the package, here or in a data worker, or by a parser of settings.

    Such are jsonargparse and the trainer's connectors; an error that names a file or a wrong setting always is.
    """
    if isinstance(error, MisconfigurationException) or getattr(error, "filename", None):
        return True
    innermost = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    parsers = {"jsonargparse", "connectors"} & set(innermost.parts)
    return bool(parsers) or innermost.is_relative_to(PACKAGE) or WORKER in str(error)


def message(error: BaseException) -> str:
    """The error's own words, without what a DataLoader worker or jsonargparse puts around them."""
    text = str(error)
    if WORKER in text:
        return text.strip().splitlines()[-1].partition(": ")[2]
    # of an optional object, jsonargparse reports that it cannot be built and that it is not None either
    reasons = [" ".join(found.split()) for found in REASON.findall(text) if "NoneType" not in found]
    return "; ".join(reasons) or text
