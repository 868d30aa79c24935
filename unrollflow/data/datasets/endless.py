"""Data sets with a sample for every index."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from torch.utils.data import Dataset

from unrollflow.contracts import FlowSample


class EndlessDataset(Dataset[FlowSample]):
    """Base class of data sets with a sample for every index from 0; `len` only defines the length of an epoch.

    Attributes:
        length: samples per epoch; set by a subclass.
    """

    endless: ClassVar[bool] = True
    """A training loader may pass the index epoch * len + i instead of repeating the first len samples."""

    length: int

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[FlowSample]:
        # without this method, Python would iterate until an IndexError, which never occurs
        return (self[index] for index in range(self.length))

    def __getitem__(self, index: int) -> FlowSample:
        """Sample of any index >= 0, also beyond the length; IndexError below 0."""
        if index < 0:
            raise IndexError(f"index {index} is negative; an endless data set has no end to count from.")
        return self.sample(index)

    @abstractmethod
    def sample(self, index: int) -> FlowSample:
        """Return the sample of an index, which is at least 0."""
