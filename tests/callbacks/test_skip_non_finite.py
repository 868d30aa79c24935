from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytorch_lightning as pl
import torch

from tests.callbacks.test_checkpoint_on_signal import STEPS
from tests.reliability.numerics import (
    broken_gradient,
    fit,
    half_of_a_step,
    one_pixel,
    overflowing_norm,
    poisoned,
    poisoned_step,
    too_many,
    untouched,
    untouched_average,
)
from tests.training.test_module import parts, trainer
from unrollflow.callbacks.skip_non_finite import SkipNonFiniteSteps
from unrollflow.data import FlowDataModule
from unrollflow.data.datamodule import EpochSampler
from unrollflow.training.module import UnsupervisedFlow

NAN = float("nan")


def batches() -> list[list[int]]:
    """Indices of the four batches of :func:`fit`."""
    order = list(EpochSampler(poisoned(one_pixel(NAN)), seed=0))
    return [order[i : i + 2] for i in range(0, 8, 2)]


def test_a_non_finite_step_is_reported_with_its_terms_and_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, poisoned(one_pixel(NAN)), SkipNonFiniteSteps())  # sample 2
    step = next(i for i, batch in enumerate(batches(), start=1) if 2 in batch)
    names = ", ".join(f"train-{index:06d}" for index in batches()[step - 1])
    reported = capsys.readouterr().out
    assert reported.count("not finite, on") == 1  # the other batches are sound
    assert f"skipped step {step}: loss/photometric, loss/smoothness not finite, on {names}" in reported
    assert "faults       1 steps were not finite and were skipped" in reported


def test_without_faults_the_callback_changes_nothing(tmp_path: Path) -> None:
    weights = []
    for callbacks in ([], [SkipNonFiniteSteps()]):
        pl.seed_everything(0)
        flow = UnsupervisedFlow(**parts())
        data = FlowDataModule(train=poisoned(one_pixel(0.5), first=99, last=99), batch_size=2, workers=0)
        trainer(tmp_path, callbacks=callbacks, max_steps=3).fit(flow, data)
        weights.append(flow.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


PROMISES = [
    *(untouched, too_many, broken_gradient, half_of_a_step, untouched_average, overflowing_norm),
    *(partial(untouched, batch_norm=True, accumulate=steps) for steps in (1, 2)),
    partial(poisoned_step, value=NAN, backbone="raft"),
]


@pytest.mark.parametrize("promise", PROMISES)
def test_promises_of_the_reliability_suite(promise: Any, tmp_path: Path) -> None:
    assert promise(tmp_path)


def test_counts_are_saved_in_the_checkpoint_and_restored() -> None:
    guard, other = SkipNonFiniteSteps(), SkipNonFiniteSteps()
    guard.skipped, guard.in_a_row = 3, 2
    other.load_state_dict(guard.state_dict())
    assert (other.skipped, other.in_a_row) == (3, 2)


def test_faults_in_a_row_are_counted_from_the_last_sound_step(tmp_path: Path) -> None:
    last_but_one, last = batches()[2:]
    for index, in_a_row in ((last_but_one[0], 0), (last[0], 1)):
        guard = SkipNonFiniteSteps(most_in_a_row=STEPS)
        fit(tmp_path, poisoned(one_pixel(NAN), first=index, last=index), guard)
        assert (guard.skipped, guard.in_a_row) == (1, in_a_row)


def test_skipped_samples_are_reported_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow = UnsupervisedFlow(**parts())
    data = FlowDataModule(train=poisoned(one_pixel(0.5)), batch_size=2, workers=0)
    data.bad_samples.add(["a.png is cut off"])
    trainer(tmp_path, callbacks=[SkipNonFiniteSteps()]).fit(flow, data)
    assert "skipped      1 samples that could not be read: a.png is cut off (x1)" in capsys.readouterr().out


@pytest.mark.parametrize("others_are_sound", [True, False])
def test_an_infinite_loss_of_another_process_is_not_an_overflow_of_the_scaler(others_are_sound: bool) -> None:
    network = torch.nn.Linear(1, 1)
    network.weight.grad = torch.full((1, 1), float("inf"))
    guard, strategy = SkipNonFiniteSteps(), mock.Mock()
    guard.losses = [torch.tensor(1.0)]
    strategy.reduce_boolean_decision.side_effect = lambda own, **_: own and others_are_sound
    scaler = torch.amp.GradScaler("cpu")
    trainer: Any = mock.Mock(strategy=strategy, precision_plugin=mock.Mock(scaler=scaler))
    guard.on_before_optimizer_step(trainer, network, mock.Mock())  # type: ignore[arg-type]  # its parameters count
    assert (guard.faulty is None) == others_are_sound
    assert (network.weight.grad is not None) == others_are_sound


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="most_in_a_row is out of range: 0"):
        partial(SkipNonFiniteSteps, most_in_a_row=0)()
