"""`unrollflow fit`, `validate` and `test`: LightningCLI that keeps a run's configuration in checkpoints and loggers."""

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
"""Model settings that only start a training: not part of what a checkpoint holds."""

PER_RUN = ("compile",)
"""Model settings that change nothing of what is learnt: a checkpoint says nothing of them."""

LIGHTNINGS_WORDS = ("best", "last", "hpc", "registry")
"""What --ckpt_path may say instead of a path; Lightning finds the file of the run itself."""

SWITCHES = {
    "logger": (LearningRateMonitor, DeviceStatsMonitor),
    "enable_checkpointing": (Checkpoint,),
    "enable_progress_bar": (ProgressBar,),
}
"""Callbacks that Lightning refuses where the trainer's setting is false."""


def run(arguments: list[str], trusted: list[str]) -> None:
    """LightningCLI on arguments in which the configuration beside a checkpoint is filled in."""
    # Lightning warns that `args` might be given by mistake; here they are the command line's own, with paths filled in
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
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
    """Leaves Lightning's own list of figures out, unless `--verbose true` asks for it: our table has them all."""

    def add_method_arguments(self, *args: Any, **kwargs: Any) -> list[str]:
        """Add the arguments of `Trainer.validate` and the like."""
        added: list[str] = super().add_method_arguments(*args, **kwargs)
        self.set_defaults({name: False for name in added if name == "verbose"})
        return added


class FlowCLI(LightningCLI):
    """LightningCLI whose checkpoints name the classes that they were built of, and refuse other ones.

    Args:
        args: LightningCLI's.
        trusted: beginnings of names that a checkpoint may ask for, in addition to ours.
        kwargs: LightningCLI's.
    """

    def __init__(self, *args: Any, trusted: Sequence[str] = (), **kwargs: Any) -> None:
        self.trusted = trusted  # before the parent's constructor, which runs everything
        self.continued: tuple[Path, int, list[int]] | None = None
        super().__init__(*args, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What every run has, with arguments of its own: `--table.confidence 0.95`, `--last.minutes 10`."""
        parser.add_lightning_class_args(EvaluationTable, "table")
        parser.add_lightning_class_args(SkipNonFiniteSteps, "faults")
        parser.add_lightning_class_args(PendingWork, "pending")
        parser.add_lightning_class_args(CheckpointOnSignal, "stopping")
        parser.add_lightning_class_args(LastCheckpoint, "last")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, then hold what the user asks for against what the checkpoint was built of.

        Raises:
            ValueError: if a model setting differs, or the checkpoint asks for classes that are not trusted.
        """
        super().parse_arguments(parser, args)
        subcommand = self.config["subcommand"]
        path = self.config[subcommand].get("ckpt_path")
        self.config[subcommand]["weights_only"] = True
        settle_precision(self.config[subcommand]["trainer"], path)
        if not path or path in LIGHTNINGS_WORDS:
            return
        checkpoint = read_checkpoint(path)
        refuse_weights_alone(checkpoint, path)
        saved = checkpoint.get(MODEL_KEY, {})
        asked = model_config(self, subcommand)
        check_same(asked, saved, path)
        # what the user's own configuration names, the user trusts
        check_trusted(saved, path, trusted=(*self.trusted, *names_to_import(asked)))
        if subcommand == "fit" and not self.config["fit"]["trainer"]["fast_dev_run"]:
            self._continue(Path(path), checkpoint["global_step"])

    def _continue(self, path: Path, step: int) -> None:
        """Go on in the run's directory, where the checkpoint is the end of a run."""
        loggers = self.config["fit"]["trainer"]["logger"]
        ended = run_that_ended_at(path)
        changed = continue_version(as_list(loggers), ended) if ended else []
        if ended and changed:
            self.continued = ended, step, changed
            self.save_config_kwargs["overwrite"] = True

    def before_instantiate_classes(self) -> None:
        """Make sure that what will be saved can be read."""
        leave_out_objects(self.parser, self.config)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer without those callbacks that `--trainer.logger false` and other switches leave without work."""
        config = self.config_init[self.subcommand]["trainer"]
        idle = tuple(kind for switch, kinds in SWITCHES.items() if config[switch] in (False, []) for kind in kinds)
        config["callbacks"] = [c for c in as_list(config["callbacks"] or []) if not isinstance(c, idle)]
        if Checkpoint in idle:
            self.config_init[self.subcommand]["last"] = Callback()  # which does nothing
        return super().instantiate_trainer(**kwargs)

    def after_instantiate_classes(self) -> None:
        """Keep the model's configuration, primitives only, for the checkpoints, and what a continued run has left."""
        for logger in self.trainer.loggers:
            _ = logger.version  # chosen before another logger makes its folder, so that all of them share one number
        folders = [*run_folders(self.trainer), *([self.continued[0]] if self.continued else [])]
        refuse_unwritable(folder / "config.yaml" for folder in folders)
        if self.subcommand is not None:
            config = model_config(self, self.subcommand) | dict.fromkeys(PER_STAGE)
            config = {name: value for name, value in config.items() if name not in PER_RUN}
            self.model.save_hyperparameters(config | {INSTANTIATOR_KEY: INSTANTIATOR}, logger=False)
        if self.continued is not None:
            run, step, changed = self.continued
            callbacks = self.trainer.callbacks  # type: ignore[attr-defined]  # which a part of the trainer sets
            saved = next(callback.config for callback in callbacks if isinstance(callback, SaveRunConfig))
            for place in changed:  # the saved configuration would send every later command there
                as_list(saved["trainer"]["logger"])[place].init_args["version"] = None
            keep_configuration(run, step)
            remove_unfinished(run)
            for logger in self.trainer.loggers:
                if isinstance(logger, CSVLogger):
                    keep_figures(logger, step)


def run_folders(trainer: Trainer) -> list[Path]:
    """Folders that a run writes to or makes its own folder in."""
    root = Path(trainer.default_root_dir)
    folders = [Path(logger.save_dir or root) / str(logger.name) for logger in trainer.loggers] or [root]
    callbacks = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
    return folders + [Path(callback.dirpath) for callback in callbacks if callback.dirpath]


def as_list(loggers: Any) -> list[Any]:
    """One logger of a configuration, or several, as a list.

    >>> as_list(True), as_list([1, 2])
    ([True], [1, 2])
    """
    return loggers if isinstance(loggers, list) else [loggers]


def model_config(cli: LightningCLI, subcommand: str) -> dict[str, Any]:
    """The model's part of a parsed configuration as primitives."""
    dumped = yaml.safe_load(cli.parser.dump(cli.config, skip_none=False, format="yaml"))
    config: dict[str, Any] = dumped[subcommand]["model"]
    return config


def check_same(asked: dict[str, Any], saved: dict[str, Any], path: str) -> None:
    """Raise ValueError, naming both values, where a model's configuration differs from a checkpoint's.

    >>> check_same({"lam": 5.0}, {"lam": 0.1}, "last.ckpt")
    Traceback (most recent call last):
    ValueError: --model.lam is 5.0, but last.ckpt was trained with 0.1; a checkpoint keeps its own settings. ...
    """
    ours, theirs = (leaves(config, whole_lists=True) for config in (asked, saved))
    # names of one side only: an argument that a newer version has, or what belongs to a class_path that differs
    different = [n for n in sorted(ours.keys() & theirs.keys()) if n not in PER_STAGE and ours[n] != theirs[n]]
    if not different:
        return
    listed = first_few([f"--model.{n} is {ours[n]}, but {path} was trained with {theirs[n]}" for n in different])
    raise ValueError(
        f"{listed}; a checkpoint keeps its own settings. Leave --config and --model.* away to use it as it is, "
        "or start a new stage of training from its weights with --model.init_weights."
    )
