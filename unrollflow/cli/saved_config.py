"""config.yaml of a run: values that it cannot store, and its use by commands with a checkpoint and no --config."""

import re
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import NoneType
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from unrollflow.checkpoints import TRUSTED, check_trusted, read_checkpoint, refuse_weights_alone, with_current_names
from unrollflow.training.precision import AUTO, PRECISIONS, SHORT_FORMS, Choice, chosen_precision

UNWRITTEN = "Unable to serialize instance"
"""Text that jsonargparse writes, with a warning, instead of an object that it cannot write."""

FILE_SCHEME = re.compile("^file:///?")


class SaveRunConfig(SaveConfigCallback):
    """Saves config.yaml in the run's directory and, once, as the configuration of a W&B run."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save the file; without a logger, runs share a directory, and a fit replaces the file of an earlier fit.

        Raises:
            FileExistsError: if the file of another run, or a file that no run has written, would be overwritten.
        """
        file = Path(trainer.default_root_dir) / self.config_filename
        if not trainer.loggers:
            self.save_to_log_dir, self.overwrite = stage == "fit", True
            if stage == "fit" and file.exists() and not file.read_text().startswith("# pytorch_lightning=="):
                raise FileExistsError(
                    f"{file} was not written by a run and would be overwritten; choose another "
                    "--trainer.default_root_dir."
                )
        if not self.overwrite and not self.already_saved:
            self._refuse_another_run(trainer)
        super().setup(trainer, pl_module, stage)

    def _refuse_another_run(self, trainer: Trainer) -> None:
        file = Path(str(trainer.log_dir)) / self.config_filename
        if trainer.strategy.broadcast(trainer.is_global_zero and file.is_file()):
            raise FileExistsError(
                f"{file} belongs to another run (runs that start at the same time may choose the same version); "
                "start this run again, or choose another --trainer.logger.init_args.version."
            )

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the configuration to W&B; Lightning has already saved the file."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams(config)


def with_saved_config(arguments: list[str], trusted: list[str]) -> list[str]:
    """Add --config with the run's saved configuration, if there is a --ckpt_path and no --config.

    Raises:
        FileNotFoundError: if the checkpoint does not exist, or there is no configuration beside it.
        ValueError: if the configuration refers to classes that are not trusted.
    """
    flags = [argument.split("=")[0] for argument in arguments]
    if "--ckpt_path" not in flags or {"--config", "-c"} & set(flags):
        return arguments
    position = flags.index("--ckpt_path")
    path = Path(arguments[position].partition("=")[2] or "".join(arguments[position + 1 : position + 2]))
    refuse_weights_alone(path)
    read_checkpoint(path)  # a missing or damaged file is the first error
    config = config_beside(path)
    if config is None:
        first, second = config_places(path)
        raise FileNotFoundError(f"no config.yaml at {first} or {second}; give the run's configuration with --config.")
    # the user did not name this file, so it may only build the classes of a checkpoint and of Lightning
    saved = yaml.safe_load(config.read_text())
    current = with_current_names(saved)
    names = class_paths(current, config.parent)
    check_trusted(names, config, trusted=trusted, packages=(*TRUSTED, "pytorch_lightning."))
    set_parsing_settings(config_read_mode_fsspec_enabled=False)  # do not fetch remote files either
    print(f"configuration {config}", flush=True)  # noqa: T201, the user should know
    source = str(config) if current == saved else yaml.safe_dump(current)  # a saved configuration refers to no files
    return [arguments[0], "--config", source, *arguments[1:]]


def config_places(checkpoint: Path) -> tuple[Path, Path]:
    """Possible paths of a run's config.yaml, relative to its checkpoint."""
    return checkpoint.parent / "config.yaml", checkpoint.parent.parent / "config.yaml"


def config_beside(checkpoint: Path) -> Path | None:
    """Configuration file that a run has saved beside its checkpoint; None if it does not exist."""
    return next((file for file in config_places(checkpoint) if file.is_file()), None)


def settle_precision(trainer: Namespace, checkpoint: str | None) -> None:
    """Replace the precision "auto" by that of the checkpoint's run, or by one for this machine, and print it.

    Raises:
        ValueError: if the precision is unknown.
    """
    asked = trainer["precision"]
    if asked not in (AUTO, None, *PRECISIONS, *SHORT_FORMS):
        names = ", ".join(PRECISIONS)
        raise ValueError(f"--trainer.precision is {asked!r}; expected {AUTO} (for CPUs) or one of {names}.")
    if asked != AUTO:
        return
    recorded = recorded_precision(Path(checkpoint)) if checkpoint else None
    choice = Choice(recorded, "recorded by the run") if recorded else chosen_precision(trainer["accelerator"])
    trainer["precision"] = choice.precision
    rank_zero_only(print)(f"precision {choice.precision}: {choice.reason}", flush=True)


def recorded_precision(checkpoint: Path) -> str | int | None:
    """Precision in the config.yaml of a checkpoint's run; None if unknown."""
    config = config_beside(checkpoint)
    saved = yaml.safe_load(config.read_text()) if config else None
    trainer = saved.get("trainer") if isinstance(saved, dict) else None
    precision = trainer.get("precision") if isinstance(trainer, dict) else None
    return next((name for name in (*PRECISIONS, *SHORT_FORMS) if name == precision), None)


def class_paths(config: object, folder: Path, key: str = "config") -> dict[str, object]:
    """Names of classes that a configuration in a folder may import, by their dotted keys.

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
    """Value that jsonargparse may read from a string (YAML, or that of a file), and the folder of its relative paths.

    >>> contents("{class_path: os.system}", Path())[0]
    {'class_path': 'os.system'}
    """
    try:
        path = folder / Path(FILE_SCHEME.sub("/", value)).expanduser()
        if not path.is_file():
            return yaml.safe_load(value), folder
        with path.open() as file:  # as a stream, so that only the first bytes of a video or checkpoint are read
            return yaml.safe_load(file), path.parent
    except (OSError, ValueError, RuntimeError, yaml.YAMLError):
        return value, folder  # jsonargparse cannot read it, either


def may_name_a_class(value: str) -> bool:
    """Whether a string is a dotted name that begins with an importable module, unlike `last.ckpt`.

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


def leave_out_objects(parser: ArgumentParser, config: Namespace) -> None:
    """Delete default values that config.yaml cannot store, such as a torch.device; their classes set them again.

    Raises:
        ValueError: if a value that cannot be stored is not the default of its class, naming the key.
    """
    if UNWRITTEN not in written(parser, config):
        return
    left_out = {}
    found = [(key, holder, name, holder.pop(name)) for key, holder, name in objects(config)]
    for key, holder, name, value in found:
        holder[name] = value
        if UNWRITTEN in written(parser, config):
            left_out[key] = holder.pop(name)
    text = written(parser, config)
    lost = [key for key, holder, name in leaves(yaml.safe_load(text)) if UNWRITTEN in str(holder[name])]
    if not lost:
        filled_in = {key: holder[name] for key, holder, name in objects(parser.parse_string(text))}
        lost = [key for key, value in left_out.items() if filled_in.get(key) != value]
    if lost:
        raise ValueError(
            f"--{lost[0].partition('.')[2]} has a value that config.yaml cannot store, so the run could not be "
            "resumed; omit the option, or choose another value."
        )


def leaves(config: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted key, the container and the name or index in it for every value of a nested configuration.

    >>> list(leaves({"a": [Namespace(b=1)]}))
    [('a.0.b', Namespace(b=1), 'b')]
    """
    nested = vars(config) if isinstance(config, Namespace) else config
    for name, value in list(nested.items() if isinstance(nested, dict) else enumerate(nested)):
        place = f"{key}.{name}" if key else str(name)
        if isinstance(value, Namespace | dict | list):
            yield from leaves(value, place)
        elif not str(name).startswith("__"):  # names of the files that jsonargparse has read
            yield place, config, name


def objects(config: Namespace) -> list[tuple[str, Any, Any]]:
    """The :func:`leaves` that YAML cannot represent, except items of lists, which cannot be omitted."""
    found = [(key, holder, name) for key, holder, name in leaves(config) if not isinstance(holder, list)]
    return [leaf for leaf in found if type(leaf[1][leaf[2]]) not in (str, int, float, bool, NoneType)]


def written(parser: ArgumentParser, config: Namespace) -> str:
    """Configuration as YAML, with :data:`UNWRITTEN` for values that cannot be written, or instead of the whole text."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=rf"\s*{UNWRITTEN}")
        try:
            # without validation, because the search for such values may omit required ones
            return str(parser.dump(config, skip_unset=False, skip_validation=True))
        except (TypeError, ValueError, yaml.YAMLError):
            return UNWRITTEN
