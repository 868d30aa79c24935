"""A run's config.yaml: what it cannot hold, and its use where a command names a checkpoint and no configuration."""

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
"""What jsonargparse writes, with a warning, in the place of an object that it cannot write."""

FILE_SCHEME = re.compile("^file:///?")


class SaveRunConfig(SaveConfigCallback):
    """Saves config.yaml into the run's directory and, once, as the configuration of a W&B run."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save; without a logger, runs share a directory: there a fit replaces what an earlier one has saved."""
        file = Path(trainer.default_root_dir) / self.config_filename
        if not trainer.loggers:
            self.save_to_log_dir, self.overwrite = stage == "fit", True
            if stage == "fit" and file.exists() and not file.read_text().startswith("# pytorch_lightning=="):
                raise FileExistsError(f"{file} is not of a run; name another --trainer.default_root_dir.")
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand the configuration to the W&B loggers; Lightning has saved the file."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams(config)


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
    config = config_beside(path)
    if config is None:
        first, second = config_places(path)
        raise FileNotFoundError(f"no config.yaml at {first} or {second}; name the run's with --config.")
    # a file that was found and not named: it may build no more than a checkpoint, and what Lightning brings
    saved = yaml.safe_load(config.read_text())
    current = with_current_names(saved)
    names = class_paths(current, config.parent)
    check_trusted(names, config, trusted=trusted, packages=(*TRUSTED, "pytorch_lightning."))
    set_parsing_settings(config_read_mode_fsspec_enabled=False)  # nor may it fetch what it builds from elsewhere
    print(f"configuration {config}", flush=True)  # noqa: T201, the user should know
    source = str(config) if current == saved else yaml.safe_dump(current)  # a saved configuration refers to no files
    return [arguments[0], "--config", source, *arguments[1:]]


def config_places(checkpoint: Path) -> tuple[Path, Path]:
    """Where a run saves its config.yaml, seen from its checkpoint."""
    return checkpoint.parent / "config.yaml", checkpoint.parent.parent / "config.yaml"


def config_beside(checkpoint: Path) -> Path | None:
    """The configuration that a run has saved beside its checkpoint, if it is there."""
    return next((file for file in config_places(checkpoint) if file.is_file()), None)


def settle_precision(trainer: Namespace, checkpoint: str | None) -> None:
    """Replace the precision "auto" of a parsed trainer: by that of the checkpoint's run, else by a choice; print it.

    Raises:
        ValueError: if there is no such precision.
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
    """The precision of the run that a checkpoint is of, if its config.yaml is there and says it."""
    config = config_beside(checkpoint)
    saved = yaml.safe_load(config.read_text()) if config else None
    trainer = saved.get("trainer") if isinstance(saved, dict) else None
    precision = trainer.get("precision") if isinstance(trainer, dict) else None
    return next((name for name in (*PRECISIONS, *SHORT_FORMS) if name == precision), None)


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


def leave_out_objects(parser: ArgumentParser, config: Namespace) -> None:
    """Delete defaults that config.yaml cannot hold, such as a torch.device: their classes fill them in again.

    Raises:
        ValueError: naming the key, if a value cannot be written and is not what its class would fill in.
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
            f"--{lost[0].partition('.')[2]} has a value that a run's config.yaml cannot hold, so that the run could "
            "not be continued; omit it, or choose another one."
        )


def leaves(config: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted key, the holder and the name or place in it of every value of a nested configuration.

    >>> list(leaves({"a": [Namespace(b=1)]}))
    [('a.0.b', Namespace(b=1), 'b')]
    """
    nested = vars(config) if isinstance(config, Namespace) else config
    for name, value in list(nested.items() if isinstance(nested, dict) else enumerate(nested)):
        place = f"{key}.{name}" if key else str(name)
        if isinstance(value, Namespace | dict | list):
            yield from leaves(value, place)
        elif not str(name).startswith("__"):  # jsonargparse's notes of the files that were read
            yield place, config, name


def objects(config: Namespace) -> list[tuple[str, Any, Any]]:
    """Those :func:`leaves` that YAML has no type for, but for the items of lists, which cannot be omitted."""
    found = [(key, holder, name) for key, holder, name in leaves(config) if not isinstance(holder, list)]
    return [leaf for leaf in found if type(leaf[1][leaf[2]]) not in (str, int, float, bool, NoneType)]


def written(parser: ArgumentParser, config: Namespace) -> str:
    """A configuration as YAML; :data:`UNWRITTEN` stands in the place of what cannot be written, or is all there is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=rf"\s*{UNWRITTEN}")
        try:
            # unchecked, because in the search for what cannot be written, what is required may be omitted
            return str(parser.dump(config, skip_unset=False, skip_validation=True))
        except (TypeError, ValueError, yaml.YAMLError):
            return UNWRITTEN
