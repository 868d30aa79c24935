"""`unrollflow fit`, `validate` and `test`: LightningCLI that saves the configuration in checkpoints and loggers."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import (
    Callback,
    Checkpoint,
    DeviceStatsMonitor,
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
)
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger

from unrollflow.callbacks.checkpoint_on_signal import CheckpointOnSignal
from unrollflow.callbacks.evaluation_table import EvaluationTable
from unrollflow.callbacks.last_checkpoint import LastCheckpoint
from unrollflow.callbacks.pending_work import PendingWork
from unrollflow.callbacks.skip_non_finite import SkipNonFiniteSteps
from unrollflow.checkpoints import (
    INSTANTIATOR,
    INSTANTIATOR_KEY,
    MODEL_KEY,
    check_trusted,
    names_to_import,
    read_checkpoint,
    refuse_weights_alone,
)
from unrollflow.cli.checks import refuse_lost_options, refuse_unwritable
from unrollflow.cli.resume import (
    continue_version,
    keep_configuration,
    keep_figures,
    remove_unfinished,
    run_that_ended_at,
)
from unrollflow.cli.runs import first_few, leaves
from unrollflow.cli.saved_config import SaveRunConfig, leave_out_objects, settle_precision, with_saved_config
from unrollflow.data import FlowDataModule
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.training.precision import AutoPrecisionTrainer

PER_STAGE = ("init_weights",)
"""Model settings that only affect the start of a training, and are not saved in checkpoints."""

PER_RUN = ("compile",)
"""Model settings that do not affect what is learnt, and are not saved in checkpoints."""

LIGHTNINGS_WORDS = ("best", "last", "hpc", "registry")
"""Values of --ckpt_path for which Lightning finds the file itself."""

SWITCHES = {
    "logger": (LearningRateMonitor, DeviceStatsMonitor),
    "enable_checkpointing": (Checkpoint,),
    "enable_progress_bar": (ProgressBar,),
}
"""Callbacks that Lightning rejects if a trainer setting is false."""

NOTES_OF_RESUMING = ("You're using the WeightAveraging callback, but loading", "The dirpath has changed")
"""Lightning's warnings about states that only a training needs; the checkpoint's weights are the averaged ones."""


def run(arguments: list[str], trusted: list[str]) -> None:
    """Run LightningCLI, with the configuration beside a checkpoint added to the arguments."""
    # Lightning warns about possible misuse of `args`; here they are the command line's arguments with paths completed
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    if arguments[0] != "fit":
        for note in NOTES_OF_RESUMING:
            warnings.filterwarnings("ignore", message=note)
    complete = with_saved_config(arguments, trusted)
    refuse_lost_options(complete)
    FlowCLI(
        UnsupervisedFlow,
        FlowDataModule,
        args=complete,
        trusted=trusted,
        trainer_class=AutoPrecisionTrainer,
        parser_class=QuietParser,
        auto_configure_optimizers=False,
        save_config_callback=SaveRunConfig,
        seed_everything_default=0,
        parser_kwargs={"prog": "unrollflow", "description": __doc__},
    )


class QuietParser(LightningArgumentParser):
    """Parser that disables Lightning's list of figures, which our table includes, unless `--verbose true` is given."""

    def add_method_arguments(self, *args: Any, **kwargs: Any) -> list[str]:
        """Add the arguments of a method such as `Trainer.validate`."""
        added: list[str] = super().add_method_arguments(*args, **kwargs)
        self.set_defaults({name: False for name in added if name == "verbose"})
        return added


class FlowCLI(LightningCLI):
    """LightningCLI that saves the model configuration in checkpoints, and checks it when a checkpoint is used.

    Args:
        args: positional arguments of LightningCLI.
        trusted: prefixes of names that a checkpoint may use, in addition to those of this package.
        kwargs: keyword arguments of LightningCLI.
    """

    def __init__(self, *args: Any, trusted: Sequence[str] = (), **kwargs: Any) -> None:
        self.trusted = trusted  # set first, because the parent's constructor runs everything
        self.continued: tuple[Path, int, list[int]] | None = None
        super().__init__(*args, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks of every run, with their arguments: `--table.confidence 0.95`, `--last.minutes 10`."""
        parser.add_lightning_class_args(EvaluationTable, "table")
        parser.add_lightning_class_args(SkipNonFiniteSteps, "faults")
        parser.add_lightning_class_args(PendingWork, "pending")
        parser.add_lightning_class_args(CheckpointOnSignal, "stopping")
        parser.add_lightning_class_args(LastCheckpoint, "last")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the arguments, then compare the model settings with those of the checkpoint.

        Raises:
            ValueError: if a model setting differs, or the checkpoint refers to classes that are not trusted.
        """
        super().parse_arguments(parser, args)
        subcommand = self.config["subcommand"]
        path = self.config[subcommand].get("ckpt_path")
        self.config[subcommand]["weights_only"] = True
        settle_precision(self.config[subcommand]["trainer"], path)
        if not path or path in LIGHTNINGS_WORDS:
            return
        refuse_weights_alone(path)
        checkpoint = read_checkpoint(path)
        saved = checkpoint.get(MODEL_KEY, {})
        asked = model_config(self, subcommand)
        check_same(asked, saved, path)
        # names in the user's own configuration are trusted
        check_trusted(saved, path, trusted=(*self.trusted, *names_to_import(asked)))
        if subcommand == "fit" and not self.config["fit"]["trainer"]["fast_dev_run"]:
            self._continue(Path(path), checkpoint["global_step"])

    def _continue(self, path: Path, step: int) -> None:
        """Continue in the directory of the run, if the checkpoint is the end of a run."""
        loggers = self.config["fit"]["trainer"]["logger"]
        ended = run_that_ended_at(path)
        changed = continue_version(as_list(loggers), ended) if ended else []
        if ended and changed:
            self.continued = ended, step, changed
            self.save_config_kwargs["overwrite"] = True

    def before_instantiate_classes(self) -> None:
        """Ensure that the saved configuration can be read."""
        leave_out_objects(self.parser, self.config)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Trainer without the callbacks that `--trainer.logger false` and other switches make useless."""
        config = self.config_init[self.subcommand]["trainer"]
        idle = tuple(kind for switch, kinds in SWITCHES.items() if config[switch] in (False, []) for kind in kinds)
        config["callbacks"] = [c for c in as_list(config["callbacks"] or []) if not isinstance(c, idle)]
        if Checkpoint in idle:
            self.config_init[self.subcommand]["last"] = Callback()  # does nothing
        return super().instantiate_trainer(**kwargs)

    def after_instantiate_classes(self) -> None:
        """Store the model's configuration (primitives) for checkpoints, and keep the files of a continued run."""
        for logger in self.trainer.loggers:
            _ = logger.version  # computed before any logger creates its folder, so that all loggers share one number
        folders = [*run_folders(self.trainer), *([self.continued[0]] if self.continued else [])]
        refuse_unwritable(folder / "config.yaml" for folder in folders)
        if self.subcommand is not None:
            config = model_config(self, self.subcommand) | dict.fromkeys(PER_STAGE)
            config = {name: value for name, value in config.items() if name not in PER_RUN}
            self.model.save_hyperparameters(config | {INSTANTIATOR_KEY: INSTANTIATOR}, logger=False)
        if self.continued is not None:
            run, step, changed = self.continued
            callbacks = self.trainer.callbacks  # type: ignore[attr-defined]  # set by a connector of the trainer
            saved = next(callback.config for callback in callbacks if isinstance(callback, SaveRunConfig))
            for place in changed:  # otherwise later commands with the saved configuration would write to this folder
                as_list(saved["trainer"]["logger"])[place].init_args["version"] = None
            keep_configuration(run, step)
            remove_unfinished(run)
            for logger in self.trainer.loggers:
                if isinstance(logger, CSVLogger):
                    keep_figures(logger, step)


def run_folders(trainer: Trainer) -> list[Path]:
    """Folders in which a run writes files or creates its own folder."""
    root = Path(trainer.default_root_dir)
    folders = [Path(logger.save_dir or root) / str(logger.name) for logger in trainer.loggers] or [root]
    callbacks = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
    return folders + [Path(callback.dirpath) for callback in callbacks if callback.dirpath]


def as_list(loggers: Any) -> list[Any]:
    """Loggers of a configuration as a list, if it has one logger or several.

    >>> as_list(True), as_list([1, 2])
    ([True], [1, 2])
    """
    return loggers if isinstance(loggers, list) else [loggers]


def model_config(cli: LightningCLI, subcommand: str) -> dict[str, Any]:
    """Model part of a parsed configuration, as primitives."""
    dumped = yaml.safe_load(cli.parser.dump(cli.config, skip_none=False, format="yaml"))
    config: dict[str, Any] = dumped[subcommand]["model"]
    return config


def check_same(asked: dict[str, Any], saved: dict[str, Any], path: str) -> None:
    """Raise ValueError, naming both values, if a model's configuration differs from that of a checkpoint.

    >>> check_same({"lam": 5.0}, {"lam": 0.1}, "last.ckpt")
    Traceback (most recent call last):
    ValueError: --model.lam is 5.0, but last.ckpt was trained with 0.1. Omit --config and --model.* to use ...
    """
    ours, theirs = (leaves(config, whole_lists=True) for config in (asked, saved))
    # names on one side only are new arguments of a later version, or belong to a different class_path
    different = [n for n in sorted(ours.keys() & theirs.keys()) if n not in PER_STAGE and ours[n] != theirs[n]]
    if not different:
        return
    listed = first_few([f"--model.{n} is {ours[n]}, but {path} was trained with {theirs[n]}" for n in different])
    raise ValueError(
        f"{listed}. Omit --config and --model.* to use the settings of the checkpoint, "
        "or start a new stage of training from its weights with --model.init_weights."
    )
