"""Video files through PyAV: frames one after another in constant memory, and a writer of .mp4."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
import torch
from av.container import InputContainer
from einops import rearrange
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from unrollflow.contracts import FlowSample
from unrollflow.data.io.files import UMASK, existing
from unrollflow.data.video.orientation import Picture, upright

LARGEST_PICTURE = 2**26
"""Pixels; twice 8K. A header that claims more is refused before anything is allocated for it."""

USUAL_RATE = Fraction(25)
"""Frames a second, where a file does not tell."""

ENCODERS = ("libx264", "mpeg4")
QUALITY = {"libx264": {"crf": "18", "preset": "medium"}, "mpeg4": {"q": "3"}}


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
        ValueError: if it is no video.
    """
    with opened(existing(path)) as container:
        stream = container.streams.video[0]
        return stream.average_rate or stream.guessed_rate or USUAL_RATE


class VideoPairs(IterableDataset[FlowSample]):
    """Consecutive frames of a video, in order and in constant memory; for prediction.

    A sample is named after the file and the number of its first frame, from 0.

    Args:
        path: video file.

    Attributes:
        rate: frames a second.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no video, or (while iterating) not two frames can be decoded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.rate = existing(path), frame_rate(path)

    def __iter__(self) -> Iterator[FlowSample]:
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise ValueError(
                f"{self.path} is read from front to back, by {worker.num_workers} workers; give one at most."
            )
        number = -1
        for number, (image1, image2) in enumerate(pairwise(read_video(self.path))):
            yield FlowSample(image1=image1, image2=image2, name=f"{self.path.name}/{number:06d}")
        if number < 0:
            raise ValueError(f"{self.path} holds 1 frame; a pair needs two.")


class VideoWriter:
    """An .mp4 of H.264 (MPEG-4 where libx264 is missing), yuv420p, that is there whole or not at all.

    Use it as a context; what leaves it through an error leaves no file. Odd sizes grow by one repeated row or column.

    Args:
        path: file to write; missing folders are made.
        rate: frames a second.

    Raises:
        ValueError: if the rate is not positive, an image has another shape or size than the first, or none came.
        OSError: naming the file, if it cannot be written, as on a full disk.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "grey.mp4"
    >>> with VideoWriter(path, 25) as video:
    ...     video.write(torch.full((3, 9, 16), 0.5))
    >>> next(read_video(path)).shape
    torch.Size([3, 10, 16])
    """

    def __init__(self, path: str | Path, rate: float | Fraction) -> None:
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"frame rate of {path} is {rate}; it must be positive.")
        self.path, self.rate = Path(path), Fraction(rate).limit_denominator(2**16)
        self.size: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        with naming(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = NamedTemporaryFile(dir=self.path.parent, prefix=f".{self.path.name}.", delete=False)
            self.container = av.open(self.file, "w", format="mp4")
            encoder = next(name for name in ENCODERS if name in av.codecs_available)
            self.stream: Any = self.container.add_stream(encoder, rate=self.rate, options=QUALITY[encoder])
        return self

    def write(self, image: Tensor) -> None:
        """Append an image (3, H, W) in [0, 1]."""
        if image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"frame for {self.path} has shape {tuple(image.shape)}; (3, H, W) is needed.")
        height, width = image.shape[-2:]
        if self.size is None:
            self.size = (height, width)
            self.stream.height, self.stream.width = height + height % 2, width + width % 2
            self.stream.pix_fmt = "yuv420p"
        if self.size != (height, width):
            raise ValueError(
                f"frame for {self.path} is {height}x{width}, but those before are {self.size[0]}x{self.size[1]}."
            )
        pixels = (255 * image.detach().cpu().float().clamp(0, 1)).round().byte()
        picture = rearrange(pixels, "c h w -> h w c").numpy()
        even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        with naming(self.path):
            self.container.mux(self.stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        temporary = Path(self.file.name)
        try:
            if error is None:
                self._finish(temporary)
        finally:
            # of a file that is given up, or is in its place already, nothing more has to be heard
            for half_open in (self.container, self.file):
                with suppress(OSError, av.FFmpegError):
                    half_open.close()
            temporary.unlink(missing_ok=True)

    def _finish(self, temporary: Path) -> None:
        if self.size is None:
            raise ValueError(f"no frame was written to {self.path}; a video needs one.")
        with naming(self.path):
            self.container.mux(self.stream.encode(None))
            self.container.close()
            self.file.close()
            temporary.chmod(0o666 & ~UMASK)  # a temporary file is readable by its owner alone
            temporary.replace(self.path)


def pictures(path: Path) -> Iterator[Picture]:
    """Frames (H, W, 3) of 8 bits, RGB, upright, up to the first that is damaged or of another size.

    Raises:
        ValueError: naming the file, if there is not one.
    """
    count, damage, first = 0, "it holds no frame", (0, 0)
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


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of writing, with the file's name."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise OSError(error.errno, f"cannot write the video: {error.strerror}", str(path)) from error
