"""The moving average of the weights is used in validation, checkpoints and predictions, and is exact after a resume."""

import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from tests.callbacks.test_checkpoint_on_signal import At, fit
from unrollflow.callbacks.average_weights import AverageWeights
from unrollflow.callbacks.checkpoint_on_signal import STOPPED, CheckpointOnSignal
from unrollflow.checkpoints import read_checkpoint

DECAY = 0.5


class Records(pl.Callback):
    """The trained weights after each step, and the weights in each validation."""

    def __init__(self) -> None:
        self.trained: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.trained.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.validated.append({name: value.clone() for name, value in pl_module.state_dict().items()})


def average(trained: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """By hand: it begins with the weights after the first step."""
    result = trained[0]
    for weights in trained[1:]:
        result = {name: DECAY * value + (1 - DECAY) * weights[name] for name, value in result.items()}
    return result


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 1e-6) -> None:
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=tolerance, rtol=tolerance, msg=name)


def test_validation_checkpoint_and_result_are_the_average_of_what_was_trained(tmp_path: Path) -> None:
    records = Records()
    final = fit(tmp_path, AverageWeights(decay=DECAY), records, max_steps=4)
    assert_same(average(records.trained[:3]), records.validated[-1])  # after step 3, the first epoch
    assert_same(average(records.trained), final)
    saved = read_checkpoint(next(tmp_path.rglob("*.ckpt")))
    assert_same(average(records.trained[: saved["global_step"]]), saved["state_dict"])
    assert_same(records.trained[saved["global_step"] - 1], saved["current_model_state"])


@pytest.mark.parametrize("validating", [False, True])
def test_resuming_a_stopped_training_is_bit_exact(validating: bool, tmp_path: Path) -> None:
    straight = fit(tmp_path / "straight", AverageWeights(decay=DECAY))
    with pytest.raises(SystemExit):
        fit(
            tmp_path / "stopped",
            AverageWeights(decay=DECAY),
            CheckpointOnSignal(),
            At(3, signal.SIGTERM, validating=validating),
        )
    path = next((tmp_path / "stopped").rglob(STOPPED))
    resumed = fit(tmp_path / "stopped", AverageWeights(decay=DECAY), resume=path)
    assert_same(straight, resumed, tolerance=0.0)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=rf"decay is out of range: {decay}; it must be in \[0, 1\)"):
        AverageWeights(decay=decay)
