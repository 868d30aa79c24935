from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR

from tests.training.test_module import OBJECTIVE, data, parts, trainer
from unrollflow.losses import L1, SSIM, AllVisible, RangeMap, Staged, StagedPhotometric
from unrollflow.training.lr_schedulers import DecayAfter
from unrollflow.training.module import UnsupervisedFlow

STEPS = 6
SCHEDULES = {
    "constant": partial(ConstantLR, factor=1.0, total_iters=0),
    "decay": partial(DecayAfter, start=2, every=2),
    "one cycle": partial(OneCycleLR, max_lr=1e-2, total_steps=STEPS + 1),
}


class Rates(pl.Callback):
    """The rate of every step, and which stages were in force."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, str, str]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        stages = (pl_module.objective.photometric.at(step), pl_module.objective.visibility.at(step))
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.seen.append((step, rate, *(type(stage).__name__ for stage in stages)))


def module(scheduler: Any) -> UnsupervisedFlow:
    photometric = StagedPhotometric(stages=[L1(), SSIM()], starts=[0, 4])
    visibility = Staged(tests=[AllVisible(), RangeMap()], starts=[0, 3])
    return UnsupervisedFlow(
        **parts(scheduler=scheduler, photometric=photometric, objective=partial(OBJECTIVE, visibility=visibility))
    )


def test_decay_by_hand() -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    schedule = DecayAfter(optimizer, start=3, every=4, factor=0.25)
    rates = []
    for _ in range(12):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1.0] * 4 + [0.25 ** (k / 4) for k in range(1, 9)])


@pytest.mark.parametrize(
    "arguments", [{"start": -1, "every": 1}, {"start": 0, "every": 0}, {"start": 0, "every": 1, "factor": 0.0}]
)
def test_bad_arguments_are_named(arguments: dict[str, Any]) -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    with pytest.raises(ValueError, match="start="):
        DecayAfter(optimizer, **arguments)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "one cycle")) for name in SCHEDULES]
)
def test_rates_and_stages_of_a_killed_run_are_resumed(name: str, tmp_path: Path) -> None:
    scheduler: partial[LRScheduler] = SCHEDULES[name]
    whole, first, second = Rates(), Rates(), Rates()
    straight = module(scheduler)
    trainer(tmp_path, max_steps=STEPS, callbacks=[whole]).fit(straight, data())
    keep = ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=2)
    options: dict[str, Any] = {"enable_checkpointing": True}
    trainer(tmp_path, max_steps=4, callbacks=[first, keep], **options).fit(module(scheduler), data())
    resumed = module(scheduler)
    trainer(tmp_path, max_steps=STEPS, callbacks=[second], **options).fit(
        resumed, data(), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    assert [step for step, *_ in second.seen] == [4, 5]
    assert first.seen + second.seen == whole.seen
    assert {photometric for _, _, photometric, _ in whole.seen} == {"L1", "SSIM"}
    assert {visibility for *_, visibility in whole.seen} == {"AllVisible", "RangeMap"}
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
