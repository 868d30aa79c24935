import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from tests.training.test_module import data, layers, parts, trainer
from unrollflow.callbacks.checkpoint_on_signal import STOPPED, CheckpointOnSignal, WholeCheckpoints
from unrollflow.checkpoints import read_checkpoint
from unrollflow.data import AppearanceJitter, FlowDataModule
from unrollflow.losses import AllVisible, Distillation, RandomAffine
from unrollflow.training.lr_schedulers import DecayAfter
from unrollflow.training.module import UnsupervisedFlow

STEPS = 7
"""Of three to an epoch, with a validation at each epoch's end."""


def module() -> UnsupervisedFlow:
    """A module with random draws in its steps, and a learning rate that changes in each step."""
    lessons = [Distillation(views=[RandomAffine()], visibility=AllVisible(), weight=0.3, gamma=0.0)]
    jitter = AppearanceJitter(blur_probability=0.5, eraser_probability=0.5, eraser_size=(5, 9))
    return UnsupervisedFlow(
        **parts(jitter=jitter, distillation=lessons, scheduler=partial(DecayAfter, start=2, every=2))
    )


def loaded(workers: int, samples: int = 6) -> FlowDataModule:
    return FlowDataModule(train=layers(samples), validation=layers(2, "validation"), batch_size=2, workers=workers)


def fit(
    directory: Path,
    *callbacks: pl.Callback,
    workers: int = 0,
    samples: int = 6,
    resume: Path | None = None,
    **limits: Any,
) -> dict[str, Tensor]:
    """Weights at the end."""
    pl.seed_everything(3)
    flow = module()
    runner = trainer(directory, callbacks=list(callbacks), enable_checkpointing=True, **({"max_steps": STEPS} | limits))
    runner.fit(flow, loaded(workers, samples), ckpt_path=resume, weights_only=True if resume else None)
    return flow.state_dict()


class At(pl.Callback):
    """Sends a signal to this process at the start of a step, or in a validation."""

    def __init__(self, step: int, number: int, *, validating: bool = False) -> None:
        self.step, self.number, self.validating = step, number, validating

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and not self.validating:
            os.kill(os.getpid(), self.number)

    def on_validation_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and self.validating:
            os.kill(os.getpid(), self.number)


@pytest.mark.slow
@pytest.mark.parametrize("limits", [{}, {"max_steps": -1, "max_epochs": 3}, {"limit_train_batches": 2}], ids=str)
@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_a_stopped_training_is_bit_exact(workers: int, limits: dict[str, Any], tmp_path: Path) -> None:
    straight = fit(tmp_path / "straight", workers=workers, **limits)
    for step in (1, 2, 4):
        folder = tmp_path / f"{step}"
        with pytest.raises(SystemExit) as ended:
            fit(folder, CheckpointOnSignal(), At(step, signal.SIGTERM), workers=workers, **limits)
        assert ended.value.code == 143
        saved = next(folder.rglob(STOPPED))
        assert read_checkpoint(saved)["global_step"] == step + 1
        resumed = fit(folder, workers=workers, resume=saved, **limits)
        for name, value in straight.items():
            assert torch.equal(resumed[name], value), (step, name)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_resuming_from_every_checkpoint_is_bit_exact(every: int, workers: int, tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=every, save_top_k=-1, filename="{step}")
    straight = fit(tmp_path, keep, workers=workers)
    for path in sorted(tmp_path.glob("*.ckpt"))[-2:]:
        if read_checkpoint(path)["global_step"] < STEPS:
            resumed = fit(tmp_path / path.stem, workers=workers, resume=path)
            for name, value in straight.items():
                assert torch.equal(resumed[name], value), (path.name, name)


def test_a_stop_in_a_validation_saves_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    straight = fit(tmp_path / "straight")
    with pytest.raises(SystemExit):
        fit(tmp_path / "stopped", CheckpointOnSignal(), At(3, signal.SIGINT, validating=True))
    path = next((tmp_path / "stopped").rglob(STOPPED))
    assert f"resume with: unrollflow fit --ckpt_path {path}" in capsys.readouterr().out
    resumed = fit(tmp_path / "stopped", resume=path)
    for name, value in straight.items():
        assert torch.equal(resumed[name], value), name


def test_signal_handlers_are_restored(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    fit(tmp_path, CheckpointOnSignal(), max_steps=1)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


class Fails(pl.Callback):
    def on_train_batch_end(self, *_: Any) -> None:
        raise ZeroDivisionError


def test_signal_handlers_are_restored_after_an_error(tmp_path: Path) -> None:
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with pytest.raises(ZeroDivisionError):
            fit(tmp_path, CheckpointOnSignal(), Fails())
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert received == [signal.SIGTERM] * 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class AtBatch(pl.Callback):
    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        if index == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def test_an_accumulated_step_is_completed_before_the_end(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, CheckpointOnSignal(), AtBatch(), accumulate_grad_batches=2)
    assert read_checkpoint(next(tmp_path.rglob(STOPPED)))["global_step"] == 1


def test_data_workers_print_nothing_about_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    for process, said in ((os.getpid(), True), (os.getpid() + 1, False)):
        listens = CheckpointOnSignal()
        listens.process = process
        listens._listen(signal.SIGINT, None)
        assert ("SIGINT: the training ends after this step" in capsys.readouterr().out) == said
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
        signal.signal(number, handler)


def test_a_failed_write_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"state_dict": {"w": torch.ones(2)}}, path)
    full = OSError(28, "No space left on device")
    with (
        mock.patch("unrollflow.callbacks.checkpoint_on_signal.os.fsync", side_effect=full),
        pytest.raises(OSError, match=r"No space left on device; the previous file is unchanged") as reported,
    ):
        WholeCheckpoints().save_checkpoint({"state_dict": {"w": torch.zeros(2)}}, path)
    assert reported.value.filename == str(path)
    assert read_checkpoint(path)["state_dict"]["w"].tolist() == [1, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_trainer_writes_checkpoints_atomically(tmp_path: Path) -> None:
    runner = trainer(tmp_path, callbacks=[CheckpointOnSignal()])
    runner.fit(UnsupervisedFlow(**parts()), data())
    assert isinstance(runner.strategy.checkpoint_io, WholeCheckpoints)


LIMITED = """
import resource, signal, sys, torch
from unrollflow.callbacks.checkpoint_on_signal import WholeCheckpoints
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    WholeCheckpoints().save_checkpoint({"state_dict": {"w": torch.zeros(100_000)}}, sys.argv[1])
except OSError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.mark.slow
def test_a_full_file_system_raises_an_os_error(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"state_dict": {"w": torch.ones(2)}}, path)
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=False)
    assert "this checkpoint cannot be written: File too large" in done.stderr, done.stderr
    assert read_checkpoint(path)["state_dict"]["w"].tolist() == [1, 1]
