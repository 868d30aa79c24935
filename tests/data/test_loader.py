from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import Dataset

from tests.data.test_datamodule import Numbered, Recorder, layers, module, names
from tests.training.test_module import trainer
from unrollflow.contracts import FlowSample
from unrollflow.data.datamodule import TrainingSamples
from unrollflow.data.loader import JOINT_SIZE, MOST_TRIES, BadSamples, Replacing, ResumableLoader


class Damaged(Numbered):
    """Numbered, of which some samples cannot be read, in two ways."""

    def __init__(self, length: int, *, bad: tuple[int, ...]) -> None:
        super().__init__(length)
        self.bad = bad

    def __getitem__(self, index: int) -> FlowSample:
        if index in self.bad:
            raise FileNotFoundError(f"no file {index}.png") if index % 2 else ValueError(f"{index}.png is cut off")
        return super().__getitem__(index)


def loader(data: Any, *, epoch: int = 0) -> ResumableLoader:
    made = data.train_dataloader()
    assert isinstance(made, ResumableLoader)
    made.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("seen", [0, 1, 2])
def test_a_loader_resumes_after_the_yielded_batches(seen: int, workers: int) -> None:
    data = module(layers(12), workers=workers)
    whole = names([dict(batch) for batch in loader(data, epoch=1)])
    first = loader(data, epoch=1)
    batches: Iterator[Any] = iter(first)
    taken = names([dict(next(batches)) for _ in range(seen)])
    second = loader(module(layers(12), workers=2 - workers))  # their number does not matter
    second.load_state_dict(first.state_dict())
    started = iter(second)  # a trainer creates the iterator before it sets the epoch
    second.sampler.set_epoch(1)  # type: ignore[attr-defined]
    assert taken + names([dict(batch) for batch in started]) == whole
    second.sampler.set_epoch(2)  # type: ignore[attr-defined]
    assert names([dict(batch) for batch in second]) == names([dict(batch) for batch in loader(data, epoch=2)])


def test_a_state_of_another_epoch_skips_nothing() -> None:
    data = module(layers(12))
    resumed = loader(data, epoch=1)
    resumed.load_state_dict({"epoch": 0, "batches": 3, JOINT_SIZE: 5})
    assert names([dict(batch) for batch in resumed]) == names([dict(batch) for batch in loader(data, epoch=1)])


def shared(processes: int, batch_size: int, **options: Any) -> list[ResumableLoader]:
    """The loaders of all processes, of 26 samples."""
    made = [loader(module(Numbered(26), batch_size=batch_size, **options)) for _ in range(processes)]
    for rank, one in enumerate(made):
        sampler: Any = one.sampler
        sampler.num_replicas, sampler.rank = processes, rank
        sampler.num_samples, sampler.total_size = 26 // processes, 26 // processes * processes
    return made


def steps(loaders: list[ResumableLoader]) -> Iterator[set[str]]:
    """Names of the samples of all processes, step by step."""
    for batches in zip(*loaders, strict=True):
        yield {name for batch in batches for name in batch["name"]}


@pytest.mark.parametrize(("processes", "batch_size"), [(1, 6), (2, 3), (3, 2), (6, 1)])
def test_another_number_of_processes_resumes_exactly_if_their_joint_batch_stays(
    processes: int, batch_size: int
) -> None:
    whole = list(steps(shared(2, 3)))
    assert [len(step) for step in whole] == [6] * 4
    first = shared(2, 3)
    started = steps(first)
    taken = [next(started), next(started)]
    resumed = shared(processes, batch_size)
    for one in resumed:
        one.load_state_dict(first[0].state_dict())
    assert taken + list(steps(resumed)) == whole


@pytest.mark.parametrize(
    ("processes", "batch_size", "seed", "differs"),
    [
        (1, 3, 0, r"batch_size_of_all_processes 6, this run has batch_size_of_all_processes 3,"),
        (2, 6, 0, r"batch_size_of_all_processes 6, this run has batch_size_of_all_processes 12,"),
        (2, 3, 1, r"seed 0, order_checksum \d+, this run has seed 1, order_checksum \d+,"),
    ],
)
def test_a_resume_that_would_repeat_samples_is_refused(
    processes: int, batch_size: int, seed: int, differs: str
) -> None:
    first, resumed = shared(2, 3), shared(processes, batch_size, seed=seed)[0]
    resumed.load_state_dict(first[0].state_dict())
    assert len(next(iter(resumed))["name"]) == batch_size  # no batch was yielded, so none is repeated
    next(steps(first))
    resumed.load_state_dict(first[0].state_dict())
    with pytest.raises(ValueError, match=rf"after 1 batches: the checkpoint has {differs} so samples would"):
        next(iter(resumed))


class Ordered(Numbered):
    """Numbered, in an order of its own."""

    def __init__(self, length: int, *, first: int) -> None:
        super().__init__(length)
        self.first = first

    def epoch_order(self, seed: int) -> Any:
        return np.roll(np.arange(self.length), self.first)


@pytest.mark.parametrize(
    ("before", "now", "differs"),
    [
        (Numbered(12), Numbered(16), r"samples 12, order_checksum \d+, this run has samples 16"),
        (Ordered(12, first=0), Ordered(12, first=1), r"order_checksum \d+, this run has order_checksum \d+,"),
    ],
)
def test_a_resume_on_other_samples_or_in_another_order_is_refused(
    before: Numbered, now: Numbered, differs: str
) -> None:
    first, resumed = loader(module(before)), loader(module(now))
    next(iter(first))
    resumed.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match=f"the checkpoint has {differs}"):
        next(iter(resumed))


class SavesInValidation(pl.Callback):
    """A checkpoint in the validation at the first epoch's end."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_validation_end(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


class Validated(Recorder):
    def validation_step(self, batch: FlowSample) -> None:
        self.log("seen", 1.0)


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_of_the_validation_at_an_epochs_end_resumes_with_any_batch_size(tmp_path: Path) -> None:
    def fit(batch_size: int, *callbacks: pl.Callback, resume: Path | None = None) -> list[list[str]]:
        recorder = Validated()
        runner = trainer(tmp_path, max_steps=-1, max_epochs=2, callbacks=list(callbacks))
        data = module(Numbered(12), validation=Numbered(1), batch_size=batch_size)
        runner.fit(recorder, data, ckpt_path=resume, weights_only=True if resume else None)
        return recorder.trained

    fit(4, SavesInValidation(tmp_path / "saved.ckpt"))
    for batch_size in (2, 4, 6):
        trained = fit(batch_size, resume=tmp_path / "saved.ckpt")
        assert [len(names) for names in trained] == [batch_size] * (12 // batch_size)
        assert sorted(int(name) for names in trained for name in names) == list(range(12))


def test_a_state_of_an_older_version_is_refused_within_an_epoch() -> None:
    resumed = loader(module(layers(12)))
    resumed.load_state_dict({"epoch": 0, "batches": 2, "batch_size": 4})
    with pytest.raises(ValueError, match=r"the checkpoint has batch_size_of_all_processes unknown, samples unknown"):
        next(iter(resumed))


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_that_cannot_be_read_are_replaced_and_named(workers: int) -> None:
    data = module(Damaged(8, bad=(2, 5)), on_bad_sample="skip", workers=workers)
    drawn = names([dict(batch) for batch in loader(data)])
    assert sorted(drawn) == ["0", "1", "3", "3", "4", "6", "6", "7"]
    assert sorted(data.bad_samples.complaints) == ["2.png is cut off", "no file 5.png"]
    with pytest.raises((ValueError, FileNotFoundError), match=r"5\.png|2\.png"):
        list(loader(module(Damaged(8, bad=(2, 5)))))


def test_too_many_bad_samples_end_the_training_with_their_names() -> None:
    data = module(Damaged(8, bad=(2, 5)), on_bad_sample="skip", most_bad_samples=1)
    with pytest.raises(ValueError, match=r"2 training samples .* more than most_bad_samples=1.*5\.png"):
        list(loader(data))
    broken = Replacing(TrainingSamples(Damaged(8, bad=tuple(range(8))), None, seed=0))
    with pytest.raises(ValueError, match=rf"{MOST_TRIES} training samples in a row"):
        broken[0]
    with pytest.raises(ValueError, match="most_bad_samples is out of range: -1"):
        BadSamples(limit=-1)


def test_errors_are_listed_once_with_their_count() -> None:
    bad = BadSamples(limit=100)
    bad.add([f"{i}.png is cut off" for i in range(22)] + ["0.png is cut off"])
    assert bad.listed().startswith("0.png is cut off (x2); 1.png is cut off (x1); ")
    assert bad.listed().endswith("; and 2 more")


def test_a_bad_sample_counts_once_over_all_epochs() -> None:
    data = module(Damaged(8, bad=(2,)), on_bad_sample="skip", most_bad_samples=1)
    for epoch in range(3):
        assert "2" not in names([dict(batch) for batch in loader(data, epoch=epoch)])
    assert data.bad_samples.listed() == "2.png is cut off (x3)"


def test_a_file_that_vanishes_in_the_middle_of_an_epoch_is_named(tmp_path: Path) -> None:
    class Files(Dataset[FlowSample]):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> FlowSample:
            path = tmp_path / f"{index}.pt"
            image = torch.load(path, weights_only=True)
            return FlowSample(image1=image, image2=image, name=path.name)

    for i in range(8):
        torch.save(torch.zeros(3, 4, 4), tmp_path / f"{i}.pt")
    data = module(Files(), on_bad_sample="skip", batch_size=2)
    batches = iter(loader(data))
    seen = set(next(batches)["name"])
    gone = next(path for path in sorted(tmp_path.iterdir()) if path.name not in seen)
    gone.unlink()
    assert sum(len(batch["name"]) for batch in batches) == 6
    assert gone.name in data.bad_samples.listed()
