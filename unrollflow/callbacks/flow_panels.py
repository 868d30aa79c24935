"""Panels of images, flow and visibility of the first validation samples."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from unrollflow.callbacks.run_directory import CountsSteps, run_directory, writes_nothing
from unrollflow.contracts import FlowSample
from unrollflow.data.io.flow import read_image, write_image
from unrollflow.visualization.flow import panel


class FlowPanels(CountsSteps):
    """Writes panels of the first validation samples as PNG files, and logs them to W&B and TensorBoard.

    Args:
        samples: number of samples.
        every_n_validations: number of validations of a training per drawing; 1 draws in every validation.
    """

    def __init__(self, *, samples: int = 4, every_n_validations: int = 1) -> None:
        self.samples, self.every_n_validations = samples, every_n_validations
        self.validations = 0
        self.drawn: list[Path] = []

    def state_dict(self) -> dict[str, Any]:
        """Number of complete validations."""
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the count of a checkpoint."""
        self.validations = state_dict["validations"]

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Clear the list of panels."""
        self.drawn = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the validations of a training."""
        self.validations += trainer.state.fn == "fit" and not trainer.sanity_checking

    @rank_zero_only
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # of validation_step; Lightning's type does not include our NamedTuple and dict
        batch: FlowSample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the panels of the first samples that are not drawn yet."""
        shown = not trainer.sanity_checking and not writes_nothing(trainer)
        due = shown and (trainer.state.fn != "fit" or self.validations % self.every_n_validations == 0)
        missing = self.samples - len(self.drawn) if due and dataloader_idx == 0 else 0
        for i in range(min(len(batch["name"]), missing)):
            maps = {"target": batch.get("flow"), "valid": batch.get("valid"), "occluded": batch.get("occluded")}
            truth = {name: values[i] for name, values in maps.items() if values is not None}
            frame, prediction, visible = batch["image1"][i], outputs["flow"][i], outputs["visible"][i]
            name = f"step-{self.steps(trainer):06d}_{len(self.drawn):02d}-{safe_name(batch['name'][i])}.png"
            self.drawn.append(run_directory(trainer) / "panels" / name)
            write_image(self.drawn[-1], panel(image1=frame, prediction=prediction, visible=visible, **truth))

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the panels to W&B and TensorBoard."""
        captions = [path.stem.partition("_")[2] for path in self.drawn]
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and self.drawn:
                # without a step, W&B uses the last logged step, which may be many steps ago
                logger.log_image("panels", [*map(str, self.drawn)], step=self.steps(trainer), caption=captions)
            if isinstance(logger, TensorBoardLogger):
                for caption, path in zip(captions, self.drawn, strict=True):
                    logger.experiment.add_image(f"panels/{caption}", read_image(path), self.steps(trainer))


def safe_name(name: str) -> str:
    """Sample name in a form that is valid as part of a file name.

    >>> safe_name("clean/alley_1/frame_0001")
    'clean-alley_1-frame_0001'
    """
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).lstrip(".")
