"""Checkpoint of the newest state of a training."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from unrollflow.callbacks.pending_work import validation_is_due, within_accumulated_step
from unrollflow.callbacks.run_directory import run_directory, writes_nothing


class LastCheckpoint(Checkpoint):
    """Saves the newest state as `last.ckpt`: after each validation, at the end of each epoch, and every few minutes.

    Lightning's `ModelCheckpoint(save_last=True)` saves only when it also saves a best checkpoint. List this callback
    after the `ModelCheckpoint` of the best, whose state it saves. It does not save within an accumulated step.

    Args:
        minutes: time between two checkpoints, minutes.

    Raises:
        ValueError: if it is negative.
    """

    def __init__(self, *, minutes: float = 10.0) -> None:
        if not minutes >= 0:
            raise ValueError(f"minutes is out of range: {minutes}; the time between checkpoints must be at least 0.")
        self.minutes, self.saved_at, self.last_model_path = minutes, 0.0, ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save at the end of an epoch, at the end of the training and every few minutes, unless a validation is due."""
        loop = trainer.fit_loop.epoch_loop
        if within_accumulated_step(trainer) or validation_is_due(trainer):
            return
        late = time.monotonic() - self.saved_at >= 60 * self.minutes
        ends = loop._is_training_done or trainer.should_stop
        if ends or trainer.strategy.reduce_boolean_decision(late, all=False):
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after a validation of a training."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        if writes_nothing(trainer):
            return
        path = run_directory(trainer) / "checkpoints" / "last.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        self.last_model_path, self.saved_at = str(path), time.monotonic()
