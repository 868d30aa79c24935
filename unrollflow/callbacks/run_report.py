"""At the end of a run: its figures as JSON, its report, and where its files are."""

import json
import math
import time

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from unrollflow.callbacks.run_directory import CountsSteps, run_directory, say
from unrollflow.data.io.flow import write_whole
from unrollflow.metrics.names import HEADLINE, MEASURES, UNLABELLED
from unrollflow.visualization.report import write_report

REPORTED = (*MEASURES, *UNLABELLED, "photometric")


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


def finite(value: Tensor | None) -> float | None:
    """A logged value for JSON, which knows no NaN."""
    number = None if value is None else float(value)
    return number if number is not None and math.isfinite(number) else None
