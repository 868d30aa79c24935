"""Skip and count steps whose loss or gradient is not finite."""

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
    """Skips optimizer steps whose loss or gradient is not finite, and ends the training after too many in a row.

    A skipped step increases the step count (of schedules and stages), but does not change the weights, their average,
    the buffers (such as running statistics of batch norms, which the forward pass has updated) or the optimizer state.
    Skipped steps are logged as `faults/skipped_steps`. The check synchronises with the device once per step. With
    float16, the gradient scaler handles infinite gradients of a finite loss: it skips the step and halves its scale.

    Args:
        most_in_a_row: number of successive skipped steps that ends the training with a checkpoint.

    Raises:
        ValueError: if `most_in_a_row` is below 1; in training, after this number of successive skipped steps.
    """

    def __init__(self, *, most_in_a_row: int = 10) -> None:
        if most_in_a_row < 1:
            raise ValueError(f"most_in_a_row is out of range: {most_in_a_row}; it must be at least 1.")
        self.most_in_a_row, self.skipped, self.in_a_row = most_in_a_row, 0, 0
        self.names: list[str] = []
        self.losses: list[Tensor] = []
        self.buffers: dict[str, Tensor] = {}
        self.faulty: str | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Discard an incomplete step of an earlier training."""
        self.names, self.losses = [], []

    def state_dict(self) -> dict[str, Any]:
        """Counts, and the data of a half-accumulated step."""
        step = {"names": self.names, "losses": self.losses, "buffers": self.buffers}
        return {"skipped": self.skipped, "in_a_row": self.in_a_row} | (step if self.losses else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]
        self.names, self.losses = state_dict.get("names", []), state_dict.get("losses", [])
        self.buffers = state_dict.get("buffers", {})

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Store the names of the step's samples, and the buffers before the step."""
        self.faulty = None
        if not self.losses:
            self.buffers = {name: buffer.clone() for name, buffer in pl_module.named_buffers()}
        self.names += batch["name"]

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Store the losses of the step."""
        self.losses = [*(earlier.to(loss.device) for earlier in self.losses), loss.detach()]

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Remove the gradients if they or the losses are not finite, so that the optimizer does nothing."""
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        finite = torch.stack(self.losses).isfinite().all() & nn.utils.get_total_norm(gradients).isfinite()
        if trainer.strategy.reduce_boolean_decision(bool(finite), all=True):
            return
        broken = [
            name for name, p in pl_module.named_parameters() if p.grad is not None and not p.grad.isfinite().all()
        ]
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        # all processes need the same result; otherwise one would end the training while the others wait
        sound = trainer.strategy.reduce_boolean_decision(bool(torch.stack(self.losses).isfinite().all()), all=True)
        if sound and broken and scaler is not None and scaler.get_scale() > 1:
            return  # overflow due to the scale; the scaler skips this step itself
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
        """Count and log skipped steps; end the training after too many."""
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
                f"{self.in_a_row} steps in a row were not finite: the last was {what}. Look at these frames, or lower "
                f"the learning rate and restart from an earlier checkpoint{saved}."
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the number of skipped steps and samples."""
        self._tell(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Print the number of skipped steps and samples."""
        self._tell(trainer)

    def _tell(self, trainer: pl.Trainer) -> None:
        if self.skipped:
            say(f"faults       {self.skipped} steps were not finite and were skipped")
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it if there is one
        bad = data.bad_samples if isinstance(data, FlowDataModule) else None
        if bad is not None and bad.complaints:
            say(f"skipped      {len(bad.complaints)} samples that could not be read: {bad.listed()}")


def step_was_skipped(trainer: pl.Trainer) -> bool:
    """Whether the last optimizer step was skipped."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by a connector of the trainer
    return any(isinstance(callback, SkipNonFiniteSteps) and callback.faulty is not None for callback in callbacks)
