"""Save a checkpoint when a training is stopped, and write checkpoints atomically."""

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback

from unrollflow.callbacks.pending_work import within_accumulated_step
from unrollflow.callbacks.run_directory import run_directory, say, writes_nothing
from unrollflow.data.io.files import atomic_file

SIGNALS = (signal.SIGTERM, signal.SIGINT)
STOPPED = "stopped.ckpt"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in the same folder and renames it.

    Lightning writes to the system's temporary folder. If that is on another file system, Lightning copies the file over
    the previous checkpoint, and a training that is killed during the copy loses both.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save a checkpoint; if it cannot be written, raise OSError and keep the previous file."""
        if "://" in str(path):  # remote storage shows a file only when it is complete
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        try:
            with atomic_file(Path(path)) as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            found = error if isinstance(error, OSError) else error.__context__
            system = found if isinstance(found, OSError) else None  # the system's error that torch replaced
            reason = system.strerror if system else str(error).splitlines()[0]
            number = system.errno if system else None
            kept = "; the previous file is unchanged" if Path(path).is_file() else ""
            raise OSError(number or 0, f"this checkpoint cannot be written: {reason}{kept}", str(path)) from error


class CheckpointOnSignal(Callback):
    """On SIGTERM or Ctrl-C, ends the training after the current step, saves a checkpoint and prints its path.

    A second signal ends the training at once. With several processes, all stop at the same step.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self.before: dict[signal.Signals, Any] = {}
        self.process = os.getpid()
        self.over = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write checkpoints atomically, unless the user has set another checkpoint plugin."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = WholeCheckpoints()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the signal handlers."""
        self.asked, self.process, self.over = None, os.getpid(), False
        in_main = threading.current_thread() is threading.main_thread()  # Python allows handlers only there
        if in_main and not writes_nothing(trainer):
            self.before = {number: signal.signal(number, self._listen) for number in SIGNALS}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove Lightning's wrapper of the handlers, which would end the training within an accumulated step."""
        for number in self.before:
            signal.signal(number, self._listen)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and end the training if a signal was received and the step is complete."""
        if not within_accumulated_step(trainer):
            self._stop_if_asked(trainer)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Save and end the training if a signal was received, because a validation can take long."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._stop_if_asked(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Ignore later signals; Lightning restores the handlers that it found after this hook."""
        self.over = True

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def _listen(self, number: int, frame: FrameType | None) -> None:
        if self.over:
            signal.signal(number, self.before[signal.Signals(number)])
            signal.raise_signal(number)
            return
        self.asked = signal.Signals(number)
        if os.getpid() == self.process:  # Ctrl-C in a terminal also reaches the data loading processes
            say(f"{self.asked.name}: the training ends after this step; a second signal ends it at once.")
        for again in SIGNALS:
            signal.signal(again, signal.SIG_DFL)

    def _stop_if_asked(self, trainer: pl.Trainer) -> None:
        if not trainer.strategy.reduce_boolean_decision(self.asked is not None, all=False):
            return
        path = save_stopped(trainer)
        say(f"stopped after step {trainer.global_step}; resume with: unrollflow fit --ckpt_path {path}")
        raise SystemExit(128 + (self.asked or signal.SIGTERM))


def save_stopped(trainer: pl.Trainer) -> Path | None:
    """Save the state of a training that ends early to the run's directory; all processes must call this.

    Returns:
        path of the checkpoint; None in a `fast_dev_run`, which writes no files.
    """
    if writes_nothing(trainer):
        return None
    path = run_directory(trainer) / "checkpoints" / STOPPED
    trainer.save_checkpoint(path, weights_only=False)
    return path
