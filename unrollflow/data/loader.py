"""Data loader that can resume within an epoch and skip unreadable samples."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from torch.utils.data import DataLoader, Dataset

from unrollflow.contracts import FlowSample

UNREADABLE = (ValueError, OSError)
"""Errors of data sets for files that are damaged, of a wrong size, or missing."""

MOST_TRIES = 8
"""Maximum number of successive unreadable samples before an error is raised."""

MOST_LISTED = 20

JOINT_SIZE = "batch_size_of_all_processes"
"""Key of a loader's state: number of samples in the batches of all processes together."""


class Loaded(NamedTuple):
    """Result of a worker: a batch, and the errors of the samples that were replaced."""

    batch: FlowSample
    complaints: list[str]


@runtime_checkable
class Skipping(Protocol):
    """A sampler whose next iteration omits its first `skip` samples."""

    skip: int
    num_replicas: int

    def identity(self) -> dict[str, int]:
        """Values that determine the order of the samples of all processes."""


class BadSamples:
    """Errors of skipped samples, up to a limit.

    Args:
        limit: maximum number of different errors before the training ends; repeated errors of a file are counted once.
    """

    def __init__(self, *, limit: int) -> None:
        if limit < 0:
            raise ValueError(f"most_bad_samples is out of range: {limit}; it must be at least 0.")
        self.limit, self.complaints = limit, Counter[str]()

    def add(self, complaints: list[str]) -> None:
        """Add errors; raise ValueError if there are more than the limit."""
        self.complaints.update(complaints)
        if len(self.complaints) > self.limit:
            raise ValueError(
                f"{len(self.complaints)} training samples could not be read, more than most_bad_samples="
                f"{self.limit}; fix or remove these files: {self.listed()}"
            )

    def listed(self) -> str:
        """Text of the first different errors, each with its count."""
        counted = [f"{text} (x{times})" for text, times in islice(self.complaints.items(), MOST_LISTED)]
        more = len(self.complaints) - MOST_LISTED
        return "; ".join(counted) + (f"; and {more} more" if more > 0 else "")


class Replacing(Dataset[FlowSample]):
    """Data set in which an unreadable sample is replaced by the next readable one; depends only on the index.

    Args:
        samples: data set with any index >= 0, such as :class:`~unrollflow.data.datamodule.TrainingSamples`.
    """

    def __init__(self, samples: Dataset[FlowSample]) -> None:
        self.samples = samples

    def __getitem__(self, index: int) -> tuple[FlowSample, list[str]]:  # type: ignore[override]
        """Sample, and the errors of the unreadable samples before it; ValueError if there are too many of these."""
        complaints: list[str] = []
        for i in range(index, index + MOST_TRIES):
            try:
                return self.samples[i], complaints
            except UNREADABLE as error:
                complaints.append(" ".join(str(error).split()))
        raise ValueError(f"{MOST_TRIES} training samples in a row cannot be read: {'; '.join(complaints)}")


class CollateReplaced:
    """Collates samples of :class:`Replacing`.

    Args:
        collate: function that collates samples without errors.
    """

    def __init__(self, collate: Callable[[list[FlowSample]], FlowSample]) -> None:
        self.collate = collate

    def __call__(self, items: list[tuple[FlowSample, list[str]]]) -> Loaded:
        """Return a batch and all errors."""
        return Loaded(self.collate([sample for sample, _ in items]), [text for _, texts in items for text in texts])


class ResumableLoader(DataLoader[FlowSample]):
    """DataLoader whose state is the epoch, the number of yielded batches, and the values that determine them.

    Lightning saves the state of a loader with these two methods in every checkpoint, and restores it when a training is
    resumed. Prefetched batches are not counted, so the next batch is the one after the last training step. Skipped
    samples of a resumed epoch are not read.
    """

    handed_out = 0
    resumed: dict[str, int] | None = None
    bad: BadSamples | None = None

    def state_dict(self) -> dict[str, int]:
        """State of the loader, as plain numbers."""
        return {"epoch": self._epoch(), "batches": self.handed_out} | self._identity()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start the next iteration after the batches of a saved state, if it is of the same epoch.

        The iteration raises ValueError if it would repeat or skip samples. The number of workers may change, and also
        the number of processes if the total batch size of all processes stays the same.
        """
        self.resumed = state

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch names its own iterator
        # a generator, so that this code runs when the first batch is requested: in a resumed training, Lightning
        # creates the iterator before it sets the epoch of the sampler
        resumed, self.resumed = self.resumed, None
        self.handed_out = 0
        if resumed and resumed["epoch"] == self._epoch():
            self.handed_out = len(self) if is_complete(resumed) else resumed["batches"]
            if not is_complete(resumed):
                check_same_samples(resumed, self._identity())
        if isinstance(self.sampler, Skipping):
            self.sampler.skip = self.handed_out * cast(int, self.batch_size)
        for loaded in super().__iter__():
            self.handed_out += 1
            if isinstance(loaded, Loaded) and self.bad is not None:
                self.bad.add(loaded.complaints)
            yield loaded.batch if isinstance(loaded, Loaded) else loaded

    def _epoch(self) -> int:
        return int(getattr(self.sampler, "epoch", 0))

    def _identity(self) -> dict[str, int]:
        size = cast(int, self.batch_size)
        if not isinstance(self.sampler, Skipping):
            return {JOINT_SIZE: size}
        return {JOINT_SIZE: size * self.sampler.num_replicas} | self.sampler.identity()


def is_complete(state: dict[str, int]) -> bool:
    """Whether a saved state is of the end of an epoch, as in a checkpoint of a validation there."""
    return JOINT_SIZE in state and state["batches"] >= state.get("samples", math.inf) // state[JOINT_SIZE]


def check_same_samples(state: dict[str, int], now: dict[str, int]) -> None:
    """Raise ValueError if the batches of a saved state are not the first batches of a loader with identity `now`."""
    differing = [name for name, value in now.items() if state.get(name) != value]
    if differing and state["batches"]:
        saved, here = (", ".join(f"{k} {v.get(k, 'unknown')}" for k in differing) for v in (state, now))
        raise ValueError(
            f"cannot resume within an epoch, after {state['batches']} batches: the checkpoint has {saved}, this run "
            f"has {here}, so samples would be repeated or skipped; restore these settings (batch_size is per process), "
            "or resume from a checkpoint at the end of an epoch."
        )
