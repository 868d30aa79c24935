"""Lightning's own tools with our module: learning-rate finder, plateau schedule, weight averages, batch-size finder."""

import csv
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    BatchSizeFinder,
    EMAWeightAveraging,
    LearningRateFinder,
    StochasticWeightAveraging,
)
from pytorch_lightning.tuner import Tuner
from torch.optim.lr_scheduler import ConstantLR, OneCycleLR, ReduceLROnPlateau

from tests.helpers.command import BRIEF, TINY, csv_logger, words
from tests.training.test_module import data, parts, trainer
from unrollflow.cli.main import main
from unrollflow.training.module import UnsupervisedFlow


class Recorded(pl.Callback):
    """Learning rate and samples of each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.names: list[str] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, _: int) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.names += batch["name"]


HALF_AT_FIRST = partial(ConstantLR, factor=0.5, total_iters=2)
FINDER = {"min_lr": 1e-6, "max_lr": 1e-2, "num_training_steps": 15}


def test_the_finders_rate_is_that_of_the_training_and_its_schedule(tmp_path: Path) -> None:
    records, plain = Recorded(), Recorded()
    module = UnsupervisedFlow(**parts(scheduler=HALF_AT_FIRST))
    finder = LearningRateFinder(**FINDER)
    trainer(tmp_path, callbacks=[finder, records], max_steps=4).fit(module, data())
    assert finder.optimal_lr is not None
    found = finder.optimal_lr.suggestion()
    assert module.learning_rate == found
    assert records.rates == pytest.approx([found / 2, found / 2, found, found])
    again = UnsupervisedFlow(**parts())
    again.learning_rate = found
    trainer(tmp_path, callbacks=[plain], max_steps=4).fit(again, data())
    assert records.names == plain.names  # the search takes no samples away
    assert not list(tmp_path.rglob("*.ckpt"))


def test_the_tuner_finds_a_rate_before_a_fit(tmp_path: Path) -> None:
    module = UnsupervisedFlow(**parts(scheduler=HALF_AT_FIRST))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    runner = trainer(tmp_path, max_steps=2, callbacks=[records := Recorded()])
    found = Tuner(runner).lr_find(module, datamodule=data(), min_lr=1e-6, max_lr=1e-2, num_training=15)
    assert found is not None
    assert all(value.equal(before[name]) for name, value in module.state_dict().items())
    assert module.learning_rate == found.suggestion()
    runner.fit(module, data())
    assert records.rates == pytest.approx([found.suggestion() / 2] * 2)


def test_a_schedule_with_rates_of_its_own_does_not_take_the_finders(tmp_path: Path) -> None:
    module = UnsupervisedFlow(**parts(scheduler=partial(OneCycleLR, max_lr=0.1, total_steps=9)))
    module.configure_optimizers()
    with pytest.raises(ValueError, match=r"learning_rate is .*, but OneCycleLR sets its own rates; use another"):
        trainer(tmp_path, callbacks=[LearningRateFinder(**FINDER)]).fit(module, data())


class Scored(UnsupervisedFlow):
    """Validates with given scores."""

    scores = (3.0, 2.0, 2.5, 2.6, 1.0)
    validations = 0

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        self.log("val/photometric", self.scores[self.validations])
        return {}

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.validations += not self.trainer.sanity_checking


@pytest.mark.parametrize("sanity", [0, 1])
def test_a_plateau_of_the_score_lowers_the_rate_after_a_validation(tmp_path: Path, sanity: int) -> None:
    module = Scored(**parts(scheduler=partial(ReduceLROnPlateau, factor=0.5, patience=0)))
    options = {"max_steps": 5, "val_check_interval": 1, "num_sanity_val_steps": sanity}
    trainer(tmp_path, callbacks=[records := Recorded()], **options).fit(module, data())
    assert records.rates == pytest.approx([1e-3, 1e-3, 1e-3, 0.5e-3, 0.25e-3])


def test_a_plateau_is_found_in_an_epoch_and_over_a_resume(tmp_path: Path) -> None:
    schedule = partial(ReduceLROnPlateau, factor=0.5, patience=1)
    options = {"val_check_interval": 2, "check_val_every_n_epoch": None, "enable_checkpointing": True}
    first, second = Scored(**parts(scheduler=schedule)), Scored(**parts(scheduler=schedule))
    runner = trainer(tmp_path, callbacks=[records := Recorded()], max_steps=6, **options)
    runner.fit(first, data())
    assert records.rates == pytest.approx([1e-3] * 6)
    runner.save_checkpoint(tmp_path / "a.ckpt")
    second.validations = 3
    runner = trainer(tmp_path, callbacks=[records := Recorded()], max_steps=10, **options)
    runner.fit(second, data(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert records.rates == pytest.approx([1e-3, 1e-3, 0.5e-3, 0.5e-3])


def test_lightnings_moving_average_is_what_a_training_ends_with(tmp_path: Path) -> None:
    module = UnsupervisedFlow(**parts())
    trainer(tmp_path, max_steps=3, callbacks=[EMAWeightAveraging(decay=1.0)]).fit(module, data())
    one_step = UnsupervisedFlow(**parts())
    trainer(tmp_path, max_steps=1).fit(one_step, data())
    expected = one_step.state_dict()  # an average with a decay of 1 stays what it is after the first step
    assert all(value.equal(expected[name]) for name, value in module.state_dict().items())


def test_stochastic_weight_averaging_ends_with_the_mean_of_the_epochs(tmp_path: Path) -> None:
    class EpochStarts(pl.Callback):
        weights: list[torch.Tensor]

        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.weights = [*getattr(self, "weights", []), next(pl_module.parameters()).detach().clone()]

    module = UnsupervisedFlow(**parts(scheduler=HALF_AT_FIRST))
    averaging = StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=2)
    options = {"max_steps": -1, "max_epochs": 3, "callbacks": [starts := EpochStarts(), averaging]}
    with pytest.warns(UserWarning, match="SWA is currently only supported every epoch"):
        trainer(tmp_path, **options).fit(module, data())
    expected = torch.stack(starts.weights[1:3]).mean(dim=0)
    torch.testing.assert_close(next(module.parameters()).detach(), expected)


@pytest.mark.parametrize("mode", ["power", "binsearch"])
def test_the_batch_size_finder_stays_within_the_data(tmp_path: Path, mode: str) -> None:
    module, samples = UnsupervisedFlow(**parts()), data()  # of 4 samples
    finder = BatchSizeFinder(mode=mode, steps_per_trial=1, init_val=1, margin=0.0)
    trainer(tmp_path, callbacks=[finder, records := Recorded()]).fit(module, samples)
    assert samples.batch_size == finder.optimal_batch_size == 4
    assert len(records.names) == 4


@pytest.mark.slow
def test_the_finder_works_on_the_command_line(tmp_path: Path) -> None:
    options = (
        BRIEF
        | TINY
        | {
            "--data.train.length": "64",
            "--data.train.size": "[96, 96]",
            "--data.validation.size": "[96, 96]",
            "--trainer.max_steps": "2",
            "--trainer.val_check_interval": "2",
            "--trainer.logger": csv_logger(tmp_path),
            "--trainer.callbacks+": "LearningRateFinder",
            "--trainer.callbacks.num_training_steps": "16",
        }
    )
    command = ["fit", "--config", "configs/experiment/quickstart.yaml", *words(options)]
    with pytest.raises(SystemExit, match=r"^unrollflow: learning_rate is .*, but OneCycleLR sets its own rates"):
        main(command)
    main([*command, "--model.scheduler", "null"])
    with (tmp_path / "flow" / "version_1" / "metrics.csv").open() as file:
        rates = {row["lr-AdamW/pg1"] for row in csv.DictReader(file)} - {""}
    assert len(rates) == 1
    assert float(rates.pop()) != 5e-3  # the configuration's
