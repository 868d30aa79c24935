import subprocess
import sys
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unrollflow.contracts import FlowSample
from unrollflow.data import (
    Compose,
    FlowDataModule,
    MovingLayers,
    RandomCrop,
    RandomHorizontalFlip,
    RandomTemporalSwap,
    RandomVerticalFlip,
    StereoMotorcycle,
)
from unrollflow.data.datamodule import EpochSampler, TrainingSamples


class Numbered(Dataset[FlowSample]):
    """Finite data set: the images of sample i have the value i; sizes and maps are arguments."""

    def __init__(self, length: int, *, sizes: tuple[int, ...] = (4,), with_flow: tuple[bool, ...] = (False,)) -> None:
        self.length, self.sizes, self.with_flow = length, sizes, with_flow

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> FlowSample:
        if not 0 <= index < self.length:
            raise IndexError(index)
        side = self.sizes[index % len(self.sizes)]
        image = torch.full((3, side, side), float(index))
        sample = FlowSample(image1=image, image2=image + 0.5, name=str(index))
        return sample | {"flow": image[:2]} if self.with_flow[index % len(self.with_flow)] else sample


def layers(length: int = 8) -> MovingLayers:
    return MovingLayers(split="train", length=length, size=(32, 40), background_translation=2, foreground_translation=4)


def every_transform() -> Compose:
    return Compose(
        transforms=[RandomCrop(size=(24, 32)), RandomHorizontalFlip(), RandomVerticalFlip(), RandomTemporalSwap()]
    )


def module(train: Dataset[FlowSample] | None = None, **changes: Any) -> FlowDataModule:
    return FlowDataModule(**{"train": train, "batch_size": 4, "workers": 0, **changes})


def epoch(data: FlowDataModule, number: int) -> list[dict[str, Any]]:
    """Batches of one epoch, loaded as by a trainer."""
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, EpochSampler)
    loader.sampler.set_epoch(number)
    return [dict(batch) for batch in loader]


def names(batches: list[dict[str, Any]]) -> list[str]:
    return [name for batch in batches for name in batch["name"]]


@pytest.mark.parametrize("data", [layers(), Numbered(8, sizes=(40,))], ids=["endless", "finite"])
def test_results_do_not_depend_on_workers_and_are_repeatable(data: Dataset[FlowSample]) -> None:
    runs = [epoch(module(data, workers=workers, transform=every_transform()), 1) for workers in (0, 2, 0)]
    for alone, shared, again in zip(*runs, strict=True):
        for name, value in alone.items():
            for other in (shared[name], again[name]):
                assert torch.equal(value, other) if isinstance(value, Tensor) else value == other


def test_an_endless_set_gives_new_samples_in_every_epoch() -> None:
    data = module(layers())
    drawn = [names(epoch(data, number)) for number in range(3)]
    assert len({name for epoch_names in drawn for name in epoch_names}) == 24
    assert sorted(drawn[1]) == [f"train-{i:06d}" for i in range(8, 16)]


def test_a_finite_set_comes_once_an_epoch_in_another_order_with_other_draws() -> None:
    data = module(Numbered(12), batch_size=4)
    drawn = [names(epoch(data, number)) for number in range(2)]
    assert drawn[0] != drawn[1]
    assert [sorted(map(int, d)) for d in drawn] == [list(range(12))] * 2
    flips = TrainingSamples(Numbered(12), RandomTemporalSwap(), seed=0)
    swapped = [[flips[12 * number + i]["image1"][0, 0, 0] % 1 > 0 for i in range(12)] for number in range(2)]
    assert swapped[0] != swapped[1]


def test_another_seed_gives_another_order_and_other_draws() -> None:
    assert names(epoch(module(Numbered(12), seed=0), 0)) != names(epoch(module(Numbered(12), seed=1), 0))
    drawn = []
    for seed in range(9):
        samples = TrainingSamples(Numbered(64), RandomTemporalSwap(), seed=seed)
        drawn.append([bool(samples[i]["image1"][0, 0, 0] % 1 > 0) for i in range(64)])
    for other in drawn[1:]:  # nor are they the same draws at other places
        for shift in range(9):
            assert drawn[0][shift:] != other[: 64 - shift]
            assert other[shift:] != drawn[0][: 64 - shift]
    assert 16 < sum(drawn[0]) < 48


def test_no_epoch_of_a_seed_has_the_order_of_an_epoch_of_another_seed() -> None:
    orders = []
    for seed in (0, 1, 2, 3, 2**32, 2**32 + 1):
        for number in range(4):
            sampler = EpochSampler(Numbered(12), seed=seed)
            sampler.set_epoch(number)
            orders.append(tuple(index - 12 * number for index in sampler))
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len(set(orders)) == len(orders)


def test_processes_share_an_epoch_without_overlap() -> None:
    shares = []
    for rank in range(3):
        sampler = EpochSampler(layers(12), seed=0)
        sampler.num_replicas, sampler.rank, sampler.num_samples, sampler.total_size = 3, rank, 4, 12
        sampler.set_epoch(2)
        shares.append(set(sampler))
    assert [len(share) for share in shares] == [4, 4, 4]
    assert set.union(*shares) == set(range(24, 36))


def test_a_set_smaller_than_a_batch_of_each_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("is_initialized", True), ("get_world_size", 3), ("get_rank", 1)):
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    assert len(module(Numbered(12)).train_dataloader()) == 1
    with pytest.raises(ValueError, match="3 samples for each of 3 processes, fewer than one batch of 4"):
        module(Numbered(11)).train_dataloader()


def test_the_last_incomplete_batch_of_training_is_dropped_and_of_validation_kept() -> None:
    data = module(Numbered(10), validation=Numbered(10), test=Numbered(3), validation_batch_size=4)
    assert [len(batch["name"]) for batch in data.train_dataloader()] == [4, 4]
    validation, test = data.val_dataloader(), data.test_dataloader()
    assert isinstance(validation, DataLoader)
    assert names([dict(b) for b in validation]) == [str(i) for i in range(10)]
    assert names([dict(b) for b in test]) == ["0", "1", "2"]
    assert module(Numbered(10)).val_dataloader() == []


def test_samples_of_different_sizes_come_one_by_one_or_are_named() -> None:
    mixed = Numbered(4, sizes=(4, 5))
    one_by_one = module(validation=mixed).val_dataloader()
    assert [batch["image1"].shape[-1] for batch in one_by_one] == [4, 5, 4, 5]
    together = module(validation=mixed, validation_batch_size=2).val_dataloader()
    with pytest.raises(ValueError, match=r"0 is 4x4, 1 is 5x5.*RandomCrop"):
        next(iter(together))


def test_samples_with_and_without_flow_cannot_be_batched() -> None:
    loader = module(validation=Numbered(4, with_flow=(True, False)), validation_batch_size=2).val_dataloader()
    with pytest.raises(ValueError, match="only one of 0 and 1 has boundary_distance, flow"):
        next(iter(loader))


def test_a_set_smaller_than_a_batch_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="3 samples, fewer than one batch of 4"):
        module(Numbered(3))
    with pytest.raises(ValueError, match="seed is out of range: -1"):
        module(Numbered(4), seed=-1)


def test_the_error_for_missing_data_names_the_option() -> None:
    with pytest.raises(ValueError, match=r"no train data.*--data\.train"):
        module().train_dataloader()
    with pytest.raises(ValueError, match=r"no test data.*--data\.test"):
        module().test_dataloader()


class Recorder(pl.LightningModule):
    """Records the names of the samples in the batches of a trainer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[list[str]] = []

    def training_step(self, batch: FlowSample) -> Tensor:
        self.trained.append(list(batch["name"]))
        return self.weight * batch["image1"].mean()

    def validation_step(self, batch: FlowSample) -> None:
        assert batch["flow"].shape[1] == 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_counts_the_epochs_on() -> None:
    recorder = Recorder()
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(recorder, module(layers(), validation=StereoMotorcycle()))
    assert {name for batch in recorder.trained for name in batch} == {f"train-{i:06d}" for i in range(16)}


def test_importing_the_data_imports_no_lightning() -> None:
    code = "import sys, unrollflow.data; sys.exit(any('lightning' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
