"""What a run leaves behind: pictures, figures and a report."""

import json
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from unrollflow.contracts import FlowSample
from unrollflow.data.codecs import write_image, write_whole
from unrollflow.measures import HEADLINE, MEASURES, UNLABELLED
from unrollflow.report import write_report
from unrollflow.viz import panel

REPORTED = (*MEASURES, *UNLABELLED, "photometric")


def run_directory(trainer: pl.Trainer) -> Path:
    """Where a run keeps its files: the first logger's directory, by ModelCheckpoint's rule."""
    logger = trainer.logger
    if logger is None:
        return Path(trainer.default_root_dir)
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(logger.save_dir or trainer.default_root_dir) / str(logger.name) / version


class CountsSteps(Callback):
    """Knows how many steps the weights were trained for, also where validate or test loaded them from a checkpoint."""

    loaded_steps = 0

    def on_load_checkpoint(self, trainer: pl.Trainer, _: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what the trainer itself takes over only where it resumes a fit."""
        self.loaded_steps = 0 if trainer.state.fn == "fit" else checkpoint["global_step"]

    def steps(self, trainer: pl.Trainer) -> int:
        """Steps of the weights in use, 0 where nothing tells."""
        return trainer.global_step if trainer.state.fn == "fit" else self.loaded_steps or trainer.global_step


class FlowPanels(CountsSteps):
    """Panels of the first validation samples, as PNG files of the run and as images of its W&B loggers.

    Args:
        samples: how many.
        every_n_validations: 1 draws them in every validation.
    """

    def __init__(self, *, samples: int = 4, every_n_validations: int = 1) -> None:
        self.samples, self.every_n_validations = samples, every_n_validations
        self.validations = 0
        self.drawn: list[Path] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count, and start with no panel."""
        self.drawn = []
        self.validations += not trainer.sanity_checking

    @rank_zero_only
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # of validation_step; Lightning's type knows no NamedTuple or dict of ours
        batch: FlowSample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw what is still missing of the first samples."""
        due = not trainer.sanity_checking and (self.validations - 1) % self.every_n_validations == 0
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
        """Hand the panels to the W&B loggers."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and self.drawn:
                captions = [path.stem.partition("_")[2] for path in self.drawn]
                # without a step W&B takes the last one that was logged, which may be many steps ago
                logger.log_image("panels", [*map(str, self.drawn)], step=self.steps(trainer), caption=captions)


class RunReport(CountsSteps):
    """At the end of a fit, or of validate or test by themselves: metrics.json, report.html, and where things lie."""

    def __init__(self) -> None:
        self.started = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the training."""
        self._report(trainer)

    @rank_zero_only
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Report a validation or a test that is not part of a fit, after the table that its end prints."""
        if stage in ("validate", "test"):
            self._report(trainer)

    def _report(self, trainer: pl.Trainer) -> None:
        directory = run_directory(trainer)
        prefix = "test" if trainer.state.fn == "test" else "val"
        logged = {name: trainer.callback_metrics.get(f"{prefix}/{name}") for name in REPORTED}
        found = {name: finite(value) for name, value in logged.items()}
        # the headline stands in every file, also where it is undefined
        figures = {name: value for name, value in found.items() if value is not None or name in HEADLINE}
        figures |= {"steps": self.steps(trainer) or None, "seconds": time.perf_counter() - self.started}
        write_whole(directory / "metrics.json", (json.dumps(figures, indent=2) + "\n").encode())
        for logger in trainer.loggers:
            logger.save()
        say(f"figures      {directory / 'metrics.json'}")
        say(f"report       {write_report(directory, title=f'unrollflow: {directory.parent.name}, {directory.name}')}")
        for checkpoint in trainer.checkpoint_callbacks:
            if isinstance(checkpoint, ModelCheckpoint) and trainer.state.fn == "fit":
                say(f"checkpoints  best {checkpoint.best_model_path or '(none)'}")
                say(f"             last {checkpoint.last_model_path or '(none)'}")


def safe_name(name: str) -> str:
    """A sample's name as part of a file's name.

    >>> safe_name("clean/alley_1/frame_0001")
    'clean-alley_1-frame_0001'
    """
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).lstrip(".")


def finite(value: Tensor | None) -> float | None:
    """A logged value for JSON, which knows no NaN."""
    number = None if value is None else float(value)
    return number if number is not None and math.isfinite(number) else None


@rank_zero_only
def say(text: str) -> None:
    """Tell the user, once, whatever the number of processes."""
    print(text, flush=True)  # noqa: T201, the answer of a command
