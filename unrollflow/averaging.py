"""Exponential moving average of the weights, which validation, checkpoints and predictions use."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EMAWeightAveraging


class AverageWeights(EMAWeightAveraging):
    """Lightning's moving average, whose checkpoints are right also when they are saved within a validation.

    A validation runs with the average in the module's place. Lightning would then save the two the wrong way round.

    Args:
        decay: of the average, in [0, 1); it spans about 1 / (1 - decay) steps.

    Raises:
        ValueError: if the decay is out of range.
    """

    def __init__(self, *, decay: float = 0.98) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay}: it must lie in [0, 1).")
        super().__init__(decay=decay)
        self.swapped = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as the weights, and what is trained beside them."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self.swapped:
            weights, trained = checkpoint["state_dict"], checkpoint["current_model_state"]
            checkpoint["state_dict"], checkpoint["current_model_state"] = trained, weights

    def _swap_models(self, pl_module: pl.LightningModule) -> None:
        super()._swap_models(pl_module)
        self.swapped = not self.swapped
