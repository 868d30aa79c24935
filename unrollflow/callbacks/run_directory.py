"""Where a run keeps its files, for how many steps its weights were trained, and what it prints."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_only


def run_directory(trainer: pl.Trainer) -> Path:
    """Where a run keeps its files: the first logger's directory, by ModelCheckpoint's rule."""
    logger = trainer.logger
    if logger is None:
        return Path(trainer.default_root_dir)
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(logger.save_dir or trainer.default_root_dir) / str(logger.name) / version


def writes_nothing(trainer: pl.Trainer) -> bool:
    """Whether this is a `fast_dev_run`, which must leave no file: it has no run directory of its own."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]  # which a part of the trainer sets


class CountsSteps(Callback):
    """Knows how many steps the weights were trained for, also where validate or test loaded them from a checkpoint."""

    loaded_steps = 0

    def on_load_checkpoint(self, trainer: pl.Trainer, _: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the steps of the checkpoint; a resumed fit restores them itself."""
        self.loaded_steps = 0 if trainer.state.fn == "fit" else checkpoint["global_step"]

    def steps(self, trainer: pl.Trainer) -> int:
        """Steps of the weights in use; 0 if they are unknown."""
        return trainer.global_step if trainer.state.fn == "fit" else self.loaded_steps or trainer.global_step


@rank_zero_only
def say(text: str) -> None:
    """Tell the user, once, whatever the number of processes."""
    print(text, flush=True)  # noqa: T201, the answer of a command
