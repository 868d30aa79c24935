"""Pairs of frames in tar files on a disk or at a remote address, for data sets larger than one disk."""

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
        name: name of the tar file, beside the index.
        samples: number of samples in it.
        bytes: size of the file.
    """

    name: str
    samples: int
    bytes: int


class ShardedPairs(Dataset[FlowSample]):
    """Pairs of frames in tar files written by :func:`write_shards` (WebDataset's layout), without ground truth.

    It has a length and a sample for each index, like the other data sets: results do not depend on the number of
    workers or processes, and a training can resume within an epoch. Only the order in training differs: tar files are
    in random order, and their samples are shifted by up to `shuffle` places, so that few files are needed at a time.
    Each machine reads every file once per epoch; its processes share the files.

    A :class:`Mixture` reads it in arbitrary order; use this only with files on a local disk.

    Args:
        root: folder or address (http, https, s3, gs, hf) of the index shards.json and the tar files.
        shuffle: maximum shift in samples, see above; use the number of samples in several shards to mix these. 0: keep
            the order in the files.
        cache: folder for downloaded shards if the root is an address; one per machine.
        cache_gigabytes: maximum size of the cache, GB.

    Raises:
        ImportError: if the scheme of the address needs a package that is not installed.
        FileNotFoundError: if the index or a shard does not exist.
        ValueError: if an argument is out of range, or the index is invalid; later, naming shard and member, if one is
            damaged or not an image (see :class:`~unrollflow.data.shards.tar_shard.TarShard`).
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
            raise ValueError(
                f"shuffle is {shuffle} and cache_gigabytes is {cache_gigabytes}; expected shuffle >= 0 and "
                "cache_gigabytes > 0."
            )
        self.root, self.shuffle = str(root).rstrip("/"), shuffle
        self.cache = Path(cache).expanduser() if "://" in self.root else None
        self.most_bytes = int(cache_gigabytes * GIGABYTE)
        self.shards = read_index(self.root)
        self.sizes = np.array([shard.samples for shard in self.shards])
        self.ends = self.sizes.cumsum()
        in_use = math.ceil(shuffle / self.sizes.mean()) + 2  # shards that are needed at the same time
        largest = max(shard.bytes for shard in self.shards)
        if self.cache and self.most_bytes < min(in_use, len(self.shards)) * largest:
            raise ValueError(
                f"cache_gigabytes is too small: {cache_gigabytes}; shuffle={shuffle} uses {in_use} shards at a time, "
                f"of up to {largest / GIGABYTE:.3g} GB each. Use a larger cache or a smaller shuffle."
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
        return self.__dict__ | {"open": OrderedDict()}  # each worker opens its own files

    def epoch_order(self, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Order of all indices, with shards in random order and samples shifted within about `shuffle` places."""
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(self.shards))
        sequence = np.concatenate([np.arange(self.ends[k] - self.sizes[k], self.ends[k]) for k in order])
        moved = np.arange(len(sequence)) + self.shuffle * generator.random(len(sequence))
        return np.asarray(sequence[np.argsort(moved, kind="stable")])

    def _shard(self, number: int) -> TarShard:
        """Return an open shard; close the least recently used one if too many are open."""
        if number not in self.open:
            shard = self.shards[number]
            address = f"{self.root}/{shard.name}"
            found = TarShard(self._file(address, shard.bytes), name=address)
            if len(found) != shard.samples:
                raise ValueError(
                    f"{address} has {len(found)} samples, but {INDEX} says {shard.samples}: one of these files is "
                    "damaged or out of date."
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
    """Read the index of a folder or an address, in the format of webdataset's `widsindex`.

    Raises:
        FileNotFoundError: if the index does not exist.
        ValueError: if it is invalid, or lists a file that is not beside it.
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
        raise ValueError(f"{where} is not an index of shards: {error!r}; create it with write_shards.") from error
    for shard in shards:
        if not NAME.fullmatch(shard.name) or shard.samples < 1 or shard.bytes < 1:
            raise ValueError(
                f"{where} lists {shard}; expected a tar file beside it, with a name of letters, digits, '_', '.' and "
                "'-', and at least one sample."
            )
    if not shards or len({shard.name for shard in shards}) < len(shards):
        raise ValueError(f"{where} lists {len(shards)} shards; expected at least one, and none twice.")
    return shards
