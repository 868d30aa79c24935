"""Pairs of your own frames: a folder of images in natural order, two images, or a list of pairs."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from statistics import median_low

from torch import Tensor
from torch.utils.data import Dataset

from unrollflow.contracts import FlowSample
from unrollflow.data.io.files import existing
from unrollflow.data.io.flow import IMAGE_SUFFIXES, read_image

GAP = 1.5
"""Frame numbers that rise by more than this times the median have a gap between them."""


class FramePairs(Dataset[FlowSample]):
    """Neighbouring frames of a folder, in natural order (frame_2 before frame_10), or two given images.

    Frames of different sequences, or on both sides of a gap in the numbers, are not paired, see :func:`breaks`. A
    sample is named after its first frame.

    Args:
        frames: a folder, or two images.
        stride: use every stride-th frame of a folder: frame 0 is paired with frame stride, which is paired with frame
            2 stride. Each sequence is counted from its first frame.

    Attributes:
        frames: all frames, in their order.
        pairs: pairs of consecutive frames.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if a folder has fewer than two images, a tuple does not have two, no two frames are consecutive, or
            the stride leaves no pairs.
    """

    def __init__(self, frames: Path | tuple[Path, ...], *, stride: int = 1) -> None:
        if isinstance(frames, tuple | list):
            if len(frames) != 2:
                raise ValueError(f"{len(frames)} images given; expected one folder of frames, or exactly two images.")
            self.frames = [Path(frame) for frame in frames]
            self.pairs = [(self.frames[0], self.frames[1])]
            return
        self.frames = list_frames(Path(frames))
        self.pairs = consecutive_pairs([self.frames], stride=stride)
        if not self.pairs and stride > 1:
            raise ValueError(
                f"a stride of {stride} leaves no pairs of the {len(self.frames)} frames in {frames}; use a smaller one."
            )
        if not self.pairs:
            raise ValueError(
                f"no two frames in {frames} are consecutive: names such as {self.frames[0].name} and "
                f"{self.frames[1].name} must differ in exactly one number; give two images to pair any two."
            )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> FlowSample:
        if not 0 <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        first, second = self.pairs[index]
        image1, image2 = read_pair(first, second)
        return FlowSample(image1=image1, image2=image2, name=self.name(index))

    def name(self, index: int) -> str:
        """Name of a sample."""
        return self.pairs[index][0].stem


class ListedPairs(Dataset[FlowSample]):
    """Given pairs of images; a sample is named after its first image, relative to the root.

    Args:
        pairs: image files.
        root: folder to which names are relative; images outside of it are named without their folders.

    Raises:
        FileNotFoundError: if a file does not exist.
    """

    def __init__(self, pairs: list[tuple[Path, Path]], *, root: Path) -> None:
        for path in chain(*pairs):
            existing(path)
        self.pairs, self.root = pairs, root

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> FlowSample:
        image1, image2 = read_pair(*self.pairs[index])
        return FlowSample(image1=image1, image2=image2, name=self.name(index))

    def name(self, index: int) -> str:
        """Name of a sample."""
        first = self.pairs[index][0]
        return str(first.relative_to(self.root).with_suffix("")) if first.is_relative_to(self.root) else first.stem


def consecutive_pairs(clips: Iterable[list[Path]], *, stride: int = 1) -> list[tuple[Path, Path]]:
    """Pairs of neighbouring frames in each list of frames; one warning counts the pairs with a break between them.

    With a stride, every stride-th frame of each sequence is used, starting with the first.
    """
    pairs: list[tuple[Path, Path]] = []
    broken: list[tuple[Path, Path]] = []
    for frames in clips:
        starts = [i for i, is_broken in enumerate(breaks(frames), 1) if is_broken]
        broken += [(frames[i - 1], frames[i]) for i in starts]
        for start, end in pairwise([0, *starts, len(frames)]):
            pairs += pairwise(frames[start:end:stride])
    if broken:
        first, second = broken[0]
        warnings.warn(
            f"{len(broken)} pairs of neighbouring frames skipped, such as {first} and {second.name}: they belong to "
            "different sequences, or numbers between them are missing.",
            stacklevel=3,
        )
    return pairs


def breaks(frames: list[Path]) -> list[bool]:
    """Whether a new sequence begins, or numbers are missing, between each frame and the next.

    The names in a sequence differ in only one number. Numbers are missing if it rises by more than 1.5 times the median
    rise in these frames. Names without numbers are one sequence.

    >>> breaks([Path(f"{name}.png") for name in ("a_0001", "a_0002", "a_0009", "b_0001", "b_0002")])
    [False, True, True, False]
    """
    rises = [rise(first.stem, second.stem) for first, second in pairwise(frames)]
    usual = median_low([r for r in rises if r is not None] or [1])
    return [r is None or r > GAP * usual for r in rises]


def rise(first: str, second: str) -> int | None:
    """Increase of the only number in which two names differ; None if they differ in anything else.

    >>> rise("0007_left", "0009_left"), rise("000000_11", "000001_10"), rise("before", "later")
    (2, None, 1)
    """
    a, b = re.split(r"(\d+)", first), re.split(r"(\d+)", second)  # text, number, text, ...
    if len(a) == len(b) == 1:
        return 1
    rises = [int(y) - int(x) for x, y in zip(a[1::2], b[1::2], strict=False) if int(x) != int(y)]
    return rises[0] if a[::2] == b[::2] and len(rises) == 1 else None


def natural_key(path: Path) -> list[tuple[bool, int, str]]:
    """Sort key that compares digits as numbers.

    >>> [p.stem for p in sorted([Path("f10.png"), Path("f9.png")], key=natural_key)]
    ['f9', 'f10']
    """
    # `isdecimal`, because `int` fails on other digits, such as superscripts
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", path.name)]


def list_frames(folder: Path) -> list[Path]:
    """Images of a folder in natural order, without hidden ones; ValueError unless at least two with different stems."""
    if folder.is_file() and folder.suffix.lower() in IMAGE_SUFFIXES:
        raise ValueError(f"{folder} is only one image; give two images, or a folder of frames.")
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; give a folder of frames, or two images.")
    # on other disks, macOS creates a hidden "._a.png", which is not an image, beside "a.png"
    images = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    frames = sorted(filter(Path.is_file, images), key=natural_key)
    if len(frames) < 2:
        raise ValueError(
            f"{folder} has {len(frames)} image(s), but a pair needs two; supported suffixes: "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    twice = sorted(stem for stem, count in Counter(frame.stem for frame in frames).items() if count > 1)
    if twice:
        raise ValueError(
            f"{folder} has several images named {twice[0]}, whose results would have the same path; rename them."
        )
    return frames


def read_pair(path1: Path, path2: Path) -> tuple[Tensor, Tensor]:
    """Read two images (3, H, W) in [0, 1] of equal size.

    Raises:
        FileNotFoundError, ValueError: naming the missing or unreadable file, or both files if their sizes differ.
    """
    image1, image2 = read_image(path1), read_image(path2)
    if image1.shape != image2.shape:
        sizes = [f"{path} is {image.shape[-2]}x{image.shape[-1]}" for path, image in ((path1, image1), (path2, image2))]
        raise ValueError(f"the frames of a pair differ in size: {sizes[0]}, but {sizes[1]}.")
    return image1, image2


def find_frame_folders(root: Path) -> list[Path]:
    """Folders with at least two images at or below a folder, sorted by name."""
    images = Counter(p.parent for p in visible(root) if p.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(folder for folder, count in images.items() if count > 1)


def visible(root: Path) -> Iterator[Path]:
    """Yield every file below a folder, except hidden files and files in hidden folders.

    Links are followed. A folder that is reachable by several paths is visited once, by its real path if that is below
    the root, so that loops end and no clip is found twice. Broken links are skipped with a warning.
    """
    seen: set[Path] = set()
    broken: list[Path] = []
    starts = [root]
    for start in starts:  # links to folders are appended, so that real paths come first
        for name, below, files in os.walk(start):
            folder = Path(name)
            if folder.resolve() in seen:
                below.clear()
                continue
            seen.add(folder.resolve())
            below[:] = sorted(name for name in below if not name.startswith("."))
            starts += [folder / name for name in below if (folder / name).is_symlink()]
            found = [folder / name for name in sorted(files) if not name.startswith(".")]
            broken += [path for path in found if not path.exists()]
            yield from (path for path in found if path.is_file())
    if broken:
        warnings.warn(f"{root}: {len(broken)} broken link(s) skipped, such as {broken[0]}.", stacklevel=2)
