"""Write the figures and the report at the end of a run, and print the paths of its files."""

import json
import math
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from unrollflow.callbacks.run_directory import CountsSteps, run_directory, say, writes_nothing
from unrollflow.data.io.flow import write_atomic
from unrollflow.metrics.names import HEADLINE, MEASURES, UNLABELLED
from unrollflow.visualization.report import write_report

REPORTED = (*MEASURES, *UNLABELLED, "photometric")


class RunReport(CountsSteps):
    """Writes metrics.json and report.html at the end of a fit, validate or test, and prints the paths.

    A resumed fit includes the seconds of the earlier run, and keeps its figures until the next validation.
    """

    def __init__(self) -> None:
        self.started, self.seconds_before = 0.0, 0.0
        self.figures: dict[str, float | None] = {}

    def state_dict(self) -> dict[str, Any]:
        """Seconds of the training so far, and the figures of its last validation."""
        return {"seconds": self._seconds(), "figures": self.figures}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the seconds and figures of a checkpoint."""
        self.seconds_before, self.figures = state_dict["seconds"], state_dict["figures"]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start the clock."""
        self.started, self.seconds_before, self.figures = time.perf_counter(), 0.0, {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Store the figures of a validation of a training."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.figures = logged_figures(trainer, "val")

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the training."""
        self._report(trainer)

    @rank_zero_only
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Report a validation or test that is not part of a fit, after its table was printed."""
        if stage in ("validate", "test"):
            self._report(trainer)

    def _report(self, trainer: pl.Trainer) -> None:
        if writes_nothing(trainer):
            return
        directory, fitted = run_directory(trainer), trainer.state.fn == "fit"
        found = self.figures if fitted else logged_figures(trainer, "test" if trainer.state.fn == "test" else "val")
        # every file has the headline figures, even if they are undefined
        figures = {name: found.get(name) for name in REPORTED if found.get(name) is not None or name in HEADLINE}
        seconds = self._seconds() if fitted else time.perf_counter() - self.started
        figures |= {"steps": self.steps(trainer) or None, "seconds": seconds}
        write_atomic(directory / "metrics.json", (json.dumps(figures, indent=2) + "\n").encode())
        for logger in trainer.loggers:
            logger.save()
        say(f"figures      {directory / 'metrics.json'}")
        say(f"report       {write_report(directory, title=f'unrollflow: {directory.parent.name}, {directory.name}')}")
        if fitted and trainer.checkpoint_callbacks:
            say(f"checkpoints  best {checkpoint_path(trainer, 'best_model_path')}")
            say(f"             last {checkpoint_path(trainer, 'last_model_path')}")

    def _seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started


def logged_figures(trainer: pl.Trainer, stage: str) -> dict[str, float | None]:
    """Figures that an evaluation has logged; None if undefined."""
    return {name: finite(trainer.callback_metrics.get(f"{stage}/{name}")) for name in REPORTED}


def checkpoint_path(trainer: pl.Trainer, attribute: str) -> str:
    """Path of a kind of checkpoint, from the first callback that has saved one; "(none)" if there is none."""
    paths = (getattr(callback, attribute, "") for callback in trainer.checkpoint_callbacks)
    return next((path for path in paths if path), "(none)")


def finite(value: Tensor | None) -> float | None:
    """Logged value for JSON; None if it is not finite, because JSON has no NaN."""
    number = None if value is None else float(value)
    return number if number is not None and math.isfinite(number) else None
