"""Training pairs from your own footage: videos, folders of frames, or both."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from torch.utils.data import Dataset
from tqdm import tqdm

from unrollflow.contracts import FlowSample
from unrollflow.data.datasets.frames import breaks, find_frame_folders, list_frames, read_pair, visible
from unrollflow.data.io.flow import read_image
from unrollflow.data.video.decoded_clips import DecodedClips, shrunk
from unrollflow.data.video.scene_cuts import KeptPairs, Thumbnails, kept_pairs, thumbnail
from unrollflow.ops.choice import check_choice

VIDEO_SUFFIXES = frozenset(
    {".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
)
"""Suffixes of videos in a folder; a file that is given directly may have any suffix."""

DEFAULT_CACHE = Path("~/.cache/unrollflow")

Split = Literal["all", "train", "validation"]


class Clip(NamedTuple):
    """Frames of a clip in order.

    Attributes:
        name: name of the video or folder, relative to the root.
        frames: image files.
    """

    name: str
    frames: list[Path]


class Footage(Dataset[FlowSample]):
    """Pairs of frames of all videos and folders of frames below a folder, without pairs that are useless for training.

    Skipped are pairs across scene cuts, motionless or duplicate pairs, and pairs of frames in a folder that belong to
    different sequences or have missing numbers between them; the counts are printed when the data set is created.
    Larger frames are shrunk, and so is their motion. A video is decoded once (see :class:`DecodedClips`); frames in a
    folder are read directly. A sample is named after its clip and its first frame.

    Args:
        root: folder that contains clips, at any depth, or one video.
        split: "all" clips, or those for "train" or "validation". Whole clips are assigned by a hash of their path below
            the root; a validation on frames of a training clip would be biased, because neighbouring frames are nearly
            equal. The splits are disjoint if both have the same root and validation_share, even if one uses Video or
            FrameFolder, because all clips are assigned before they are filtered by kind.
        validation_share: probability of a clip to be in "validation", independent of the other clips; if a split would
            be empty, the clip nearest to the limit is moved to it.
        stride: distance between the frames of a pair, frames; larger values give larger motion.
        both_directions: also yield each pair in reverse order.
        shorter_side: length to which the shorter side of larger frames is shrunk, pixels; None: do not shrink.
        cache: folder of the decoded videos.
        cache_gigabytes: maximum size of this folder, GB.

    Attributes:
        clips: the clips that are used.
        summary: one sentence with the numbers of used and skipped pairs.

    Raises:
        FileNotFoundError: if there are no clips, or none for the split.
        ValueError: if an argument is out of range, a video cannot be decoded, the decoded videos exceed the maximum
            size, or no pairs are left.
    """

    def __init__(
        self,
        *,
        root: Path,
        split: Split = "all",
        validation_share: float = 0.1,
        stride: int = 1,
        both_directions: bool = False,
        shorter_side: int | None = None,
        cache: Path = DEFAULT_CACHE,
        cache_gigabytes: float = 20.0,
    ) -> None:
        check_choice("split", split, Split)
        if stride < 1 or not 0 < validation_share < 1 or (shorter_side is not None and shorter_side < 1):
            raise ValueError(
                f"an argument is out of range: stride={stride}, validation_share={validation_share}, "
                f"shorter_side={shorter_side}; expected stride >= 1, 0 < validation_share < 1 and shorter_side >= 1 "
                "or None."
            )
        self.shorter_side = shorter_side
        root, store = Path(root), DecodedClips(cache, gigabytes=cache_gigabytes)
        self.clips: list[Clip] = []
        self.pairs: list[tuple[Clip, int, int]] = []
        every: list[KeptPairs] = []
        chosen = self._chosen(root, store.folder, split, validation_share)
        for path in chosen:
            clip, thumbnails = clip_of(path, root, store, shorter_side)
            kept = kept_pairs(thumbnails, stride=stride, breaks=breaks(clip.frames))
            self.clips.append(clip)
            for first in kept.firsts:
                forward, backward = (clip, first, first + stride), (clip, first + stride, first)
                self.pairs += [forward, backward] if both_directions else [forward]
            every.append(kept)
        side = split if split == "all" else f"{split}, validation_share {validation_share}"
        self.summary = (
            f"{root} ({side}): {len(self.pairs)} pairs of {len(self.clips)} clips; skipped: "
            f"{sum(kept.breaks for kept in every)} across sequences or missing numbers, "
            f"{sum(kept.cuts for kept in every)} across scene cuts, "
            f"{sum(kept.motionless for kept in every)} motionless or duplicate{self._too_short(stride)}."
        )
        if any(map(Path.is_file, chosen)):
            self.summary += f" {store}."
        if not self.pairs:
            raise ValueError(f"no pairs are left. {self.summary}")
        print(self.summary, flush=True)  # noqa: T201, printed once per data set

    def _chosen(self, root: Path, cache: Path, split: Split, share: float) -> list[Path]:
        """Clips to use, without those in the cache."""
        found = [*find_videos(root), *find_frame_folders(root)]
        found = [path for path in found if cache.resolve() not in path.resolve().parents]
        chosen = [path for path in drawn(found, root, split, share) if self.takes(path)]
        if not chosen:
            raise FileNotFoundError(
                f"{root.absolute()} has no clips for {type(self).__name__} in split {split!r}: videos and folders of "
                "frames are assigned to splits together; use Footage, which reads both, or another validation_share "
                "in both splits."
            )
        return chosen

    def _too_short(self, stride: int) -> str:
        """Text with the number of clips that are too short, and the first of them; empty if there are none."""
        short = [clip for clip in self.clips if len(clip.frames) <= stride]
        if not short:
            return ""
        name, frames = short[0]
        return f", {len(short)} clips that are too short ({name} has {len(frames)} frame(s); a pair needs {stride + 1})"

    @staticmethod
    def takes(clip: Path) -> bool:
        """Whether the data set uses a video or a folder of frames."""
        return True

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> FlowSample:
        clip, first, second = self.pairs[index]
        images = read_pair(clip.frames[first], clip.frames[second])
        image1, image2 = (shrunk(image, self.shorter_side) for image in images)
        return FlowSample(image1=image1, image2=image2, name=f"{clip.name}/{clip.frames[first].stem}")


class Video(Footage):
    """As :class:`Footage`, but only videos."""

    @staticmethod
    def takes(clip: Path) -> bool:
        """Whether a clip is a video."""
        return clip.is_file()


class FrameFolder(Footage):
    """As :class:`Footage`, but only folders of frames, in natural order (frame_2 before frame_10)."""

    @staticmethod
    def takes(clip: Path) -> bool:
        """Whether a clip is a folder."""
        return clip.is_dir()


def find_videos(root: Path) -> list[Path]:
    """Videos below a folder, sorted by name, or the given video; a video with several links is listed once."""
    if root.is_file():
        return [root]
    videos = sorted((p for p in visible(root) if p.suffix.lower() in VIDEO_SUFFIXES), key=Path.is_symlink)
    own = {path.resolve(): path for path in reversed(videos)}
    return sorted(own.values())


def drawn(sources: Iterable[Path], root: Path, split: Split, share: float) -> list[Path]:
    """Clips of a split.

    Raises:
        FileNotFoundError: if there are too few clips.
    """
    sources = list(sources)
    if not sources:
        raise FileNotFoundError(
            f"no footage in {root.absolute()}; expected a video, or a folder that contains videos, or folders of at "
            "least two frames, at any depth."
        )
    if split == "all":
        return sources
    if len(sources) < 2:
        raise FileNotFoundError(
            f"{root.absolute()} has only one clip, which cannot be split into training and validation; add another "
            "clip, or use split: all without validation."
        )
    fractions = sorted(split_fraction(path, root) for path in sources)
    # the clip with the lowest fraction is always for validation, that with the highest always for training
    limit = min(max(share, fractions[1]), fractions[-1])
    return [path for path in sources if (split_fraction(path, root) < limit) == (split == "validation")]


def split_fraction(path: Path, root: Path) -> float:
    """Number from 0 to 1 that is computed from a clip's path below the root.

    >>> round(split_fraction(Path("videos/deep/a.mp4"), Path("videos")), 3)
    0.188
    """
    digest = hashlib.sha256(path.relative_to(root).as_posix().encode()).digest()
    return int.from_bytes(digest) / 2**256


def clip_of(path: Path, root: Path, store: DecodedClips, shorter_side: int | None) -> tuple[Clip, Thumbnails]:
    """Clip of a video or a folder of frames, and the thumbnails (N, 36, 64) of its frames."""
    name = path.relative_to(root).as_posix() if path != root else path.name
    if path.is_file():
        frames, thumbnails = store.frames(path, shorter_side=shorter_side)
        return Clip(name, frames), thumbnails
    frames = list_frames(path)
    bar = tqdm(frames, desc=f"reading {name}", unit=" frames", leave=False)
    return Clip(name, frames), np.stack([thumbnail(read_image(frame)) for frame in bar])
