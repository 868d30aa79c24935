"""Writing of video files with PyAV."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from einops import rearrange
from torch import Tensor

from unrollflow.data.io.files import UMASK

ENCODERS = ("libx264", "mpeg4")
QUALITY = {"libx264": {"crf": "18", "preset": "medium"}, "mpeg4": {"q": "3"}}


BT709 = 1
"""Colour space, primaries and transfer of written videos, also stored in the file, because players differ otherwise."""


class VideoWriter:
    """Writes an .mp4 with H.264 (MPEG-4 if libx264 is not available), yuv420p and BT.709, atomically.

    Use it as a context manager; after an error, there is no file. Odd sizes are padded by one repeated row or column.

    Args:
        path: file to write; missing folders are created.
        rate: frames per second.

    Raises:
        ValueError: if the rate is not positive, an image has another shape or size than the first, or there are no
            images.
        OSError: naming the file, if it cannot be written, for example on a full disk.

    >>> import torch
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "grey.mp4"
    >>> with VideoWriter(path, 25) as video:
    ...     video.write(torch.full((3, 9, 16), 0.5))
    >>> with av.open(str(path)) as video:
    ...     video.streams.video[0].height, video.streams.video[0].width
    (10, 16)
    """

    def __init__(self, path: str | Path, rate: float | Fraction) -> None:
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"frame rate of {path} is {rate}; it must be positive and finite.")
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
            raise ValueError(f"frame for {self.path} has shape {tuple(image.shape)}; expected (3, H, W).")
        height, width = image.shape[-2:]
        if self.size is None:
            self.size = (height, width)
            self.stream.height, self.stream.width = height + height % 2, width + width % 2
            self.stream.pix_fmt = "yuv420p"
            self.stream.colorspace = self.stream.color_primaries = self.stream.color_trc = BT709
            self.stream.color_range = ColorRange.MPEG
        if self.size != (height, width):
            raise ValueError(
                f"frame for {self.path} is {height}x{width}, but earlier frames are {self.size[0]}x{self.size[1]}."
            )
        pixels = (255 * image.detach().cpu().float().clamp(0, 1)).round().byte()
        picture = rearrange(pixels, "c h w -> h w c").numpy()
        even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        with naming(self.path):
            self.container.mux(self.stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        temporary = Path(self.file.name)
        try:
            if error is None:
                self._finish(temporary)
        finally:
            # the file is complete or discarded, so errors of closing do not matter
            for half_open in (self.container, self.file):
                with suppress(OSError, av.FFmpegError):
                    half_open.close()
            temporary.unlink(missing_ok=True)

    def _finish(self, temporary: Path) -> None:
        if self.size is None:
            raise ValueError(f"no frames were written to {self.path}; a video needs at least one.")
        with naming(self.path):
            self.container.mux(self.stream.encode(None))
            self.container.close()
            self.file.close()
            temporary.chmod(0o666 & ~UMASK)  # by default only the owner can read a temporary file
            temporary.replace(self.path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the name of the file to errors of writing."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise OSError(error.errno, f"cannot write the video: {error.strerror}", str(path)) from error
