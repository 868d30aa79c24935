"""Rotation and mirroring of frames by the display matrix of their video."""

from collections.abc import Mapping
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter

Picture = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Matrix = np.ndarray[tuple[int, ...], np.dtype[np.int32]]
IDENTITY: Matrix = np.eye(3, dtype=np.int32)


class Upright:
    """Converts the frames of one video to pixels, rotated and mirrored by the display matrix of the first frame.

    Only the side data of the first frame are read: PyAV's frames and their side data refer to each other, so only the
    garbage collector frees such a frame. All frames share one converter: it has threads, and a forked process that
    frees the converter of a frame would wait for them forever.
    """

    def __init__(self) -> None:
        self.converter = VideoReformatter()
        self.matrix: Matrix | None = None

    def __call__(self, frame: av.VideoFrame) -> Picture:
        """Pixels (H, W, 3), RGB."""
        if self.matrix is None:
            found = cast(Mapping[Type, bytes], frame.side_data).get(Type.DISPLAYMATRIX)
            self.matrix = IDENTITY if found is None else np.frombuffer(found, np.int32).reshape(3, 3).copy()
        pixels = cast(Picture, self.converter.reformat(frame, format="rgb24").to_ndarray())
        return displayed(pixels, self.matrix)


def displayed(pixels: Picture, matrix: Matrix) -> Picture:
    """Pixels (H, W, ...) as ffmpeg displays them with a display matrix (3, 3), rounded to the nearest quarter turn.

    The stored point (p, q), right and down, is displayed at (p, q) @ matrix[:2, :2], up to a scale and a shift.

    >>> displayed(np.array([[1, 2, 3]], np.uint8), np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], np.int32)).tolist()
    [[1], [2], [3]]
    """
    (a, b, _), (c, d, _), _ = matrix.tolist()
    if abs(b) > abs(a):  # displayed at (c q, b p)
        pixels, across, down = pixels.swapaxes(0, 1), c, b
    else:
        across, down = a, d
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])
