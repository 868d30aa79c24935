"""last.ckpt is always the newest state, and resuming from it is bit-exact."""

import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from tests.callbacks.test_checkpoint_on_signal import fit
from tests.callbacks.test_collapse_guard import Tells
from tests.callbacks.test_pending_work import same
from tests.training.test_module import trainer
from unrollflow.callbacks.average_weights import AverageWeights
from unrollflow.callbacks.last_checkpoint import LastCheckpoint
from unrollflow.callbacks.pending_work import PendingWork
from unrollflow.callbacks.skip_non_finite import SkipNonFiniteSteps
from unrollflow.checkpoints import read_checkpoint

NEVER = 1e9
"""Minutes."""


class Copies(LastCheckpoint):
    """Keeps a copy of every last.ckpt, numbered."""

    def __init__(self, folder: Path, *, minutes: float = NEVER) -> None:
        super().__init__(minutes=minutes)
        self.folder, self.copies = folder, list[Path]()

    def _save(self, trainer: pl.Trainer) -> None:
        super()._save(trainer)
        self.copies.append(self.folder / f"{len(self.copies)}.ckpt")
        shutil.copy(self.last_model_path, self.copies[-1])


def saved_at(folder: Path, *, minutes: float = NEVER, **limits: Any) -> list[int]:
    """Steps of all last.ckpt of a training of seven steps, with three steps per epoch."""
    folder.mkdir()
    copies = Copies(folder, minutes=minutes)
    fit(folder, copies, **limits)
    return [read_checkpoint(path)["global_step"] for path in copies.copies]


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({}, [3, 6, 7]),
        ({"limit_val_batches": 0}, [3, 6, 7]),
        ({"limit_val_batches": 0, "max_steps": -1, "max_epochs": 2}, [3, 6]),
        ({"val_check_interval": 2, "check_val_every_n_epoch": None}, [2, 3, 4, 6, 7]),
        ({"check_val_every_n_epoch": 2}, [3, 6, 7]),
        ({"accumulate_grad_batches": 2, "max_steps": 4}, [2, 4]),
    ],
    ids=str,
)
def test_it_is_saved_after_each_validation_and_epoch_and_at_the_end(
    limits: dict[str, Any], steps: list[int], tmp_path: Path
) -> None:
    assert saved_at(tmp_path / "run", **limits) == steps


def test_it_is_saved_when_the_minutes_have_passed(tmp_path: Path) -> None:
    assert saved_at(tmp_path / "each", minutes=0, limit_val_batches=0) == [1, 2, 3, 4, 5, 6, 7]
    halves = mock.Mock(side_effect=(30.0 * i for i in range(100)))  # half a minute between two checks
    with mock.patch("unrollflow.callbacks.last_checkpoint.time", mock.Mock(monotonic=halves)):
        assert saved_at(tmp_path / "minute", minutes=1, limit_val_batches=0, max_steps=2) == [2]


def test_without_validation_data_it_is_saved_too(tmp_path: Path) -> None:
    """Lightning counts a validation without a batch as one that is due."""
    runner = trainer(tmp_path, callbacks=[PendingWork(), LastCheckpoint()], max_steps=2, enable_checkpointing=True)
    loader = torch.utils.data.DataLoader([torch.zeros(1)] * 2)  # type: ignore[arg-type]  # a list is a data set
    runner.fit(Tells(), loader, [])
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 2


def test_a_validation_that_is_not_the_best_is_saved_with_the_state_of_the_best(tmp_path: Path) -> None:
    best = ModelCheckpoint(
        tmp_path / "checkpoints", monitor="val/motion", filename="best", save_on_train_epoch_end=False
    )
    options: dict[str, Any] = {
        "max_steps": 3,
        "val_check_interval": 1,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": True,
    }
    runner = trainer(tmp_path, callbacks=[best, LastCheckpoint()], **options)
    loader = torch.utils.data.DataLoader([torch.zeros(1)] * 3)  # type: ignore[arg-type]
    runner.fit(Tells((1.0, 1.0), (2.0, 1.0), (3.0, 1.0)), loader, torch.utils.data.DataLoader([torch.zeros(1)]))  # type: ignore[arg-type]
    last = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 3
    assert read_checkpoint(best.best_model_path)["global_step"] == 1
    (state,) = [state for state in last["callbacks"].values() if "best_model_score" in state]
    assert float(state["best_model_score"]) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"max_steps": -1, "max_epochs": 2, "val_check_interval": 1},
        {"limit_val_batches": 0, "minutes": 0},
        {"limit_val_batches": 0, "max_steps": -1, "max_epochs": 3},
        {"accumulate_grad_batches": 2, "val_check_interval": 2, "check_val_every_n_epoch": None, "max_steps": 5},
        {"accumulate_grad_batches": 2, "limit_val_batches": 0, "max_steps": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("averaged", [False, True])
def test_resuming_from_each_last_checkpoint_is_bit_exact(
    limits: dict[str, Any], averaged: bool, tmp_path: Path
) -> None:
    def others() -> list[pl.Callback]:
        return [SkipNonFiniteSteps(), PendingWork(), *([AverageWeights(decay=0.5)] if averaged else [])]

    copies = Copies(tmp_path, minutes=limits.pop("minutes", NEVER))
    straight = fit(tmp_path / "straight", *others(), copies, **limits)
    for path in copies.copies:
        resumed = fit(tmp_path / path.stem, *others(), resume=path, **limits)
        assert same(resumed, straight), path.name


def test_a_negative_time_is_refused() -> None:
    with pytest.raises(ValueError, match="minutes is out of range: -1; the time between"):
        LastCheckpoint(minutes=-1)
