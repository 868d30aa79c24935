"""Video files read through PyAV: frames one after another in constant memory."""

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
"""Pixels; twice 8K. A header that claims more is refused before anything is allocated for it."""

USUAL_RATE = Fraction(25)
"""Frames a second, where a file does not tell."""


class DamagedVideoWarning(UserWarning):
    """A video could be decoded only in part."""


def read_video(path: str | Path) -> Iterator[Tensor]:
    """Frames (3, H, W), RGB float32 in [0, 1], of a video file, one at a time and in constant memory.

    They come turned and mirrored as the file says, otherwise as stored: one for each stored frame, whatever time
    passed between two (variable rates), with interlaced lines and pixels that are not square left as they are.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if not one frame can be decoded. Damage behind the first ends the video with a DamagedVideoWarning.
    """
    return (rearrange(torch.from_numpy(p), "h w c -> c h w").float() / 255 for p in pictures(existing(path)))


def frame_rate(path: str | Path) -> Fraction:
    """Frames a second of a video file, the mean where they vary; 25 where the file does not tell.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a video.
    """
    with opened(existing(path)) as container:
        stream = container.streams.video[0]
        return stream.average_rate or stream.guessed_rate or USUAL_RATE


def frame_count(path: str | Path) -> int:
    """Frames of a video file by its packets, of which none is decoded; damage may leave fewer to be decoded.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a video.
    """
    with opened(existing(path)) as container:
        try:
            return sum(packet.size > 0 for packet in container.demux(container.streams.video[0]))
        except UNDECODABLE:  # the reader of the frames reports the damage
            return 0


class VideoPairs(IterableDataset[FlowSample]):
    """Consecutive frames of a video, in order and in constant memory; for prediction.

    A sample is named after the file and the number of its first frame, from 0.

    Args:
        path: video file.
        stride: every stride-th frame is used: frame 0 is paired with frame stride, and that one with frame 2 stride.

    Attributes:
        rate: first frames of the pairs a second.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a video, or (while iterating) not two frames can be decoded.
    """

    def __init__(self, path: str | Path, *, stride: int = 1) -> None:
        self.path, self.rate, self.stride = existing(path), frame_rate(path) / stride, stride

    def __iter__(self) -> Iterator[FlowSample]:
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise ValueError(
                f"{self.path} is read from front to back, by {worker.num_workers} workers; give one at most."
            )
        number = -1
        for number, (image1, image2) in enumerate(pairwise(islice(read_video(self.path), 0, None, self.stride))):
            yield FlowSample(image1=image1, image2=image2, name=f"{self.path.name}/{number * self.stride:06d}")
        if number < 0:
            of = f" at a stride of {self.stride}" if self.stride > 1 else ""
            raise ValueError(f"{self.path} holds 1 frame{of}; a pair needs two.")

    def spread(self, most: int) -> Iterator[FlowSample]:
        """Not more than `most` pairs at equal distances over the video; the video is decoded up to the last of them."""
        pairs = max(1, (frame_count(self.path) - 1) // self.stride)
        distance = math.ceil(pairs / most)
        start = (pairs - 1) % distance // 2
        yield from islice(self, start, start + most * distance, distance)


def pictures(path: Path) -> Iterator[Picture]:
    """Frames (H, W, 3) of 8 bits, RGB, upright, up to the first that is damaged or of another size.

    Raises:
        ValueError: naming the file, if there is not one.
    """
    count, damage, first, upright = 0, "it holds no frame", (0, 0), Upright()
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
        of = f" of the {claimed} that its header tells" if claimed else ""
        warnings.warn(f"{path}: used up to frame {count}{of}, where {damage}.", DamagedVideoWarning, stacklevel=2)


UNDECODABLE = (av.FFmpegError, ValueError, MemoryError, OverflowError)


def fault(frame: av.VideoFrame, first: tuple[int, int]) -> str:
    """What makes a frame unusable behind frames of a (H, W), or nothing."""
    if frame.is_corrupt:
        return "the picture is damaged"
    if first not in ((0, 0), (frame.height, frame.width)):
        return f"the size changes from {first[0]}x{first[1]} to {frame.height}x{frame.width}"
    return ""


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """A container with at least one video stream of a size that can be."""
    try:
        container = av.open(str(path), options={"max_pixels": str(LARGEST_PICTURE)})
    except UNDECODABLE as error:
        raise ValueError(f"{path} cannot be read as a video: {error}") from error
    with container:
        if not container.streams.video:
            raise ValueError(f"{path} holds no video, but {len(container.streams)} other stream(s).")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError(f"{path} cannot be read as a video: its header names no codec that there is.")
        if stream.width * stream.height > LARGEST_PICTURE:
            raise ValueError(f"{path} says {stream.width}x{stream.height} pixels; {LARGEST_PICTURE} are the most.")
        stream.thread_type = "AUTO"
        yield container
