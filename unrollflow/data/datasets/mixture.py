"""Several data sets as one to train on."""

from collections.abc import Sized
from typing import cast

import numpy as np
from torch.utils.data import Dataset

from unrollflow.contracts import FlowSample
from unrollflow.data.datasets.endless import EndlessDataset


class Mixture(EndlessDataset):
    """Frames of several data sets, mixed by weights; sample `index` depends on (seed, index) alone.

    Every index from 0 on gives a sample; `len` only says where an epoch ends. An index draws a data set, and one of its
    samples; an endless data set is given the index itself. Ground truth is dropped: a batch needs samples alike.
    The sets' frames differ in size, so that training needs RandomCrop.

    Args:
        datasets: that are mixed; with `labels: false` they leave their ground truth unread.
        weights: of the data sets, positive; one of twice the weight is drawn twice as often.
        length: samples per epoch.
        seed: another seed gives other draws; at least 0.

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
            raise ValueError(f"{len(weights)} weights for {len(datasets)} data sets; each of at least one needs one.")
        if not all(0 < weight < float("inf") for weight in weights):
            raise ValueError(f"weights are {weights}; each must be positive and finite.")
        if length < 1 or seed < 0:
            raise ValueError(f"length is {length} and seed {seed}; they must be at least 1 and 0.")
        self.datasets, self.weights, self.length, self.seed = datasets, weights, length, seed
        self.sizes = [len(cast(Sized, dataset)) for dataset in datasets]
        if not all(self.sizes):
            raise ValueError(f"the data sets hold {self.sizes} samples; none may be empty.")

    def sample(self, index: int) -> FlowSample:
        """Sample of an index, which depends on (seed, index) alone."""
        generator = np.random.default_rng(np.random.SeedSequence([self.seed, index]))
        chosen = int(generator.choice(len(self.datasets), p=np.asarray(self.weights) / sum(self.weights)))
        dataset = self.datasets[chosen]
        drawn = int(generator.integers(self.sizes[chosen]))
        sample = dataset[index if getattr(dataset, "endless", False) else drawn]
        return FlowSample(image1=sample["image1"], image2=sample["image2"], name=sample["name"])
