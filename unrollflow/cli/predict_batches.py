"""Batches of pairs of equal size for `unrollflow predict`."""

from collections.abc import Sequence
from operator import itemgetter

from torch.utils.data import DataLoader, Dataset, default_collate

from unrollflow.cli.checks import stored_shape
from unrollflow.cli.predict_inputs import Task
from unrollflow.contracts import FlowSample


def loader(job: Task, places: list[int], batch_size: int) -> DataLoader[FlowSample]:
    """Batches of the pairs of a task at the given places."""
    if not job.images:  # a video: all pairs, of equal size
        return DataLoader(job.pairs, batch_size=batch_size)
    batches = same_size_batches(places, [stored_shape(job.images[i][0]) for i in places], batch_size)
    # each item is already a batch; Lightning would warn about batch_size=None
    return DataLoader(Batches(job.pairs, batches), batch_size=1, collate_fn=itemgetter(0))


def same_size_batches(places: Sequence[int], sizes: Sequence[object | None], batch_size: int) -> list[list[int]]:
    """Group neighbouring places of equal size, at most `batch_size` per group; unknown sizes form single groups.

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
    """Data set whose items are given batches of samples of another data set.

    Args:
        pairs: the data set of the samples.
        batches: places of the samples of each batch; their frames must have equal sizes.
    """

    def __init__(self, pairs: Dataset[FlowSample], batches: list[list[int]]) -> None:
        self.pairs, self.batches = pairs, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> FlowSample:
        batch: FlowSample = default_collate([self.pairs[place] for place in self.batches[index]])
        return batch
