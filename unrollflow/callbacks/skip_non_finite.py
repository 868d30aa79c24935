"""Steps whose loss or gradient is not finite are left out, counted, and named when they do not end."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer

from unrollflow.callbacks.checkpoint_on_signal import save_stopped
from unrollflow.callbacks.run_directory import say
from unrollflow.data import FlowDataModule

MOST_NAMES = 3


class SkipsFaults(Callback):
    """Takes no optimizer step where the loss or the gradient is not finite, and ends a training that cannot go on.

    Such a step counts as one (rates and stages go on), but changes neither weights nor the optimizer's state. Skipped
    steps are logged as `faults/skipped_steps`. Whether all is finite is read from the device once a step. Under float16
    an infinite gradient of a finite loss is the scaler's, which skips and halves its scale by itself.

    Args:
        most_in_a_row: so many faulty steps, one after the other, end the training with a checkpoint.

    Raises:
        ValueError: if `most_in_a_row` is below 1; in training, after as many faults in a row.
    """

    def __init__(self, *, most_in_a_row: int = 10) -> None:
        if most_in_a_row < 1:
            raise ValueError(f"most_in_a_row is {most_in_a_row}; it must be at least 1.")
        self.most_in_a_row, self.skipped, self.in_a_row = most_in_a_row, 0, 0
        self.names: list[str] = []
        self.losses: list[Tensor] = []
        self.faulty: str | None = None

    def state_dict(self) -> dict[str, Any]:
        """Counts of a checkpoint."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Counts go on."""
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the names of the step's samples."""
        self.faulty = None
        self.names += batch["name"]

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Remember the step's losses."""
        self.losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Take the gradients away where they, or the losses, are not finite: the optimizer then leaves all as it is."""
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        finite = torch.stack(self.losses).isfinite().all() & nn.utils.get_total_norm(gradients).isfinite()
        if trainer.strategy.reduce_boolean_decision(bool(finite), all=True):
            return
        broken = [
            name for name, p in pl_module.named_parameters() if p.grad is not None and not p.grad.isfinite().all()
        ]
        self.faulty = f"gradient of {', '.join(broken[:MOST_NAMES])}" if broken else "loss"
        sound = bool(torch.stack(self.losses).isfinite().all())
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        # all processes judge alike, or one would end the training and leave the others waiting
        if trainer.strategy.reduce_boolean_decision(sound, all=True) and scaler is not None and scaler.get_scale() > 1:
            self.faulty = None  # an overflow of its own scale, and it steps aside by itself
            return
        for parameter in pl_module.parameters():
            parameter.grad = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count and log; end the training after too many."""
        if trainer.fit_loop.epoch_loop._should_accumulate():  # Lightning has this rule in a private method alone
            return
        self.in_a_row = self.in_a_row + 1 if self.faulty else 0
        self.skipped += self.faulty is not None
        pl_module.log("faults/skipped_steps", float(self.skipped), batch_size=1)
        names, self.names, self.losses = self.names, [], []
        if self.faulty is None:
            return
        terms = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("loss/")}
        parts = [name for name, value in terms.items() if not value.isfinite() and name != "loss/total"]
        what = f"step {trainer.global_step}: {', '.join(parts) or self.faulty} not finite, on {', '.join(names)}"
        say(f"skipped {what}")
        if self.in_a_row >= self.most_in_a_row:
            path = save_stopped(trainer)
            raise ValueError(
                f"{self.in_a_row} steps in a row were not finite. Last, {what}. Look at these frames, or lower the "
                f"learning rate and start again from an earlier checkpoint; the state of now is in {path}."
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell what was left out."""
        self._tell(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Tell what was left out until then."""
        self._tell(trainer)

    def _tell(self, trainer: pl.Trainer) -> None:
        if self.skipped:
            say(f"faults       {self.skipped} steps were not finite and were skipped")
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it where there is one
        bad = data.bad_samples if isinstance(data, FlowDataModule) else None
        if bad is not None and bad.complaints:
            say(f"left out     {len(bad.complaints)} samples that could not be read: {bad.listed()}")
