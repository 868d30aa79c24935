"""Save what Lightning omits from checkpoints: half-accumulated gradients and incomplete validations."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loops.evaluation_loop import RestartStage
from torch import Tensor

PENDING = "pending_work"
"""Key in a checkpoint."""


class PendingWork(Callback):
    """Makes resuming exact from checkpoints saved within an accumulated step or a validation.

    - Gradients of a half-accumulated step are saved and restored; with several processes, their mean.
    - If a validation is due or incomplete when a checkpoint is saved, the resumed training runs it in full.

    Without this callback, Lightning drops both.
    """

    def __init__(self) -> None:
        self.validating = False
        self.resumed: dict[str, Any] = {}
        self.max_steps: int | None = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record that a validation has begun."""
        self.validating = trainer.state.fn == "fit" and not trainer.sanity_checking
        if self.max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps, self.max_steps = self.max_steps, None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record that the validation is complete; checkpoints are saved after this hook."""
        self.validating = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the pending gradients and validation to the checkpoint."""
        loop = trainer.fit_loop.epoch_loop
        due = self.validating
        batches: Any = loop.batch_progress.current
        if batches.processed > batches.completed:  # in on_train_batch_end
            due = validation_is_due(trainer)
            if due:  # mark the step as completed; otherwise Lightning would resume after the validation
                progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
                for counts in (progress["total"], progress["current"]):
                    counts["completed"] += 1
        gradients: dict[str, Tensor] = {}
        if within_accumulated_step(trainer):
            gradients = {
                name: trainer.strategy.reduce(p.grad.clone(), reduce_op="mean")
                for name, p in pl_module.named_parameters()
                if p.grad is not None
            }
        checkpoint[PENDING] = {"validation": due, "gradients": gradients}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the pending work until the training starts."""
        if trainer.state.fn == "fit":
            self.resumed = checkpoint.get(PENDING, {}) | {"step": checkpoint["global_step"]}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start a training that has only a validation left, which Lightning does not do at the last step."""
        self.validating, loop = False, trainer.fit_loop.epoch_loop
        if self.resumed.get("validation") and 0 < loop.max_steps <= self.resumed["step"]:
            self.max_steps, loop.max_steps = loop.max_steps, self.resumed["step"] + 1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the gradients, which Lightning has set to zero, and restart an incomplete validation."""
        resumed, self.resumed = self.resumed, {}
        weights = dict(pl_module.named_parameters())
        for name, gradient in resumed.get("gradients", {}).items():
            weights[name].grad = gradient.to(weights[name].device)
        if resumed.get("validation"):
            loop = trainer.fit_loop.epoch_loop.val_loop
            loop.batch_progress.reset()
            loop._restart_stage = RestartStage.RESTARTED_MID_EVALUATION


def within_accumulated_step(trainer: pl.Trainer) -> bool:
    """Whether the current training batch is accumulated, with the optimizer step still to come."""
    return bool(trainer.fit_loop.epoch_loop._should_accumulate())  # Lightning has only a private method for this


def validation_is_due(trainer: pl.Trainer) -> bool:
    """Whether Lightning validates after the current training batch."""
    loop, batches = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    if batches is None or not loop._should_check_val_fx(batches):  # Lightning has only a private method for this
        return False
    loop.val_loop.setup_data()  # the validation calls this first; the data may be empty
    return not loop.val_loop.skip
