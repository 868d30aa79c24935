from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tests.helpers import trees
from unrollflow.contracts import FlowSample
from unrollflow.data import FlowDataModule, Middlebury, Mixture, MovingLayers, RandomCrop


class Numbers(Dataset[FlowSample]):
    """Samples whose names contain the name of their data set."""

    def __init__(self, name: str, count: int, *, endless: bool = False) -> None:
        self.name, self.count, self.endless = name, count, endless

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> FlowSample:
        if index >= self.count and not self.endless:
            raise IndexError(index)
        image = torch.zeros(3, 4, 4)
        return FlowSample(image1=image, image2=image, name=f"{self.name}{index}", flow=image[:2])


def names(mixture: Mixture, count: int) -> list[str]:
    return [mixture[index]["name"] for index in range(count)]


def test_sets_are_drawn_by_their_weights_and_samples_alike(tmp_path: Path) -> None:
    drawn = names(Mixture(datasets=[Numbers("a", 2), Numbers("b", 5)], weights=[3, 1], length=10), 2000)
    shares = {name: drawn.count(name) / 2000 for name in set(drawn)}
    assert set(shares) == {"a0", "a1", "b0", "b1", "b2", "b3", "b4"}
    # three standard deviations of a share p are 3 sqrt(p (1 - p) / 2000), at most 0.033 and 0.015
    assert [shares[f"a{i}"] for i in range(2)] == pytest.approx(2 * [3 / 8], abs=0.033)
    assert [shares[f"b{i}"] for i in range(5)] == pytest.approx(5 * [1 / 20], abs=0.015)


def test_an_index_and_a_seed_decide_alone() -> None:
    sets = [Numbers("a", 7), Numbers("b", 9)]
    mixture = Mixture(datasets=sets, weights=[1, 1], length=3, seed=5)
    drawn = names(mixture, 40)
    assert [mixture[index]["name"] for index in reversed(range(40))] == drawn[::-1]
    assert drawn != names(Mixture(datasets=sets, weights=[1, 1], length=3, seed=6), 40)
    assert drawn[1:] != names(Mixture(datasets=sets, weights=[1, 1], length=3, seed=6), 39)


def test_an_endless_set_gets_the_index_and_no_label_stays() -> None:
    mixture = Mixture(datasets=[Numbers("a", 2, endless=True)], weights=[1], length=4)
    assert names(mixture, 6) == [f"a{i}" for i in range(6)]
    assert [sample["name"] for sample in mixture] == ["a0", "a1", "a2", "a3"]
    assert mixture[0].keys() == {"image1", "image2", "name"}
    with pytest.raises(IndexError, match="index -1"):
        mixture[-1]


def first_batches(root: Path, workers: int) -> list[Tensor]:
    """Of two epochs of a real loader."""
    mixture = Mixture(
        datasets=[MovingLayers(split="train", size=(48, 64)), Middlebury(root=root)], weights=[1, 1], length=6
    )
    data = FlowDataModule(train=mixture, batch_size=2, workers=workers, transform=RandomCrop(size=(32, 32)))
    loader = data.train_dataloader()
    batches = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        batches += [batch["image1"] for batch in loader]
    return batches


def test_a_mixture_trains_whatever_the_workers_and_each_epoch_is_fresh(tmp_path: Path) -> None:
    trees.middlebury(tmp_path)
    batches = first_batches(tmp_path, workers=0)
    assert [tuple(batch.shape) for batch in batches] == 6 * [(2, 3, 32, 32)]
    assert len({float(image.sum()) for batch in batches for image in batch}) == 12
    assert all(map(torch.equal, batches, first_batches(tmp_path, workers=2)))


@pytest.mark.parametrize(
    ("sizes", "weights", "length", "seed", "message"),
    [
        ([], [], 1, 0, "0 weights for 0 data sets"),
        ([1, 1], [1.0], 1, 0, "1 weights for 2 data sets"),
        ([1, 1], [1.0, 0.0], 1, 0, r"weights are \[1\.0, 0\.0\]"),
        ([1], [float("nan")], 1, 0, "weights are"),
        ([1], [float("inf")], 1, 0, "weights are"),
        ([1], [1.0], 0, 0, "length is 0"),
        ([1], [1.0], 1, -1, "seed is -1"),
        ([1, 0], [1.0, 1.0], 1, 0, r"have \[1, 0\] samples"),
    ],
)
def test_bad_arguments_are_named(sizes: list[int], weights: list[float], length: int, seed: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture(datasets=[Numbers("a", size) for size in sizes], weights=weights, length=length, seed=seed)
