"""Sequential reading of video files with PyAV, in constant memory."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av
import torch
from av.container import InputContainer
from einops import rearrange
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from unrollflow.contracts import FlowSample
from unrollflow.data.io.files import existing
from unrollflow.data.video.orientation import Picture, Upright

LARGEST_PICTURE = 2**26
"""Maximum size of a frame, pixels (twice 8K), checked in the header before memory is allocated."""

USUAL_RATE = Fraction(25)
"""Default rate for files without one, frames per second."""


class DamagedVideoWarning(UserWarning):
    """A video could only be decoded in part."""


def read_video(path: str | Path) -> Iterator[Tensor]:
    """Iterate over the frames (3, H, W), RGB float32 in [0, 1], of a video file, in constant memory.

    Frames are rotated and mirrored according to the file. Variable frame rates, interlacing and non-square pixels are
    not corrected: each stored frame is yielded once.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if no frame can be decoded. Damage after the first ends the video with a DamagedVideoWarning.
    """
    return (rearrange(torch.from_numpy(p), "h w c -> c h w").float() / 255 for p in pictures(existing(path)))


def frame_rate(path: str | Path) -> Fraction:
    """Frames per second of a video file (the mean if variable); 25 if the file does not specify it.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not a video.
    """
    with opened(existing(path)) as container:
        stream = container.streams.video[0]
        return stream.average_rate or stream.guessed_rate or USUAL_RATE


def frame_count(path: str | Path) -> int:
    """Number of frames of a video file, counted by packets without decoding; fewer may be decodable if it is damaged.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not a video.
    """
    with opened(existing(path)) as container:
        try:
            return sum(packet.size > 0 for packet in container.demux(container.streams.video[0]))
        except UNDECODABLE:  # the reader of the frames reports the damage
            return 0


class VideoPairs(IterableDataset[FlowSample]):
    """Pairs of consecutive frames of a video, in order and in constant memory, for prediction.

    A sample is named after the file and the number of its first frame, from 0.

    Args:
        path: video file.
        stride: use every stride-th frame: frame 0 is paired with frame stride, which is paired with frame 2 stride.

    Attributes:
        rate: pairs per second.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not a video, or (while iterating) fewer than two frames can be decoded.
    """

    def __init__(self, path: str | Path, *, stride: int = 1) -> None:
        self.path, self.rate, self.stride = existing(path), frame_rate(path) / stride, stride

    def __iter__(self) -> Iterator[FlowSample]:
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise ValueError(
                f"cannot read {self.path} with {worker.num_workers} workers, because it is read sequentially; "
                "use at most one."
            )
        number = -1
        for number, (image1, image2) in enumerate(pairwise(islice(read_video(self.path), 0, None, self.stride))):
            yield FlowSample(image1=image1, image2=image2, name=f"{self.path.name}/{number * self.stride:06d}")
        if number < 0:
            of = f" at a stride of {self.stride}" if self.stride > 1 else ""
            raise ValueError(f"{self.path} has 1 frame{of}; a pair needs two.")

    def spread(self, most: int) -> Iterator[FlowSample]:
        """Yield at most `most` pairs at equal distances in the video; it is decoded up to the last of them."""
        pairs = max(1, (frame_count(self.path) - 1) // self.stride)
        distance = math.ceil(pairs / most)
        start = (pairs - 1) % distance // 2
        yield from islice(self, start, start + most * distance, distance)


def pictures(path: Path) -> Iterator[Picture]:
    """Iterate over upright 8-bit RGB frames (H, W, 3), up to the first one that is damaged or differs in size.

    Raises:
        ValueError: naming the file, if there are no frames.
    """
    count, damage, first, upright = 0, "it has no frames", (0, 0), Upright()
    with opened(path) as container:
        stream = container.streams.video[0]
        claimed = stream.frames
        try:
            for frame in container.decode(stream):
                damage = fault(frame, first)
                if damage:
                    break
                first = (frame.height, frame.width)
                yield upright(frame)
                count += 1
        except UNDECODABLE as error:
            damage = error.strerror if isinstance(error, av.FFmpegError) and error.strerror else str(error)
    if not damage and count < claimed:
        damage = "the file ends"
    if not count:
        raise ValueError(f"{path} cannot be read as a video: {damage}.")
    if damage:
        of = f" of {claimed} according to its header" if claimed else ""
        warnings.warn(f"{path}: only {count} frames{of} are used, because {damage}.", DamagedVideoWarning, stacklevel=2)


UNDECODABLE = (av.FFmpegError, ValueError, MemoryError, OverflowError)


def fault(frame: av.VideoFrame, first: tuple[int, int]) -> str:
    """Text that says why a frame cannot follow frames of size (H, W); empty if it can."""
    if frame.is_corrupt:
        return "the next frame is damaged"
    if first not in ((0, 0), (frame.height, frame.width)):
        return f"the size changes from {first[0]}x{first[1]} to {frame.height}x{frame.width}"
    return ""


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a container with at least one video stream of a supported size."""
    try:
        container = av.open(str(path), options={"max_pixels": str(LARGEST_PICTURE)})
    except UNDECODABLE as error:
        raise ValueError(f"{path} cannot be read as a video: {error}") from error
    with container:
        if not container.streams.video:
            raise ValueError(f"{path} has no video stream, but {len(container.streams)} other stream(s).")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError(f"{path} cannot be read as a video: the codec in its header is unknown.")
        if stream.width * stream.height > LARGEST_PICTURE:
            raise ValueError(
                f"frames of {path} are too large: {stream.width}x{stream.height}; at most {LARGEST_PICTURE} pixels "
                "are supported."
            )
        stream.thread_type = "AUTO"
        yield container
