"""Steps whose loss or gradient is not finite are skipped, counted, and named if they continue."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer

from unrollflow.callbacks.checkpoint_on_signal import save_stopped
from unrollflow.callbacks.pending_work import within_accumulated_step
from unrollflow.callbacks.run_directory import say
from unrollflow.data import FlowDataModule

MOST_NAMES = 3


class SkipNonFiniteSteps(Callback):
    """Takes no optimizer step where the loss or the gradient is not finite, and ends a training that cannot go on.

    Such a step counts as one (rates and stages go on), but changes neither weights, their average, buffers (such as the
    running statistics of batch norms, which the forward pass has updated) nor the optimizer's state. Skipped steps are
    logged as `faults/skipped_steps`. Whether all is finite is read from the device once a step. Under float16
    an infinite gradient of a finite loss is the scaler's, which skips and halves its scale by itself.

    Args:
        most_in_a_row: this number of successive faulty steps ends the training with a checkpoint.

    Raises:
        ValueError: if `most_in_a_row` is below 1; in training, after as many faults in a row.
    """

    def __init__(self, *, most_in_a_row: int = 10) -> None:
        if most_in_a_row < 1:
            raise ValueError(f"most_in_a_row is {most_in_a_row}; it must be at least 1.")
        self.most_in_a_row, self.skipped, self.in_a_row = most_in_a_row, 0, 0
        self.names: list[str] = []
        self.losses: list[Tensor] = []
        self.buffers: dict[str, Tensor] = {}
        self.faulty: str | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Forget a step that an earlier training has not completed."""
        self.names, self.losses = [], []

    def state_dict(self) -> dict[str, Any]:
        """Counts, and what is known of a half-accumulated step."""
        step = {"names": self.names, "losses": self.losses, "buffers": self.buffers}
        return {"skipped": self.skipped, "in_a_row": self.in_a_row} | (step if self.losses else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint's."""
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]
        self.names, self.losses = state_dict.get("names", []), state_dict.get("losses", [])
        self.buffers = state_dict.get("buffers", {})

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the names of the step's samples, and the buffers before it."""
        self.faulty = None
        if not self.losses:
            self.buffers = {name: buffer.clone() for name, buffer in pl_module.named_buffers()}
        self.names += batch["name"]

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Remember the step's losses."""
        self.losses = [*(earlier.to(loss.device) for earlier in self.losses), loss.detach()]

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Where gradients or losses are not finite, remove the gradients, so that the optimizer does nothing."""
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        finite = torch.stack(self.losses).isfinite().all() & nn.utils.get_total_norm(gradients).isfinite()
        if trainer.strategy.reduce_boolean_decision(bool(finite), all=True):
            return
        broken = [
            name for name, p in pl_module.named_parameters() if p.grad is not None and not p.grad.isfinite().all()
        ]
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        # all processes judge alike, or one would end the training and leave the others waiting
        sound = trainer.strategy.reduce_boolean_decision(bool(torch.stack(self.losses).isfinite().all()), all=True)
        if sound and broken and scaler is not None and scaler.get_scale() > 1:
            return  # an overflow of the scaler's own scale, and it skips by itself
        largest = max(float(gradient.abs().max()) for gradient in gradients)
        overflow = f"norm of the gradients (each is finite, the largest {largest:.3g})"
        self.faulty = (f"gradient of {', '.join(broken[:MOST_NAMES])}" if broken else overflow) if sound else "loss"
        for parameter in pl_module.parameters():
            parameter.grad = None
        for name, buffer in pl_module.named_buffers():
            buffer.copy_(self.buffers[name])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count and log; end the training after too many."""
        if within_accumulated_step(trainer):
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
            saved = f"; the current state is in {path}" if path else ""
            raise ValueError(
                f"{self.in_a_row} steps in a row were not finite. Last, {what}. Look at these frames, or lower the "
                f"learning rate and start again from an earlier checkpoint{saved}."
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print what was skipped."""
        self._tell(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Print what was skipped until then."""
        self._tell(trainer)

    def _tell(self, trainer: pl.Trainer) -> None:
        if self.skipped:
            say(f"faults       {self.skipped} steps were not finite and were skipped")
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it where there is one
        bad = data.bad_samples if isinstance(data, FlowDataModule) else None
        if bad is not None and bad.complaints:
            say(f"skipped      {len(bad.complaints)} samples that could not be read: {bad.listed()}")


def step_was_skipped(trainer: pl.Trainer) -> bool:
    """Whether the optimizer step that was just due has been skipped."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # which a part of the trainer sets
    return any(isinstance(callback, SkipNonFiniteSteps) and callback.faulty is not None for callback in callbacks)
