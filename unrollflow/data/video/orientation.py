"""Frames as their video's display matrix shows them."""

from collections.abc import Mapping
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import Type

Picture = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Matrix = np.ndarray[tuple[int, ...], np.dtype[np.int32]]


def upright(frame: av.VideoFrame) -> Picture:
    """Pixels (H, W, 3) of a frame, RGB, turned and mirrored as its display matrix says."""
    pixels = cast(Picture, frame.to_ndarray(format="rgb24"))
    matrix = cast(Mapping[Type, bytes], frame.side_data).get(Type.DISPLAYMATRIX)
    return pixels if matrix is None else displayed(pixels, np.frombuffer(matrix, np.int32).reshape(3, 3))


def displayed(pixels: Picture, matrix: Matrix) -> Picture:
    """Pixels (H, W, ...) as ffmpeg shows them under a display matrix (3, 3), at the nearest quarter turn.

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
