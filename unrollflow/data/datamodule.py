"""Data loaders whose order and random draws depend on the seed, not on the number of workers."""

import zlib
from collections.abc import Iterator, Sized
from itertools import islice
from typing import Literal, cast

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, DistributedSampler, default_collate

from unrollflow.contracts import FlowSample
from unrollflow.data.loader import BadSamples, CollateReplaced, Replacing, ResumableLoader
from unrollflow.data.transforms.geometry import Transform
from unrollflow.data.transforms.motion_boundaries import WithBoundaryDistance
from unrollflow.ops.seeds import derived_seed


class EpochSampler(DistributedSampler[FlowSample]):
    """Yields indices epoch * length + i, with i in the epoch's random order, distributed over the processes.

    The index includes the epoch, so that the random draws of a sample can depend only on the index, and an endless data
    set gives new samples in every epoch.

    A data set with a method `epoch_order(seed)` defines the order of its samples itself.

    Args:
        dataset: the data set, for its length.
        seed: seed of the order; the orders of two seeds differ in all epochs.

    Attributes:
        skip: number of samples that the next iteration omits: those of a resumed epoch that were already used.
    """

    def __init__(self, dataset: Dataset[FlowSample], *, seed: int) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        super().__init__(
            dataset,
            num_replicas=torch.distributed.get_world_size() if distributed else 1,
            rank=torch.distributed.get_rank() if distributed else 0,
            seed=seed,
            drop_last=True,
        )
        self.skip = 0

    def __iter__(self) -> Iterator[int]:  # type: ignore[override]  # torch types it by the data set's samples
        skip, self.skip = self.skip, 0
        start, order = self.epoch * length(self.dataset), self._epoch_order()
        return (start + int(i) for i in islice(order[self.rank : self.total_size : self.num_replicas], skip, None))

    def identity(self) -> dict[str, int]:
        """Values that determine the epoch's order, and its checksum, which detects other data sets or versions."""
        checksum = zlib.crc32(np.asarray(self._epoch_order(), np.int64).tobytes())
        return {"samples": length(self.dataset), "seed": self.seed, "order_checksum": checksum}

    def _epoch_order(self) -> NDArray[np.int64]:
        total = length(self.dataset)
        # hashed, not added as in torch's sampler, where epoch 1 of seed 0 has the order of epoch 0 of seed 1
        seed = derived_seed(self.seed, self.epoch, "order")
        own_order = getattr(self.dataset, "epoch_order", None)
        if own_order:
            return cast(NDArray[np.int64], own_order(seed))
        return cast(NDArray[np.int64], torch.randperm(total, generator=torch.Generator().manual_seed(seed)).numpy())


class TrainingSamples(Dataset[FlowSample]):
    """Transformed samples by an index that increases over the epochs; random draws depend only on (seed, index).

    Args:
        dataset: data set; one with `endless = True` receives the index unchanged, others the index modulo the length.
        transform: random transform of a sample, or None.
        seed: seed of the draws.
    """

    def __init__(self, dataset: Dataset[FlowSample], transform: Transform | None, *, seed: int) -> None:
        self.dataset, self.transform, self.seed = dataset, transform, seed
        self.epoch_order = getattr(dataset, "epoch_order", None)

    def __len__(self) -> int:
        return length(self.dataset)

    def __getitem__(self, index: int) -> FlowSample:
        endless = getattr(self.dataset, "endless", False)
        sample = self.dataset[index if endless else index % len(self)]
        if self.transform is None:
            return sample
        return self.transform(sample, torch.Generator().manual_seed(derived_seed(self.seed, index)))


class FlowDataModule(LightningDataModule):
    """Loaders for training, validation and test.

    Args:
        train: training data set, or None.
        validation: validation data set, or None.
        test: test data set, or None.
        batch_size: training samples per step and process.
        validation_batch_size: samples per step of validation and test; use 1 if sizes differ.
        workers: number of processes that load data; 0: load in the trainer's process.
        seed: seed of the order and of the transform's draws.
        transform: random transform of the training samples, or None.
        on_bad_sample: for a training sample that cannot be read, `raise` the error, or `skip` it and use the next
            readable sample instead. Validation always raises, because its figures must include all samples.
        most_bad_samples: with `skip`, maximum number of bad samples before the training ends with an error; each is
            counted once over all epochs.

    Raises:
        ValueError: if the training set is smaller than a batch, or the seed or `most_bad_samples` is negative.
    """

    def __init__(
        self,
        *,
        train: Dataset | None,  # type: ignore[type-arg]  # jsonargparse resolves class paths of plain classes only
        validation: Dataset | None = None,  # type: ignore[type-arg]
        test: Dataset | None = None,  # type: ignore[type-arg]
        batch_size: int = 8,
        validation_batch_size: int = 1,
        workers: int = 1,
        seed: int = 0,
        transform: Transform | None = None,
        on_bad_sample: Literal["raise", "skip"] = "raise",
        most_bad_samples: int = 100,
    ) -> None:
        super().__init__()
        if seed < 0:
            raise ValueError(f"seed is out of range: {seed}; it must be at least 0.")
        if train is not None and length(train) < batch_size:
            raise ValueError(
                f"the training set has {length(train)} samples, fewer than one batch of {batch_size}; "
                "use more data or a smaller batch_size."
            )
        self.train, self.validation, self.test = train, validation, test
        self.batch_size, self.validation_batch_size = batch_size, validation_batch_size
        self.workers, self.seed, self.transform = workers, seed, transform
        self.on_bad_sample, self.bad_samples = on_bad_sample, BadSamples(limit=most_bad_samples)

    def train_dataloader(self) -> DataLoader[FlowSample]:
        """Loader of shuffled batches without the last, incomplete one; it can resume within an epoch."""
        samples = TrainingSamples(required(self.train, "train"), self.transform, seed=self.seed)
        sampler = EpochSampler(samples, seed=self.seed)
        if len(sampler) < self.batch_size:
            raise ValueError(
                f"the training set has {len(sampler)} samples for each of {sampler.num_replicas} processes, fewer than "
                f"one batch of {self.batch_size}; use more data, a smaller batch_size or fewer processes."
            )
        return self._loader(samples, self.batch_size, sampler)

    def val_dataloader(self) -> DataLoader[FlowSample] | list[DataLoader[FlowSample]]:
        """Loader of every validation sample once, in order, in every process; [] if there is no validation set."""
        return [] if self.validation is None else self._evaluation_loader(self.validation)

    def test_dataloader(self) -> DataLoader[FlowSample]:
        """Loader of every test sample once, in order, in every process."""
        return self._evaluation_loader(required(self.test, "test"))

    def _evaluation_loader(self, dataset: Dataset[FlowSample]) -> DataLoader[FlowSample]:
        samples = WithBoundaryDistance(dataset)
        # Lightning would replace any other sampler by one that repeats samples to give all processes equal numbers
        whole: DistributedSampler[FlowSample] = DistributedSampler(samples, num_replicas=1, rank=0, shuffle=False)
        return self._loader(samples, self.validation_batch_size, whole)

    def _loader(
        self, dataset: Dataset[FlowSample], batch_size: int, sampler: DistributedSampler[FlowSample]
    ) -> DataLoader[FlowSample]:
        trains = isinstance(sampler, EpochSampler)
        skips = trains and self.on_bad_sample == "skip"
        loader = (ResumableLoader if trains else DataLoader)(
            Replacing(dataset) if skips else dataset,
            batch_size,
            sampler=sampler,
            collate_fn=CollateReplaced(collate) if skips else collate,
            num_workers=self.workers,
            drop_last=trains,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.workers > 0,
        )
        if isinstance(loader, ResumableLoader):
            loader.bad = self.bad_samples
        return loader


def collate(samples: list[FlowSample]) -> FlowSample:
    """Stack samples into a batch.

    Raises:
        ValueError: if their sizes differ, or only some have a map.
    """
    first = samples[0]
    for other in samples[1:]:
        if other["image1"].shape != first["image1"].shape:
            sizes = ["x".join(map(str, s["image1"].shape[-2:])) for s in (first, other)]
            raise ValueError(
                f"cannot batch samples of different sizes: {first['name']} is {sizes[0]}, {other['name']} is "
                f"{sizes[1]}; crop them with RandomCrop, or set the batch size to 1."
            )
        if other.keys() != first.keys():
            lacking = sorted(other.keys() ^ first.keys())
            raise ValueError(
                f"cannot batch samples with different maps: only one of {first['name']} and {other['name']} has "
                f"{', '.join(lacking)}; set the batch size to 1."
            )
    return cast(FlowSample, default_collate(samples))


def length(dataset: object) -> int:
    """Length of a data set; torch's type does not declare it."""
    return len(cast(Sized, dataset))


def required(dataset: Dataset[FlowSample] | None, stage: str) -> Dataset[FlowSample]:
    """Return the data set of a stage, or raise ValueError if it is None."""
    if dataset is None:
        raise ValueError(f"no {stage} data; give a data set with --data.{stage} or a file in configs/data.")
    return dataset
