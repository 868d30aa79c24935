"""Directory of a run, number of trained steps of its weights, and printed output."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_only


def run_directory(trainer: pl.Trainer) -> Path:
    """Directory of a run's files: that of the first logger, as in ModelCheckpoint."""
    logger = trainer.logger
    if logger is None:
        return Path(trainer.default_root_dir)
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(logger.save_dir or trainer.default_root_dir) / str(logger.name) / version


def writes_nothing(trainer: pl.Trainer) -> bool:
    """Whether this is a `fast_dev_run`, which must not write files, because it does not have its own run directory."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]  # set by a connector of the trainer


class CountsSteps(Callback):
    """Callback with the number of steps of the weights, including weights that validate or test load."""

    loaded_steps = 0

    def on_load_checkpoint(self, trainer: pl.Trainer, _: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store the steps of the checkpoint; a resumed fit restores them itself."""
        self.loaded_steps = 0 if trainer.state.fn == "fit" else checkpoint["global_step"]

    def steps(self, trainer: pl.Trainer) -> int:
        """Number of training steps of the current weights; 0 if unknown."""
        return trainer.global_step if trainer.state.fn == "fit" else self.loaded_steps or trainer.global_step


@rank_zero_only
def say(text: str) -> None:
    """Print a text in the first process only."""
    print(text, flush=True)  # noqa: T201, the answer of a command
