"""One of two processes of a training, started by torchrun; the second one kills itself in its third step."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from tests.callbacks.test_checkpoint_on_signal import loaded, module

FOLDER = Path(sys.argv[1])


class Dies(pl.Callback):
    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 2 and trainer.global_rank == 1:
            (FOLDER / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy="ddp_find_unused_parameters_true", max_steps=20, callbacks=[Dies()],
        limit_val_batches=0, use_distributed_sampler=False, **options,
    )  # fmt: skip
    trainer.fit(module(), loaded(0))
    (FOLDER / "ended").touch()
