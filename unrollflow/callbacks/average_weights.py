"""Exponential moving average of the weights, which validation, checkpoints and predictions use."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EMAWeightAveraging

from unrollflow.callbacks.skip_non_finite import step_was_skipped


class AverageWeights(EMAWeightAveraging):
    """Exponential moving average of the weights, also correct in checkpoints that are saved during a validation.

    During a validation, Lightning swaps the average with the trained weights, but saves as if they were not swapped.
    In Python, list this callback before `CheckpointOnSignal`, which otherwise saves before a step is averaged.

    Args:
        decay: decay of the average, in [0, 1); the average spans about 1 / (1 - decay) steps.

    Raises:
        ValueError: if the decay is out of range.
    """

    def __init__(self, *, decay: float = 0.98) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is out of range: {decay}; it must be in [0, 1).")
        super().__init__(decay=decay)
        self.swapped = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keep the average on the training device; Lightning moves the module there only after this hook."""
        self._device, self.swapped = trainer.strategy.root_device, False
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average the weights after a step, unless it was skipped."""
        if not step_was_skipped(trainer):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the average to the module; Lightning does not do this if a resumed training has no steps left."""
        self._copy_average_to_current(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as `state_dict` and the trained weights as `current_model_state`."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self.swapped:
            weights, trained = checkpoint["state_dict"], checkpoint["current_model_state"]
            checkpoint["state_dict"], checkpoint["current_model_state"] = trained, weights

    def _swap_models(self, pl_module: pl.LightningModule) -> None:  # Lightning has no public hook for the swap
        super()._swap_models(pl_module)
        self.swapped = not self.swapped
