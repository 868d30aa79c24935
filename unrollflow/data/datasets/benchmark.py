"""Base class and helpers of the benchmark data sets, which skip incomplete pairs."""

import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict, cast, get_args

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unrollflow.contracts import FlowSample, known_flow
from unrollflow.data.datasets.frames import natural_key, read_pair
from unrollflow.data.io.flow import read_flo
from unrollflow.data.io.images import read_mask

DIGITS = "0123456789"


class Pair(NamedTuple):
    """Files of one sample, which need not exist.

    Attributes:
        name: name of the sample.
        image1, image2: the frames.
        truth: files of the ground truth by kind, including "flow"; empty without ground truth.
    """

    name: str
    image1: Path
    image2: Path
    truth: dict[str, Path]


class GroundTruth(TypedDict):
    """Ground truth of a pair, as in :class:`~unrollflow.contracts.FlowSample`."""

    flow: Tensor
    valid: Tensor
    flow_candidates: NotRequired[Tensor]
    occluded: NotRequired[Tensor]
    foreground: NotRequired[Tensor]


class BenchmarkPairs(Dataset[FlowSample]):
    """Pairs of frames, with ground truth if they have such files; incomplete pairs are counted and reported once.

    Args:
        candidates: every pair that the set should contain.
        root: folder of the set.
        layout: expected files below the root, for error messages.

    Attributes:
        pairs: files of the samples.
        skipped: number of skipped pairs, for which a frame or the flow is missing.
        partial: number of pairs without another map, such as occlusions, which are kept.

    Raises:
        FileNotFoundError: if no pair is complete.
    """

    def __init__(self, candidates: Iterable[Pair], *, root: Path, layout: str) -> None:
        candidates = list(candidates)
        needed = absent([pair.image1, pair.image2, *flow_file(pair)] for pair in candidates)
        maps = absent(pair.truth.values() for pair in candidates)
        self.pairs = [
            pair._replace(truth={kind: file for kind, file in pair.truth.items() if file not in lacking})
            for pair, lost, lacking in zip(candidates, needed, maps, strict=True)
            if not lost
        ]
        skipped = [lost[0] for lost in needed if lost]
        partial = [lacking[0] for lost, lacking in zip(needed, maps, strict=True) if lacking and not lost]
        self.skipped, self.partial = len(skipped), len(partial)
        if not self.pairs:
            found = f"{skipped[0]} is missing" if skipped else "there are no frames"
            raise FileNotFoundError(f"no complete pair in {root.absolute()}: {found}. Expected layout: {layout}.")
        if skipped or partial:
            warnings.warn(f"{root} is incomplete: {self._summary(skipped, partial)}.", stacklevel=3)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> FlowSample:
        pair = self.pairs[index]
        image1, image2 = read_pair(pair.image1, pair.image2)
        sample = FlowSample(image1=image1, image2=image2, name=pair.name)
        if not pair.truth:
            return sample
        height, width = image1.shape[-2:]
        return cast(FlowSample, {**sample, **self.read_truth(pair.truth, (height, width))})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} pairs, {self.skipped} skipped, {self.partial} partial)"

    def read_truth(self, files: dict[str, Path], size: tuple[int, int]) -> GroundTruth:
        """Ground truth of a .flo file "flow" and images "occluded" and "invalid"; override it for other formats.

        Args: files: existing files.   size: (H, W) of the frames; the files must have the same size.
        """
        flow = fitting(read_flo(files["flow"]), files["flow"], size)
        valid = known_flow(flow)
        if "invalid" in files:
            valid &= ~fitting(read_mask(files["invalid"]), files["invalid"], size)
        truth = known(flow, valid)
        if "occluded" in files:
            truth["occluded"] = fitting(read_mask(files["occluded"]), files["occluded"], size)
        return truth

    def _summary(self, skipped: list[Path], partial: list[Path]) -> str:
        total = len(self.pairs) + len(skipped)
        parts = [f"{len(skipped)} of {total} pairs are skipped (missing: {skipped[0]})"] if skipped else []
        parts += [f"{len(partial)} are kept without a map (missing: {partial[0]})"] if partial else []
        return "; ".join(parts)


def known(flow: Tensor, valid: Tensor) -> GroundTruth:
    """Ground truth of a flow (2, H, W), pixels, set to 0 where `valid` (H, W) is False."""
    return GroundTruth(flow=flow if valid.all() else torch.where(valid, flow, 0.0), valid=valid)


def flow_file(pair: Pair) -> list[Path]:
    """List with the flow file of a pair; empty if it has no ground truth."""
    return [pair.truth["flow"]] if pair.truth else []


def absent(groups: Iterable[Iterable[Path]]) -> list[list[Path]]:
    """Missing files of each group; each folder is listed only once."""

    @cache
    def listed(folder: Path) -> frozenset[Path]:
        """Contents of a folder; empty if it does not exist."""
        return frozenset(folder.iterdir() if folder.is_dir() else ())

    return [[file for file in files if file not in listed(file.parent)] for files in groups]


def fitting(field: Tensor, path: Path, size: tuple[int, int]) -> Tensor:
    """Return the field (..., H, W) of a file, or raise ValueError if it differs in size from the frames, (H, W)."""
    if field.shape[-2:] != size:
        shape = "x".join(map(str, field.shape[-2:]))
        raise ValueError(f"{path} has a wrong size: it is {shape} pixels, but its frames are {size[0]}x{size[1]}.")
    return field


def require_folder(*alternatives: Path, layout: str) -> None:
    """Raise FileNotFoundError, naming the folders and the layout, unless one of the folders exists."""
    if not any(folder.is_dir() for folder in alternatives):
        looked = " or ".join(str(folder.absolute()) for folder in alternatives)
        raise FileNotFoundError(f"no folder {looked}. Expected layout: {layout}.")


def check_choices(argument: str, given: Sequence[str], choices: object) -> None:
    """Raise ValueError unless the values of an argument are choices of a Literal, and there is at least one.

    >>> from typing import Literal
    >>> check_choices("split", ["trian"], Literal["train", "test"])
    Traceback (most recent call last):
    ValueError: split is 'trian'; expected train or test.
    """
    wrong = [choice for choice in given if choice not in get_args(choices)]
    if wrong or not given:
        what = repr(wrong[0]) if wrong else "empty"
        raise ValueError(f"{argument} is {what}; expected {' or '.join(get_args(choices))}.")


def subfolders(folder: Path) -> list[Path]:
    """Subfolders of a folder, sorted by name, without hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def numbered(folder: Path, suffix: str) -> list[Path]:
    """Files of a folder, which need not exist, whose stems end in a digit, in natural order, without hidden ones."""
    files = (path for path in folder.glob(f"*[0-9]{suffix}") if not path.name.startswith("."))
    return sorted(files, key=natural_key)


def following(path: Path, step: int = 1) -> Path:
    """Path whose number is higher by a step.

    >>> following(Path("clean/alley_1/frame_0009.png")).name, following(Path("000000_10.png"), -1).name
    ('frame_0010.png', '000000_09.png')
    """
    start = path.stem.rstrip(DIGITS)
    number = path.stem[len(start) :]
    return path.with_name(f"{start}{int(number) + step:0{len(number)}d}{path.suffix}")


def neighbours(folder: Path) -> list[tuple[Path, Path]]:
    """Each frame of a folder except the last of its sequence, and the frame with the next number, which may not exist.

    A sequence is identified by the file name without its last number: 000000_09.png belongs to 000000_.
    """
    return [
        (frame, following(frame))
        for frame, later in pairwise(numbered(folder, ".png"))
        if frame.stem.rstrip(DIGITS) == later.stem.rstrip(DIGITS)
    ]
