from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from tests.data.test_datamodule import Numbered, layers, module, names
from unrollflow.contracts import FlowSample
from unrollflow.data.datamodule import TrainingSamples
from unrollflow.data.loader import MOST_TRIES, BadSamples, Replacing, ResumableLoader


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
def test_a_loader_goes_on_after_the_batches_handed_out(seen: int, workers: int) -> None:
    data = module(layers(12), workers=workers)
    whole = names([dict(batch) for batch in loader(data, epoch=1)])
    first = loader(data, epoch=1)
    batches: Iterator[Any] = iter(first)
    taken = names([dict(next(batches)) for _ in range(seen)])
    second = loader(data)
    second.load_state_dict(first.state_dict())
    started = iter(second)  # a trainer makes the iterator before it tells the epoch
    second.sampler.set_epoch(1)  # type: ignore[attr-defined]
    assert taken + names([dict(batch) for batch in started]) == whole
    second.sampler.set_epoch(2)  # type: ignore[attr-defined]
    assert names([dict(batch) for batch in second]) == names([dict(batch) for batch in loader(data, epoch=2)])


def test_a_state_of_another_epoch_skips_nothing() -> None:
    data = module(layers(12))
    resumed = loader(data, epoch=1)
    resumed.load_state_dict({"epoch": 0, "batches": 3, "batch_size": 5})
    assert names([dict(batch) for batch in resumed]) == names([dict(batch) for batch in loader(data, epoch=1)])


def test_batches_of_another_size_would_go_on_with_other_samples() -> None:
    resumed = loader(module(layers(12)))
    size = int(resumed.batch_size or 0)
    resumed.load_state_dict({"epoch": 0, "batches": 3, "batch_size": size + 1})
    with pytest.raises(ValueError, match=rf"after 3 batches of {size + 1}; .* --data.batch_size {size + 1}"):
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
    with pytest.raises(ValueError, match="most_bad_samples is -1"):
        BadSamples(limit=-1)


def test_complaints_are_listed_once_with_their_number() -> None:
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
