"""Pairs of frames to tar files, as ShardedPairs reads them."""

import json
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset
from tqdm import tqdm

from unrollflow.contracts import FlowSample
from unrollflow.data.io.files import atomic_file, write_atomic
from unrollflow.data.io.images import image_content
from unrollflow.data.shards.dataset import INDEX

FORMAT = {"__kind__": "wids-shard-index-v1", "wids_version": 1}
"""What webdataset's own tools write into an index of shards."""


def write_shards(
    dataset: Dataset[FlowSample], folder: str | Path, *, samples_per_shard: int = 1000, seed: int = 0
) -> Path:
    """Write the frames of a data set to tar files, in a random order, so that each holds samples of many clips.

    Frames become 8-bit PNG, ground truth is omitted. A tar file is there whole or not at all, and the index, without
    which none is read, comes last. The same data set and arguments give the same bytes.

    Args:
        dataset: such as :class:`Footage`, with a length.
        folder: for the tar files and their index; it is made.
        samples_per_shard: of each but the last; some hundred MB a file are good to fetch.
        seed: of the order.

    Returns:
        the path of the index.

    Raises:
        FileExistsError: if the folder holds shards already.
        ValueError: if an argument is out of range, or the set is empty.
    """
    folder, total = Path(folder), len(dataset)  # type: ignore[arg-type]  # torch's type promises no length
    if samples_per_shard < 1 or not total or seed < 0:
        raise ValueError(f"samples_per_shard={samples_per_shard}, seed={seed}, {total} samples: one or more, 0 or more")
    if found := next(folder.glob("*.tar"), None):
        raise FileExistsError(f"{found} is there already; give another folder, or delete the shards.")
    order = np.random.default_rng(seed).permutation(total)
    progress = tqdm(total=total, desc=f"writing {folder}", unit=" pairs", leave=False)
    listed = []
    for start in range(0, total, samples_per_shard):
        path = folder / f"pairs-{start // samples_per_shard:06d}.tar"
        chosen = order[start : start + samples_per_shard]
        with atomic_file(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for number, index in enumerate(chosen, start=start):
                for name, content in packed(dataset[int(index)], number).items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, BytesIO(content))
                progress.update()
        listed.append({"url": path.name, "nsamples": len(chosen), "filesize": path.stat().st_size})
    progress.close()
    index_file = folder / INDEX
    write_atomic(index_file, (json.dumps(FORMAT | {"shardlist": listed}, indent=1) + "\n").encode())
    return index_file


def packed(sample: FlowSample, number: int) -> dict[str, bytes]:
    """Names and contents of a sample's members, its frames as PNG; the number keeps equal names apart."""
    where, _, last = sample["name"].rpartition("/")
    # the first dot of the last part ends a sample's name
    key = "/".join(part for part in (f"{number:08d}", where, last.replace(".", "_")) if part)
    return {f"{key}.{frame}.png": image_content(key, sample[frame]) for frame in ("image1", "image2")}
