"""Data sets of which every index is a sample."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from torch.utils.data import Dataset

from unrollflow.contracts import FlowSample


class EndlessDataset(Dataset[FlowSample]):
    """Base of data sets of which every index from 0 on gives a sample; `len` only says where an epoch ends.

    Attributes:
        length: samples per epoch; a subclass sets it.
    """

    endless: ClassVar[bool] = True
    """Any index is a sample: a training loader may pass epoch * len + i instead of repeating the first len."""

    length: int

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[FlowSample]:
        # without it, Python would count up until an IndexError that never comes
        return (self[index] for index in range(self.length))

    def __getitem__(self, index: int) -> FlowSample:
        """Sample of any index >= 0, also beyond the length; IndexError below 0."""
        if index < 0:
            raise IndexError(f"index {index} is negative; this endless data set is not indexed from an end.")
        return self.sample(index)

    @abstractmethod
    def sample(self, index: int) -> FlowSample:
        """Sample of an index that is at least 0."""
