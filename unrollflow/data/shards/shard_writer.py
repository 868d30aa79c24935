"""Writing of pairs of frames to tar files for ShardedPairs."""

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
"""Header of an index of shards, as written by webdataset's tools."""


def write_shards(
    dataset: Dataset[FlowSample], folder: str | Path, *, samples_per_shard: int = 1000, seed: int = 0
) -> Path:
    """Write the frames of a data set to tar files in random order, so that each file has samples of many clips.

    Frames are stored as 8-bit PNG, without ground truth. Tar files are written atomically, and the index, which is
    needed for reading, is written last. The same data set and arguments give the same bytes.

    Args:
        dataset: data set with a length, such as :class:`Footage`.
        folder: folder for the tar files and the index; it is created.
        samples_per_shard: number of samples in each file except the last; files of some hundred MB are recommended.
        seed: seed of the order.

    Returns:
        the path of the index.

    Raises:
        FileExistsError: if the folder already contains shards.
        ValueError: if an argument is out of range, or the data set is empty.
    """
    folder, total = Path(folder), len(dataset)  # type: ignore[arg-type]  # torch's type does not declare a length
    if samples_per_shard < 1 or not total or seed < 0:
        raise ValueError(
            f"samples_per_shard is {samples_per_shard}, seed is {seed}, the data set has {total} samples; expected "
            "samples_per_shard >= 1, seed >= 0 and at least one sample."
        )
    if found := next(folder.glob("*.tar"), None):
        raise FileExistsError(f"{found} already exists; choose another folder, or delete the shards.")
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
    """Names and contents of a sample's members, its frames as PNG; the number makes the names unique."""
    where, _, last = sample["name"].rpartition("/")
    # the name of a sample ends at the first dot of its last part
    key = "/".join(part for part in (f"{number:08d}", where, last.replace(".", "_")) if part)
    return {f"{key}.{frame}.png": image_content(key, sample[frame]) for frame in ("image1", "image2")}
