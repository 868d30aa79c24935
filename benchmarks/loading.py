"""Measure the speed of loading: by number of workers, and of readers against only decoding their files.

    python benchmarks/loading.py --root DATA --workers 0 1 2

The first table has the samples per second of every existing source, cropped and flipped as for training and stacked to
batches. The second table has, for each reader of files, the milliseconds of a sample with its random crop, those of
only decoding the same files (`cv2.imdecode` of their bytes, `np.fromfile` of .flo and .pfm), and their ratio. They are
medians over repeats in which both alternate in one process, on one thread.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from unrollflow.contracts import FlowSample
from unrollflow.data import (
    Compose,
    FlyingChairs,
    Kitti,
    Middlebury,
    MovingLayers,
    RandomCrop,
    RandomHorizontalFlip,
    RandomTemporalSwap,
    Sintel,
)
from unrollflow.data.datamodule import TrainingSamples, collate
from unrollflow.data.io.flow import IMAGE_SUFFIXES
from unrollflow.visualization.table import format_table

DEFAULT_ROOT = os.environ.get("UNROLLFLOW_DATA_DIR", ".")
BATCH = 4
FLOW_SUFFIXES = {".flo", ".pfm"}

SOURCES: dict[str, Callable[[Path, bool], Dataset[FlowSample]]] = {
    "MovingLayers 128x192": lambda root, labels: MovingLayers(split="train", size=(128, 192)),
    "Middlebury": lambda root, labels: Middlebury(root=root / "middlebury", labels=labels),
    "Sintel": lambda root, labels: Sintel(root=root / "sintel", labels=labels),
    "KITTI 2012": lambda root, labels: Kitti(root=root / "kitti2012", frames="image_0", labels=labels),
    "KITTI 2015": lambda root, labels: Kitti(root=root / "kitti2015", labels=labels),
    "FlyingChairs": lambda root, labels: FlyingChairs(root=root / "chairs", labels=labels),
}


class Against(NamedTuple):
    """Milliseconds of a sample, and of only decoding its files."""

    read: float
    decode: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the sources of the command line and print the tables."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sources = present(options.root, options.only, labels=not options.frames_only)
    crop = tuple(options.crop)
    rows = [
        (name, [samples_per_second(source, crop, workers, options.samples) for workers in options.workers])
        for name, source in sources.items()
    ]
    print(format_table([f"{workers} workers" for workers in options.workers], rows))
    readers = {name: against_decoding(s, crop, options.root, options.repeats) for name, s in sources.items()}
    found = [(name, [r.read, r.decode, r.read / r.decode]) for name, r in readers.items() if r is not None]
    if found:
        print("\n" + format_table(["read ms", "decode ms", "ratio"], found))


def parser() -> argparse.ArgumentParser:
    """Parse the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--root", type=Path, default=Path(DEFAULT_ROOT), help="folder of the data sets (default: %(default)s)"
    )
    made.add_argument("--only", nargs="+", default=list(SOURCES), choices=list(SOURCES), help="sources to measure")
    made.add_argument("--frames-only", action="store_true", help="do not read ground truth")
    made.add_argument(
        "--workers",
        nargs="+",
        type=int,
        default=[0, 1, 2],
        help="numbers of workers; 0: the main process (default: %(default)s)",
    )
    made.add_argument(
        "--samples", type=int, default=64, help="number of batches for each number of workers (default: %(default)s)"
    )
    made.add_argument(
        "--repeats", type=int, default=7, help="repeats of reading and decoding in turn (default: %(default)s)"
    )
    made.add_argument(
        "--crop",
        nargs=2,
        type=int,
        default=[256, 384],
        help="height and width of the crops; smaller frames are not cropped",
    )
    return made


def present(root: Path, names: Sequence[str], *, labels: bool) -> dict[str, Dataset[FlowSample]]:
    """Return the sources with existing files; missing ones are printed to stderr."""
    found = {}
    for name in names:
        try:
            found[name] = SOURCES[name](root, labels)
        except (FileNotFoundError, ImportError) as error:
            print(f"{name} is skipped: {error}", file=sys.stderr)
    return found


def samples_per_second(source: Dataset[FlowSample], crop: tuple[int, int], workers: int, count: int) -> float:
    """Return the throughput of a training loader after its workers have started; at least one batch is drawn."""
    transform = Compose(transforms=[fitting_crop(source, crop), RandomHorizontalFlip(), RandomTemporalSwap()])
    samples = TrainingSamples(source, transform, seed=0)
    count = max(BATCH, count - count % BATCH)
    loader = DataLoader(
        samples, BATCH, sampler=range(count), collate_fn=collate, num_workers=workers, persistent_workers=workers > 0
    )
    for _ in zip(range(2), loader, strict=False):  # starts the workers, fills caches of textures and of the system
        pass
    start = time.perf_counter()
    drawn = sum(len(batch["name"]) for batch in loader)
    return drawn / (time.perf_counter() - start)


def against_decoding(source: Dataset[FlowSample], crop: tuple[int, int], root: Path, repeats: int) -> Against | None:
    """Return the time per sample with a crop, and that of decoding its files; None if no files are decoded."""
    indices = range(min(len(cast(Sized, source)), 32))
    window = fitting_crop(source, crop)
    source[0]  # files that are opened only once are not opened below
    with opened_below(root) as files:
        for index in indices:
            source[index]
    if not files or {file.suffix for file in files} - IMAGE_SUFFIXES - FLOW_SUFFIXES:
        return None
    generator = torch.Generator().manual_seed(0)
    times: list[tuple[float, float]] = []
    for _ in range(repeats):
        start = time.perf_counter()
        for index in indices:
            window(source[index], generator)
        middle = time.perf_counter()
        for file in files:
            decode(file)
        times.append((middle - start, time.perf_counter() - middle))
    read, bare = (1000 * statistics.median(column) / len(indices) for column in zip(*times, strict=True))
    return Against(read, bare)


def fitting_crop(source: Dataset[FlowSample], crop: tuple[int, int]) -> RandomCrop:
    """Return a crop of the given size, reduced to the size of the first frame if that is smaller."""
    height, width = source[0]["image1"].shape[-2:]
    return RandomCrop(size=(min(crop[0], height), min(crop[1], width)))


def decode(path: Path) -> None:
    """Decode a file and discard the result."""
    if path.suffix in IMAGE_SUFFIXES:
        cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    else:
        np.fromfile(path, "<f4")


@contextmanager
def opened_below(root: Path) -> Iterator[list[Path]]:
    """Record the files below a folder that Python opens, in order and with repetitions."""
    recording.append([])
    try:
        yield recording[-1]
    finally:
        files = recording.pop()
        files[:] = [path for path in files if path.absolute().is_relative_to(root.absolute())]


recording: list[list[Path]] = []


def note_opened(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook: record an opened file while a recording is active."""
    if event == "open" and recording and isinstance(arguments[0], str):
        recording[-1].append(Path(arguments[0]))


sys.addaudithook(note_opened)

if __name__ == "__main__":
    main()
