"""A loader whose place is saved with a training, and that may skip what cannot be read."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from torch.utils.data import DataLoader, Dataset

from unrollflow.contracts import FlowSample

UNREADABLE = (ValueError, OSError)
"""What data sets raise of files that are damaged, of another size than their neighbours, or gone."""

MOST_TRIES = 8
"""Samples in a row that may be skipped before the data set as a whole is taken to be broken."""

MOST_LISTED = 20

JOINT_SIZE = "batch_size_of_all_processes"
"""Of a loader's state: batches of this many samples, in which all processes have a share, follow the epoch's order."""


class Loaded(NamedTuple):
    """What a worker hands over: a batch, and what was wrong with samples in whose place others stand."""

    batch: FlowSample
    complaints: list[str]


@runtime_checkable
class Skipping(Protocol):
    """A sampler whose next iteration omits its first `skip` samples."""

    skip: int
    num_replicas: int

    def identity(self) -> dict[str, int]:
        """What the order of the samples of all processes depends on."""


class BadSamples:
    """Complaints about samples that were skipped, up to a limit.

    Args:
        limit: more than that many different ones end the training; the same file complains anew in every epoch.
    """

    def __init__(self, *, limit: int) -> None:
        if limit < 0:
            raise ValueError(f"most_bad_samples is {limit}; it must be at least 0.")
        self.limit, self.complaints = limit, Counter[str]()

    def add(self, complaints: list[str]) -> None:
        """Keep complaints; ValueError beyond the limit."""
        self.complaints.update(complaints)
        if len(self.complaints) > self.limit:
            raise ValueError(
                f"{len(self.complaints)} training samples could not be read, more than most_bad_samples="
                f"{self.limit}; fix or remove these files: {self.listed()}"
            )

    def listed(self) -> str:
        """Each complaint once, with how often it came, up to the length of a screen."""
        counted = [f"{text} (x{times})" for text, times in islice(self.complaints.items(), MOST_LISTED)]
        more = len(self.complaints) - MOST_LISTED
        return "; ".join(counted) + (f"; and {more} more" if more > 0 else "")


class Replacing(Dataset[FlowSample]):
    """Samples of which an unreadable one is replaced by the next that can be read: by the index alone, as all draws.

    Args:
        samples: takes any index >= 0, as :class:`~unrollflow.data.datamodule.TrainingSamples`.
    """

    def __init__(self, samples: Dataset[FlowSample]) -> None:
        self.samples = samples

    def __getitem__(self, index: int) -> tuple[FlowSample, list[str]]:  # type: ignore[override]
        """A sample and the complaints about those before it; ValueError if no sample nearby can be read."""
        complaints: list[str] = []
        for i in range(index, index + MOST_TRIES):
            try:
                return self.samples[i], complaints
            except UNREADABLE as error:
                complaints.append(" ".join(str(error).split()))
        raise ValueError(f"{MOST_TRIES} training samples in a row cannot be read: {'; '.join(complaints)}")


class CollateReplaced:
    """Joins samples of :class:`Replacing`.

    Args:
        collate: of the samples alone.
    """

    def __init__(self, collate: Callable[[list[FlowSample]], FlowSample]) -> None:
        self.collate = collate

    def __call__(self, items: list[tuple[FlowSample, list[str]]]) -> Loaded:
        """A batch, and all complaints."""
        return Loaded(self.collate([sample for sample, _ in items]), [text for _, texts in items for text in texts])


class ResumableLoader(DataLoader[FlowSample]):
    """A DataLoader whose state is its epoch, the number of batches that it has handed out, and what they depend on.

    Lightning keeps the state of a loader that has these two methods in every checkpoint, and sets it when a training is
    resumed. What workers have fetched ahead does not count, so that the next batch is the one after the last that was
    trained on. What is skipped of an epoch is not read.
    """

    handed_out = 0
    resumed: dict[str, int] | None = None
    bad: BadSamples | None = None

    def state_dict(self) -> dict[str, int]:
        """Where the training stands: plain numbers."""
        return {"epoch": self._epoch(), "batches": self.handed_out} | self._identity()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next iteration begins after the batches of a saved state, if it is of the same epoch.

        It then raises ValueError if it would repeat or skip samples. Another number of workers changes nothing, nor
        does another number of processes if the batches of all of them together keep their size.
        """
        self.resumed = state

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch names its own iterator
        # all of it happens when the first batch is asked for, and not before: Lightning makes the iterator of a resumed
        # training before it tells the sampler which epoch it is, and workers would begin with another one
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
    """Whether a saved state is of the end of an epoch, as a checkpoint of the validation there has it."""
    return JOINT_SIZE in state and state["batches"] >= state.get("samples", math.inf) // state[JOINT_SIZE]


def check_same_samples(state: dict[str, int], now: dict[str, int]) -> None:
    """Raise ValueError if the batches of a saved state are not the first ones of a loader with the identity `now`."""
    differing = [name for name, value in now.items() if state.get(name) != value]
    if differing and state["batches"]:
        saved, here = (", ".join(f"{k} {v.get(k, 'unknown')}" for k in differing) for v in (state, now))
        raise ValueError(
            f"cannot resume within an epoch, after {state['batches']} batches: the checkpoint has {saved}, this run "
            f"has {here}, so that samples would be repeated or skipped; restore these settings (batch_size is of each "
            "process), or resume from a checkpoint of an epoch's end."
        )
