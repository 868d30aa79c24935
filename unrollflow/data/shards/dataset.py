"""Corpora that outgrow a disk: pairs of frames in tar files, near or far."""

import json
import math
import re
from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset

from unrollflow.contracts import FlowSample
from unrollflow.data.io.files import existing
from unrollflow.data.shards.shard_cache import fetch, open_cached
from unrollflow.data.shards.tar_shard import TarShard

INDEX = "shards.json"
GIGABYTE = 10**9
MOST_OPEN = 256
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.tar")
DEFAULT_CACHE = Path("~/.cache/unrollflow/shards")


class ShardFile(NamedTuple):
    """An entry of the index.

    Attributes:
        name: of the tar file, beside the index.
        samples: in it.
        bytes: its size.
    """

    name: str
    samples: int
    bytes: int


class ShardedPairs(Dataset[FlowSample]):
    """Pairs of frames in tar files, as :func:`write_shards` writes them (WebDataset's layout), without ground truth.

    It has a length, and a sample for each index, as any other set: the loader draws, shares out and resumes as always,
    results do not depend on the number of workers, and several processes see the batches of one. What differs is the
    order in training: tar files come in a random order, samples in theirs, but for a shift of up to `shuffle` places,
    so that few files are needed at a time. Each machine reads every file once an epoch, its processes share them.

    Drawn from by a :class:`Mixture` it is read in any order, which is for files on a disk of one's own.

    Args:
        root: folder, or address (http, https, s3, gs, hf), that holds the index shards.json and the tar files.
        shuffle: samples, see above; as many as some shards hold mixes those. 0: the order in the files.
        cache: folder into which shards are fetched if the root is an address; one for each machine.
        cache_gigabytes: its bound.

    Raises:
        ImportError: if the root is an address whose scheme needs a package that is missing.
        FileNotFoundError: if there is no index, or a shard is not there.
        ValueError: if an argument is out of range, or the index is none; later, naming shard and member, if one is
            damaged, or is not a picture (see :class:`~unrollflow.data.shards.tar_shard.TarShard`).
    """

    def __init__(
        self,
        *,
        root: str,
        shuffle: int = 10_000,
        cache: Path = DEFAULT_CACHE,
        cache_gigabytes: float = 20.0,
    ) -> None:
        if shuffle < 0 or cache_gigabytes <= 0:
            raise ValueError(f"shuffle is {shuffle} and cache_gigabytes {cache_gigabytes}; at least 0 and more than 0.")
        self.root, self.shuffle = str(root).rstrip("/"), shuffle
        self.cache = Path(cache).expanduser() if "://" in self.root else None
        self.most_bytes = int(cache_gigabytes * GIGABYTE)
        self.shards = read_index(self.root)
        self.sizes = np.array([shard.samples for shard in self.shards])
        self.ends = self.sizes.cumsum()
        in_use = math.ceil(shuffle / self.sizes.mean()) + 2  # shards that a stretch of the order is drawn from
        largest = max(shard.bytes for shard in self.shards)
        if self.cache and self.most_bytes < min(in_use, len(self.shards)) * largest:
            raise ValueError(
                f"cache_gigabytes is {cache_gigabytes}, but shuffle={shuffle} draws from {in_use} shards at a time, of "
                f"up to {largest / GIGABYTE:.3g} GB each; give a larger cache or a smaller shuffle."
            )
        self.most_open = min(in_use, MOST_OPEN)
        self.open: OrderedDict[int, TarShard] = OrderedDict()

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> FlowSample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        number = int(np.searchsorted(self.ends, index, side="right"))
        return self._shard(number)[index - int(self.ends[number])]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"open": OrderedDict()}  # a worker opens its own

    def epoch_order(self, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """All indices, shards in a random order and samples near their places in them."""
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(self.shards))
        sequence = np.concatenate([np.arange(self.ends[k] - self.sizes[k], self.ends[k]) for k in order])
        moved = np.arange(len(sequence)) + self.shuffle * generator.random(len(sequence))
        return np.asarray(sequence[np.argsort(moved, kind="stable")])

    def _shard(self, number: int) -> TarShard:
        """An open shard; the least recently used of too many is closed."""
        if number not in self.open:
            shard = self.shards[number]
            address = f"{self.root}/{shard.name}"
            found = TarShard(self._file(address, shard.bytes), name=address)
            if len(found) != shard.samples:
                raise ValueError(
                    f"{address} holds {len(found)} samples; {INDEX} says {shard.samples}: one of them is damaged or "
                    "out of date."
                )
            self.open[number] = found
            if len(self.open) > self.most_open:
                self.open.popitem(last=False)[1].file.close()
        self.open.move_to_end(number)
        return self.open[number]

    def _file(self, address: str, size: int) -> IO[bytes]:
        if self.cache is None:
            return existing(address).open("rb")
        return open_cached(address, size=size, folder=self.cache, most_bytes=self.most_bytes)


def read_index(root: str) -> list[ShardFile]:
    """The tar files that the index of a folder or an address lists (the index of webdataset's `widsindex`).

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is none, or names a file that is not beside it.
    """
    where = f"{root}/{INDEX}"
    with TemporaryDirectory() as folder:
        local = Path(folder, INDEX) if "://" in root else existing(where)
        if "://" in root:
            fetch(where, str(local))
        content = local.read_bytes()
    try:
        listed = json.loads(content)["shardlist"]
        shards = [ShardFile(str(entry["url"]), int(entry["nsamples"]), int(entry["filesize"])) for entry in listed]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where} is not an index of shards, as write_shards writes it: {error!r}.") from error
    for shard in shards:
        if not NAME.fullmatch(shard.name) or shard.samples < 1 or shard.bytes < 1:
            raise ValueError(
                f"{where} lists {shard}; a tar file beside it is expected, of letters, digits, '_', '.' and '-', that "
                "holds samples."
            )
    if not shards or len({shard.name for shard in shards}) < len(shards):
        raise ValueError(f"{where} lists {len(shards)} shards; at least one, and none twice, is expected.")
    return shards
