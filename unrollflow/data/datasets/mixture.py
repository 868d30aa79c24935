"""Mixture of several data sets for training."""

from collections.abc import Sized
from typing import cast

import numpy as np
from torch.utils.data import Dataset

from unrollflow.contracts import FlowSample
from unrollflow.data.datasets.endless import EndlessDataset


class Mixture(EndlessDataset):
    """Frames of several data sets, mixed by weights; a sample depends only on (seed, index).

    Every index from 0 has a sample; `len` only defines the length of an epoch. An index draws a data set and one of its
    samples; an endless data set receives the index itself. Ground truth is dropped, because all samples of a batch need
    the same maps. If the frames differ in size, training needs RandomCrop.

    Args:
        datasets: data sets to mix; use `labels: false` to avoid reading their ground truth.
        weights: positive weights of the data sets; a data set with twice the weight is drawn twice as often.
        length: samples per epoch.
        seed: seed of the draws, at least 0.

    Raises:
        ValueError: if an argument is out of range, or a data set is empty.
    """

    def __init__(
        self,
        *,
        datasets: list[Dataset],  # type: ignore[type-arg]  # jsonargparse resolves class paths of plain classes only
        weights: list[float],
        length: int,
        seed: int = 0,
    ) -> None:
        if not datasets or len(weights) != len(datasets):
            raise ValueError(
                f"{len(weights)} weights for {len(datasets)} data sets; expected at least one data set, and one weight "
                "for each."
            )
        if not all(0 < weight < float("inf") for weight in weights):
            raise ValueError(f"weights are {weights}; each must be positive and finite.")
        if length < 1 or seed < 0:
            raise ValueError(f"length is {length} and seed is {seed}; expected length >= 1 and seed >= 0.")
        self.datasets, self.weights, self.length, self.seed = datasets, weights, length, seed
        self.sizes = [len(cast(Sized, dataset)) for dataset in datasets]
        if not all(self.sizes):
            raise ValueError(f"a data set is empty: the data sets have {self.sizes} samples.")

    def sample(self, index: int) -> FlowSample:
        """Sample of an index; it depends only on (seed, index)."""
        generator = np.random.default_rng(np.random.SeedSequence([self.seed, index]))
        chosen = int(generator.choice(len(self.datasets), p=np.asarray(self.weights) / sum(self.weights)))
        dataset = self.datasets[chosen]
        drawn = int(generator.integers(self.sizes[chosen]))
        sample = dataset[index if getattr(dataset, "endless", False) else drawn]
        return FlowSample(image1=sample["image1"], image2=sample["image2"], name=sample["name"])
