import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from tests.training.test_module import data, parts, trainer
from unrollflow.callbacks.collapse_guard import CollapseGuard
from unrollflow.callbacks.last_checkpoint import LastCheckpoint
from unrollflow.training.module import UnsupervisedFlow


class Tells(pl.LightningModule):
    """Logs given motions and visible shares, one pair in each validation."""

    def __init__(self, *values: tuple[float, float]) -> None:
        super().__init__()
        self.weight, self.values, self.reported = torch.nn.Parameter(torch.ones(())), values, 0

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.weight.square()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        motion, visible = self.values[self.reported]
        self.reported += 1
        self.log_dict({"val/motion": motion, "val/visible_fraction": visible})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.125)


GOOD, STILL, HIDDEN, BROKEN = (2.0, 0.9), (0.01, 0.9), (2.0, 0.01), (math.inf, 0.5)


def fit(directory: Path, guard: CollapseGuard, *values: tuple[float, float]) -> tuple[list[str], pl.Trainer]:
    """Warnings of a training with one validation for each value, and its trainer."""
    runner = trainer(directory, callbacks=[guard], max_steps=len(values), val_check_interval=1, num_sanity_val_steps=0)
    loader = DataLoader([torch.zeros(1)] * 8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runner.fit(Tells(*values), loader, DataLoader([torch.zeros(1)]))
    return [text for w in caught if (text := str(w.message)).startswith("After ")], runner


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (STILL, ("collapsed to zero: 0.01 px", "smoothness_weight", "raise the learning rate (now 0.125)")),
        (HIDDEN, ("1.0% of the pixels are visible", "first AllVisible")),
        (BROKEN, ("not finite", "gradient_clip_val")),
    ],
)
def test_each_collapse_is_reported_once_with_advice(
    value: tuple[float, float], words: tuple[str, ...], tmp_path: Path
) -> None:
    found, runner = fit(tmp_path, CollapseGuard(patience=2), GOOD, value, value, value, value)
    (text,) = found
    assert text.startswith("After 3 steps")
    assert all(word in text for word in words)
    assert runner.global_step == 5, "a warning ends nothing"


def test_a_short_collapse_is_not_reported(tmp_path: Path) -> None:
    assert fit(tmp_path, CollapseGuard(patience=2), STILL, GOOD, STILL, GOOD)[0] == []


def test_a_second_collapse_is_reported_again(tmp_path: Path) -> None:
    assert len(fit(tmp_path, CollapseGuard(patience=1), STILL, GOOD, STILL)[0]) == 2


def test_it_stops_on_request(tmp_path: Path) -> None:
    (text,), runner = fit(tmp_path, CollapseGuard(patience=2, stop=True), GOOD, HIDDEN, HIDDEN, HIDDEN, HIDDEN)
    assert text.endswith("The training is stopped.")
    assert runner.global_step == 3


def test_a_separate_validation_is_reported_immediately(tmp_path: Path) -> None:
    runner = trainer(tmp_path, callbacks=[CollapseGuard(patience=5)])
    with pytest.warns(UserWarning, match="collapsed to zero"):
        runner.validate(Tells(STILL), DataLoader([torch.zeros(1)]), verbose=False)


def test_a_network_that_predicts_zero_flow_is_detected(tmp_path: Path) -> None:
    """The module logs the figures that the guard checks."""
    module = UnsupervisedFlow(**parts())
    with torch.no_grad():
        for weight in module.parameters():
            weight.zero_()
    guard = CollapseGuard(patience=1)
    with pytest.warns(UserWarning, match=r"collapsed to zero: 0 px on average.*smoothness_weight \(now 0\.5\)"):
        trainer(tmp_path, callbacks=[guard]).validate(module, data(), verbose=False)


@pytest.mark.parametrize("options", [{"least_motion": -1.0}, {"least_visible": 1.0}, {"patience": 0}])
def test_limits_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a value is out of range: .*expected least_motion >= 0"):
        CollapseGuard(**options)


def test_a_training_that_is_resumed_after_each_validation_is_warned(tmp_path: Path) -> None:
    last, found = tmp_path / "checkpoints" / "last.ckpt", []
    for step in (1, 2, 3, 4):
        options: dict[str, Any] = {"max_steps": step, "val_check_interval": 1, "num_sanity_val_steps": 0}
        callbacks = [CollapseGuard(patience=3), LastCheckpoint()]
        runner = trainer(tmp_path, callbacks=callbacks, enable_checkpointing=True, **options)
        loaders = DataLoader([torch.zeros(1)] * 8), DataLoader([torch.zeros(1)])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            runner.fit(Tells(STILL), *loaders, ckpt_path=last if step > 1 else None, weights_only=True)
        found += [text for w in caught if (text := str(w.message)).startswith("After ")]
    (text,) = found
    assert text.startswith("After 3 steps")


def test_a_validation_of_a_checkpoint_ignores_the_count_of_its_training(tmp_path: Path) -> None:
    _, runner = fit(tmp_path, CollapseGuard(patience=5), STILL, STILL)
    runner.save_checkpoint(tmp_path / "x.ckpt")
    later = trainer(tmp_path, callbacks=[CollapseGuard(patience=5)])
    loader = DataLoader([torch.zeros(1)])
    with pytest.warns(UserWarning, match="collapsed to zero"):
        later.validate(Tells(STILL), loader, ckpt_path=tmp_path / "x.ckpt", weights_only=True, verbose=False)
