"""Keep the initial weights of a fine-tuning if training does not improve them."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from unrollflow.callbacks.run_directory import run_directory, say, writes_nothing
from unrollflow.data.io.files import write_atomic


class KeepStart(Checkpoint):
    """Replaces the best checkpoint with the initial weights of the training, unless a validation has a better score.

    The initial weights are validated before the first step (trainer setting `num_sanity_val_steps: -1`) and saved as
    `start.ckpt`. A `ModelCheckpoint` with the same monitor saves the best validation. At the end of the training, both
    scores are printed.

    Args:
        monitor: logged figure of a validation; lower is better.

    Raises:
        ValueError: when a fit starts, if the trainer has no `ModelCheckpoint` with this monitor, or does not validate
            before the first step.
    """

    def __init__(self, *, monitor: str = "val/consistency") -> None:
        self.monitor = monitor
        self.start: float | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check that the initial and the best score can be compared."""
        if writes_nothing(trainer):
            return
        self._best(trainer)
        if trainer.num_sanity_val_steps != float("inf"):
            raise ValueError(
                f"KeepStart needs a validation before the first step: num_sanity_val_steps is "
                f"{trainer.num_sanity_val_steps}; set --trainer.num_sanity_val_steps -1."
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Store the score of the initial weights."""
        if trainer.sanity_checking:
            self.start = float(trainer.callback_metrics[self.monitor])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the initial weights, unless this training was resumed."""
        if trainer.global_step == 0 and not writes_nothing(trainer):
            trainer.save_checkpoint(self._start_path(trainer), weights_only=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the scores and keep the better weights as the best checkpoint."""
        if writes_nothing(trainer) or self.start is None:
            return
        best = self._best(trainer)
        score = best.best_model_score
        if score is None:  # interrupted before the first validation
            return
        if float(score) < self.start:
            say(f"{self.monitor}: {self.start:.5f} before the training, {score:.5f} after it ({best.best_model_path})")
            return
        say(
            f"{self.monitor}: {self.start:.5f} before the training, {score:.5f} at the best validation: no "
            f"improvement; {best.best_model_path} contains the initial weights"
        )
        if trainer.is_global_zero:
            write_atomic(best.best_model_path, self._start_path(trainer).read_bytes())

    def state_dict(self) -> dict[str, Any]:
        """Score of the initial weights, for a resumed training."""
        return {"start": self.start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the score of the initial weights."""
        self.start = state_dict["start"]

    def _best(self, trainer: pl.Trainer) -> ModelCheckpoint:
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.monitor == self.monitor and callback.mode == "min":
                return callback
        raise ValueError(f"no ModelCheckpoint with monitor {self.monitor} and mode min; KeepStart needs one.")

    @staticmethod
    def _start_path(trainer: pl.Trainer) -> Path:
        return run_directory(trainer) / "checkpoints" / "start.ckpt"
