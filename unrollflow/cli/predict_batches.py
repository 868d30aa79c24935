"""Batches of pairs of one size for `unrollflow predict`."""

from collections.abc import Sequence
from operator import itemgetter

from torch.utils.data import DataLoader, Dataset, default_collate

from unrollflow.cli.checks import stored_shape
from unrollflow.cli.predict_inputs import Task
from unrollflow.contracts import FlowSample


def loader(job: Task, places: list[int], batch_size: int) -> DataLoader[FlowSample]:
    """Batches of those pairs of a task whose results are wanted."""
    if not job.images:  # a video: all of it, of one size
        return DataLoader(job.pairs, batch_size=batch_size)
    batches = same_size_batches(places, [stored_shape(job.images[i][0]) for i in places], batch_size)
    # an item is a batch already; with batch_size=None Lightning would warn
    return DataLoader(Batches(job.pairs, batches), batch_size=1, collate_fn=itemgetter(0))


def same_size_batches(places: Sequence[int], sizes: Sequence[object | None], batch_size: int) -> list[list[int]]:
    """Neighbouring places of one size, at most `batch_size` together; one whose size is not known is alone.

    >>> same_size_batches([0, 1, 2, 5, 6, 7], ["a", "a", "a", "b", None, None], 2)
    [[0, 1], [2], [5], [6], [7]]
    """
    batches: list[list[int]] = []
    for i, place in enumerate(places):
        if i and sizes[i] is not None and sizes[i] == sizes[i - 1] and len(batches[-1]) < batch_size:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


class Batches(Dataset[FlowSample]):
    """Given batches of a data set's samples, each as one item.

    Args:
        pairs: the data set.
        batches: places of the samples of each batch, whose frames have one size.
    """

    def __init__(self, pairs: Dataset[FlowSample], batches: list[list[int]]) -> None:
        self.pairs, self.batches = pairs, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> FlowSample:
        batch: FlowSample = default_collate([self.pairs[place] for place in self.batches[index]])
        return batch
