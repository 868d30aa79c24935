"""One's own footage: videos, folders of frames, or both, as pairs worth learning from."""

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
"""Files of a folder that count as videos; a file that is named itself may have any ending."""

DEFAULT_CACHE = Path("~/.cache/unrollflow")

Split = Literal["all", "train", "validation"]


class Clip(NamedTuple):
    """Frames in their order.

    Attributes:
        name: of the video or folder, relative to where it was looked for.
        frames: files.
    """

    name: str
    frames: list[Path]


class Footage(Dataset[FlowSample]):
    """Pairs of frames of all videos and folders of frames below a folder, without those that teach nothing.

    Pairs across scene cuts, motionless or duplicate pairs, and pairs of frames of a folder between which another
    sequence begins or numbers are missing are skipped; how many is printed when the data set is built. Larger frames
    are shrunk, which shrinks their motion too. A video is decoded once (see :class:`DecodedClips`); a folder's frames
    are read as they are. A sample is named after its clip and its first frame.

    Args:
        root: folder that holds clips, at any depth, or one video.
        split: "all" clips, or those for "train" or "validation". Clips are drawn by a hash of their path below the
            root, never divided: neighbouring frames are nearly alike, so a validation on them would measure memory.
            The two share no clip if both have the same root and validation_share, even if one is of Video or
            FrameFolder: those draw among all clips, and use theirs.
        validation_share: chance of a clip to be for "validation", whatever others there are; only where that leaves
            "train" or "validation" without any, the clip nearest to it changes sides.
        stride: frames from the first to the second of a pair; more makes larger motion.
        both_directions: yield each pair backwards, too.
        shorter_side: pixels to which larger frames are shrunk, None: not at all.
        cache: folder of the decoded videos.
        cache_gigabytes: limit of its size.

    Attributes:
        clips: what is used.
        summary: one sentence of what was found and skipped.

    Raises:
        FileNotFoundError: if there is no clip, or none is left for the split.
        ValueError: if an argument is out of range, a video cannot be decoded, the decoded videos exceed the limit, or
            no pair is left.
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
                f"stride={stride}, validation_share={validation_share}, shorter_side={shorter_side}: "
                "at least 1, between 0 and 1, at least 1 or None are expected."
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
            raise ValueError(f"no pair is left. {self.summary}")
        print(self.summary, flush=True)  # noqa: T201, what a data set skips is printed once

    def _chosen(self, root: Path, cache: Path, split: Split, share: float) -> list[Path]:
        """The clips to use; those within the cache are not footage."""
        found = [*find_videos(root), *find_frame_folders(root)]
        found = [path for path in found if cache.resolve() not in path.resolve().parents]
        chosen = [path for path in drawn(found, root, split, share) if self.takes(path)]
        if not chosen:
            raise FileNotFoundError(
                f"none of the clips in {root.absolute()} for split {split!r} is one that {type(self).__name__} uses; "
                "videos and folders of frames are drawn together: take Footage, which uses both, or another "
                "validation_share in both splits."
            )
        return chosen

    def _too_short(self, stride: int) -> str:
        """How many clips have no pair, and which is the first, or nothing."""
        short = [clip for clip in self.clips if len(clip.frames) <= stride]
        if not short:
            return ""
        name, frames = short[0]
        return (
            f", {len(short)} clips that are too short ({name} holds {len(frames)} frame(s); a pair needs {stride + 1})"
        )

    @staticmethod
    def takes(clip: Path) -> bool:
        """Whether a video or a folder of frames is used."""
        return True

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> FlowSample:
        clip, first, second = self.pairs[index]
        images = read_pair(clip.frames[first], clip.frames[second])
        image1, image2 = (shrunk(image, self.shorter_side) for image in images)
        return FlowSample(image1=image1, image2=image2, name=f"{clip.name}/{clip.frames[first].stem}")


class Video(Footage):
    """As :class:`Footage`, of videos alone."""

    @staticmethod
    def takes(clip: Path) -> bool:
        """Whether a clip is a video."""
        return clip.is_file()


class FrameFolder(Footage):
    """As :class:`Footage`, of folders of frames alone, in natural order (frame_2 before frame_10)."""

    @staticmethod
    def takes(clip: Path) -> bool:
        """Whether a clip is a folder."""
        return clip.is_dir()


def find_videos(root: Path) -> list[Path]:
    """The video that a path names, or those below a folder, by name; one that links lead to as well counts once."""
    if root.is_file():
        return [root]
    videos = sorted((p for p in visible(root) if p.suffix.lower() in VIDEO_SUFFIXES), key=Path.is_symlink)
    own = {path.resolve(): path for path in reversed(videos)}
    return sorted(own.values())


def drawn(sources: Iterable[Path], root: Path, split: Split, share: float) -> list[Path]:
    """The clips of a split.

    Raises:
        FileNotFoundError: if there is none.
    """
    sources = list(sources)
    if not sources:
        raise FileNotFoundError(
            f"no footage in {root.absolute()}: a video, or a folder with videos or with folders of at least two frames "
            "is expected, at any depth."
        )
    if split == "all":
        return sources
    if len(sources) < 2:
        raise FileNotFoundError(
            f"{root.absolute()} holds one clip, which is not divided into training and validation; add another one, "
            "or take split: all and no validation."
        )
    fractions = sorted(split_fraction(path, root) for path in sources)
    # the lowest is for validation, the highest for training in any case
    limit = min(max(share, fractions[1]), fractions[-1])
    return [path for path in sources if (split_fraction(path, root) < limit) == (split == "validation")]


def split_fraction(path: Path, root: Path) -> float:
    """A number from 0 to 1 that a clip draws by its path below the root.

    >>> round(split_fraction(Path("videos/deep/a.mp4"), Path("videos")), 3)
    0.188
    """
    digest = hashlib.sha256(path.relative_to(root).as_posix().encode()).digest()
    return int.from_bytes(digest) / 2**256


def clip_of(path: Path, root: Path, store: DecodedClips, shorter_side: int | None) -> tuple[Clip, Thumbnails]:
    """The clip of a video or a folder of frames, and the thumbnails (N, 36, 64) of its frames."""
    name = path.relative_to(root).as_posix() if path != root else path.name
    if path.is_file():
        frames, thumbnails = store.frames(path, shorter_side=shorter_side)
        return Clip(name, frames), thumbnails
    frames = list_frames(path)
    bar = tqdm(frames, desc=f"looking through {name}", unit=" frames", leave=False)
    return Clip(name, frames), np.stack([thumbnail(read_image(frame)) for frame in bar])
