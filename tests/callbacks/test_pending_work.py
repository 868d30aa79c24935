"""A training that is stopped within a validation or an accumulated step keeps both."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from tests.callbacks.test_checkpoint_on_signal import fit, module
from unrollflow.callbacks.checkpoint_on_signal import STOPPED, CheckpointOnSignal
from unrollflow.callbacks.last_checkpoint import LastCheckpoint
from unrollflow.callbacks.pending_work import PENDING, PendingWork
from unrollflow.callbacks.skip_non_finite import SkipNonFiniteSteps
from unrollflow.checkpoints import read_checkpoint


class Validations(pl.Callback):
    """Records each complete validation: its step, its batches and its result."""

    def __init__(self) -> None:
        self.found: list[tuple[int, int, float]] = []
        self.batches = 0

    def on_validation_start(self, *_: Any) -> None:
        self.batches = 0

    def on_validation_batch_end(self, *_: Any) -> None:
        self.batches += 1

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.found.append((trainer.global_step, self.batches, float(trainer.callback_metrics["val/score"])))


class StopsAt(pl.Callback):
    """Sends this process one signal, in the step that is followed by a validation or in the validation."""

    def __init__(self, step: int, *, validating: bool) -> None:
        self.at: int | None = step if validating else step - 1
        self.validating = validating

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.stop(trainer, validating=False)

    def on_validation_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.stop(trainer, validating=True)

    def stop(self, trainer: pl.Trainer, *, validating: bool) -> None:
        if trainer.global_step == self.at and self.validating == validating:
            self.at = None
            os.kill(os.getpid(), signal.SIGTERM)


def best(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        folder, filename="best", monitor="val/score", save_on_train_epoch_end=False, enable_version_counter=False
    )


def train(folder: Path, *callbacks: pl.Callback, resume: Path | None = None, **limits: Any) -> tuple[Any, ...]:
    """Weights at the end, all complete validations, and the checkpoint callback of the best weights."""
    seen, keep = Validations(), best(folder)
    parts = [SkipNonFiniteSteps(), PendingWork(), *callbacks, seen, keep, LastCheckpoint()]
    try:
        weights = fit(folder, *parts, resume=resume, **limits)
    except SystemExit:
        weights = {}
    return weights, seen.found, keep


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


SCHEDULES: list[tuple[int, dict[str, Any]]] = [
    (3, {}),  # at an epoch's end
    (4, {"val_check_interval": 2, "check_val_every_n_epoch": None}),  # within an epoch
    (6, {"max_steps": 6}),  # the last step of a training
    (3, {"max_steps": -1, "max_epochs": 1}),  # the same for a training limited by epochs
    (3, {"max_steps": -1, "max_epochs": 2, "val_check_interval": 1}),
    (1, {"accumulate_grad_batches": 2, "val_check_interval": 2, "check_val_every_n_epoch": None}),
    (2, {"accumulate_grad_batches": 2, "val_check_interval": 2, "check_val_every_n_epoch": None}),  # half a step
]


@pytest.mark.slow
@pytest.mark.parametrize("validating", [True, False])
@pytest.mark.parametrize(("step", "limits"), SCHEDULES, ids=str)
def test_a_stop_at_a_validation_loses_neither_it_nor_the_best(
    step: int, limits: dict[str, Any], validating: bool, tmp_path: Path
) -> None:
    weights, validations, keep = train(tmp_path / "straight", **limits)
    stopper = StopsAt(step, validating=validating)
    _, before, _ = train(tmp_path / "run", CheckpointOnSignal(), stopper, **limits)
    saved = next((tmp_path / "run").rglob(STOPPED))
    assert read_checkpoint(saved)["global_step"] == step
    resumed, after, kept = train(tmp_path / "run", resume=saved, **limits)
    assert same(resumed, weights)
    assert before + after == validations
    assert [batches for _, batches, _ in validations] == [2] * len(validations)
    assert kept.best_model_score == keep.best_model_score
    assert read_checkpoint(kept.best_model_path)["global_step"] == read_checkpoint(keep.best_model_path)["global_step"]


class CopiesWithinAStep(pl.Callback):
    """Copies the last checkpoint in the middle of an accumulated step of two batches."""

    def __init__(self, step: int, copy: Path) -> None:
        self.step, self.copy = step, copy

    def on_train_batch_start(self, trainer: pl.Trainer, _: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step and batch_idx == 1 and trainer.is_global_zero:
            shutil.copy(next(Path(trainer.default_root_dir).rglob("last.ckpt")), self.copy)


def fit_on_two_processes(folder: Path, *callbacks: pl.Callback, resume: Path | None = None) -> dict[str, Tensor]:
    """Weights after three steps of two batches each, with a validation in the middle of each step."""
    halves = {"max_steps": 3, "accumulate_grad_batches": 2, "val_check_interval": 1}
    parts = [PendingWork(), *callbacks, LastCheckpoint()]
    return fit(folder, *parts, samples=8, resume=resume, devices=2, strategy="ddp_spawn", **halves)


@pytest.mark.slow
def test_two_processes_resume_within_an_accumulated_step_with_their_mean_gradient(tmp_path: Path) -> None:
    saved, lost = tmp_path / "half.ckpt", tmp_path / "lost.ckpt"
    straight = fit_on_two_processes(tmp_path / "straight", CopiesWithinAStep(1, saved))
    contents = read_checkpoint(saved)
    assert contents["global_step"] == 1
    assert contents[PENDING]["gradients"].keys() == dict(module().named_parameters()).keys()
    contents[PENDING]["gradients"] = {}
    torch.save(contents, lost)
    kept, without = (fit_on_two_processes(tmp_path / path.stem, resume=path) for path in (saved, lost))
    changes = [max(float((run[n] - straight[n]).abs().max()) for n in straight) for run in (kept, without)]
    assert changes[0] < 1e-6 < 1e-3 < changes[1]
